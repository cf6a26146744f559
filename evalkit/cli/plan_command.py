"""``python -m evalkit plan``: how many queries and judgments it takes to see a gain."""

import argparse
from dataclasses import asdict

from evalkit.report import terminal
from evalkit.results import planning
from evalkit.results.plan_schema import Target
from evalkit.results.result import to_json
from evalkit.slices.known_sizes import QUERIES


def run(parsed: argparse.Namespace) -> None:
    """Print the plan as tables, or as JSON.

    Raises:
        EvalkitError: an argument is out of its range, or the results cannot be read, compared or planned from.
    """
    target = Target(parsed.gain, parsed.power, parsed.alpha, parsed.comparisons)
    found = planning.plan(parsed.results, target, QUERIES, parsed.measure)
    if parsed.json:
        terminal.show_lines([to_json(asdict(found)).rstrip("\n")])
    else:
        terminal.show_plan(found)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``plan`` to its parser."""
    parser.add_argument(
        "results",
        metavar="RESULT",
        nargs="+",
        help="a finished result: the reranked ranking against its first stage; or two: the second against the first",
    )
    parser.add_argument(
        "--gain", metavar="X", type=float, required=True, help="the mean difference that is to be seen, such as 0.02"
    )
    parser.add_argument("--power", metavar="X", type=float, default=0.8, help="chance of seeing it; default: 0.8")
    parser.add_argument("--alpha", metavar="X", type=float, default=0.05, help="level of the test; default: 0.05")
    parser.add_argument(
        "--comparisons",
        metavar="N",
        type=int,
        default=1,
        help="how many tests are corrected together, by the Bonferroni bound on Holm; default: 1",
    )
    parser.add_argument("--measure", metavar="NAME", help="default: the first one that the results have")
    parser.add_argument("--json", action="store_true", help="print the plan as JSON")
