"""A run from any table of ranked passages, or from a mapping, in the order that its scores or its ranks give."""

from collections.abc import Iterable, Mapping
from typing import Any

from evalkit.boundary.cells import is_missing, to_id, to_rank, to_score
from evalkit.boundary.columns import RUNS, listing
from evalkit.boundary.errors import EvalkitError
from evalkit.boundary.rows import Picker, Row, table_rows
from evalkit.boundary.text import escape_id, quoted
from evalkit.evaluation.trec import RunFile, check_order, ordered
from evalkit.types import Run


def run_from(
    source: Any,
    name: str = "run",
    order: str | None = None,
    columns: Mapping[str, str] | None = None,
    where: str = "run",
) -> RunFile:
    """Return a run with the columns that it was read from; ids are escaped by `evalkit.boundary.text.escape_id`.

    Args:
        source: a `Run`, which is kept as it is; a mapping query_id -> {doc_id: score}, or query_id -> doc_ids, best
            first; a DataFrame or rows as dictionaries, with a column for the score, the rank or both
            (`evalkit.boundary.columns.RUNS`).
        name: of the run, where the source has no tag.
        order: ``score`` for trec_eval's order, by descending 32-bit score and then by descending doc_id; ``rank`` for
            ascending rank, with equal ranks ordered as by ``score``; None for ``score`` where there are scores.
        columns: role -> column, where columns have other names.
        where: names the source in messages.

    Returns:
        The run. `rank_conflicts` counts the queries whose ranks contradict the order by score. Without scores, a
        passage's score is its negative rank.

    Raises:
        EvalkitError: there are no hits, an id, score or rank is not valid or missing, a passage occurs twice for a
            query, or there is neither score nor rank (the message names the row and the columns).
    """
    if order is not None:
        check_order("order", order)
    if isinstance(source, Run):
        hits = {query_id: tuple(hit.score for hit in found) for query_id, found in source.rankings.items()}
        return RunFile(source, 0, hits)
    if isinstance(source, Mapping):
        return _from_mapping(source, name, order, where)
    return run_of_rows(table_rows(source, where), name, order, columns, where)


def run_of_rows(
    rows: Iterable[Row], name: str, order: str | None, columns: Mapping[str, str] | None, where: str
) -> RunFile:
    """Return the run of rows, as `run_from` does for a table.

    Args:
        rows: place and values of each.
        name: as for `run_from`.
        order: as for `run_from`.
        columns: as for `run_from`.
        where: as for `run_from`.

    Raises:
        EvalkitError: as for `run_from`.
    """
    picker = Picker(RUNS, columns)
    collected = _Collected()
    tag = name
    for place, row in rows:
        found = picker.pick(place, row)
        if "score" not in found and "rank" not in found:
            names = ", ".join(name for role in RUNS if role.name in ("score", "rank") for name in role.accepted)
            raise EvalkitError(
                f"{place}: no column is named as a score or a rank: {names}{listing(list(row))}"
                "; a score is higher for a better passage, so the score of a distance is its negative"
            )
        collected.add(
            place,
            to_id(found["query_id"], place, "query id"),
            to_id(found["doc_id"], place, "passage id"),
            to_score(found["score"], place) if "score" in found else None,
            to_rank(found["rank"], place) if "rank" in found else None,
        )
        if not is_missing(found.get("tag")):
            tag = str(found["tag"])
    return collected.ordered(where, tag, order, picker.columns)


def _from_mapping(source: Mapping[Any, Any], name: str, order: str | None, where: str) -> RunFile:
    collected = _Collected()
    for query, hits in source.items():
        query_id = to_id(query, where, "query id")
        place = f"{where}, query {quoted(query_id)}"
        if isinstance(hits, Mapping):
            for doc, score in hits.items():
                collected.add(place, query_id, to_id(doc, place, "passage id"), to_score(score, place), None)
        elif isinstance(hits, list | tuple):
            for rank, doc in enumerate(hits, 1):
                collected.add(place, query_id, to_id(doc, place, "passage id"), None, rank)
        else:
            raise EvalkitError(
                f"{place}: {quoted(hits)} is neither a mapping of passage ids to scores nor a list of passage ids, "
                "best first"
            )
    return collected.ordered(where, name, order, {})


class _Collected:
    """Scores and ranks of the hits of a run, as they are read."""

    def __init__(self) -> None:
        self._scores: dict[str, dict[str, float]] = {}
        self._ranks: dict[str, dict[str, int]] = {}
        self._spelt: dict[str, str] = {}
        self._with_score = self._with_rank = 0

    def add(self, place: str, query_id: str, written_id: str, score: float | None, rank: int | None) -> None:
        query_id, doc_id = escape_id(query_id), escape_id(written_id)
        of_query = self._scores.setdefault(query_id, {})
        if doc_id in of_query:
            raise EvalkitError(f"{place}: passage {quoted(doc_id)} occurs twice for query {quoted(query_id)}")
        self._with_score += score is not None
        of_query[doc_id] = score if score is not None else -float(rank or 0)
        if rank is not None:
            self._with_rank += 1
            self._ranks.setdefault(query_id, {})[doc_id] = rank
        if doc_id != written_id:
            self._spelt[doc_id] = written_id

    def ordered(self, where: str, tag: str, order: str | None, columns: Mapping[str, str]) -> RunFile:
        """Return the run; scores, or ranks, have to be there for all hits or for none."""
        hits = sum(map(len, self._scores.values()))
        if not hits:
            raise EvalkitError(f"{where} holds no hits")
        for what, count in (("score", self._with_score), ("rank", self._with_rank)):
            if count not in (0, hits):
                raise EvalkitError(f"{where}: {hits - count} of {hits} hits have no {what}; give all of them one")
            if order == what and not count:
                raise EvalkitError(f"{where}: the order was to be by {what}, and there is no {what}")
        by = order or ("score" if self._with_score else "rank")
        return ordered(tag, self._scores, self._ranks, self._spelt, by, columns)
