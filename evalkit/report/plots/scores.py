"""Pictures of what a reranker's logits mean: by grade, and as probabilities."""

from typing import TYPE_CHECKING, Any

from evalkit.evaluation.score_analysis import GradeRow, ScoreAnalysis
from evalkit.report.content import numbers, trial
from evalkit.report.plots import canvas
from evalkit.report.plots.titles import title
from evalkit.results import summary
from evalkit.results.schema import Result

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@canvas.styled
def scores(result: Result) -> "Figure | None":
    """Draw a histogram of logits for each grade, best grade on top, with medians and the threshold of the best F1.

    None where the result has no analysis of scores.
    """
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    facts = _scores(result)
    if not facts:
        return None
    edges, counts = facts.histogram.edges, facts.histogram.counts
    grades = sorted(
        (g for g in facts.grades if sum(counts.get(_key(g), ()))),
        key=lambda g: (g.grade is not None, g.grade or 0),
        reverse=True,
    )
    if not grades:
        return None
    level = result.effectiveness.relevance_level
    body = max(0.85 * len(grades) + 0.6, 1.8)
    figure = canvas.sheet(body, canvas.NARROW)
    panels = figure.subplots(len(grades), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    used = set()
    for axes, grade in zip(panels, grades, strict=True):
        number = counts[_key(grade)]
        kind = "unjudged" if grade.grade is None else "relevant" if grade.grade >= level else "not relevant"
        used.add(kind)
        axes.stairs([n / sum(number) for n in number], edges, fill=True, **_KINDS[kind])
        axes.axvline(grade.p50, color="white", linewidth=3)  # so that it stands out from dark steps
        axes.axvline(grade.p50, color=canvas.BLACK, linewidth=1.5)
        if best := facts.best_f1:
            axes.axvline(best.logit, color=canvas.BLACK, linewidth=1.2, linestyle="--")
        name = kind if grade.grade is None else f"grade {grade.grade}"
        pairs = numbers.counted(grade.pairs, "pair")
        axes.set_title(f"{name}: {pairs}, median {grade.p50:z.2f}", loc="left", fontsize=canvas.SMALL)
        axes.yaxis.set_major_locator(MaxNLocator(2))
        axes.yaxis.set_major_formatter(PercentFormatter(1, 0))
        axes.tick_params(axis="y", labelsize=canvas.SMALL)
    panels[0].set_ylim(0, None)
    full = [at for at, column in enumerate(zip(*counts.values(), strict=True)) if any(column)]
    panels[0].set_xlim(*canvas.room([edges[full[0]], edges[full[-1] + 1]], 0.1, 0.01))
    panels[-1].set_xlabel("logit")
    entries: list[tuple[Any, str]] = [
        (Patch(**look), f"relevant: grade {level} and above" if kind == "relevant" else kind)
        for kind, look in _KINDS.items()
        if kind in used
    ]
    entries.append((Line2D([], [], color=canvas.BLACK, linewidth=1.5), "median"))
    if best:
        text = f"best F1 {best.f1:.2f} at logit {best.logit:.2f}, sigmoid {best.sigmoid:.2f}"
        more = f"precision {best.precision:.2f}, recall {best.recall:.2f}"
        entries.append((Line2D([], [], color=canvas.BLACK, linestyle="--"), f"{text} ({more})"))
    canvas.legend(figure, entries, title("scores", result), subtitle=trial.heading(result))
    figure.supylabel("share of pairs", y=(body / 2 + 0.1) / figure.get_figheight(), fontsize=11)
    return figure


@canvas.styled
def reliability(result: Result) -> "Figure | None":
    """Draw the share of relevant pairs over the sigmoid of the logit, in bins, and how many pairs each bin has.

    On the diagonal a sigmoid of 0.8 would mean that 80 % are relevant. None with fewer than two bins that hold pairs.
    """
    from matplotlib.lines import Line2D
    from matplotlib.ticker import LogLocator, NullFormatter

    facts = _scores(result)
    bins = [b for b in (facts.calibration if facts else ()) if b.pairs]
    if not facts or len(bins) < 2:
        return None
    level = result.effectiveness.relevance_level
    figure = canvas.sheet(3.9, canvas.NARROW)
    axes, below = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    axes.plot([0, 1], [0, 1], color=canvas.BLACK, linestyle="--", linewidth=1.2)
    axes.plot(
        [b.mean_sigmoid for b in bins],
        [b.relevant_share for b in bins],
        color=canvas.DARK,
        marker="o",
        markersize=5,
        linewidth=1.8,
    )
    axes.set_ylim(-0.02, 1.02)
    axes.set_ylabel(f"share with grade \u2265 {level}")
    axes.grid()
    below.bar(
        [b.low for b in bins],
        [b.pairs for b in bins],
        [b.high - b.low for b in bins],
        align="edge",
        color=canvas.LIGHT,
        edgecolor="white",
    )
    below.set_yscale("log")  # most pairs lie at the ends
    below.set_ylim(0.7, None)
    below.yaxis.set_major_locator(LogLocator(10, numticks=9))
    below.yaxis.set_minor_formatter(NullFormatter())
    below.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    below.set_ylabel("pairs")
    below.set_xlabel("sigmoid of the logit")
    below.set_xlim(-0.02, 1.02)
    error = facts.expected_calibration_error
    text = "" if error is None else f" (expected calibration error {error:.3f})"
    canvas.legend(
        figure,
        [
            (Line2D([], [], color=canvas.DARK, marker="o", markersize=5), f"{summary.label_second(result)}{text}"),
            (Line2D([], [], color=canvas.BLACK, linestyle="--"), "a sigmoid that is a probability"),
        ],
        title("reliability", result),
        subtitle=trial.heading(result),
    )
    return figure


def _scores(result: Result) -> ScoreAnalysis | None:
    return result.analysis.scores


def _key(grade: GradeRow) -> str:
    return "unjudged" if grade.grade is None else str(grade.grade)


_KINDS: dict[str, dict[str, Any]] = {
    "relevant": {"facecolor": canvas.DARK, "edgecolor": canvas.DARK},
    "not relevant": {"facecolor": canvas.LIGHT, "edgecolor": canvas.LIGHT},
    "unjudged": {"facecolor": "white", "edgecolor": "#555555", "linewidth": 0.8, "hatch": "////"},
}
