import hashlib
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from evalkit.slices.assemble import assemble
from evalkit.slices.fingerprints import fingerprints

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
def test_the_fingerprints_show_what_differs(changed: Any, part: Any) -> None:
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
