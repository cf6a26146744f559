"""A BEIR folder as a slice: corpus.jsonl, queries.jsonl and qrels/SPLIT.tsv."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from evalkit.errors import EvalkitError
from evalkit.outside import integer, is_folder, lines, named, quoted, user_path
from evalkit.progress import track
from evalkit.slices.assemble import assemble, check_cuts, choose_queries, collect_docs, joined
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
    name: str | None = None,
) -> Slice:
    """Load the folder at `path`. The queries of a split are those that its qrels name, as BEIR has it.

    Raises:
        EvalkitError: a file is missing or a line of it broken (file and line are named), or what
            `evalkit.slices.assemble` refuses.
    """
    folder = user_path(path)
    if not is_folder(folder):
        raise EvalkitError(
            f"slice.path={path}: there is no such folder; a BEIR folder holds corpus.jsonl, "
            "queries.jsonl and qrels/SPLIT.tsv"
        )
    check_cuts(corpus, unjudged_queries, empty_docs)
    qrels = _qrels(folder, split)
    texts = dict(_unique(folder / "queries.jsonl", _jsonl(folder / "queries.jsonl")))
    missing = [query_id for query_id in qrels if query_id not in texts]
    if missing:
        raise EvalkitError(
            f"{folder / 'qrels'}/{split}.tsv judges {len(missing)} queries that queries.jsonl lacks "
            f"(e.g. {quoted(missing[0])})"
        )
    chosen = choose_queries(
        str(folder), {q: texts[q] for q in texts if q in qrels}, qrels, queries, seed, unjudged_queries
    )
    needed = {doc_id for q in chosen for doc_id in qrels[q]} if corpus == "judged" else None
    stream = track(_jsonl(folder / "corpus.jsonl"), "reading passages", unit="passages")
    docs, dropped = collect_docs(str(folder), stream, needed, distractors, seed, empty_docs)
    facts = {
        "source": "beir",
        "split": split,
        "corpus": corpus,
        "distractors": distractors,
        "seed": seed,
        "empty_docs_dropped": dropped,
        "other_queries_in_file": len(texts) - len(qrels),
    }
    return assemble(
        name or f"{folder.resolve().name}/{split}", lang, str(folder), chosen, docs, qrels, relevance_level, facts
    )


def _jsonl(path: Path) -> Iterator[tuple[str, str]]:
    for number, line in lines(path, "JSON objects, one a line"):
        try:
            record: Any = json.loads(line)
            item = record["_id"]
            if isinstance(item, bool) or not isinstance(item, str | int):
                raise TypeError("an id is a text or a whole number")
            yield str(item), joined(record.get("title") or "", record["text"])
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise EvalkitError(
                f'{path}, line {number}: not a JSON object with "_id" and "text": {quoted(line.strip())}'
            ) from None


def _unique(path: Path, rows: Iterator[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    seen: set[str] = set()
    for key, text in rows:
        if key in seen:
            raise EvalkitError(f"{path}: id {quoted(key)} occurs twice; ids must be unique")
        seen.add(key)
        yield key, text


def _qrels(folder: Path, split: str) -> dict[str, dict[str, int]]:
    path = folder / "qrels" / f"{split}.tsv"
    splits = sorted(found.stem for found in path.parent.glob("*.tsv"))
    if split not in splits:
        have = f"; there is {', '.join(splits)}" if splits else "; the folder has no qrels at all"
        raise EvalkitError(f"slice.split={named(split)}: there is no {path.parent}/{named(split)}.tsv{have}")
    qrels: dict[str, dict[str, int]] = {}
    for number, line in lines(path, "judgments"):
        columns = line.rstrip("\r\n").split("\t")
        if number == 1 and columns[-1].strip() == "score":
            continue
        try:
            query_id, doc_id, grade = columns
            value = integer(grade)
        except ValueError:
            raise EvalkitError(
                f"{path}, line {number}: not 'query-id<TAB>corpus-id<TAB>integer grade': {quoted(line.strip())}"
            ) from None
        if qrels.setdefault(query_id, {}).setdefault(doc_id, value) != value:
            raise EvalkitError(
                f"{path}, line {number}: {quoted(query_id)} and {quoted(doc_id)} are judged twice, differently"
            )
    return qrels
