"""``pick --explore``: more and more queries for fewer and fewer settings, then a pick from what is left."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from evalkit.boundary.errors import EvalkitError
from evalkit.cli import explore
from evalkit.cli.explore import Race
from evalkit.results import picking
from evalkit.results.pick_schema import Budget
from tests.helpers.command_line import run_here, sentence

QUERIES = [f"q{n:02}" for n in range(30)]


@pytest.fixture
def collection(tmp_path: Path) -> Path:
    """Thirty queries with one relevant passage of five, which is the first of one finished run, the last of another."""
    (tmp_path / "qrels").mkdir()
    docs = [f"d{n}" for n in range(5)]
    files = {
        "corpus.jsonl": "".join(json.dumps({"_id": doc, "text": f"passage {doc}"}) + "\n" for doc in docs),
        "queries.jsonl": "".join(json.dumps({"_id": query, "text": f"query {query}"}) + "\n" for query in QUERIES),
        "qrels/test.tsv": "query-id\tcorpus-id\tscore\n" + "".join(f"{query}\td0\t1\n" for query in QUERIES),
        "good.trec": run(docs),
        "bad.trec": run(docs[::-1]),
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def run(docs: Sequence[str]) -> str:
    return "".join(f"{query} Q0 {doc} {rank} {-rank} run\n" for query in QUERIES for rank, doc in enumerate(docs, 1))


@pytest.fixture
def in_this_process(collection: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Trials of an exploration run in this process, as imports take longer than they do; returns what was run."""
    ran: list[str] = []

    def here(overrides: Sequence[str]) -> None:
        ran.append(" ".join(overrides))
        run_here(*overrides, cwd=collection)

    monkeypatch.setattr(explore, "run_trial", here)
    monkeypatch.chdir(collection)
    return ran


SETTINGS = ("slice=beir", "slice.path=.", "reranker=none", "first_stage=trec_run")


def test_a_setting_that_cannot_win_is_run_on_the_first_queries_only(
    collection: Path, in_this_process: list[str]
) -> None:
    paths = "first_stage.path=bad.trec,good.trec"
    found = explore.explore([*SETTINGS, paths], collection / "trials", Budget(), Race(start=20), None)
    varied = [[part for part in one.split() if part.startswith(("first_stage.path", "slice.queries"))]
              for one in in_this_process]  # fmt: skip
    assert varied == [
        ["first_stage.path=bad.trec", "slice.queries=20"],
        ["first_stage.path=good.trec", "slice.queries=20"],
        ["first_stage.path=good.trec", "slice.queries=40"],
    ]
    dropped, explored = found.notes
    assert dropped == "dropped after 20 queries, clearly worse than the best: first_stage.path=bad.trec"
    assert explored.startswith("explored on 20, 30 queries")
    assert "5%" in explored
    got = picking.pick(found.places, Budget())
    assert (got.picked, got.estimate, got.queries) == ("good", 1.0, 30)


def test_a_trial_that_does_not_finish_is_named_and_the_others_go_on(
    collection: Path, in_this_process: list[str]
) -> None:
    paths = "first_stage.path=missing.trec,good.trec"
    found = explore.explore([*SETTINGS, paths], collection / "trials", Budget(), Race(start=40), None)
    assert len(found.places) == 1
    assert found.notes[0].startswith("dropped, as it did not finish: first_stage.path=missing.trec (")
    with pytest.raises(EvalkitError, match="no trial of --explore finished"):
        explore.explore([*SETTINGS, "first_stage.path=a.trec,b.trec"], collection / "other", Budget(), Race(), None)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["depth=10,20"], "--explore needs --output DIR"),
        (["depth=10", "--output", "out"], "--explore needs a setting with several values"),
        (["some/folder", "--output", "out"], "--explore takes settings such as reranker=packaged,minilm_l6"),
        (["depth=10,20", "out_dir=x", "--output", "out"], "--explore sets out_dir itself"),
        (["depth=10,20", "--start", "5", "--output", "out"], "--start 5: give the queries of the first round, 10 or"),
        (["depth=10,20", "--alpha", "2", "--output", "out"], "--alpha 2: give a probability above 0 and below 1"),
        (["depth=[1,", "--output", "out"], "--explore: "),
    ],
)
def test_an_exploration_that_cannot_be_begun_is_refused(tmp_path: Path, arguments: list[str], message: str) -> None:
    done = run_here("pick", "--explore", *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert message in sentence(done.stderr)
