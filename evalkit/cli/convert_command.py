"""``python -m evalkit convert``: judgments, runs and collections from one format into another."""

import argparse
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from evalkit.boundary.cells import is_missing, to_id, to_text
from evalkit.boundary.columns import DOCS, JUDGMENTS, QUERIES, RUNS, Role
from evalkit.boundary.compression import without_suffix
from evalkit.boundary.errors import EvalkitError
from evalkit.boundary.rows import Picker
from evalkit.boundary.table_files import has_table, open_table, suffix_of
from evalkit.boundary.table_writing import WRITTEN, text_to_write, write_json, write_table
from evalkit.boundary.text import escape_id, is_folder, quoted, read_lines, user_path
from evalkit.evaluation import trec
from evalkit.evaluation.run_files import read_run_file
from evalkit.evaluation.surrogate_scores import strictly_decreasing
from evalkit.slices import collection, judgments, layout

KINDS = ("judgments", "run")
TREC = {"judgments": layout.TREC, "run": (".trec", ".run", ".txt")}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``convert`` to its parser."""
    parser.add_argument("source", metavar="SRC", help="a file of judgments, a run file, or the folder of a collection")
    parser.add_argument(
        "target", metavar="DEST", help="file: .trec .tsv .csv .json .jsonl .parquet, also .gz .bz2 .zst; or a folder"
    )
    parser.add_argument("--as", dest="kind", metavar="KIND", choices=KINDS, help="judgments or run, if SRC may be both")
    parser.add_argument("--order", metavar="ORDER", default="score", help="of a run: score, or rank; default: score")
    parser.add_argument("--overwrite", action="store_true", help="replace DEST if it exists")


def run(parsed: argparse.Namespace) -> None:
    """Convert, and print what was read and what was written.

    Raises:
        EvalkitError: the source is not valid or may be several things, the target exists or has no known extension, or
            cannot be written.
    """
    from evalkit.report import terminal

    source, target = user_path(parsed.source), user_path(parsed.target)
    if target.exists() and not parsed.overwrite:
        raise EvalkitError(f"{target} exists already; name another DEST, or add --overwrite")
    unfinished = target.with_name(f".unfinished-{target.name}")
    try:
        if is_folder(source):
            lines = _collection(source, target, unfinished)
        else:
            kind = parsed.kind or kind_of(source)
            _check_target(target, kind)
            if kind == "judgments":
                lines = _judgments(source, target, unfinished)
            else:
                lines = _run(source, target, unfinished, parsed.order)
        _move(unfinished, target)
    except OSError as error:
        raise EvalkitError(f"cannot write {target}: {error.strerror or error}") from None
    finally:
        _remove(unfinished)
    terminal.show_lines(lines)


def _move(unfinished: Path, target: Path) -> None:
    """Put a finished file, or the files of a finished folder, in their place."""
    if not unfinished.is_dir():
        unfinished.replace(target)
        return
    for file in (path for path in unfinished.rglob("*") if path.is_file()):
        place = target / file.relative_to(unfinished)
        place.parent.mkdir(parents=True, exist_ok=True)
        file.replace(place)


def _remove(unfinished: Path) -> None:
    if unfinished.is_dir():
        shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.unlink(missing_ok=True)


def kind_of(path: Path) -> str:
    """Return what a file holds, ``judgments`` or ``run``.

    Args:
        path: the file.

    Raises:
        EvalkitError: it holds neither, or may hold either.
    """
    if not has_table(path, JUDGMENTS, "judgments or a run") and not has_table(path, RUNS, "judgments or a run"):
        first = next((line.split() for _, line in read_lines(path, "judgments or a run")), [])
        kinds = {4: "judgments", 6: "run"}
        if len(first) not in kinds:
            raise EvalkitError(f"{path}: its first line has {len(first)} columns; TREC's judgments have 4, and runs 6")
        return kinds[len(first)]
    found: dict[str, Mapping[str, str]] = {}
    errors: list[str] = []
    for kind, roles in (("judgments", JUDGMENTS), ("run", RUNS)):
        try:
            columns = _columns(path, roles)
        except EvalkitError as error:
            errors.append(str(error))
            continue
        if isinstance(columns, str):
            return columns
        if "grade" in columns or "score" in columns or "rank" in columns:
            found[kind] = columns
    if len(found) == 1:
        return next(iter(found))
    if not found:
        raise EvalkitError(f"{path} holds neither judgments nor a run: {'; '.join(errors) or 'it is empty'}")
    if found["judgments"]["doc_id"] == "corpus-id":  # BEIR's header, whose grade is called score
        return "judgments"
    if "rank" in found["run"] and not found["run"]["rank"].isdigit():
        return "run"
    raise EvalkitError(f"{path} may hold judgments or a run; say which with --as judgments or --as run")


def _columns(path: Path, roles: tuple[Role, ...]) -> Mapping[str, str] | str:
    """Return role -> column in the first row; of a JSON object, whose values are grades or scores, its kind."""
    table = open_table(path, roles, "judgments or a run")
    if isinstance(table.content, Mapping):
        values = [value for hits in table.content.values() if isinstance(hits, Mapping) for value in hits.values()]
        return "judgments" if values and all(isinstance(value, int) for value in values) else "run"
    picker = Picker(roles, table.stated)
    for place, row in table.content:
        picker.pick(place, row)
        break
    return picker.columns


def _check_target(target: Path, kind: str) -> None:
    known = (*TREC[kind], *WRITTEN, ".json")
    if suffix_of(target) not in known:
        raise EvalkitError(
            f"{target}: {kind if kind == 'judgments' else 'a run'} can be written to a file named "
            f"{', '.join(dict.fromkeys(known))}"
        )
    if suffix_of(target) == ".parquet" and without_suffix(target) != target:
        raise EvalkitError(f"{target}: parquet files are compressed already; name it {without_suffix(target).name}")


def _judgments(source: Path, target: Path, into: Path) -> list[str]:
    read = judgments.read(source)
    _write_judgments(read.grades, into)
    return [f"read {source}: {_counts(read.grades)}{_used(read.columns)}", f"wrote {target}"]


def _write_judgments(grades: judgments.Grades, path: Path) -> None:
    if suffix_of(path) in TREC["judgments"]:
        trec.write_qrels(grades, path)
    elif suffix_of(path) == ".json":
        write_json(path, grades)
    else:
        rows = ((q, d, grade) for q, of_query in grades.items() for d, grade in of_query.items())
        write_table(path, ("query-id", "corpus-id", "score"), rows)


def _counts(grades: judgments.Grades) -> str:
    return f"{sum(map(len, grades.values()))} judgments of {len(grades)} queries"


def _run(source: Path, target: Path, into: Path, order: str) -> list[str]:
    read = read_run_file(source, order)
    rankings = read.run.rankings
    written = {q: list(zip(hits, strictly_decreasing([hit.score for hit in hits]))) for q, hits in rankings.items()}
    if suffix_of(into) in TREC["run"]:
        trec.write_run(read.run, into)
    elif suffix_of(into) == ".json":
        write_json(into, {q: {hit.doc_id: score for hit, score in hits} for q, hits in written.items()})
    else:
        rows = (
            (q, hit.doc_id, rank, score) for q, hits in written.items() for rank, (hit, score) in enumerate(hits, 1)
        )
        write_table(into, ("query_id", "doc_id", "rank", "score"), rows)
    lines = [
        f"read {source}: a run with {sum(map(len, rankings.values()))} hits of {len(rankings)} queries, ordered by "
        f"{read.order}{_used(read.columns)}"
    ]
    if read.rank_conflicts:
        other = "--order rank" if read.order == "score" else "--order score"
        lines.append(f"{read.rank_conflicts} queries have ranks that contradict the scores; {other} takes the others")
    if changed := trec.count_adjusted_scores(read.run):
        lines.append(f"{changed} scores were lowered, so that no two of a query are equal and tools keep the order")
    return [*lines, f"wrote {target}"]


def _collection(source: Path, target: Path, into: Path) -> list[str]:
    """Write a folder in BEIR's layout, with the judgments of all splits."""
    splits = layout.find_splits(source)
    if not splits:
        layout.find_judgments(source, "test")  # refuses, with what is there instead
    read = {split: judgments.read(*files) for split, files in splits.items()}
    as_id = escape_id if any(one.is_trec for one in read.values()) else str
    (into / "qrels").mkdir(parents=True)
    lines = []
    for split, one in read.items():
        _write_judgments(one.grades, into / "qrels" / f"{split}.tsv")
        lines.append(f"read {splits[split][0]}: {_counts(one.grades)}{_used(one.columns)}")
    for name, roles, what in (("corpus", DOCS, "passages"), ("queries", QUERIES, "queries")):
        files = layout.find_part(source, name, next(iter(splits)))
        pickers: list[Picker] = []
        count = 0
        with text_to_write(into / f"{name}.jsonl") as out:
            for rows, picker in collection.tables(files, roles, what, {}, pickers):
                for record in (_record(place, picker.pick(place, row), as_id) for place, row in rows):
                    out.write(json.dumps(record, ensure_ascii=False) + "\n")
                    count += 1
        lines.append(f"read {files[0]}: {count} {what}{_used(collection.columns_of(pickers))}")
    return [*lines, f"wrote {target}: corpus.jsonl, queries.jsonl and {', '.join(f'qrels/{s}.tsv' for s in splits)}"]


def _record(place: str, found: Mapping[str, Any], as_id: Callable[[str], str]) -> dict[str, Any]:
    """Return a line of BEIR's corpus or queries."""
    key = next(role for role in found if role.endswith("_id"))
    record = {"_id": as_id(to_id(found[key], place, "id"))}
    if not is_missing(found.get("title")):
        record["title"] = to_text(found["title"], place, "title")
    record["text"] = to_text(found["text"], place, "text")
    excluded = found.get("excluded_ids")
    return {**record, "excluded_ids": excluded} if excluded is not None else record


def _used(columns: Mapping[str, str]) -> str:
    return f" ({', '.join(f'{role} from {quoted(column)}' for role, column in columns.items())})" if columns else ""
