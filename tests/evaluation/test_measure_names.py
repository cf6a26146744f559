"""Names of measures: ours, and those that people know from other tools."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.boundary.errors import EvalkitError
from evalkit.evaluation.measure_names import KINDS, WHOLE_LIST, Measure, parse, without_unjudged


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("nDCG@10", Measure("nDCG", 10)),
        ("RR@10", Measure("RR", 10)),
        ("RR(rel=2)@10", Measure("RR", 10, 2)),
        ("AP@100", Measure("AP", 100)),
        ("Success@5", Measure("Success", 5)),
        ("P(rel=3)@20", Measure("P", 20, 3)),
    ],
)
def test_a_measure_prints_as_the_name_it_was_parsed_from(name: Any, meant: Any) -> None:
    assert parse(name, 100) == meant
    assert str(meant) == name


@pytest.mark.parametrize(("name", "printed"), [("ndcg@10", "nDCG@10"), ("NDCG@10", "nDCG@10"), ("rr@5", "RR@5")])
def test_upper_and_lower_case_are_the_same_measure(name: Any, printed: Any) -> None:
    assert str(parse(name, 100)) == printed


def test_the_cutoff_depth_stands_for_the_depth() -> None:
    assert parse("R@depth", 37) == Measure("R", 37)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nDGC@10", "did you mean nDCG@10"),
        ("ERR@20", "did you mean RR@10"),
        ("infAP", "known: nDCG, RR, AP, R, P, Success, RBP, bpref, Judged, each with a cutoff as in nDCG@10"),
        ("ndcg_burges@10", "as trec_eval, ranx and ir_measures spell them"),
        ("Sucess@5", "did you mean Success@10"),
        ("RR@10(rel=2)", "did you mean RR@10"),
        ("RR@-1", "unknown measure 'RR@-1'"),
        ("", "unknown measure ''"),
        ("nDCG", "needs a cutoff of at least 1, as in nDCG@10"),
        ("nDCG@0", "needs a cutoff of at least 1, as in nDCG@10"),
        ("nDCG@00", "needs a cutoff of at least 1, as in nDCG@10"),
        ("nDCG@" + "9" * 5000, "unknown measure 'nDCG@9999"),
        ("nDCG@\uff11\uff10", "unknown measure 'nDCG@"),
        ("nDCG(rel=2)@10", "takes no relevance level"),
        ("ndcg@10-l2", "takes no relevance level"),
        ("Judged(rel=2)@10", "takes no relevance level"),
        ("recall", "needs a cutoff of at least 1, as in R@10"),
        ("RBP(p=1)@10", "above 0 and below 1, as in RBP(p=0.8)@10"),
        ("rbp.00", "above 0 and below 1"),
        ("RR(p=0.8)@10", "only RBP has a persistence"),
        ("bpref(judged_only=True)", "bpref ignores unjudged passages"),
        ("nDCG(judged_only=1)@10", "judged_only is True or False"),
        ("nDCG(dcg=exp-log2)@10", "'dcg=exp-log2' is none of its settings"),
        ("RR(rel=1,rel=2)@10", "each at most once"),
        ("RR(rel=0)@10", "a relevance level is 1 or more"),
    ],
)
def test_a_name_that_means_nothing_is_refused_with_what_would(name: Any, message: Any) -> None:
    with pytest.raises(EvalkitError) as caught:
        parse(name, 100)
    assert message in str(caught.value)


OTHER_TOOLS = {
    "trec_eval": {
        "ndcg_cut_10": "nDCG@10", "ndcg_cut.10": "nDCG@10", "P_10": "P@10", "P.5": "P@5", "recall_100": "R@100",
        "recall.1000": "R@1000", "map_cut_100": "AP@100", "map_cut.100": "AP@100", "success_5": "Success@5",
        "recip_rank": "RR@1000", "map": "AP@1000", "bpref": "bpref@1000",
    },
    "ranx": {
        "ndcg@10": "nDCG@10", "mrr@10": "RR@10", "mrr@10-l2": "RR(rel=2)@10", "map@100": "AP@100", "map": "AP@1000",
        "mrr": "RR@1000", "recall@100": "R@100", "recall@100-l2": "R(rel=2)@100", "precision@10": "P@10",
        "hit_rate@5": "Success@5", "bpref": "bpref@1000", "rbp.80": "RBP(p=0.8)@1000", "rbp.95": "RBP(p=0.95)@1000",
    },
    "ir_measures": {
        "NDCG@10": "nDCG@10", "MRR@10": "RR@10", "RR": "RR@1000", "MAP": "AP@1000", "MAP@100": "AP@100",
        "Recall@100": "R@100", "Precision@10": "P@10", "AP(rel=2)": "AP(rel=2)@1000", "Bpref": "bpref@1000",
        "RBP(p=0.9)": "RBP(p=0.9)@1000", "RBP@10": "RBP(p=0.8)@10", "RBP(rel=2,p=0.5)@10": "RBP(p=0.5,rel=2)@10",
        "Judged@10": "Judged@10", "nDCG(judged_only=True)@10": "nDCG(judged_only=True)@10",
    },
    "MTEB and BEIR": {
        "ndcg_at_10": "nDCG@10", "mrr_at_10": "RR@10", "recall_at_100": "R@100", "map_at_100": "AP@100", "P@10": "P@10",
    },
}  # fmt: skip
"""Tool -> its spelling -> the name that a result has."""


@pytest.mark.parametrize(
    ("name", "printed"), [pair for names in OTHER_TOOLS.values() for pair in names.items()], ids=lambda text: text
)
def test_names_of_other_tools_are_understood(name: str, printed: str) -> None:
    assert str(parse(name, 20)) == printed


@given(
    kind=st.sampled_from(KINDS), cutoff=st.integers(1, 10**6), level=st.none() | st.integers(1, 5),
    persistence=st.sampled_from([0.5, 0.8, 0.95]), condensed=st.booleans(),
)  # fmt: skip
def test_every_measure_prints_as_a_name_that_parses_to_it(
    kind: str, cutoff: int, level: int | None, persistence: float, condensed: bool
) -> None:
    measure = Measure(
        kind,
        cutoff,
        None if kind in ("nDCG", "Judged") else level,
        persistence if kind == "RBP" else None,
        condensed and kind not in ("bpref", "Judged"),
    )
    assert parse(str(measure), 20) == measure
    assert parse(str(measure).upper(), 20) == measure


def test_the_whole_list_is_as_long_as_a_trec_run() -> None:
    assert WHOLE_LIST == 1000


def test_the_condensed_form_of_a_measure_keeps_its_settings() -> None:
    assert str(without_unjudged(parse("RR(rel=2)@10", 20))) == "RR(rel=2,judged_only=True)@10"
    assert str(without_unjudged(parse("RBP@10", 20))) == "RBP(p=0.8,judged_only=True)@10"
    assert without_unjudged(parse("bpref", 20)) is None
    assert without_unjudged(parse("Judged@10", 20)) is None
