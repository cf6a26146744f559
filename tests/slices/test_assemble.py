import hashlib
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from evalkit.errors import EvalkitError
from evalkit.slices.assemble import (
    Distractors,
    assemble,
    check_choice,
    choose_queries,
    collect_docs,
    fingerprints,
    join_title,
    sample_ids,
)

# --- title and text ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("title", "text", "passage"),
    [
        ("Light", "It is fast.", "Light It is fast."),
        ("", "It is fast.", "It is fast."),
        ("Light", "", "Light"),
        (" Light\n", "\tIt is  fast. ", "Light It is  fast."),
        ("", " \n", ""),
    ],
)
def test_title_and_text_are_joined_by_one_space(title: Any, text: Any, passage: Any) -> None:
    assert join_title(title, text) == passage


# --- cuts -------------------------------------------------------------------------------------------------------------

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


def test_the_whole_corpus_is_kept_where_nothing_is_cut() -> None:
    assert collect() == (dict(DOCS), frozenset())


def test_a_cut_corpus_holds_what_is_needed_and_as_many_others_as_asked() -> None:
    kept, _ = collect(needed={"b", "not there"}, distractors=2)
    assert kept["b"] == "text b"
    assert len(kept) == 1 + 2
    assert collect(needed={"b"}) == ({"b": "text b"}, frozenset())


def test_a_passage_id_that_occurs_twice_is_refused() -> None:
    with pytest.raises(EvalkitError, match="HERE: passage id 'a' occurs twice"):
        collect([*DOCS, ("a", "other text")])


def test_an_empty_passage_is_refused_or_dropped_and_named() -> None:
    docs = [*DOCS, ("e", " \n"), ("f", "")]
    with pytest.raises(EvalkitError, match=r"HERE: passage 'e' is empty; .* slice\.empty_docs=drop"):
        collect(docs)
    assert collect(docs, empty="drop") == (dict(DOCS), {"e", "f"})


def test_an_empty_passage_that_is_cut_away_anyway_is_no_matter() -> None:
    assert collect([*DOCS, ("e", "")], needed={"a"}) == ({"a": "text a"}, frozenset())


# --- the slice --------------------------------------------------------------------------------------------------------


def assembled(queries: Any = QUERIES, docs: Any = DOCS, qrels: Any = ALL_JUDGED, level: Any = 1) -> Any:
    return assemble("name", "en", "HERE", queries, dict(docs), qrels, level, {"source": "test"})


def test_a_slice_counts_what_it_holds() -> None:
    # q2's one judgment is a 0, and q3's passage z is not in the corpus.
    data = assembled(qrels={"q1": {"a": 1, "b": 2}, "q2": {"b": 0}, "q3": {"z": 2, "a": 0}})
    assert data.facts == {
        "source": "test", "queries": 3, "docs": 4, "judgments": 5, "judged_docs_without_text": 1,
        "queries_without_relevant": 1, "ids_escaped": 0, "texts_mended": 0,
        "fingerprints": fingerprints(data.queries, data.docs, data.qrels),
    }  # fmt: skip


def test_queries_without_a_relevant_passage_are_counted_at_the_level_of_the_slice() -> None:
    # Best grades: 1, 0 and 2; at level 2 q1 and q2 have nothing relevant.
    assert assembled(level=2).facts["queries_without_relevant"] == 2


def test_judgments_of_queries_that_were_cut_away_are_left_out() -> None:
    data = assembled(queries={"q1": "one"})
    assert data.qrels == {"q1": {"a": 1}}
    assert data.facts["judgments"] == 1


def test_a_corpus_without_passages_is_refused() -> None:
    with pytest.raises(EvalkitError, match="HERE has no passages"):
        assembled(docs=[])


def test_judgments_of_another_corpus_are_refused() -> None:
    with pytest.raises(EvalkitError, match=r"HERE: none of the 1 judged passages is in the corpus \(e\.g\. 'z'\)"):
        assembled(qrels={q: {"z": 1} for q in QUERIES})


# --- the fingerprint --------------------------------------------------------------------------------------------------

texts = st.dictionaries(st.text(max_size=3), st.text(max_size=4), max_size=4)
qrels = st.dictionaries(st.text(max_size=3), st.dictionaries(st.text(max_size=3), st.integers(-1, 3), max_size=3),
                        max_size=3)  # fmt: skip
slices = st.tuples(texts, texts, qrels)


def by_hand(*fields: Any) -> Any:
    encoded = [field.encode("utf-8") for field in fields]
    return hashlib.sha256(b"".join(len(field).to_bytes(8, "little") + field for field in encoded)).hexdigest()


def fingerprint(queries: Any, docs: Any, judged: Any) -> Any:
    return by_hand(*fingerprints(queries, docs, judged).values())


@settings(deadline=None)
@given(one=slices, other=slices)
def test_different_slices_have_different_fingerprints(one: Any, other: Any) -> None:
    assume(one != other)
    assert fingerprint(*one) != fingerprint(*other)


@settings(deadline=None)
@given(one=slices, data=st.data())
def test_the_order_of_the_files_does_not_change_the_fingerprint(one: Any, data: Any) -> None:
    def shuffled(mapping: Any) -> Any:
        return dict(data.draw(st.permutations(list(mapping.items()))))

    queries, docs, judged = one
    again = (shuffled(queries), shuffled(docs), {q: shuffled(grades) for q, grades in shuffled(judged).items()})
    assert fingerprint(*again) == fingerprint(*one)


def test_the_fingerprint_is_sha_256_over_ids_texts_and_grades_in_order_of_the_ids() -> None:
    parts = {
        "queries": by_hand("q", "é"),
        "docs": by_hand("a", "text a", "b", "text b"),
        "judgments": by_hand("q", "1", "b", "2"),
    }
    queries, docs, judged = {"q": "é"}, {"b": "text b", "a": "text a"}, {"q": {"b": 2}}
    assert fingerprints(queries, docs, judged) == parts
    assert assemble("one", "en", "HERE", queries, docs, judged, 1, {}).fingerprint == by_hand(*parts.values())


@pytest.mark.parametrize(
    ("changed", "part"),
    [
        (({"q": "e"}, {"a": "text"}, {"q": {"a": 2}}), "queries"),
        (({"q": "é"}, {"a": "Text"}, {"q": {"a": 2}}), "docs"),
        (({"q": "é"}, {"a": "text"}, {"q": {"a": 1}}), "judgments"),
    ],
)
def test_the_fingerprints_tell_what_differs(changed: Any, part: Any) -> None:
    before, after = fingerprints({"q": "é"}, {"a": "text"}, {"q": {"a": 2}}), fingerprints(*changed)
    assert [name for name in before if before[name] != after[name]] == [part]


SLICE = ({"q1": "one", "q2": "two"}, {"a": "text a", "b": "text b"}, {"q1": {"a": 1, "b": 0}, "q2": {"b": 3}})
CHANGES = {
    "a query's text": ({"q1": "One", "q2": "two"}, *SLICE[1:]),
    "a query's id": ({"q1": "one", "q3": "two"}, *SLICE[1:]),
    "texts of two queries swapped": ({"q1": "two", "q2": "one"}, *SLICE[1:]),
    "a passage's text": (SLICE[0], {"a": "text a ", "b": "text b"}, SLICE[2]),
    "a passage's id": (SLICE[0], {"A": "text a", "b": "text b"}, SLICE[2]),
    "a passage more": (SLICE[0], {**SLICE[1], "c": ""}, SLICE[2]),
    "a grade": (*SLICE[:2], {"q1": {"a": 1, "b": 0}, "q2": {"b": 2}}),
    "a judged id": (*SLICE[:2], {"q1": {"a": 1, "b": 0}, "q2": {"a": 3}}),
    "a judgment less": (*SLICE[:2], {"q1": {"a": 1}, "q2": {"b": 3}}),
    "a judgment at the other query": (*SLICE[:2], {"q1": {"a": 1}, "q2": {"b": 3, "a": 0}}),
    "a query and a passage in each other's place": (SLICE[1], SLICE[0], SLICE[2]),
}


@pytest.mark.parametrize("changed", CHANGES.values(), ids=CHANGES.keys())
def test_any_change_changes_the_fingerprint(changed: Any) -> None:
    assert fingerprint(*changed) != fingerprint(*SLICE)


def test_a_choice_that_there_is_not_is_refused_with_those_there_are() -> None:
    assert check_choice("slice.corpus", "full", ("full", "judged")) == "full"
    with pytest.raises(EvalkitError, match=r"slice\.corpus='ful': choose from full, judged"):
        check_choice("slice.corpus", "ful", ("full", "judged"))


# --- what no file could hold ------------------------------------------------------------------------------------------


def test_an_empty_id_is_refused_before_any_work() -> None:
    with pytest.raises(EvalkitError, match=r"HERE: a passage has an empty id"):
        assemble("n", "en", "HERE", {"q": "text"}, {"": "text"}, {"q": {"": 1}}, 1, {})
    with pytest.raises(EvalkitError, match=r"HERE: a query has an empty id"):
        assemble("n", "en", "HERE", {"": "text"}, {"d": "text"}, {"": {"d": 1}}, 1, {})


@pytest.mark.parametrize("grade", [2**31, -(2**31), 1.5, None])
def test_a_grade_that_is_no_grade_is_refused(grade: Any) -> None:
    with pytest.raises(EvalkitError, match=r"HERE: passage 'd' has grade .* for query 'q'; a grade is an integer"):
        assemble("n", "en", "HERE", {"q": "text"}, {"d": "text"}, {"q": {"d": grade}}, 1, {})


@pytest.mark.parametrize(("needed", "distractors"), [(None, 5), ({"a"}, -1)])
def test_distractors_that_would_do_nothing_are_refused(needed: Any, distractors: Any) -> None:
    with pytest.raises(EvalkitError, match=f"slice.distractors={distractors}: give how many"):
        collect(needed=needed, distractors=distractors)
