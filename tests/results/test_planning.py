"""A plan from finished results: which differences, which measure, how many judgments, which slices."""

import json
from pathlib import Path
from typing import Any

import pytest

from evalkit.boundary.errors import EvalkitError
from evalkit.evaluation.power import needed, spread_of
from evalkit.results.plan_schema import Target
from evalkit.results.planning import plan
from tests.helpers.results import plain_result

QUERIES = [f"q{i:02}" for i in range(12)]
FIRST = dict.fromkeys(QUERIES, 0.5)
SMALL = {query_id: 0.5 + (i % 3 - 1) / 10 for i, query_id in enumerate(QUERIES)}
LARGE = {query_id: 0.5 + (i % 5 - 1) / 10 for i, query_id in enumerate(QUERIES)}
TARGET = Target(gain=0.05)


def written(where: Path, reranked: Any, **parts: Any) -> str:
    """A folder with the result.json of a trial over twelve queries, whose R@100 does not change."""
    found = plain_result(**parts)
    recall = dict.fromkeys(QUERIES, 0.9)
    found["effectiveness"]["per_query"] = {
        "first_stage": {"nDCG@10": FIRST, "R@100": recall}, "reranked": {"nDCG@10": reranked, "R@100": recall},
    }  # fmt: skip
    where.mkdir()
    (where / "result.json").write_text(json.dumps(found), "utf-8")
    return str(where)


def run_file(where: str, side: str, depth: int, tag: str) -> None:
    """One hundred passages a query: the first `depth` of either run are common, others have the tag in their id."""
    lines = [
        f"{q} Q0 {'common' if rank <= depth else tag}{rank} {rank} {200 - rank} t\n"
        for q in QUERIES
        for rank in range(1, 101)
    ]
    Path(where, f"{side}.trec").write_text("".join(lines), "utf-8")


def test_one_result_is_reranked_against_its_first_stage(tmp_path: Path) -> None:
    found = plan([written(tmp_path / "small", SMALL)], TARGET, {})
    spread = spread_of([SMALL[q] - FIRST[q] for q in QUERIES])
    assert (found.before, found.after, found.measure, found.queries) == ("bm25", "bm25 + small", "nDCG@10", 12)
    assert found.spread == spread
    assert found.one == needed(0.05, spread)
    assert found.corrected is None
    assert found.decisive == found.one


def test_the_second_of_two_results_is_compared_with_the_first(tmp_path: Path) -> None:
    places = [written(tmp_path / "small", SMALL), written(tmp_path / "large", LARGE)]
    found = plan(places, TARGET, {})
    assert found.one == needed(0.05, spread_of([LARGE[q] - SMALL[q] for q in QUERIES]))
    assert found.mean == pytest.approx(sum(LARGE[q] - SMALL[q] for q in QUERIES) / 12)
    assert [found.before, found.after] == places  # two results of one name


def test_several_comparisons_are_planned_at_their_share_of_alpha(tmp_path: Path) -> None:
    found = plan([written(tmp_path / "small", SMALL)], Target(0.05, comparisons=4), {})
    assert found.corrected is not None
    assert found.corrected.alpha == 0.05 / 4
    assert found.corrected.queries > found.one.queries
    assert found.decisive == found.corrected


def test_slices_at_hand_suffice_from_the_planned_number_on(tmp_path: Path) -> None:
    where = written(tmp_path / "small", SMALL)
    number = plan([where], Target(0.05, comparisons=3), {}).decisive.queries
    found = plan([where], Target(0.05, comparisons=3), {"a": {"en": number, "de": number - 1}, "b": {"": 10**6}})
    assert [(one.choice, one.lang, one.suffices) for one in found.slices] == [
        ("a", "en", True), ("a", "de", False), ("b", "", True),
    ]  # fmt: skip
    assert [one.suffices for one in found.slices] == [one.detectable <= 0.05 for one in found.slices]


def test_the_pool_is_what_either_ranking_has_within_the_cutoff(tmp_path: Path) -> None:
    where = written(tmp_path / "small", SMALL)
    assert plan([where], TARGET, {}).judging.pooled_per_query is None  # result.json alone
    run_file(where, "first_stage", 4, "first")
    run_file(where, "reranked", 4, "reranked")
    # 4 in common, and 6 more of each of the two within the top 10.
    assert plan([where], TARGET, {}).judging.pooled_per_query == 16


def test_judgments_a_query_are_those_of_the_slice(tmp_path: Path) -> None:
    facts = {"effective": {"slice": {"queries": 12, "judgments": 30}}}
    assert plan([written(tmp_path / "known", SMALL, **facts)], TARGET, {}).judging.judged_per_query == 2.5
    assert plan([written(tmp_path / "unknown", SMALL)], TARGET, {}).judging.judged_per_query is None


def test_the_measure_may_be_written_in_any_case(tmp_path: Path) -> None:
    assert plan([written(tmp_path / "small", SMALL)], TARGET, {}, "ndcg@10").measure == "nDCG@10"


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (Target(0.0), "--gain 0: give a difference above 0"),
        (Target(float("nan")), "--gain nan"),
        (Target(1.5), "--gain 1.5"),
        (Target(0.1, power=1.0), "--power 1: give a probability above --alpha"),
        (Target(0.1, power=0.04), "--power 0.04"),
        (Target(0.1, alpha=0.0), "--alpha 0: give the level"),
        (Target(0.1, comparisons=0), "--comparisons 0: give how many"),
    ],
)
def test_a_number_out_of_its_range_is_refused(target: Target, message: str) -> None:
    with pytest.raises(EvalkitError, match=message):
        plan(["nowhere"], target, {})


def test_results_that_are_no_basis_are_refused(tmp_path: Path) -> None:
    one = written(tmp_path / "one", SMALL)
    unchanged = written(tmp_path / "unchanged", FIRST)
    alone = written(tmp_path / "alone", FIRST, effective={"reranker": {"reranks": False}})
    other = {"slice": {"name": "t", "fingerprints": {"queries": "4", "docs": "5", "judgments": "6"}}}
    elsewhere = written(tmp_path / "elsewhere", LARGE, effective=other)
    for places, measure, message in (
        ([one, one, one], None, "one result or two, and got 3"),
        ([unchanged], None, "nDCG@10 of .*unchanged: all queries differ by the same amount"),
        ([one], "R@100", "R@100 of .*one: all queries differ by the same amount"),
        ([alone], None, "a first stage without a reranker"),
        ([one, elsewhere], None, "only results of one slice can be compared"),
        ([one], "P@5", "--measure P@5: the results have nDCG@10, R@100, and not P@5"),
        ([str(tmp_path / "absent")], None, "absent"),
    ):
        with pytest.raises(EvalkitError, match=message):
            plan(places, TARGET, {}, measure)
