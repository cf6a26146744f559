"""Chooses the queries and passages of a slice: all that a source has, or a seeded sample."""

import hashlib
from collections.abc import Collection, Iterable, Mapping

from evalkit.boundary.errors import EvalkitError
from evalkit.boundary.text import quoted

Docs = Iterable[tuple[str, str]]
"""(doc_id, text) of each passage, as a source is read."""


def sample_ids(ids: Iterable[str], n: int, seed: int) -> list[str]:
    """Return a seeded sample: equal on every machine, and a larger sample contains a smaller one.

    Args:
        ids: of queries or passages, in any order.
        n: the size of the sample; all ids where there are fewer.
        seed: of the hash by which the sample is drawn.
    """
    return sorted(ids, key=lambda item: _draw_key(seed, item))[:n]


def _draw_key(seed: int, item: str) -> str:
    return hashlib.sha256(f"{seed}:{item}".encode("utf-8", "surrogatepass")).hexdigest()


class Distractors:
    """A seeded sample of `n` passages of a stream, in memory for `n` passages; the order of the stream is no matter."""

    def __init__(self, n: int, seed: int) -> None:
        self.n, self.seed = n, seed
        self._heap: list[tuple[int, str, str]] = []

    def offer(self, doc_id: str, text: str) -> None:
        """Consider one passage of the stream for the sample.

        Args:
            doc_id: id of the passage.
            text: its text.
        """
        import heapq

        if self.n < 1:
            return
        entry = (-int(_draw_key(self.seed, doc_id), 16), doc_id, text)
        if len(self._heap) < self.n:
            heapq.heappush(self._heap, entry)
        elif entry > self._heap[0]:
            heapq.heapreplace(self._heap, entry)

    def docs(self) -> dict[str, str]:
        """Return the sample, doc_id -> text."""
        return {doc_id: text for _, doc_id, text in self._heap}


def choose_queries(
    where: str,
    queries: Mapping[str, str],
    qrels: Mapping[str, Mapping[str, int]],
    n: int | None,
    seed: int,
    unjudged: str,
) -> dict[str, str]:
    """Return the judged queries, or a sample of them, in the order of their source.

    Args:
        where: the source, for messages.
        queries: query_id -> text.
        qrels: query_id -> doc_id -> grade.
        n: the size of the sample; None for all.
        seed: of the sample.
        unjudged: what to do with queries without a judged passage, "error" or "drop".

    Raises:
        EvalkitError: there are no judgments, a query has an empty text, a query has no judged passage and `unjudged` is
            "error", or `n` is out of range.
    """
    if not any(qrels.values()):
        raise EvalkitError(f"{where} has no judgments (qrels), and without them there is nothing to measure")
    without = [query_id for query_id in queries if not qrels.get(query_id)]
    if without and unjudged == "error":
        raise EvalkitError(
            f"{where}: {len(without)} of {len(queries)} queries have no judged passage (e.g. {quoted(without[0])}); "
            "use a judged subset where there is one, or leave them out with slice.unjudged_queries=drop"
        )
    judged = {query_id: text for query_id, text in queries.items() if qrels.get(query_id)}
    if not judged:
        raise EvalkitError(f"{where}: no query has a judgment; queries and qrels do not share a single id")
    if n is not None:
        if n < 1:
            raise EvalkitError(f"slice.queries={n}: give the number of queries to keep, 1 or more, or null for all")
        keep = set(sample_ids(judged, n, seed))
        judged = {query_id: text for query_id, text in judged.items() if query_id in keep}
    empty = next((query_id for query_id, text in judged.items() if not text.strip()), None)
    if empty is not None:
        raise EvalkitError(f"{where}: query {quoted(empty)} has an empty text")
    return judged


def collect_docs(
    where: str, docs: Docs, needed: set[str] | None, distractors: int, seed: int, empty: str
) -> tuple[dict[str, str], frozenset[str]]:
    """Read a stream of passages and select those of the slice.

    Args:
        where: the source, for messages.
        docs: (doc_id, text) of each passage.
        needed: doc_ids to select; None for all passages.
        distractors: how many other passages to add, drawn by `seed`.
        seed: of the distractors.
        empty: what to do with passages without text, "error" or "drop".

    Returns:
        doc_id -> text, and the doc_ids of dropped empty passages.

    Raises:
        EvalkitError: a selected doc_id occurs twice, a text is empty and `empty` is "error", or `distractors` is
            negative, or above 0 where all passages are selected anyway.
    """
    if distractors < 0 or (distractors and needed is None):
        raise EvalkitError(
            f"slice.distractors={distractors}: give how many passages to add to a cut corpus, with "
            "slice.corpus=judged, or 0"
        )
    kept: dict[str, str] = {}
    reserve = Distractors(distractors, seed)
    dropped: set[str] = set()
    for doc_id, text in docs:
        wanted = needed is None or doc_id in needed
        if not wanted and not distractors:
            continue
        if doc_id in kept:
            raise EvalkitError(f"{where}: passage id {quoted(doc_id)} occurs twice; ids must be unique")
        if not text.strip():
            if empty == "error":
                raise EvalkitError(
                    f"{where}: passage {quoted(doc_id)} is empty; correct the corpus, "
                    "or leave empty passages out with slice.empty_docs=drop"
                )
            dropped.add(doc_id)
        elif wanted:
            kept[doc_id] = text
        else:
            reserve.offer(doc_id, text)
    kept.update(reserve.docs())
    return kept, frozenset(dropped)


def settings_without_effect(
    seed: int,
    queries: int | None,
    chosen: int,
    distractors: int,
    needed: Collection[str] | None,
    docs: Mapping[str, str],
) -> dict[str, list[str]]:
    """Return the sampling settings that had no effect, as a fact ``without_effect``; empty where there are none.

    Args:
        seed: the value of ``slice.seed``.
        queries: the value of ``slice.queries``.
        chosen: how many queries the slice has.
        distractors: the value of ``slice.distractors``.
        needed: doc_ids that the slice has besides distractors; None for all passages.
        docs: doc_id -> text of the slice.
    """
    idle = []
    if seed and queries is None and not distractors:
        idle.append(f"slice.seed={seed}: nothing is drawn without slice.queries or slice.distractors")
    if queries is not None and chosen < queries:
        idle.append(f"slice.queries={queries}: there are only {chosen}, and all of them are used")
    if distractors and needed is not None:
        others = len(docs.keys() - set(needed))
        if others < distractors:
            idle.append(
                f"slice.distractors={distractors}: the corpus has only {others} others, and all of them are used"
            )
    return {"without_effect": idle} if idle else {}
