"""Several first stages as one: their order changes nothing, and tuned weights never see the query that they rank."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit.boundary.errors import EvalkitError
from evalkit.cost.protocol import CostProtocol
from evalkit.evaluation import fusion as formulas
from evalkit.first_stage.base import FirstStage
from evalkit.first_stage.bm25 import BM25
from evalkit.first_stage.fusion import Fusion
from evalkit.first_stage.trec_run import TrecRun
from evalkit.report import markdown
from evalkit.report.html import pages
from evalkit.rerankers.none import NoReranker
from evalkit.results.reading import parse_finished
from evalkit.results.result import finished, to_json, to_plain
from evalkit.slices.assemble import assemble
from evalkit.trial import Plan, run
from evalkit.types import Hit, Run, Slice

WORDS = ["red", "green", "blue", "cat", "dog", "bird"]
DOCS = {f"d{n}": " ".join(WORDS[(n * step) % 6] for step in (1, 2, 3, 5)) + " and" + " more" * n for n in range(12)}
QUERIES = {f"q{n}": f"{WORDS[n % 6]} {WORDS[(n + 2) % 6]}" for n in range(8)}
QRELS = {query_id: {f"d{n}": 1, f"d{n + 3}": 2} for n, query_id in enumerate(QUERIES)}


class Listed(FirstStage):
    """A first stage with a list for each query, best first; it notes which judgments it was given."""

    def __init__(self, name: str, lists: Any) -> None:
        self.name, self.lists = name, lists
        self.judgments: Any = None
        self.asked_depth = 0

    def search(self, data: Slice, depth: int) -> Run:
        self.judgments, self.asked_depth, self.index_s = data.qrels, depth, 0.0
        return Run(str(self.name), {
            query_id: tuple(Hit(doc_id, -float(place)) for place, doc_id in enumerate(self.lists[query_id][:depth]))
            for query_id in data.queries
        })  # fmt: skip


def collection(qrels: Any = None, excluded: Any = None) -> Slice:
    data = assemble("tiny", "en", "HERE", QUERIES, DOCS, qrels or QRELS, 1, {"corpus": "full"})
    return replace(data, excluded=excluded or {})


def listed(name: str, *orders: Any) -> Listed:
    """A first stage that lists `orders` for the queries in turn."""
    return Listed(name, {query_id: orders[n % len(orders)] for n, query_id in enumerate(QUERIES)})


UP, DOWN = list(DOCS), list(reversed(DOCS))


def bm25(**different: Any) -> BM25:
    return BM25(name=f"bm25-{len(different)}", **different)


def searched(first_stage: Fusion, data: Any = None, depth: int = 12) -> Run:
    first_stage.check()
    return first_stage.search(data or collection(), depth)


# --- what it ranks ----------------------------------------------------------------------------------------------------


def test_each_member_searches_by_itself_and_their_rankings_are_fused() -> None:
    up, down = listed("up", ["d1", "d2", "d3"]), listed("down", ["d3", "d4"])
    found = searched(Fusion([up, down], member_depth=7), depth=2)
    # d3 is third and first; d1 is first, d2 and d4 are second.
    assert found.rankings["q0"] == (Hit("d3", 1 / 63 + 1 / 61), Hit("d1", 1 / 61))
    assert (up.asked_depth, down.asked_depth) == (7, 7)


def test_weights_belong_to_the_members_in_the_order_in_which_they_are_named() -> None:
    up, down = listed("up", UP), listed("down", DOWN)
    first = searched(Fusion([up, down], "rank", weights=[0.9, 0.1])).rankings["q0"][0]
    assert first.doc_id == "d0"
    assert first.score == pytest.approx(0.9 + 0.1 / 12)
    assert searched(Fusion([down, up], "rank", weights=[0.9, 0.1])).rankings["q0"][0].doc_id == "d11"


@settings(deadline=None, max_examples=4)
@given(
    members=st.permutations([0, 1, 2]), docs=st.permutations(sorted(DOCS)), queries=st.permutations(sorted(QUERIES)),
    method=st.sampled_from(formulas.METHODS),
)  # fmt: skip
def test_the_order_of_members_queries_and_passages_changes_nothing(
    members: Any, docs: Any, queries: Any, method: str
) -> None:
    def fusion(order: Sequence[int]) -> Fusion:
        of = [bm25(), bm25(k1=2.0, b=0.9), listed("up", UP, DOWN, UP[3:])]
        return Fusion([of[place] for place in order], method, weights=[[0.5, 0.3, 0.2][place] for place in order])

    check_invariance(fusion, members, docs, queries)


def test_the_order_changes_no_tuned_weights() -> None:
    def fusion(order: Sequence[int]) -> Fusion:
        of = [listed("down", DOWN), listed("up", UP, DOWN, UP[3:])]
        return Fusion([of[place] for place in order], tune=True, folds=3)

    check_invariance(fusion, [1, 0], sorted(DOCS, reverse=True), sorted(QUERIES, reverse=True))


def check_invariance(fusion: Any, members: Any, docs: Any, queries: Any) -> None:
    data = collection()
    turned = replace(
        data,
        docs={doc_id: data.docs[doc_id] for doc_id in docs},
        queries={query_id: data.queries[query_id] for query_id in queries},
        qrels={query_id: data.qrels[query_id] for query_id in queries},
    )
    before, after = fusion(range(len(members))), fusion(members)
    assert searched(before, data).rankings == searched(after, turned).rankings
    assert before.label == after.label
    assert before.describe() == after.describe()


def test_excluded_passages_take_no_rank_in_any_member() -> None:
    data = collection(excluded={"q0": frozenset({"d1"})})
    found = searched(Fusion([listed("up", ["d1", "d2"]), listed("down", ["d3", "d1", "d4"])]), data)
    assert dict(found.rankings["q0"]) == {"d2": 1 / 61, "d3": 1 / 61, "d4": 1 / 62}
    assert dict(found.rankings["q1"])["d2"] == 1 / 62


# --- tuned weights ----------------------------------------------------------------------------------------------------


def tuned(qrels: Any, **settings_: Any) -> tuple[Fusion, Run]:
    first_stage = Fusion([listed("up", UP), listed("down", DOWN)], "rank", tune=True, folds=4, **settings_)
    return first_stage, searched(first_stage, collection(qrels))


UP_IS_RIGHT = {query_id: {"d0": 1} for query_id in QUERIES}
DOWN_IS_RIGHT = {query_id: {"d11": 1} for query_id in QUERIES}


def test_tuned_weights_prefer_the_member_that_is_better() -> None:
    first_stage, _ = tuned(UP_IS_RIGHT)
    assert first_stage.fused is not None
    assert len(first_stage.fused.folds) == 4
    assert all(fold.weights["up"] > 0.5 for fold in first_stage.fused.folds)
    assert sorted(query_id for fold in first_stage.fused.folds for query_id in fold.queries) == sorted(QUERIES)


@pytest.mark.parametrize("number", range(4))
def test_tuned_weights_never_see_the_judgments_of_the_query_that_they_rank(number: int) -> None:
    """Where the queries of one fold are judged the other way round, others are ranked differently, and they are not."""
    first_stage, before = tuned(UP_IS_RIGHT)
    assert first_stage.fused is not None
    fold = first_stage.fused.folds[number]
    turned, after = tuned(UP_IS_RIGHT | {query_id: DOWN_IS_RIGHT[query_id] for query_id in fold.queries})
    assert turned.fused is not None
    assert turned.fused.folds[number] == fold
    assert [after.rankings[query_id] for query_id in fold.queries] == [
        before.rankings[query_id] for query_id in fold.queries
    ]
    everyone_else, _ = tuned(DOWN_IS_RIGHT | {query_id: UP_IS_RIGHT[query_id] for query_id in fold.queries})
    assert everyone_else.fused is not None
    assert everyone_else.fused.folds[number].weights["down"] >= 0.5  # of equal sums, down's first is first


def test_weights_are_tuned_for_the_measure_that_is_asked_for() -> None:
    # Of up's list the grade 3 is first and all else last; of down's, many passages of grade 1 are in the first half.
    qrels = {query_id: {"d0": 3, "d11": 1, "d10": 1, "d9": 1, "d8": 1} for query_id in QUERIES}
    by_rank, by_recall = (tuned(qrels, tune_for=name)[0].fused for name in ("nDCG@1", "R@4"))
    assert by_rank is not None
    assert by_recall is not None
    assert all(fold.weights["up"] > 0.5 for fold in by_rank.folds)
    assert all(fold.weights["down"] > 0.5 for fold in by_recall.folds)


def test_a_measure_without_unjudged_passages_sees_the_whole_lists() -> None:
    # Among judged passages alone d0 is first in up's list, behind d1 in down's; of the first two hits none is judged.
    lists = ["d5", "d6", "d0", "d1"], ["d6", "d5", "d1", "d0"]
    qrels = {query_id: {"d0": 1, "d1": 0} for query_id in QUERIES}
    members = [listed(name, order) for name, order in zip(("up", "down"), lists)]
    first_stage = Fusion(members, "rank", tune=True, folds=2, tune_for="nDCG(judged_only=True)@1")
    searched(first_stage, collection(qrels))
    assert first_stage.fused is not None
    assert all(fold.weights["up"] > 0.5 for fold in first_stage.fused.folds)


def test_members_get_no_judgments_and_the_fusion_only_where_it_tunes() -> None:
    up = listed("up", UP)
    assert Fusion([up, listed("down", DOWN)]).uses_judgments is False
    first_stage = Fusion([up, listed("down", DOWN)], tune=True)
    assert first_stage.uses_judgments is True
    searched(first_stage)
    assert up.judgments == {}


# --- a trial ----------------------------------------------------------------------------------------------------------


def trial(first_stage: Any) -> Any:
    plan = Plan("test", 12, ["nDCG@10", "R@12"], CostProtocol(0, 0))
    return run(plan, collection(UP_IS_RIGHT), first_stage, NoReranker(), {"asked": "this"}, {"command": ["evalkit"]})


def test_a_first_stage_gets_no_judgments_from_a_trial_unless_it_says_that_it_uses_them() -> None:
    member = listed("up", UP)
    trial(member)
    assert member.judgments == {}
    member.uses_judgments = True
    trial(member)
    assert member.judgments == UP_IS_RIGHT


def test_the_result_has_the_figures_and_the_time_of_each_member_and_the_tuned_weights() -> None:
    done = trial(Fusion([listed("up", UP), listed("down", DOWN)], "rank", tune=True, folds=2))
    result = finished(done)
    text = to_json(to_plain(result))
    assert json.loads(to_json(to_plain(parse_finished(text)))) == json.loads(text)
    assert result.fusion is not None
    up, down = result.fusion.members["up"], result.fusion.members["down"]
    # The one relevant passage, d0, is first in up's list and last, twelfth, in down's.
    assert up.mean == {"nDCG@10": 1.0, "R@12": 1.0}
    assert down.mean == {"nDCG@10": 0.0, "R@12": 1.0}
    assert (up.delta["nDCG@10"], down.delta["nDCG@10"]) == (0.0, 1.0)
    assert up.time.total_s is not None
    assert [len(fold.queries) for fold in result.fusion.folds] == [4, 4]
    assert result.effective.first_stage["tuning"]["measure"] == "nDCG@10"  # type: ignore[typeddict-item]
    assert any("the weights of the fusion were tuned for nDCG@10" in warning for warning in result.warnings)


def test_the_reports_show_members_and_folds() -> None:
    result = finished(trial(Fusion([listed("up", UP), listed("down", DOWN)], "rank", tune=True, folds=2)))
    for report in (markdown.trial(result), pages.trial(result, [], {})):
        assert "What fusing gains" in report
        assert "rank(down, up)" in report
        assert "Weights by fold" in report
    assert "| down | 0.0000 | 1.0000 | +1.0000" in markdown.trial(result)


def test_a_plain_first_stage_has_no_members() -> None:
    result = finished(trial(listed("up", UP)))
    assert result.fusion is None
    assert "What fusing gains" not in markdown.trial(result)


def test_ties_of_a_fusion_are_explained_by_its_own_rule() -> None:
    warnings = trial(Fusion([listed("up", UP), listed("down", DOWN)])).warnings
    assert any("ties are broken by rank in down and then ascending doc_id" in warning for warning in warnings)


class Noted(Listed):
    """A first stage with facts that a reader of its figures has to know."""

    def __init__(self, name: str, lists: Any, **facts: Any) -> None:
        super().__init__(name, lists)
        self.facts = facts

    def describe(self) -> Any:
        return self.facts


def test_a_limitation_of_a_member_is_reported_with_its_name() -> None:
    up = Noted("up", dict.fromkeys(QUERIES, UP), notes=["its settings contradict its files"])
    down = Noted("down", dict.fromkeys(QUERIES, DOWN), unknown_query_share=0.5)
    warnings = trial(Fusion([up, down])).warnings
    assert "up: its settings contradict its files" in warnings
    assert any("50% of the tokens of the queries are unknown to the first stage down's" in one for one in warnings)


def test_a_fusion_that_is_shallower_than_what_was_asked_for_is_noted() -> None:
    warnings = trial(Fusion([listed("up", UP[:8]), listed("down", UP[4:6])], member_depth=8)).warnings
    assert (
        "each member of the fusion gave 8 passages of a query (first_stage.member_depth), and 12 were asked for"
        in warnings
    )


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given_", "message"),
    [
        ({"of": []}, "first_stage.of has no member; a fusion needs two or more"),
        ({"of": [BM25()]}, "first_stage.of has one member; a fusion needs two or more"),
        ({"of": [BM25(), BM25()]}, "bm25 and bm25 are the same first stage with the same settings; name each member"),
        ({"of": [BM25(), BM25(name="other")]}, "bm25 and other are the same first stage with the same settings"),
        ({"of": [BM25(), BM25(k1=2.0)]}, "two members have the name 'bm25'; give one of them another one"),
        ({"of": [BM25(), Fusion([BM25(), BM25(k1=2.0)])]}, "a fusion cannot be a member of a fusion"),
        ({"of": [BM25(), BM25(k1=-1.0, name="x")]}, r"first_stage.of: x: first_stage.k1=-1.0, .* k1 is 0 or more"),
        ({"weights": [1.0]}, r"first_stage.weights=\[1\]: 2 members need 2 weights"),
        ({"weights": [1.5, -0.5]}, r"first_stage.weights=\[1.5, -0.5\]: -0.5 is negative; weights are 0 or more"),
        ({"weights": [1.0, 2.0]}, r"sum to 3, and have to sum to 1, such as \[0.333333, 0.666667\]"),
        ({"weights": [0.0, 0.0]}, "sum to 0, and have to sum to 1; null gives all members the same weight"),
        ({"weights": [0.5, 0.5], "tune": True}, "first_stage.tune=true chooses the weights, and .* leave one out"),
        ({"tune": True, "folds": 1}, "first_stage.folds=1: cross-validation needs 2 folds or more"),
        ({"tune": True, "tune_for": "nDGC@10"}, r"unknown measure 'nDGC@10'; did you mean nDCG@10"),
        ({"tune": True, "tune_for": "R@depth"}, "measure 'R@depth' needs a cutoff of at least 1"),
        ({"tune": True, "of": [BM25(k1=float(n), name=str(n)) for n in range(5)]}, "4 members at most, and .* has 5"),
        ({"member_depth": 0}, "first_stage.member_depth=0: give 1 hit of each member, or more"),
        ({"method": "sum"}, "first_stage.method=sum: there is no such method of fusion"),
    ],
)
def test_settings_that_contradict_are_refused_before_anything_is_searched(given_: Any, message: str) -> None:
    with pytest.raises(EvalkitError, match=message):
        Fusion(**{"of": [BM25(), BM25(k1=2.0, name="other")], **given_}).check()


def test_two_queries_for_five_folds_are_refused() -> None:
    data = collection()
    few = replace(data, queries={query_id: data.queries[query_id] for query_id in ("q0", "q1")})
    with pytest.raises(EvalkitError, match=r"first_stage\.folds=5: the slice has 2 queries"):
        searched(Fusion([listed("up", UP), listed("down", DOWN)], tune=True), few)


def test_members_with_the_same_hits_are_refused() -> None:
    with pytest.raises(EvalkitError, match="a and b find the same passages with the same scores for every query"):
        searched(Fusion([listed("a", UP), listed("b", UP)]))


def test_a_member_with_a_list_of_one_score_is_named() -> None:
    flat = TrecFlat("flat", dict.fromkeys(QUERIES, UP))
    with pytest.raises(EvalkitError, match=r"first_stage\.of: flat gives all 12 passages of query 'q0' the score 1"):
        searched(Fusion([listed("up", UP), flat], "min_max"))


class TrecFlat(Listed):
    """Gives every passage the score 1."""

    def search(self, data: Slice, depth: int) -> Run:
        found = super().search(data, depth)
        return Run(found.name, {q: tuple(Hit(hit.doc_id, 1.0) for hit in hits) for q, hits in found.rankings.items()})


def written(path: Path, queries: Any) -> TrecRun:
    path.write_text("".join(f"{q} Q0 d{n} {n + 1} {9 - n} t\n" for q in queries for n in range(3)), "utf-8")
    return TrecRun(str(path))


def test_runs_of_other_queries_are_refused(tmp_path: Path) -> None:
    whole, part = written(tmp_path / "whole.trec", QUERIES), written(tmp_path / "part.trec", ["q0", "q5", "elsewhere"])
    with pytest.raises(EvalkitError) as refused:
        searched(Fusion([whole, part]))
    assert str(refused.value) == (
        "first_stage.of: part lacks 6 of the 8 queries of tiny, such as 'q1', which the other members alone would "
        "rank; give runs of the same queries"
    )
    with pytest.raises(EvalkitError, match=r"first_stage\.of: none: first_stage\.path=.*none of its queries"):
        searched(Fusion([whole, written(tmp_path / "none.trec", ["elsewhere"])]))


def test_finished_runs_alone_are_judged_as_deep_as_they_are(tmp_path: Path) -> None:
    runs = [written(tmp_path / f"{name}.trec", QUERIES) for name in "ab"]
    assert Fusion(runs).max_hits() == 3
    assert Fusion(runs, member_depth=2).max_hits() == 2
    assert Fusion([*runs, BM25()]).max_hits() is None
