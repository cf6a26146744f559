"""A slice from what a caller has in memory: mappings, DataFrames, or rows as dictionaries."""

from pathlib import Path
from typing import Any

from evalkit.boundary.errors import EvalkitError
from evalkit.boundary.text import quoted
from evalkit.slices.assemble import assemble
from evalkit.slices.settings import check_level, check_settings
from evalkit.slices.sources import docs_from, qrels_from, queries_from
from evalkit.slices.subset import choose_queries, collect_docs
from evalkit.types import Slice


def make_slice(
    queries: Any,
    docs: Any,
    qrels: Any,
    *,
    name: str = "own data",
    lang: str = "en",
    relevance_level: int = 1,
    unjudged_queries: str = "error",
    empty_docs: str = "error",
    identical_ids: str = "auto",
) -> Slice:
    """Return a slice of queries, passages and judgments that are in memory.

    As in BEIR, the queries are those that have judgments; others are counted in ``facts["other_queries"]``.

    Args:
        queries: a mapping query_id -> text, or a DataFrame or rows (``query_id``, ``qid`` or ``_id``; ``text`` or
            ``query``).
        docs: a mapping doc_id -> text (or -> {"title": ..., "text": ...}), or a DataFrame or rows (``doc_id``,
            ``docno`` or ``_id``; ``text``; optionally ``title``).
        qrels: a mapping query_id -> {doc_id: grade}, or a DataFrame or rows (``query_id`` or ``qid``; ``doc_id`` or
            ``docno``; ``grade``, ``label``, ``relevance`` or ``score``).
        name: of the slice, which results and reports show.
        lang: language code of the texts; BM25 chooses its analysis by it.
        relevance_level: the lowest grade that binary measures count as relevant.
        unjudged_queries: ``error`` or ``drop`` for queries without a judged passage.
        empty_docs: ``error`` or ``drop`` for passages without text.
        identical_ids: ``auto``, ``keep`` or ``drop`` for passages that have the id of a query.

    Raises:
        EvalkitError: a column is missing or ambiguous, an id occurs twice, queries and judgments do not belong
            together, or a setting is not valid.
    """
    check_settings("full", unjudged_queries, empty_docs, identical_ids)
    check_level(relevance_level)
    for part, value in (("queries", queries), ("docs", docs), ("qrels", qrels)):
        if value is None or isinstance(value, str | Path):
            raise EvalkitError(
                f"{part} is {quoted(value)}, and has to be a mapping, a DataFrame or rows; queries, docs and qrels are "
                "given together, all in memory or all as files, and the name of a slice or a folder stands alone"
            )
    texts, passages, judged = queries_from(queries), docs_from(docs), qrels_from(qrels)
    if missing := [query_id for query_id in judged.values if query_id not in texts.values]:
        raise EvalkitError(f"qrels judge {len(missing)} queries that queries lack (e.g. {quoted(missing[0])})")
    asked = {query_id: text for query_id, text in texts.values.items() if query_id in judged.values}
    chosen = choose_queries(name, asked, judged.values, None, 0, unjudged_queries)
    kept, dropped = collect_docs(name, passages.values.items(), None, 0, 0, empty_docs)
    columns = {"queries": texts.columns, "docs": passages.columns, "qrels": judged.columns}
    facts = {
        "source": "memory",
        "corpus": "full",
        "empty_docs_dropped": len(dropped),
        "other_queries": len(texts.values) - len(asked),
        "columns": {part: dict(found) for part, found in columns.items() if found},
    }
    return assemble(
        name, lang, name, chosen, kept, judged.values, relevance_level, facts,
        identical_ids=identical_ids, empty_docs=dropped,
    )  # fmt: skip
