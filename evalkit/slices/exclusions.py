"""Who may not be retrieved: passages that a query must not find, first of all the query itself.

Where queries are passages too (ArguAna, Quora), the best match of a query is the query. BEIR's evaluation leaves out
every passage that has the id of its query (``ignore_identical_ids``), and BRIGHT gives a list for each query
(``excluded_ids``). But equal ids prove nothing by themselves: in FiQA they meet by chance, and MIRACL's queries bear
the ids of other passages, some of them judged relevant. So "auto" looks at the texts and at the judgments.
"""

import re
import unicodedata
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

MODES = ("auto", "keep", "drop")
LIKENESS = 0.8
"""Dice coefficient of character trigrams from which on two texts count as the same: a typo, no other wording."""
LONGEST_TITLE = 200
"""Letters that a passage may hold in front of the query's text, or 20 and twice those of the query, if that is less.

More make it a passage that ends like the query."""


@dataclass(frozen=True)
class Exclusions:
    """The passages that may not be retrieved, by query, and how many there were of which kind."""

    excluded: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """query_id -> doc_ids, of queries that have any."""
    facts: Mapping[str, object] = field(default_factory=dict)
    """Empty where no query has the id of a passage, nor a list."""


def find(
    mode: str,
    listed: Mapping[str, Collection[str]],
    queries: Mapping[str, str],
    docs: Mapping[str, str],
    qrels: Mapping[str, Mapping[str, int]],
) -> Exclusions:
    """Return what each query may not retrieve: what its list names, and its own passage as `mode` has it.

    "drop" leaves out every passage that has the id of its query, "keep" none. "auto" leaves it out where it is the
    query itself (`same_text`) and no judgment calls it relevant (a grade of 1 or more).
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
"""What BRIGHT writes into a list that names no passage."""


def _is_itself(
    query_id: str, queries: Mapping[str, str], docs: Mapping[str, str], qrels: Mapping[str, Mapping[str, int]]
) -> bool:
    return qrels[query_id].get(query_id, 0) < 1 and same_text(queries[query_id], docs[query_id])


def same_text(query: str, passage: str) -> bool:
    """Return whether a passage is the query, up to case, punctuation, spacing, typos, and a title in front of it."""
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


def repeated(
    queries: Mapping[str, str],
    docs: Mapping[str, str],
    qrels: Mapping[str, Mapping[str, int]],
    excluded: Mapping[str, Collection[str]],
) -> int:
    """Return how many queries are, word for word, a passage of another id that is neither judged nor excluded."""
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
