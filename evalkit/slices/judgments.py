"""Judgments (qrels) in BEIR's, trec_eval's and mteb's formats."""

import csv
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from evalkit.boundary.text import parse_integer, printable_name, quoted, read_lines, user_path
from evalkit.errors import EvalkitError
from evalkit.evaluation import trec

Judgment = tuple[str, str, str, Any]
"""Position in the source (for messages), query_id, doc_id and grade."""
Grades = dict[str, dict[str, int]]

TREC = (".trec", ".qrels", ".txt")
"""Extensions of files in trec_eval's format, such as the ``qrels.trec`` that evalkit writes."""
FORMATS = (".tsv", ".jsonl", *TREC)


def collect_judgments(judgments: Iterable[Judgment], way_out: str = "") -> Grades:
    """Return query_id -> doc_id -> grade; a repeated judgment counts once.

    Args:
        judgments: one after the other, in any order.
        way_out: what the user can do about a contradiction; it ends the message.

    Raises:
        EvalkitError: a passage has two different grades for a query.
    """
    qrels: Grades = {}
    for where, query_id, doc_id, grade in judgments:
        before = qrels.setdefault(query_id, {}).setdefault(doc_id, grade)
        if before != grade:
            raise EvalkitError(
                f"{where}: {quoted(query_id)} and {quoted(doc_id)} are judged twice, differently{way_out}"
            )
    return qrels


def collect_queries(where: str, queries: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return query_id -> text; a query that is repeated word for word counts once.

    Args:
        where: the source, for the message.
        queries: (query_id, text) of each query.

    Raises:
        EvalkitError: an id has two texts.
    """
    texts: dict[str, str] = {}
    for query_id, text in queries:
        if texts.setdefault(query_id, text) != text:
            raise EvalkitError(f"{where}: query id {quoted(query_id)} has two texts; ids must be unique")
    return texts


def read(path: Path) -> Grades:
    """Read a file of judgments; its extension, one of `FORMATS`, determines the format.

    Raises:
        EvalkitError: the file is missing, has another extension, or is malformed (file and line are named).
    """
    path = user_path(path)
    if path.suffix not in FORMATS:
        raise EvalkitError(f"{path}: judgments are read from files named {_formats()}")
    rows = _jsonl if path.suffix == ".jsonl" else trec.judgments if path.suffix in TREC else _tsv
    return collect_judgments(rows(path))


def is_trec_file(path: Path) -> bool:
    """Return whether a file is in trec_eval's format, whose ids are escaped by `evalkit.boundary.text.escape_id`."""
    return path.suffix in TREC


def find_split_file(folder: Path, split: str) -> Path:
    """Return the file of a split in a BEIR folder's ``qrels``: SPLIT.tsv, or else in another of `FORMATS`.

    Args:
        folder: the folder of the collection.
        split: name of the split, such as ``test``.

    Raises:
        EvalkitError: it does not exist; the message lists the existing ones.
    """
    place = folder / "qrels"
    there = sorted(path for path in place.glob("*") if path.is_file())
    splits = sorted({path.stem for path in there if path.suffix in FORMATS})
    if split in splits:
        return next(path for end in FORMATS if (path := place / f"{split}{end}") in there)
    if splits:
        have = f"; choose from {', '.join(splits)}"
    elif there:
        have = f"; it has {', '.join(path.name for path in there[:5])}, and files named {_formats()} are read"
    elif beside := sorted(path.name for path in folder.glob("*qrels*") if path.suffix in FORMATS):
        have = f"; there is {beside[0]} in the folder, which slice.qrels={folder / beside[0]} reads"
    else:
        have = "; the folder has no qrels at all"
    raise EvalkitError(f"slice.split={printable_name(split)}: there is no {place}/{printable_name(split)}.tsv{have}")


def _formats() -> str:
    return f"SPLIT.tsv (BEIR), SPLIT.jsonl, or SPLIT{', SPLIT'.join(TREC)} (trec_eval)"


def _tsv(path: Path) -> Iterator[Judgment]:
    """Read BEIR's ``query-id<TAB>corpus-id<TAB>score``; double quotes around a field are removed, as in BEIR."""
    for number, line in read_lines(path, "judgments"):
        try:
            columns = _fields(line.rstrip("\r\n"))
            if number == 1 and columns and columns[-1].strip() == "score":
                continue
            query_id, doc_id, grade = columns
            value = parse_integer(grade)
        except (ValueError, csv.Error):
            hint = (
                "; this is trec_eval's format: name the file SPLIT.trec"
                if number == 1 and _looks_like_trec(line)
                else ""
            )
            raise EvalkitError(
                f"{path}, line {number}: not 'query-id<TAB>corpus-id<TAB>integer grade': {quoted(line.strip())}{hint}"
            ) from None
        yield f"{path}, line {number}", query_id, doc_id, value


def _fields(line: str) -> list[str]:
    """Return the fields of a line; quotation marks that do not enclose a complete field are part of the id."""
    fields = line.split("\t")
    if '"' in line:
        if len(fields) != 3:  # a quoted field may contain a tab
            fields = next(csv.reader([line], delimiter="\t", strict=True), fields)
        else:
            fields = [field[1:-1].replace('""', '"') if _QUOTED.fullmatch(field) else field for field in fields]
    return fields


_QUOTED = re.compile('"([^"]|"")*"')


def _looks_like_trec(line: str) -> bool:
    columns = line.split()
    return len(columns) == 4 and columns[3].lstrip("-").isdigit()


def _jsonl(path: Path) -> Iterator[Judgment]:
    """Read one ``{"query-id": ..., "corpus-id": ..., "score": ...}`` a line, as in mteb's collections."""
    for number, line in read_lines(path, "judgments"):
        try:
            record: Any = json.loads(line)
            value = record["score"]
            if isinstance(value, float) and value.is_integer():
                value = int(value)
            if isinstance(value, bool) or not isinstance(value, int):
                raise TypeError("a grade is an integer")
            ids = [id_text(record[key]) for key in ("query-id", "corpus-id")]
        except (ValueError, KeyError, TypeError, RecursionError):
            raise EvalkitError(
                f'{path}, line {number}: not a JSON object with "query-id", "corpus-id" and an integer "score": '
                f"{quoted(line.strip())}"
            ) from None
        yield f"{path}, line {number}", ids[0], ids[1], value


def id_text(item: object) -> str:
    """Return an id of a JSON file as a string.

    Raises:
        TypeError: it is neither a string nor an integer.
    """
    if isinstance(item, bool) or not isinstance(item, str | int):
        raise TypeError("an id is a text or a whole number")
    return str(item)
