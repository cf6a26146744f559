"""Labels that name their judge: a file of one judge or of several, which are never mixed or averaged in silence."""

import csv
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median_low
from typing import Any

from evalkit.boundary.cells import id_text
from evalkit.boundary.errors import EvalkitError
from evalkit.boundary.text import parse_integer, quoted, read_lines
from evalkit.evaluation.judged_by import KINDS, Judge
from evalkit.slices import judgments
from evalkit.slices.judgments import Grades
from evalkit.slices.layout import find_files
from evalkit.slices.settings import check_choice

FORMATS = (".jsonl", ".csv", ".tsv")
"""Extensions of files of labels: one JSON object a line, or columns with a header."""
RULES = ("majority", "median")
"""How the labels of several judges become one grade: the most frequent or the median one; the lower of two."""
COLUMNS = {
    "query_id": ("query_id", "query-id", "qid"),
    "doc_id": ("doc_id", "corpus-id", "docid"),
    "grade": ("grade", "label", "score"),
    "judge": ("judge",),
    "kind": ("kind",),
    "source": ("source",),
}
"""Column -> its names; ``kind``, one of `KINDS`, and ``source``, how the grades were made, may be missing."""


@dataclass(frozen=True)
class Judged:
    """Judgments for a slice, and what a result records of where they come from."""

    grades: Grades
    facts: Mapping[str, Any]
    """``judged_by`` with its `kind` and `judge`; empty for judgments that name no judge."""
    is_trec: bool = False
    """As `evalkit.slices.judgments.JudgmentsFile` has it."""
    columns: Mapping[str, str] = field(default_factory=dict)
    """Likewise."""


def of_setting(qrels: str | None, judge: str | None, kind: str | None) -> Judged | None:
    """Return the judgments that the settings of a slice name; None for the collection's own.

    Args:
        qrels: the value of ``slice.qrels``.
        judge: the value of ``slice.judge``.
        kind: the value of ``slice.judge_kind``.

    Raises:
        EvalkitError: as for `read_qrels` and `check_setting`.
    """
    check_setting(qrels, judge, kind)
    return read_qrels(find_files("slice.qrels", qrels), judge, kind) if qrels else None


def check_setting(qrels: str | None, judge: str | None, kind: str | None) -> None:
    """Check the settings of a slice that name a judge.

    Args:
        qrels: the value of ``slice.qrels``.
        judge: the value of ``slice.judge``.
        kind: the value of ``slice.judge_kind``.

    Raises:
        EvalkitError: a judge is named and no file, or the kind is none of `KINDS`.
    """
    if kind is not None:
        check_choice("slice.judge_kind", kind, KINDS)
    for setting, value in (("judge", judge), ("judge_kind", kind)):
        if value and not qrels:
            raise EvalkitError(f"slice.{setting}={value}: name the file of its labels with slice.qrels=FILE")


def read_qrels(
    paths: Sequence[Path],
    judge: str | None = None,
    kind: str | None = None,
    columns: Mapping[str, str] | None = None,
) -> Judged:
    """Read the judgments of a slice from qrels or from labels.

    Args:
        paths: qrels in any format of `evalkit.slices.judgments.read`, or one file of labels.
        judge: of labels of several judges one of them, or one of `RULES`; of qrels, which name none, its name.
        kind: one of `KINDS`; None for what the labels state, else ``llm`` where a judge is named.
        columns: of qrels, as for `evalkit.slices.judgments.read`.

    Raises:
        EvalkitError: a file cannot be read, has no such judge, or has several and `judge` is None.
    """
    path = paths[0]
    if len(paths) > 1 or not has_judges(path):
        qrels = judgments.read(*paths, columns=columns)
        if judge in RULES:
            raise EvalkitError(f"slice.judge={judge}: {path} names no judge; labels have a column 'judge'")
        named = {"kind": kind or "llm", "judge": judge or path.name, "file": path.name}
        return Judged(qrels.grades, {"judged_by": named} if judge or kind else {}, qrels.is_trec, qrels.columns)
    found = read(path, kind)
    if judge is None and len(found) > 1:
        raise EvalkitError(
            f"{path} has labels of {len(found)} judges ({_listed(found)}); slice.judge=NAME takes those of one, "
            f"slice.judge={' or '.join(RULES)} makes one grade of all"
        )
    if judge in RULES:
        return _aggregated(path, found, judge)
    one = found[judge] if judge in found else None if judge else next(iter(found.values()))
    if one is None:
        raise EvalkitError(f"slice.judge={judge}: {path} has no labels of it; it has those of {_listed(found)}")
    facts = {"kind": one.kind, "judge": one.name, "file": path.name, "source": one.source}
    about = {key: value for key, value in facts.items() if value}
    return Judged({q: dict(of) for q, of in one.grades.items()}, {"judged_by": about})


def _listed(found: Mapping[str, Judge]) -> str:
    return ", ".join(sorted(found))


def _aggregated(path: Path, found: Mapping[str, Judge], rule: str) -> Judged:
    kinds = {one.kind for one in found.values()}
    if len(kinds) > 1:
        raise EvalkitError(
            f"slice.judge={rule}: {path} has labels of different kinds ({', '.join(sorted(kinds))}), which are not "
            f"mixed; slice.judge=NAME takes those of one judge: {_listed(found)}"
        )
    given: dict[str, dict[str, list[int]]] = {}
    for one in found.values():
        for query_id, grades in one.grades.items():
            for doc_id, grade in grades.items():
                given.setdefault(query_id, {}).setdefault(doc_id, []).append(grade)
    choose: Callable[[list[int]], int] = _most_frequent if rule == "majority" else median_low
    chosen = {q: {d: choose(values) for d, values in by_doc.items()} for q, by_doc in given.items()}
    facts = {
        "kind": kinds.pop(),
        "judge": f"{rule} of {_listed(found)}",
        "judges": sorted(found),
        "file": path.name,
        "pairs_without_a_label_of_each": sum(len(v) < len(found) for ids in given.values() for v in ids.values()),
    }
    return Judged(chosen, {"judged_by": facts})


def _most_frequent(grades: list[int]) -> int:
    counts = Counter(grades)
    return min(counts, key=lambda grade: (-counts[grade], grade))


def read(path: Path, kind: str | None = None) -> dict[str, Judge]:
    """Return the judges of a file of labels, by their names.

    Args:
        path: the file.
        kind: takes the place of what the file states.

    Raises:
        EvalkitError: the file is malformed, or a judge has two grades for a pair, two kinds or two sources, or is
            named as one of `RULES`.
    """
    given: dict[str, list[judgments.Judgment]] = {}
    origins: dict[str, tuple[str, str]] = {}
    for where, row in rows(path, COLUMNS, "labels"):
        try:
            name, stated = id_text(row["judge"]).strip(), (str(row.get("kind") or "llm"), str(row.get("source") or ""))
            ids = id_text(row["query_id"]), id_text(row["doc_id"])
            grade = whole(row["grade"])
        except (KeyError, TypeError, ValueError):
            raise EvalkitError(
                f"{where}: a label has query_id, doc_id, an integer grade and its judge, and this one has "
                f"{', '.join(f'{key} {quoted(value)}' for key, value in row.items())}"
            ) from None
        if not name or name in RULES or not name.isprintable():
            raise EvalkitError(f"{where}: the judge is {quoted(name)}, and has to have a name other than {_RULES}")
        if not stated[1].isprintable() or len(stated[1]) > _LONGEST_SOURCE:
            most = f"has to be a line of {_LONGEST_SOURCE} characters at most"
            raise EvalkitError(f"{where}: the source is {quoted(stated[1])}, and {most}")
        if stated[0] not in KINDS:
            raise EvalkitError(f"{where}: the kind is {quoted(stated[0])}, and has to be one of {', '.join(KINDS)}")
        if (before := origins.setdefault(name, stated)) != stated:
            raise EvalkitError(
                f"{where}: kind and source of judge {name} are {quoted(' '.join(stated))} here, and "
                f"{quoted(' '.join(before))} before{_WAY_OUT}"
            )
        given.setdefault(name, []).append((where, *ids, grade))
    if not given:
        raise EvalkitError(f"{path} has no labels")
    return {
        name: Judge(name, kind or origins[name][0], judgments.collect_judgments(of, _WAY_OUT), origins[name][1])
        for name, of in given.items()
    }


_LONGEST_SOURCE = 200
_WAY_OUT = "; labels that were made differently need judges of different names, such as NAME-2"
_RULES = " and ".join(RULES)


def whole(value: object) -> int:
    """Return an integer of a file, which JSON may hold as a text or as 1.0.

    Raises:
        TypeError: it is none.
        ValueError: it is a text that is none.
    """
    if isinstance(value, str):
        return parse_integer(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError("an integer is needed")
    return value


def has_judges(path: Path) -> bool:
    """Return whether a file is one of labels: whether its header, or any of its JSON objects, has ``judge``.

    One object is enough, so that labels and qrels in one file are refused where the judge is missing.

    Raises:
        EvalkitError: the file is missing or not readable as text.
    """
    if path.suffix not in FORMATS:
        return False
    lines = read_lines(path, "judgments")
    if path.suffix == ".jsonl":
        return any(_HAS_JUDGE.search(line) for _, line in lines)
    return "judge" in _cells(path, next(lines, (1, ""))[1])


_HAS_JUDGE = re.compile(r'"judge"\s*:')


def rows(path: Path, columns: Mapping[str, Sequence[str]], what: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the place of each row and its values by column; no other function knows the formats of tables.

    Args:
        path: .csv or .tsv with a header, or .jsonl.
        columns: column -> its names; a column without a value is left out.
        what: what the file should contain, for messages.

    Raises:
        EvalkitError: the file has another extension, or a line is malformed.
    """
    if path.suffix not in FORMATS:
        raise EvalkitError(f"{path}: {what} is read from files named .csv, .tsv or .jsonl")
    header: list[str] = []
    for number, line in read_lines(path, what):
        where = f"{path}, line {number}"
        if path.suffix == ".jsonl":
            try:
                record = json.loads(line)
            except (ValueError, RecursionError):
                record = None
            if not isinstance(record, dict):
                raise EvalkitError(f"{where}: not a JSON object: {quoted(line.strip())}")
        elif not header:
            header = _cells(path, line)
            continue
        else:
            cells = _cells(path, line)
            if len(cells) != len(header):
                raise EvalkitError(f"{where}: {len(cells)} columns, and the header has {len(header)}")
            record = dict(zip(header, cells))
        yield where, {name: record[a] for name, also in columns.items() for a in also if record.get(a) is not None}


def _cells(path: Path, line: str) -> list[str]:
    try:
        rows = list(csv.reader([line.rstrip("\r\n")], delimiter="\t" if path.suffix == ".tsv" else ",", strict=True))
    except csv.Error:
        return [line]
    return rows[0] if rows else []


def write(path: Path, judges: Sequence[Judge]) -> None:
    """Write labels as tab-separated columns with a header.

    Args:
        path: the file, named .tsv; one that exists is overwritten.
        judges: whose labels.

    Raises:
        EvalkitError: the file cannot be written.
    """
    try:
        with path.open("w", encoding="utf-8", newline="") as out:
            writer = csv.writer(out, delimiter="\t", lineterminator="\n")
            writer.writerow(COLUMNS)
            for judge in judges:
                for query_id, grades in judge.grades.items():
                    for doc_id, grade in grades.items():
                        writer.writerow((query_id, doc_id, grade, judge.name, judge.kind, judge.source))
    except OSError as error:
        raise EvalkitError(f"cannot write {path}: {error.strerror or error}; name another file") from None
