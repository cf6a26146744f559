"""``python -m evalkit info``: groups, choices, and the settings of a choice."""

import sys
from pathlib import Path
from typing import Any

import pytest

from evalkit.cli import app
from evalkit.cli.config import conf_dir
from evalkit.cli.describe import GROUPS


@pytest.fixture
def info(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    """Run the command in this process; return its exit code, standard output and standard error."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setenv("HYDRA_FULL_ERROR", "0")  # app.main sets it
        monkeypatch.setattr(sys, "argv", ["evalkit", "info", *arguments])
        with pytest.raises(SystemExit) as ended:
            app.main()
        shown = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return ended.value.code, shown.out, shown.err

    return run


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """A folder of a user's own YAML."""
    folder = tmp_path / "conf"
    (folder / "slice").mkdir(parents=True)
    (folder / "slice" / "tickets.yaml").write_text(
        "# Support tickets\ndefaults: [schema_beir, _self_]\npath: data/tickets\nlang: de\n", "utf-8"
    )
    (folder / "reranker").mkdir()
    (folder / "reranker" / "theirs.yaml").write_text(
        "_target_: my_module.Reranker\ntemperature: 0.5  # of the softmax\n", "utf-8"
    )
    return folder


def test_without_a_group_all_of_them_are_listed_with_their_choices(info: Any) -> None:
    code, out, err = info()
    assert (code, err) == (0, "")
    for group in GROUPS:
        assert f"\n{group} " in out
    assert "msmarco_dl19" in out
    assert "schema_" not in out


@pytest.mark.parametrize("group", GROUPS)
def test_a_group_lists_its_choices(info: Any, group: str) -> None:
    code, out, _ = info(group)
    names = [line.split()[0] for line in out.splitlines() if line.startswith("  ")]
    assert (code, names) == (0, sorted(path.stem for path in (conf_dir() / group).glob("*.yaml")))


def test_a_choice_shows_its_settings_with_values_and_descriptions(info: Any) -> None:
    code, out, _ = info("slice", "msmarco_dl19")
    assert code == 0
    assert "  TREC Deep Learning 2019, passages: 43 queries, graded judgments\n" in out
    assert "  slice.relevance_level=2\n      The lowest grade that is relevant; " in out
    assert "  slice.dataset=msmarco-passage/trec-dl-2019/judged\n" in out
    assert "  Component: evalkit.slices.irds.load\n" in out
    assert max(map(len, out.splitlines())) <= 100


def test_a_setting_that_is_required_or_comes_from_elsewhere_is_marked(info: Any) -> None:
    assert "  reranker.model=...  (required)\n" in info("reranker", "cross_encoder")[1]
    assert "  reranker.device  (that of device)\n" in info("reranker", "cross_encoder")[1]
    assert (
        "  executor.address=local  (or what the environment variable RAY_ADDRESS holds)\n" in info("executor", "ray")[1]
    )


@pytest.mark.parametrize(
    "path", sorted(conf_dir().glob("*/*.yaml")), ids=lambda path: f"{path.parent.name}-{path.stem}"
)
def test_every_choice_can_be_looked_up(info: Any, path: Path) -> None:
    code, out, err = info(path.parent.name, path.stem)
    assert (code, err) == (0, "")
    assert out.startswith(f"{path.parent.name}={path.stem}\n")
    assert "schema_" not in out.replace("schema_gate", "")


def test_an_experiment_shows_what_it_sets_and_its_command(info: Any) -> None:
    out = info("experiment", "msmarco_fp16")[1]
    assert "  python -m evalkit experiment=msmarco_fp16\n" in out
    assert "    - override /slice: msmarco_dl19\n" in out
    assert "  depth: 100\n" in out


def test_yaml_of_ones_own_is_seen(info: Any, mine: Path) -> None:
    assert "  tickets            Support tickets\n" in info("slice", "--config-dir", str(mine))[1]
    out = info("slice", "tickets", "--config-dir", str(mine))[1]
    assert "  slice.path=data/tickets\n      Folder with corpus.jsonl, " in out
    assert "  slice.lang=de\n" in out
    code, _, err = info("slice", "tickets")
    assert (code, err.splitlines()[0].startswith("evalkit: there is no slice 'tickets'")) == (2, True)


def test_a_component_of_ones_own_is_described_by_the_comments_of_its_yaml_and_not_imported(
    info: Any, mine: Path
) -> None:
    code, out, _ = info("reranker", "theirs", "-cd", str(mine))
    assert code == 0
    assert "  Component: my_module.Reranker\n" in out
    assert "  reranker.temperature=0.5\n      of the softmax\n" in out


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["slcie"], "there is no group 'slcie'; did you mean slice?"),
        (["slice", "msmarco_dl"], "there is no slice 'msmarco_dl'; did you mean msmarco_dl"),
        (["slice", "xyz"], "there is no slice 'xyz'; choose from beir, dev, files, hub, irds, "),
        (["slice", "--config-dir", "nowhere"], "--config-dir "),
        (["slice", "dev", "more"], "unrecognized arguments: more; usage: evalkit info"),
    ],
)
def test_a_mistake_is_one_sentence_that_names_what_there_is(info: Any, arguments: list[str], expected: str) -> None:
    code, out, err = info(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith(f"evalkit: {expected}")
    assert len(err.splitlines()) == 1
    assert "schema_" not in err
