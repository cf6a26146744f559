"""The folder of a trial is named by what the trial has that the others of its sweep do not have."""

from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit.cli.trial_folder import name
from tests.helpers.command_line import run_here


@pytest.mark.parametrize(
    ("overrides", "common", "expected"),
    [
        (["reranker=minilm_l6", "depth=20", "out_dir=a"], ["out_dir"], "3-minilm_l6-depth_20"),
        (["+slice.lang=sw"], [], "3-lang_sw"),
        (["reranker.model=/data/models/mine/"], [], "3-model_mine"),
        (["measures.names=[nDCG@10,RR@10]"], [], "3-names_nDCG_10_RR_10"),
        (["name='größer als 5'"], [], "3-name_größer_als_5"),
        (["reranker.api_key=abcdefgh"], [], "3-api_key_REDACTED"),
        (["depth=5"], ["depth"], "3"),
        ([], [], "3"),
    ],
)
def test_a_choice_stands_by_itself_and_a_setting_with_its_name(
    overrides: list[str], common: list[str], expected: str
) -> None:
    assert name(3, overrides, common) == expected


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**6), st.lists(st.tuples(st.sampled_from(["depth", "slice.path", "reranker"]), st.text())))
def test_a_name_can_be_typed_and_is_one_folder_whatever_the_values(number: int, pairs: list[tuple[str, str]]) -> None:
    found = name(number, [f"{key}={value}" for key, value in pairs], [])
    assert found.partition("-")[0] == str(number)
    assert len(found.encode()) <= 200
    assert Path(found).name == found
    assert not set("=,/\\$'\"") & set(found)


def test_a_name_in_a_setting_needs_no_quotes() -> None:
    folder = name(0, ["reranker=minilm_l6", "reranker.model=a/b+c", "depth=5"], [])
    typed = OverridesParser.create().parse_override(f"first_stage.path=out/{folder}/reranked.trec")
    assert typed.value() == f"out/{folder}/reranked.trec"


def test_the_folders_of_a_sweep_leave_out_what_all_trials_have(tmp_path: Path) -> None:
    """Every trial fails at once, at depth 0."""
    run_here("--multirun", "depth=0", "slice.lang=en,sw", "precision=bf16", "out_dir=out", cwd=tmp_path)
    folders = sorted(path.name for path in (tmp_path / "out").iterdir() if path.is_dir())
    assert folders == ["0-lang_en", "1-lang_sw"]


def test_a_pattern_of_ones_own_is_not_replaced(tmp_path: Path) -> None:
    asked = ("hydra.sweep.subdir=${hydra.job.num}-${hydra.job.override_dirname}", "out_dir=out")
    run_here("--multirun", "depth=0", "slice.lang=en,sw", *asked, cwd=tmp_path)
    folders = sorted(path.name for path in (tmp_path / "out").iterdir() if path.is_dir())
    assert folders == ["0-depth=0,out_dir=out,slice.lang=en", "1-depth=0,out_dir=out,slice.lang=sw"]
