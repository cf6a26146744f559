"""``python -m evalkit judges``: how far judges agree with a human, and whether the verdict is the same under each."""

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from evalkit.boundary.errors import EvalkitError
from evalkit.boundary.text import user_path
from evalkit.evaluation.judged_by import Judge
from evalkit.report import folder, terminal
from evalkit.results import judging
from evalkit.results.result import to_json
from evalkit.slices import judgments, labels
from evalkit.slices.settings import check_level


def run(parsed: argparse.Namespace) -> None:
    """Print the report as tables, or as JSON, and write its folder if one is named.

    Raises:
        EvalkitError: a file cannot be read, or has nothing in common with the human's.
    """
    output = user_path(parsed.output) if parsed.output else None
    if output:
        _check_output(output, parsed.overwrite)
    if parsed.relevance_level is not None:
        check_level(parsed.relevance_level)
    human, judges = _human(user_path(parsed.human), parsed.human_judge), _judges(parsed.labels)
    judges = [one for one in judges if one.name != human.name or one.grades != human.grades]
    found = judging.report(human, judges, parsed.results, parsed.relevance_level, parsed.measure, parsed.seed)
    if output:
        folder.write_judges(found, output)
    if parsed.json:
        terminal.show_lines([to_json(asdict(found)).rstrip("\n")])
    else:
        terminal.show_judges(found)
        if output:
            terminal.show_lines([f"judges in {output}"])


def _human(path: Path, name: str | None) -> Judge:
    if not labels.has_judges(path):
        return Judge(path.name, "human", judgments.read(path).grades)
    found = labels.read(path)
    people = [judge for judge in found.values() if judge.kind == "human"]
    if name is None and len(people) == 1:
        return people[0]
    have = ", ".join(sorted(found))
    if name is None:
        raise EvalkitError(f"{path} has {len(people)} judges of kind human among {have}; --human-judge NAME takes one")
    if name not in found:
        raise EvalkitError(f"--human-judge {name}: {path} has no labels of it; it has those of {have}")
    return found[name]


def _judges(files: Sequence[str]) -> list[Judge]:
    found = []
    for path in map(user_path, files):
        if labels.has_judges(path):
            found += list(labels.read(path).values())
        else:
            found.append(Judge(path.stem, "llm", judgments.read(path).grades))
    return found


def _check_output(output: Path, overwrite: bool) -> None:
    for name in ("result.json", "comparison.json", "pick.json"):
        if (output / name).exists():
            raise EvalkitError(f"{output} holds a {name.removesuffix('.json')}; name another --output")
    if (output / "judges.json").exists() and not overwrite:
        raise EvalkitError(f"{output} holds a report on judges already; name another --output, or add --overwrite")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``judges`` to its parser."""
    parser.add_argument("human", metavar="HUMAN", help="qrels by a human, or labels with one judge of kind human")
    parser.add_argument(
        "labels",
        metavar="LABELS",
        nargs="+",
        help="labels with a column judge, of one or several; or qrels of one judge, named as its file",
    )
    parser.add_argument("--results", metavar="RESULT", nargs="+", default=[], help="finished results on one slice")
    parser.add_argument("--human-judge", metavar="NAME", help="the judge of HUMAN that the others are compared with")
    parser.add_argument(
        "--relevance-level", metavar="N", type=int, help="lowest relevant grade; default: that of the results, else 1"
    )
    parser.add_argument("--measure", metavar="NAME", help="default: the first one that the results have")
    parser.add_argument("--seed", metavar="N", type=int, default=0, help="of the bootstrap; default: 0")
    parser.add_argument("--output", metavar="DIR", help="write report.md, pictures and judges.json too")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing report on judges")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
