"""``python -m evalkit pick``: the setting that is best within a budget."""

import argparse
from dataclasses import asdict, replace
from pathlib import Path

from evalkit.boundary.errors import EvalkitError
from evalkit.boundary.text import user_path
from evalkit.cli import explore
from evalkit.cli.explore import Race
from evalkit.report import folder, terminal
from evalkit.results import picking
from evalkit.results.pick_schema import PREFERENCES, Budget
from evalkit.results.result import to_json


def run(parsed: argparse.Namespace) -> None:
    """Print the pick as tables, or as JSON, and write its folder if one is named.

    Raises:
        EvalkitError: an argument is out of its range, results cannot be read or compared, or nothing is within the
            budget.
    """
    budget = Budget(
        parsed.max_p50_ms, parsed.max_memory_mb, parsed.max_price, parsed.min_quality, parsed.prefer, parsed.within
    )
    output = user_path(parsed.output) if parsed.output else None
    if output:
        _check_output(output, parsed.overwrite)
    budget.check()
    places, notes = parsed.results, []
    if parsed.explore:
        if output is None:
            raise EvalkitError("--explore needs --output DIR, where its trials are written")
        explored = explore.explore(places, output / "trials", budget, Race(parsed.start, parsed.alpha), parsed.measure)
        places, notes = explored.places, explored.notes
    found = picking.pick(places, budget, parsed.measure, parsed.folds, parsed.seed)
    found = replace(found, notes=[*found.notes, *notes])
    if output:
        folder.write_pick(found, output)
    if parsed.json:
        terminal.show_lines([to_json(asdict(found)).rstrip("\n")])
    else:
        terminal.show_pick(found)
        if output:
            terminal.show_lines([f"pick in {output}"])


def _check_output(output: Path, overwrite: bool) -> None:
    for name in ("result.json", "comparison.json"):
        if (output / name).exists():
            raise EvalkitError(f"{output} holds a {name.removesuffix('.json')}; name another --output")
    if (output / "pick.json").exists() and not overwrite:
        raise EvalkitError(f"{output} holds a pick already; name another --output, or add --overwrite")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``pick`` to its parser."""
    parser.add_argument(
        "results", metavar="RESULT", nargs="+", help="folders of finished trials or of sweeps; with --explore: settings"
    )
    parser.add_argument("--max-p50-ms", metavar="X", type=float, help="of a query, first stage and reranking")
    parser.add_argument("--max-memory-mb", metavar="X", type=float, help="peak of the process or GPU that reranks, MiB")
    parser.add_argument(
        "--max-price", metavar="X", type=float, help="of 1,000 queries; for results with protocol.price_per_gpu_hour"
    )
    parser.add_argument("--min-quality", "--min-ndcg", metavar="X", type=float, help="mean of the measure")
    parser.add_argument(
        "--prefer",
        metavar="WHAT",
        default="quality",
        help=f"what is best within the limits: {', '.join(PREFERENCES)}; default: quality",
    )
    parser.add_argument(
        "--within",
        metavar="X",
        type=float,
        default=0.005,
        help="list cheaper settings that are so much worse at most; default: 0.005",
    )
    parser.add_argument(
        "--explore",
        action="store_true",
        help="first run the combinations of settings such as reranker=packaged,minilm_l6, on more and more queries, "
        "and drop those that cannot win",
    )
    parser.add_argument("--start", metavar="N", type=int, default=25, help="queries of the first round; default: 25")
    parser.add_argument(
        "--alpha", metavar="X", type=float, default=0.05, help="chance that the best one is dropped; default: 0.05"
    )
    parser.add_argument("--measure", metavar="NAME", help="default: the first one that the results have")
    parser.add_argument("--folds", metavar="N", type=int, default=10, help="of the cross-validation; default: 10")
    parser.add_argument("--seed", metavar="N", type=int, default=0, help="of the folds; default: 0")
    parser.add_argument("--output", metavar="DIR", help="write report.md, a picture and pick.json too")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing pick")
    parser.add_argument("--json", action="store_true", help="print the pick as JSON")
