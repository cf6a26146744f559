"""Passages that are excluded from retrieval for a query, above all the query itself.

Where queries are passages too (ArguAna, Quora), the best match of a query is the query. BEIR's evaluation drops every
passage with the id of its query (``ignore_identical_ids``), and BRIGHT has a list for each query (``excluded_ids``).
Equal ids alone are no proof: in FiQA they are coincidence, and MIRACL's queries have the ids of other passages, some of
them judged relevant. Therefore "auto" also compares the texts and looks at the judgments.
"""

import re
import unicodedata
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

MODES = ("auto", "keep", "drop")
LIKENESS = 0.8
"""Dice coefficient of character trigrams from which two texts count as the same: it allows typos, not rewording."""
LONGEST_TITLE = 200
"""Letters of a title that may precede the query's text in a passage, or 20 plus twice the query's, if that is less.

With more, it is another passage that ends like the query."""


@dataclass(frozen=True)
class Exclusions:
    """The excluded passages by query, and counts by kind."""

    excluded: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """query_id -> doc_ids, for queries that have any."""
    facts: Mapping[str, object] = field(default_factory=dict)
    """Counts; empty where no query has the id of a passage or a list."""


def find(
    mode: str,
    listed: Mapping[str, Collection[str]],
    queries: Mapping[str, str],
    docs: Mapping[str, str],
    qrels: Mapping[str, Mapping[str, int]],
) -> Exclusions:
    """Return which passages are excluded for each query.

    Args:
        mode: for passages that have the id of a query. "drop" excludes them, "keep" does not, "auto" excludes one that
            is the query itself (`same_text`) and is not judged relevant (a grade of 1 or more).
        listed: query_id -> doc_ids that are excluded in any case.
        queries: query_id -> text.
        docs: doc_id -> text.
        qrels: query_id -> doc_id -> grade.
    """
    same_id = [query_id for query_id in queries if query_id in docs]
    own = {
        query_id
        for query_id in same_id
        if mode == "drop" or (mode == "auto" and _is_itself(query_id, queries, docs, qrels))
    }
    lists = {query_id: frozenset(listed.get(query_id, ())) - {NOTHING} for query_id in queries}
    if not same_id and not any(lists.values()):
        return Exclusions()
    excluded = {q: ids for q in queries if (ids := lists[q] | ({q} if q in own else frozenset()))}
    return Exclusions(excluded, {
        "identical_ids": mode,
        "queries_with_the_id_of_a_passage": len(same_id),
        "own_passages_left_out": len(own),
        "queries_with_a_list": sum(map(bool, lists.values())),
        "listed": sum(map(len, lists.values())),
        "listed_without_passage": sum(len(ids - docs.keys()) for ids in lists.values()),
        "judgments_left_out": sum(doc_id in qrels[query_id] for query_id, ids in excluded.items() for doc_id in ids),
    })  # fmt: skip


NOTHING = "N/A"
"""BRIGHT's entry in an otherwise empty list."""


def _is_itself(
    query_id: str, queries: Mapping[str, str], docs: Mapping[str, str], qrels: Mapping[str, Mapping[str, int]]
) -> bool:
    return qrels[query_id].get(query_id, 0) < 1 and same_text(queries[query_id], docs[query_id])


def same_text(query: str, passage: str) -> bool:
    """Return whether a passage is the query, up to case, punctuation, spacing, typos and a preceding title.

    Args:
        query: text of the query.
        passage: text of the passage, with its title in front.
    """
    one, other = _letters(query), _letters(passage)
    if not one or not other or len(other) - len(one) > min(LONGEST_TITLE, 20 + 2 * len(one)):
        return False
    other = other[-len(one) :]  # without its title
    return one == other or _dice(_trigrams(one), _trigrams(other)) >= LIKENESS


def _letters(text: str) -> str:
    return _NO_LETTER.sub("", unicodedata.normalize("NFKC", text).casefold())


_NO_LETTER = re.compile(r"[\W_]+")


def _trigrams(text: str) -> set[str]:
    return {text[i : i + 3] for i in range(max(len(text) - 2, 1))}


def _dice(one: set[str], other: set[str]) -> float:
    return 2 * len(one & other) / (len(one) + len(other))


def count_repeated(
    queries: Mapping[str, str],
    docs: Mapping[str, str],
    qrels: Mapping[str, Mapping[str, int]],
    excluded: Mapping[str, Collection[str]],
) -> int:
    """Return how many queries equal, word for word, a passage of another id that is neither judged nor excluded.

    Args:
        queries: query_id -> text.
        docs: doc_id -> text.
        qrels: query_id -> doc_id -> grade, for each query.
        excluded: query_id -> doc_ids that are left out of its ranking.
    """
    of_text: dict[str, list[str]] = {}
    for query_id, text in queries.items():
        of_text.setdefault(text.strip(), []).append(query_id)
    found = {
        query_id
        for doc_id, text in docs.items()
        for query_id in of_text.get(text, ())
        if doc_id != query_id and doc_id not in qrels[query_id] and doc_id not in excluded.get(query_id, ())
    }
    return len(found)
