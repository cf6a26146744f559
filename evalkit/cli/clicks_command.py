"""``python -m evalkit clicks``: labels estimated from a log of clicks, corrected for position."""

import argparse

from evalkit.boundary.errors import EvalkitError
from evalkit.boundary.text import user_path
from evalkit.evaluation.judged_by import Judge
from evalkit.report import terminal
from evalkit.report.content.numbers import counted
from evalkit.slices import clicks, labels
from evalkit.slices.clicks import ClickModel, Estimated


def run(parsed: argparse.Namespace) -> None:
    """Estimate labels, write them, and print what they rest on and what biases them.

    Raises:
        EvalkitError: an argument is out of its range, the log is malformed, or the file exists or cannot be written.
    """
    try:
        thresholds = tuple(float(value) for value in parsed.thresholds.split(","))
    except ValueError:
        raise EvalkitError(f"--thresholds {parsed.thresholds}: give numbers with commas, such as 0.1,0.3") from None
    model, log, output = (
        ClickModel(parsed.eta, parsed.min_examinations, thresholds),
        *map(user_path, (parsed.log, parsed.output)),
    )
    model.check()
    if output.suffix != ".tsv":
        raise EvalkitError(f"--output {parsed.output}: labels are written as tab-separated columns; name a .tsv file")
    if output.exists() and not parsed.overwrite:
        raise EvalkitError(f"{output} exists already; name another --output, or add --overwrite")
    found = clicks.estimate(log, model)
    labels.write(output, [Judge(parsed.judge, "clicks", found.grades, model.source)])
    terminal.show_lines([*_lines(found, model), f"labels of judge {parsed.judge} ({model.source}) in {output}"])


def _lines(found: Estimated, model: ClickModel) -> list[str]:
    graded = sum(found.by_grade.values())
    counts = ", ".join(f"grade {grade} {pairs:,}" for grade, pairs in found.by_grade.items())
    lines = [
        f"{found.impressions:,} impressions with {found.clicks:,} clicks, of {found.pairs:,} pairs of a query and a "
        f"passage",
        f"{graded:,} pairs of {len(found.grades):,} queries have {model.min_examinations:g} expected examinations or "
        f"more and are graded: {counts}; the other {found.pairs - graded:,} stay unjudged",
        f"clicks over examinations, a rank r being examined with probability r^-{model.eta:g}; by the clickthrough "
        f"rate, which position biases, {found.changed:,} grades would differ",
    ]
    if found.above_one:
        lines.append(
            f"{counted(found.above_one, 'pair')} with more clicks than expected examinations: by chance, or because "
            f"lower ranks are examined more often than r^-{model.eta:g}, which a smaller --eta states"
        )
    return [
        *lines,
        "bias that is left: eta is an assumption; users trust high ranks (trust bias) and click what its title or "
        "picture makes attractive (presentation); what the logged ranking did not show has no label, and a satisfied "
        "query without a click has none either",
    ]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``clicks`` to its parser."""
    parser.add_argument(
        "log",
        metavar="LOG",
        help=".csv, .tsv or .jsonl with query_id, doc_id, rank and clicked, or impressions and clicks",
    )
    parser.add_argument("--output", metavar="FILE", required=True, help="labels, .tsv, for slice.qrels=FILE")
    parser.add_argument(
        "--eta", metavar="X", type=float, default=1.0, help="rank r is examined with r^-X; 0: always; default: 1"
    )
    parser.add_argument(
        "--min-examinations",
        metavar="X",
        type=float,
        default=20.0,
        help="fewer expected examinations leave a pair unjudged; default: 20",
    )
    parser.add_argument(
        "--thresholds",
        metavar="X,...",
        default="0.1,0.3",
        help="the grade is how many of them the estimate reaches; default: 0.1,0.3",
    )
    parser.add_argument("--judge", metavar="NAME", default="pbm", help="name of the labels' judge; default: pbm")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing file")
