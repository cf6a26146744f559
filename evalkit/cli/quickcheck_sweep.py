"""The end of a sweep of quick checks: the rerankers side by side, in one table for each query."""

import json
from collections.abc import Container, Mapping
from dataclasses import asdict
from pathlib import Path

from evalkit.boundary.errors import EvalkitError
from evalkit.boundary.progress import say
from evalkit.boundary.text import read_text
from evalkit.boundary.typed import typed_json
from evalkit.cli import run_folder
from evalkit.report import terminal
from evalkit.rerankers import side_by_side
from evalkit.rerankers.quickcheck import QuickCheck

ONE, ALL = "quickcheck.json", "side_by_side.json"
"""The file of one quick check, in its folder, and that of the sweep."""


def report(folder: Path, trials: Mapping[int, str], names: Mapping[int, str], failures: Mapping[int, str]) -> bool:
    """Print the rerankers side by side, write side_by_side.json, and return whether all quick checks passed.

    Args:
        folder: folder of the sweep.
        trials: number of a trial -> its folder, for those that began.
        names: number of a trial -> the settings in which it differs from the others.
        failures: number of a trial -> its error, for those of this process that failed.

    Raises:
        EvalkitError: the folder cannot be written.
    """
    found: dict[str, QuickCheck] = {}
    passed = True
    (folder / ALL).unlink(missing_ok=True)  # of an earlier sweep; this one may have nothing to compare
    for number, name in trials.items():
        passed &= not (folder / name / "result.json").exists()  # it says why a run failed
        try:
            check = typed_json(QuickCheck, read_text(folder / name / ONE, "a quick check of evalkit"))
        except (EvalkitError, ValueError) as error:
            say(f"no result of {names.get(number) or name}: {failures.get(number) or error}")
            passed = False
            continue
        found[_label(names.get(number) or name, found)] = check
    try:
        compared = side_by_side.compare(found) if len(found) > 1 else None
    except EvalkitError as why:
        say(str(why))
        compared = None
    if compared is None:
        for label, check in found.items():
            terminal.show_quickcheck(check, label)
        return passed
    run_folder.write(folder / ALL, json.dumps(asdict(compared), indent=1, ensure_ascii=False) + "\n")
    terminal.show_side_by_side(compared)
    terminal.show_folder(str(folder))
    return passed


def _label(name: str, taken: Container[str]) -> str:
    """Return a name that no other trial has: a sweep may repeat a setting."""
    number, label = 1, name
    while label in taken:
        number += 1
        label = f"{name} ({number})"
    return label
