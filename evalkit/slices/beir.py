"""A BEIR folder as a slice: corpus, queries and judgments in files named so; MTEB's folders have the same layout."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evalkit.boundary.errors import EvalkitError
from evalkit.boundary.text import is_folder, user_path
from evalkit.slices import collection, labels, layout
from evalkit.types import Slice


def load(
    path: str,
    split: str = "test",
    lang: str = "en",
    queries: int | None = None,
    corpus: str = "full",
    distractors: int = 0,
    seed: int = 0,
    relevance_level: int = 1,
    unjudged_queries: str = "error",
    empty_docs: str = "error",
    identical_ids: str = "auto",
    qrels: str | None = None,
    judge: str | None = None,
    judge_kind: str | None = None,
    name: str | None = None,
    subset: str | None = None,
    columns: Any = None,
) -> Slice:
    """Load a BEIR folder, or one in the layout of MTEB and Hugging Face.

    As in BEIR, the queries of a split are those that its qrels contain. ``excluded_ids`` in a line of queries.jsonl
    lists passages that are excluded from retrieval for that query.

    Args:
        path: the folder, with corpus.jsonl, queries.jsonl and qrels/; each of the first two may be another table
            (`evalkit.boundary.table_files`) or a folder of tables, and qrels/ may be default/ or data/.
        split: name of the file in qrels/, or of its shards.
        lang: language code of the queries.
        queries: size of a seeded sample of the queries; None for all.
        corpus: "full", or "judged" for the judged passages of the chosen queries.
        distractors: with "judged", how many other passages are added.
        seed: of both samples.
        relevance_level: the lowest grade that binary measures count as relevant.
        unjudged_queries: "error" or "drop" for queries without a judged passage.
        empty_docs: "error" or "drop" for passages without text.
        identical_ids: "auto", "keep" or "drop" for passages with the id of a query (`evalkit.slices.exclusions`).
        qrels: judgments to use instead of the split's: a file, a folder or a pattern (`evalkit.slices.judgments.read`).
        judge: of labels of several judges the one, or "majority" or "median"; of other judgments the name of the judge.
        judge_kind: "human", "llm" or "clicks"; None for what the labels state, else "llm" where a judge is named.
        name: of the slice; None for FOLDER/SPLIT.
        subset: of a collection in several parts, whose folders are SUBSET-corpus, SUBSET-queries and SUBSET-qrels.
        columns: docs, queries or qrels -> role -> column, where columns have other names.

    Raises:
        EvalkitError: a file is missing or malformed (file and line are named), or `evalkit.slices.assemble` refuses
            something.
    """
    folder = user_path(path)
    if not is_folder(folder):
        raise EvalkitError(
            f"slice.path={path}: there is no such folder; a BEIR folder holds corpus.jsonl, "
            "queries.jsonl and qrels/SPLIT.tsv"
        )
    cut = collection.Cut(
        lang, queries, corpus, distractors, seed, relevance_level, unjudged_queries, empty_docs, identical_ids,
        judge, judge_kind,
    )  # fmt: skip
    labels.check_setting(qrels, judge, judge_kind)
    cut.check()
    return load_folder(folder, folder.resolve().name, {"source": "beir"}, split, subset, qrels, cut, name, columns)


def load_folder(
    folder: Path,
    base: str,
    facts: Mapping[str, Any],
    split: str,
    subset: str | None,
    qrels: str | None,
    cut: collection.Cut,
    name: str | None,
    columns: Any,
) -> Slice:
    """Load a folder in the layout of BEIR or MTEB.

    Args:
        folder: of the collection.
        base: the name of the collection, which the slice's begins with.
        facts: what the result records of the source.
        split: as for `load`.
        subset: as for `load`.
        qrels: as for `load`.
        cut: how much of the collection becomes the slice.
        name: as for `load`.
        columns: as for `load`.

    Raises:
        EvalkitError: as for `load`.
    """
    judged = layout.find_files("slice.qrels", qrels) if qrels else layout.find_judgments(folder, split, subset)
    part = f"{subset}-" if subset else ""
    files = collection.Files(
        str(folder),
        layout.find_part(folder, f"{part}corpus", split),
        layout.find_part(folder, f"{part}queries", split),
        judged,
    )
    more: dict[str, Any] = {**facts, "split": split}
    if subset:
        more["subset"] = subset
    if qrels:
        more |= {"split": None, "qrels": judged[0].name}
        if split != "test":
            more["without_effect"] = [f"slice.split={split}: slice.qrels is read"]
    names = [base, subset, layout.split_of(judged[0]) if qrels else split]
    return collection.load(name or "/".join(filter(None, names)), files, cut, columns, more)
