"""What every slice goes through, wherever it came from: cuts, checks, counts and the fingerprint."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from evalkit.errors import EvalkitError
from evalkit.types import Slice

Docs = Iterable[tuple[str, str]]
Qrels = Mapping[str, Mapping[str, int]]


def joined(title: str, text: str) -> str:
    """Join title and text by the one rule: a single space between them, no white space around.

    It is the rule of ir_datasets' `default_text` and of Pyserini's BEIR indexes, and what MIRACL's baselines used.
    """
    return f"{title.strip()} {text.strip()}".strip()


def sampled(ids: Iterable[str], n: int, seed: int) -> list[str]:
    """Return `n` of `ids`, drawn by hash: the same on every machine, and a larger `n` contains a smaller one."""
    return sorted(ids, key=lambda item: _lot(seed, item))[:n]


def _lot(seed: int, item: str) -> str:
    return hashlib.sha256(f"{seed}:{item}".encode("utf-8", "surrogatepass")).hexdigest()


class Distractors:
    """Keeps the `n` passages with the lowest lot of a stream, in memory for `n` passages."""

    def __init__(self, n: int, seed: int) -> None:
        self.n, self.seed = n, seed
        self._heap: list[tuple[int, str, str]] = []

    def offer(self, doc_id: str, text: str) -> None:
        """Consider one passage."""
        import heapq

        if self.n < 1:
            return
        entry = (-int(_lot(self.seed, doc_id), 16), doc_id, text)
        if len(self._heap) < self.n:
            heapq.heappush(self._heap, entry)
        elif entry > self._heap[0]:
            heapq.heapreplace(self._heap, entry)

    def docs(self) -> dict[str, str]:
        """Return what was kept."""
        return {doc_id: text for _, doc_id, text in self._heap}


def choose_queries(
    where: str, queries: Mapping[str, str], qrels: Qrels, n: int | None, seed: int, unjudged: str
) -> dict[str, str]:
    """Return the judged queries, cut to `n` by `seed`, in the order of their source.

    Raises:
        EvalkitError: no judgments, an empty query text, queries without any judged passage while `unjudged` is
            "error", or an `n` that is out of range.
    """
    if not any(qrels.values()):
        raise EvalkitError(f"{where} has no judgments (qrels), and without them there is nothing to measure")
    without = [query_id for query_id in queries if not qrels.get(query_id)]
    if without and unjudged == "error":
        raise EvalkitError(
            f"{where}: {len(without)} of {len(queries)} queries have no judged passage (e.g. {without[0]!r}); "
            "use a judged subset where there is one, or leave them out with slice.unjudged_queries=drop"
        )
    judged = {query_id: text for query_id, text in queries.items() if qrels.get(query_id)}
    if not judged:
        raise EvalkitError(f"{where}: no query has a judgment; queries and qrels do not share a single id")
    if n is not None:
        if n < 1:
            raise EvalkitError(f"slice.queries={n}: give the number of queries to keep, 1 or more, or null for all")
        keep = set(sampled(judged, n, seed))
        judged = {query_id: text for query_id, text in judged.items() if query_id in keep}
    empty = next((query_id for query_id, text in judged.items() if not text.strip()), None)
    if empty is not None:
        raise EvalkitError(f"{where}: query {empty!r} has an empty text")
    return judged


def collect_docs(
    where: str, docs: Docs, needed: set[str] | None, distractors: int, seed: int, empty: str
) -> tuple[dict[str, str], int]:
    """Read a stream of passages and keep `needed` plus seeded distractors, or all where `needed` is None.

    Returns the passages and how many empty ones were dropped.

    Raises:
        EvalkitError: a doc_id that is kept occurs twice, a text is empty while `empty` is "error", or `distractors`
            is negative or asked for where all passages are kept anyway.
    """
    if distractors < 0 or (distractors and needed is None):
        raise EvalkitError(
            f"slice.distractors={distractors}: give how many passages to add to a cut corpus, with "
            "slice.corpus=judged, or 0"
        )
    kept: dict[str, str] = {}
    reserve = Distractors(distractors, seed)
    dropped = 0
    for doc_id, text in docs:
        wanted = needed is None or doc_id in needed
        if not wanted and not distractors:
            continue
        if doc_id in kept:
            raise EvalkitError(f"{where}: passage id {doc_id!r} occurs twice; ids must be unique")
        if not text.strip():
            if empty == "error":
                raise EvalkitError(
                    f"{where}: passage {doc_id!r} is empty; mend the corpus, "
                    "or leave empty passages out with slice.empty_docs=drop"
                )
            dropped += 1
        elif wanted:
            kept[doc_id] = text
        else:
            reserve.offer(doc_id, text)
    kept.update(reserve.docs())
    return kept, dropped


def assemble(
    name: str,
    lang: str,
    where: str,
    queries: Mapping[str, str],
    docs: Mapping[str, str],
    qrels: Qrels,
    relevance_level: int,
    facts: Mapping[str, Any],
) -> Slice:
    """Return the `Slice`, with its fingerprint and its counts (judged ids without text among them) in the facts.

    Raises:
        EvalkitError: there are no passages, an id cannot stand in a TREC run, or no judged passage has a text.
    """
    if not docs:
        raise EvalkitError(f"{where} has no passages")
    for kind, ids in (("query", queries), ("passage", docs)):
        broken = next((item for item in ids if len(item.split()) != 1), None)
        if broken is not None:
            raise EvalkitError(
                f"{where}: the {kind} id {broken!r} is empty or holds white space, and a TREC run file has "
                "no way to write it; rename it in the collection and its qrels"
            )
    kept = {query_id: dict(qrels[query_id]) for query_id in queries}
    judged = {doc_id for grades in kept.values() for doc_id in grades}
    absent = judged - docs.keys()
    if len(absent) == len(judged):
        raise EvalkitError(
            f"{where}: none of the {len(judged)} judged passages is in the corpus (e.g. {min(judged)!r}); "
            "qrels and corpus belong to different collections"
        )
    counts = {
        "queries": len(queries),
        "docs": len(docs),
        "judgments": sum(map(len, kept.values())),
        "judged_docs_without_text": len(absent),
        "queries_without_relevant": sum(max(g.values()) < relevance_level for g in kept.values()),
    }
    parts = fingerprints(queries, docs, kept)
    return Slice(
        name,
        lang,
        dict(queries),
        docs,
        kept,
        _combined(parts),
        relevance_level,
        {**facts, **counts, "fingerprints": parts},
    )


def fingerprint(queries: Mapping[str, str], docs: Mapping[str, str], qrels: Qrels) -> str:
    """Return the SHA-256 over ids, texts and judgments; the order in which they were read does not matter."""
    return _combined(fingerprints(queries, docs, qrels))


def fingerprints(queries: Mapping[str, str], docs: Mapping[str, str], qrels: Qrels) -> dict[str, str]:
    """Return a SHA-256 for each of queries, docs and judgments, so that it can be said which of them differ."""
    return {
        "queries": _sha256(field for key in sorted(queries) for field in (key, queries[key])),
        "docs": _sha256(field for key in sorted(docs) for field in (key, docs[key])),
        "judgments": _sha256(
            field
            for query_id in sorted(qrels)
            for field in (query_id, str(len(qrels[query_id])), *_judgments(qrels[query_id]))
        ),
    }


def _judgments(grades: Mapping[str, int]) -> Iterator[str]:
    for doc_id in sorted(grades):
        yield doc_id
        yield str(grades[doc_id])


def _combined(parts: Mapping[str, str]) -> str:
    return _sha256(parts[name] for name in ("queries", "docs", "judgments"))


def _sha256(fields: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for field in fields:
        # A length before each field: no two different slices can write the same bytes.
        data = field.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()


def check_cuts(corpus: str, unjudged_queries: str, empty_docs: str) -> None:
    """Check the settings that every slice shares, before anything is read.

    Raises:
        EvalkitError: one of them is none of its valid values.
    """
    one_of("slice.corpus", corpus, ("full", "judged"))
    one_of("slice.unjudged_queries", unjudged_queries, ("error", "drop"))
    one_of("slice.empty_docs", empty_docs, ("error", "drop"))


def one_of(setting: str, value: str, valid: Iterable[str]) -> str:
    """Return `value` if it is valid.

    Raises:
        EvalkitError: it is not; the message names the setting and the valid values.
    """
    names = list(valid)
    if value not in names:
        raise EvalkitError(f"{setting}={value!r}: there is {', '.join(names)}")
    return value
