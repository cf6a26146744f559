"""``judges``, and trials by the labels of a named judge: recorded, shown, and not compared with other judgments."""

import json
from pathlib import Path

import pytest

from evalkit.evaluation.judged_by import Judge
from evalkit.slices import labels
from evalkit.slices.packaged import DEV
from tests.helpers.command_line import run_here, sentence
from tests.helpers.judged import HUMAN, ranked, write_result
from tools import simulate_judges

QRELS = DEV / "en" / "qrels" / "dev.tsv"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A result, and labels of a lenient judge and of one that favours its reranker."""
    where = tmp_path_factory.mktemp("judges")
    write_result(where / "lots", good=0.0, name="lots")
    judges = {
        "lenient": simulate_judges.lenient(HUMAN.qrels),
        "partial": simulate_judges.partial(HUMAN.qrels, ranked(where / "lots")),
    }
    labels.write(where / "labels.tsv", [Judge(name, "llm", grades) for name, grades in judges.items()])
    return where


def test_the_verdict_of_each_judge_is_printed_and_written(place: Path) -> None:
    done = run_here("judges", QRELS, "labels.tsv", "--results", "lots", "--output", "out", cwd=place)
    assert done.returncode == 0, done.stderr
    text = " ".join(done.stdout.split())
    assert "The verdict differs in 1 of 2 comparisons with the human: by the human reranking hurt, by partial" in text
    assert text.endswith("judges in out")
    written = json.loads((place / "out" / "judges.json").read_text("utf-8"))
    assert [one["same_verdict"] for one in written["results"]] == [True, False]
    assert {path.name for path in (place / "out").iterdir()} == {
        "judges.json", "report.md", "gains.png", "gains.svg", "confusion.png", "confusion.svg",
    }  # fmt: skip
    printed = run_here("judges", QRELS, "labels.tsv", "--results", "lots", "--json", cwd=place)
    assert json.loads(printed.stdout) == written


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.tsv", "labels.tsv"], "there is no none.tsv; it should be judgments"),
        (["labels.tsv", "labels.tsv"], "labels.tsv has 0 judges of kind human among lenient, partial; "),
        (
            ["labels.tsv", "labels.tsv", "--human-judge", "x"],
            "--human-judge x: labels.tsv has no labels of it; it has those of lenient, partial",
        ),
        ([QRELS, "labels.tsv", "--output", "lots"], "lots holds a result; name another --output"),
        ([QRELS, QRELS, "--relevance-level", "0"], "slice.relevance_level=0: give the lowest grade"),
        ([QRELS, "labels.tsv", "--results", "lots", "--measure", "AP@5"], "the results have nDCG@10, R@20, and not"),
    ],
)
def test_a_mistake_is_one_sentence(place: Path, arguments: list[str], message: str) -> None:
    done = run_here("judges", *arguments, cwd=place)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in sentence(done.stderr)


def test_a_judge_can_take_the_place_of_the_human(place: Path) -> None:
    done = run_here("judges", "labels.tsv", "labels.tsv", "--human-judge", "lenient", "--json", cwd=place)
    found = json.loads(done.stdout)
    assert (found["human"], [one["name"] for one in found["judges"]]) == ("lenient", ["partial"])


def test_results_by_different_judges_are_not_compared_and_history_names_the_judge(place: Path) -> None:
    data = ("slice=beir", f"slice.path={DEV / 'en'}", "slice.split=dev", "slice.relevance_level=2", "reranker=none",
            "slice.queries=12", "measures.names=[nDCG@10]",
            "history=history.sqlite")  # fmt: skip
    refused = run_here(*data, "slice.qrels=labels.tsv", "out_dir=x", cwd=place)
    assert "labels.tsv has labels of 2 judges (lenient, partial); slice.judge=NAME takes" in sentence(refused.stderr)
    done = run_here(*data, "slice.qrels=labels.tsv", "slice.judge=lenient", "out_dir=by_llm", cwd=place)
    assert done.returncode == 0, done.stderr
    assert "501 passages, judged by LLM judge lenient, depth" in done.stdout
    assert "note: judged by LLM judge lenient, not by people: published figures are of other judgments" in done.stdout
    assert run_here(*data, "out_dir=by_people", cwd=place).returncode == 0
    compared = run_here("compare", "by_people", "by_llm", cwd=place)
    assert "by_llm is judged by LLM judge lenient, and by_people by the collection's judgments or qrels without a" in (
        sentence(compared.stderr)
    )
    assert "run both with the same slice.qrels and slice.judge" in sentence(compared.stderr)
    history = run_here("history", "slice=lenient", "--path", "history.sqlite", cwd=place)
    assert "LLM judge" in " ".join(history.stdout.split()), history.stderr
