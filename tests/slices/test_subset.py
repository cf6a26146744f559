from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit.boundary.errors import EvalkitError
from evalkit.slices.subset import Distractors, choose_queries, collect_docs, sample_ids

IDS = [f"q{i}" for i in range(200)]


def test_a_larger_sample_contains_the_smaller_one() -> None:
    for seed in range(5):
        assert set(sample_ids(IDS, 20, seed)) < set(sample_ids(IDS, 50, seed))


def test_a_sample_depends_on_the_seed_and_not_on_the_order_of_the_ids() -> None:
    assert sample_ids(IDS, 20, 3) == sample_ids(reversed(IDS), 20, 3)
    assert set(sample_ids(IDS, 20, 3)) != set(sample_ids(IDS, 20, 4))


def test_a_sample_is_the_same_on_every_machine() -> None:
    # Written down once: a change here changes every cut slice, and with it all figures measured on one.
    assert sample_ids(IDS, 5, 0) == ["q16", "q48", "q133", "q136", "q165"]


@settings(deadline=None, max_examples=50)
@given(ids=st.sets(st.text(max_size=5), max_size=20), n=st.integers(0, 25), seed=st.integers(0, 3), data=st.data())
def test_distractors_are_the_sample_of_the_stream_whatever_its_order(ids: Any, n: Any, seed: Any, data: Any) -> None:
    reserve = Distractors(n, seed)
    for doc_id in data.draw(st.permutations(sorted(ids))):
        reserve.offer(doc_id, f"text of {doc_id}")
    assert reserve.docs() == {doc_id: f"text of {doc_id}" for doc_id in sample_ids(ids, n, seed)}


QUERIES = {"q1": "one", "q2": "two", "q3": "three"}
ALL_JUDGED = {"q1": {"a": 1}, "q2": {"b": 0}, "q3": {"c": 2}}


def choose(
    queries: Any = QUERIES, qrels: Any = ALL_JUDGED, n: Any = None, seed: Any = 0, unjudged: Any = "error"
) -> Any:
    return choose_queries("HERE", queries, qrels, n, seed, unjudged)


def test_all_judged_queries_are_chosen_in_the_order_of_their_source() -> None:
    assert list(choose({"q3": "three", "q1": "one", "q2": "two"}).items()) == [
        ("q3", "three"), ("q1", "one"), ("q2", "two"),
    ]  # fmt: skip


def test_a_cut_keeps_the_order_of_the_source() -> None:
    many = {f"q{i}": "text" for i in range(30)}
    cut = choose(many, {q: {"a": 1} for q in many}, n=10)
    assert list(cut) == [q for q in many if q in cut]
    assert len(cut) == 10


def test_a_query_without_judgments_is_refused_or_left_out() -> None:
    qrels = {"q1": {"a": 1}, "q3": {}}
    with pytest.raises(EvalkitError, match=r"HERE: 2 of 3 queries have no judged passage \(e\.g\. 'q2'\)"):
        choose(qrels=qrels)
    assert list(choose(qrels=qrels, unjudged="drop")) == ["q1"]


def test_a_cut_is_made_among_the_judged_queries() -> None:
    assert list(choose(qrels={"q2": {"a": 1}}, n=1, unjudged="drop")) == ["q2"]


@pytest.mark.parametrize("qrels", [{}, {"q1": {}}])
def test_a_source_without_judgments_is_refused(qrels: Any) -> None:
    with pytest.raises(EvalkitError, match="HERE has no judgments"):
        choose(qrels=qrels)


def test_queries_and_judgments_without_a_shared_id_are_refused() -> None:
    with pytest.raises(EvalkitError, match="HERE: no query has a judgment"):
        choose(qrels={"1": {"a": 1}}, unjudged="drop")


@pytest.mark.parametrize("n", [0, -3])
def test_a_cut_to_no_queries_is_refused(n: Any) -> None:
    with pytest.raises(EvalkitError, match=f"slice.queries={n}: give the number of queries to keep, 1 or more"):
        choose(n=n)


@pytest.mark.parametrize("text", ["", " \n\t"])
def test_an_empty_query_is_refused_by_its_id(text: Any) -> None:
    with pytest.raises(EvalkitError, match="HERE: query 'q2' has an empty text"):
        choose({**QUERIES, "q2": text})


DOCS = [("a", "text a"), ("b", "text b"), ("c", "text c"), ("d", "text d")]


def collect(docs: Any = DOCS, needed: Any = None, distractors: Any = 0, empty: Any = "error") -> Any:
    return collect_docs("HERE", iter(docs), needed, distractors, 0, empty)


def test_the_whole_corpus_remains_where_nothing_is_cut() -> None:
    assert collect() == (dict(DOCS), frozenset())


def test_a_cut_corpus_holds_what_is_needed_and_as_many_others_as_asked() -> None:
    selected, _ = collect(needed={"b", "not there"}, distractors=2)
    assert selected["b"] == "text b"
    assert len(selected) == 1 + 2
    assert collect(needed={"b"}) == ({"b": "text b"}, frozenset())


def test_a_passage_id_that_occurs_twice_is_refused() -> None:
    with pytest.raises(EvalkitError, match="HERE: passage id 'a' occurs twice"):
        collect([*DOCS, ("a", "other text")])


def test_an_empty_passage_is_refused_or_dropped_and_named() -> None:
    docs = [*DOCS, ("e", " \n"), ("f", "")]
    with pytest.raises(EvalkitError, match=r"HERE: passage 'e' is empty; .* slice\.empty_docs=drop"):
        collect(docs)
    assert collect(docs, empty="drop") == (dict(DOCS), {"e", "f"})


def test_an_empty_passage_outside_of_the_sample_is_no_error() -> None:
    assert collect([*DOCS, ("e", "")], needed={"a"}) == ({"a": "text a"}, frozenset())


@pytest.mark.parametrize(("needed", "distractors"), [(None, 5), ({"a"}, -1)])
def test_distractors_that_would_do_nothing_are_refused(needed: Any, distractors: Any) -> None:
    with pytest.raises(EvalkitError, match=f"slice.distractors={distractors}: give how many"):
        collect(needed=needed, distractors=distractors)
