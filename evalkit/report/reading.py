"""Reads the folder of a finished trial back: what the gate and a baseline are made of."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from evalkit.errors import EvalkitError, NotFiniteError
from evalkit.report.result import Result
from evalkit.trec import read_run
from evalkit.types import SCHEMA_VERSION, Run


@dataclass(frozen=True)
class Passage:
    """A passage that the report shows: one of the top 10 of either list, or a relevant one."""

    doc_id: str
    grade: int | None
    """None where nobody judged it."""
    text: str
    """Its beginning."""


@dataclass(frozen=True)
class Finished:
    """A finished trial as it lies on disk."""

    where: str
    result: Result
    reranked: Run
    queries: Mapping[str, str]
    passages: Mapping[str, Mapping[str, Passage]]
    """query_id -> doc_id -> passage."""


def read(where: str | Path) -> Finished:
    """Read a trial's folder, or the result.json in it.

    Raises:
        EvalkitError: there is no result, it cannot be read, it is of another version, or of a trial that failed.
        NotFiniteError: the trial failed because its model gave NaN or infinite logits.
    """
    path = Path(where).expanduser()
    path = path / "result.json" if path.is_dir() else path
    result = read_json(path, "a result of evalkit")
    version = result.get("schema_version")
    if version != SCHEMA_VERSION:
        raise EvalkitError(
            f"{path} has schema version {version!r}, and this evalkit reads {SCHEMA_VERSION}; run the trial again "
            "with this version"
        )
    if result.get("status") == "failed":
        kind = NotFiniteError if result.get("error_kind") == NotFiniteError.__name__ else EvalkitError
        raise kind(f"{path} is of a trial that failed: {result.get('error')}")
    if result.get("status") != "finished":
        raise EvalkitError(f"{path} is of a trial that did not finish (status {result.get('status')!r})")
    for key in ("effective", "effectiveness", "warnings"):
        if key not in result:
            raise EvalkitError(f"{path} is no result of evalkit: it has no {key!r}")
    run_file = path.with_name("reranked.trec")
    if not run_file.exists():
        raise EvalkitError(f"there is no reranked.trec beside {path}; the whole folder of the trial is needed")
    queries, passages = _passages(path.with_name("passages.jsonl"))
    return Finished(str(where), result, read_run(run_file).run, queries, passages)


def read_json(path: Path, what: str) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        EvalkitError: the file is missing, unreadable, empty, or holds something else; `what` says what it should be.
    """
    try:
        text = path.read_text("utf-8", errors="surrogatepass")  # as it was written
    except FileNotFoundError:
        raise EvalkitError(f"there is no {path}; it should be {what}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise EvalkitError(f"cannot read {path} as {what}: {error}") from None
    if not text.strip():
        raise EvalkitError(f"{path} is empty; it should be {what}")
    try:
        value = json.loads(text, parse_constant=_refused)
    except (ValueError, RecursionError) as error:
        raise EvalkitError(f"{path} is not whole, or no JSON ({error}); it should be {what}") from None
    if not isinstance(value, dict):
        raise EvalkitError(f"{path} holds a {type(value).__name__}; it should be {what}")
    return value


def _refused(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")


def _passages(path: Path) -> tuple[dict[str, str], dict[str, dict[str, Passage]]]:
    queries, passages = {}, {}
    try:
        for line in filter(
            None, path.read_text("utf-8", errors="surrogatepass").split("\n")
        ):  # not splitlines: texts may hold U+2028
            entry = json.loads(line)
            queries[str(entry["query_id"])] = str(entry["query"])
            passages[str(entry["query_id"])] = {
                str(shown["doc_id"]): Passage(str(shown["doc_id"]), shown["grade"], str(shown["text"]))
                for shown in entry["passages"]
            }
    except FileNotFoundError:
        raise EvalkitError(f"there is no {path}; the whole folder of the trial is needed") from None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise EvalkitError(f"{path} is damaged ({type(error).__name__}: {error}); run the trial again") from None
    return queries, passages
