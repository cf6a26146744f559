"""Passages, queries and judgments in files of any format and name as a slice."""

from typing import Any

from evalkit.slices import collection, labels, layout
from evalkit.types import Slice


def load(
    docs_path: str,
    queries_path: str,
    qrels: str,
    lang: str = "en",
    queries: int | None = None,
    corpus: str = "full",
    distractors: int = 0,
    seed: int = 0,
    relevance_level: int = 1,
    unjudged_queries: str = "error",
    empty_docs: str = "error",
    identical_ids: str = "auto",
    judge: str | None = None,
    judge_kind: str | None = None,
    name: str | None = None,
    columns: Any = None,
) -> Slice:
    """Load a collection from its files: JSONL, JSON, CSV, TSV, parquet or Arrow, compressed or not.

    Columns are found by their names (`evalkit.boundary.columns`), and the result records which ones were used.

    Args:
        docs_path: the passages: a file, a folder of files, or a pattern such as ``corpus/*.parquet``.
        queries_path: the queries, likewise.
        qrels: the judgments, likewise; trec_eval's format is read too.
        lang: language code of the queries.
        queries: size of a seeded sample of the queries; None for all.
        corpus: "full", or "judged" for the judged passages of the chosen queries.
        distractors: with "judged", how many other passages are added.
        seed: of both samples.
        relevance_level: the lowest grade that binary measures count as relevant.
        unjudged_queries: "error" or "drop" for queries without a judged passage.
        empty_docs: "error" or "drop" for passages without text.
        identical_ids: "auto", "keep" or "drop" for passages with the id of a query (`evalkit.slices.exclusions`).
        judge: of labels of several judges the one, or "majority" or "median"; of other judgments the name of the judge.
        judge_kind: "human", "llm" or "clicks"; None for what the labels state, else "llm" where a judge is named.
        name: of the slice; None for that of the file of judgments.
        columns: docs, queries or qrels -> role -> column, where columns have other names.

    Raises:
        EvalkitError: a file is missing or malformed (file and line are named), or `evalkit.slices.assemble` refuses
            something.
    """
    cut = collection.Cut(
        lang, queries, corpus, distractors, seed, relevance_level, unjudged_queries, empty_docs, identical_ids,
        judge, judge_kind,
    )  # fmt: skip
    labels.check_setting(qrels, judge, judge_kind)
    cut.check()
    judged = layout.find_files("slice.qrels", qrels)
    files = collection.Files(
        docs_path,
        layout.find_files("slice.docs_path", docs_path),
        layout.find_files("slice.queries_path", queries_path),
        judged,
    )
    facts = {"source": "files", "qrels": judged[0].name}
    return collection.load(name or layout.split_of(judged[0]), files, cut, columns, facts)
