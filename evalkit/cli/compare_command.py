"""``python -m evalkit compare``: finished results on one slice side by side."""

import argparse
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from evalkit.boundary.errors import EvalkitError
from evalkit.boundary.text import user_path

MARGIN = 0.002
"""The largest difference that counts as equivalent, unless another is given."""


def run(parsed: argparse.Namespace) -> None:
    """Compare results, and write and print the report.

    Raises:
        EvalkitError: an argument makes no sense, the results cannot be read or compared, or the report cannot be
            written.
    """
    named = [user_path(name).resolve() for name in parsed.results]
    base = user_path(parsed.baseline or parsed.results[0]).resolve()
    if base not in named:
        raise EvalkitError(f"--baseline {parsed.baseline} is not one of the compared results")
    if not 0 < parsed.margin < 1:
        raise EvalkitError(f"--margin {parsed.margin:g}: give a difference above 0 and below 1, such as 0.002")
    output = user_path(parsed.output) if parsed.output else None
    if output:
        check_output(output, parsed.overwrite)
    compare(parsed.results, named.index(base), parsed.margin, output, parsed.blended)


def check_output(output: Path, overwrite: bool) -> None:
    """Check that a comparison can be written to a folder.

    Args:
        output: the folder.
        overwrite: whether a comparison in it may be replaced.

    Raises:
        EvalkitError: it holds the result of a run, or a comparison that may not be replaced.
    """
    if (output / "result.json").exists():
        raise EvalkitError(f"{output} holds the result of a run, whose report would be replaced; name another --output")
    if (output / "comparison.json").exists() and not overwrite:
        raise EvalkitError(f"{output} holds a comparison already; name another --output, or add --overwrite")


def compare(results: Sequence[str], baseline: int, margin: float, output: Path | None, blended: bool = False) -> None:
    """Compare results, and write and print the report.

    Args:
        results: folders of finished results, two or more.
        baseline: position of the one that the others are compared with.
        margin: largest difference that counts as equivalent.
        output: folder of the report; None for a new one below reports/runs.
        blended: whether the blend of each result is a system of its own.

    Raises:
        EvalkitError: as for `run`.
    """
    from evalkit.cli import run_folder
    from evalkit.report import folder, terminal
    from evalkit.results import compare, reading

    compared = compare.side_by_side([reading.read(name) for name in results], baseline, margin, blended=blended)
    if output is None:
        output = run_folder.new_folder(Path("reports/runs") / f"{datetime.now():%Y%m%d-%H%M%S}-compare")
    folder.write_comparison(compared, output)
    terminal.show_comparison(compared, str(output))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``compare`` to its parser."""
    parser.add_argument("results", metavar="RESULT", nargs="+", help="folders of finished trials, two or more")
    parser.add_argument(
        "--baseline", metavar="RESULT", help="the one that the others are compared with; default: the first"
    )
    parser.add_argument(
        "--margin",
        metavar="X",
        type=float,
        default=MARGIN,
        help="largest difference that counts as equivalent; default: 0.002",
    )
    parser.add_argument(
        "--blended",
        action="store_true",
        help="compare each reranking's blend with its first stage too, as a system of its own",
    )
    parser.add_argument("--output", metavar="DIR", help="default: reports/runs/DATE-TIME-compare")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing comparison")
