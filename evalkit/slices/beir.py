"""A BEIR folder as a slice: corpus.jsonl, queries.jsonl and qrels/SPLIT.tsv."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evalkit.boundary import languages
from evalkit.boundary.progress import track
from evalkit.boundary.text import escape_id, is_folder, quoted, read_lines, user_path
from evalkit.errors import EvalkitError
from evalkit.slices import judgments, labels
from evalkit.slices.assemble import assemble, join_title
from evalkit.slices.settings import check_level, check_settings
from evalkit.slices.subset import choose_queries, collect_docs, settings_without_effect
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
) -> Slice:
    """Load a BEIR folder.

    As in BEIR, the queries of a split are those that its qrels contain. ``excluded_ids`` in a line of queries.jsonl
    lists passages that are excluded from retrieval for that query.

    Args:
        path: the folder, with corpus.jsonl, queries.jsonl and qrels/.
        split: name of the file in qrels/.
        lang: language code of the queries.
        queries: size of a seeded sample of the queries; None for all.
        corpus: "full", or "judged" for the judged passages of the chosen queries.
        distractors: with "judged", how many other passages are added.
        seed: of both samples.
        relevance_level: the lowest grade that binary measures count as relevant.
        unjudged_queries: "error" or "drop" for queries without a judged passage.
        empty_docs: "error" or "drop" for passages without text.
        identical_ids: "auto", "keep" or "drop" for passages with the id of a query (`evalkit.slices.exclusions`).
        qrels: a file of judgments to use instead of the split's, in one of `evalkit.slices.judgments.FORMATS`,
            or labels that name their judge (`evalkit.slices.labels`).
        judge: of labels of several judges the one, or "majority" or "median"; of other judgments the name of the judge.
        judge_kind: "human", "llm" or "clicks"; None for what the labels state, else "llm" where a judge is named.
        name: of the slice; None for FOLDER/SPLIT.

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
    check_settings(corpus, unjudged_queries, empty_docs, identical_ids)
    check_level(relevance_level)
    languages.canonical(lang)
    own = labels.of_setting(qrels, judge, judge_kind)
    file = user_path(qrels) if qrels else judgments.find_split_file(folder, split)
    judged = judgments.read(file) if own is None else own.grades
    # Ids read from trec_eval's files are escaped, so the ids of queries and passages have to be escaped too.
    as_id = escape_id if judgments.is_trec_file(file) else str
    found = _queries(folder / "queries.jsonl", as_id)
    missing = [query_id for query_id in judged if query_id not in found.texts]
    if missing:
        raise EvalkitError(f"{file} judges {len(missing)} queries that queries.jsonl lacks (e.g. {quoted(missing[0])})")
    chosen = choose_queries(
        str(folder), {q: text for q, text in found.texts.items() if q in judged}, judged, queries, seed,
        unjudged_queries,
    )  # fmt: skip
    needed = {doc_id for q in chosen for doc_id in judged[q]} if corpus == "judged" else None
    records = ((as_id(doc_id), join_title(title, text)) for doc_id, title, text, _ in _jsonl(folder / "corpus.jsonl"))
    stream = track(records, "reading passages", unit="passages")
    docs, dropped = collect_docs(str(folder), stream, needed, distractors, seed, empty_docs)
    facts: dict[str, Any] = {
        "source": "beir",
        "split": split,
        "corpus": corpus,
        "distractors": distractors,
        "seed": seed,
        "empty_docs_dropped": len(dropped),
        "other_queries_in_file": len(found.texts) - len(judged),
        **settings_without_effect(seed, queries, len(chosen), distractors, needed, docs),
    }
    if own:
        facts |= {"split": None, "qrels": file.name, **own.facts}
        if split != "test":
            facts["without_effect"] = [*facts.get("without_effect", []), f"slice.split={split}: slice.qrels is read"]
    if found.with_title:
        facts["query_titles_left_out"] = found.with_title
    return assemble(
        name or f"{folder.resolve().name}/{file.stem}", lang, str(folder), chosen, docs, judged, relevance_level, facts,
        identical_ids=identical_ids, excluded_ids=found.excluded, empty_docs=dropped,
    )  # fmt: skip


@dataclass
class _Queries:
    """queries.jsonl: texts, excluded passages, and the number of titles, which are not used."""

    texts: dict[str, str]
    excluded: dict[str, frozenset[str]]
    with_title: int


def _queries(path: Path, as_id: Callable[[str], str]) -> _Queries:
    """Read the queries; as in BEIR, only ``text`` is searched with."""
    found = _Queries({}, {}, 0)
    for query_id, title, text, record in _jsonl(path):
        key = as_id(query_id)
        if key in found.texts:
            raise EvalkitError(f"{path}: id {quoted(query_id)} occurs twice; ids must be unique")
        found.texts[key] = text.strip()
        found.with_title += bool(title.strip())
        if listed := _excluded(path, query_id, record):
            found.excluded[key] = frozenset(map(as_id, listed))
    return found


def _excluded(path: Path, query_id: str, record: Mapping[str, Any]) -> list[str]:
    metadata = record.get("metadata")
    listed = record.get("excluded_ids", metadata.get("excluded_ids") if isinstance(metadata, dict) else None)
    try:
        if listed is None:
            return []
        if not isinstance(listed, list):
            raise TypeError("a list is needed")
        return [judgments.id_text(item) for item in listed]
    except TypeError:
        raise EvalkitError(
            f"{path}: excluded_ids of query {quoted(query_id)} is {quoted(listed)}, and has to be a list of passage ids"
        ) from None


def _jsonl(path: Path) -> Iterator[tuple[str, str, str, Mapping[str, Any]]]:
    """Yield id, title, text and the complete record of each line."""
    for number, line in read_lines(path, "JSON objects, one a line"):
        try:
            record: Any = json.loads(line)
            title, text = record.get("title") or "", record["text"]
            if not isinstance(title, str) or not isinstance(text, str):
                raise TypeError("title and text are texts")
            yield judgments.id_text(record["_id"]), title, text, record
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise EvalkitError(
                f'{path}, line {number}: not a JSON object with "_id" and "text": {quoted(line.strip())}'
            ) from None
