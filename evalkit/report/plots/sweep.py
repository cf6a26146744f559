"""A picture of a sweep: each trial before and after reranking, named for what varies from trial to trial."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from evalkit.report.plots import canvas
from evalkit.results import summary
from evalkit.results.schema import Result

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def varying(results: Sequence[Result]) -> str:
    """Return what varies among finished trials, as the name of their picture: languages, precisions, max_length, ..."""
    seen: dict[str, set[str]] = {}
    for result in results:
        effective = result.effective
        slice_, reranker = effective.slice, effective.reranker
        for what, value in (
            ("languages", slice_["lang"]),
            ("slices", slice_["name"].removesuffix(f"/{slice_['lang']}")),
            ("first_stages", effective.first_stage["name"]),
            ("rerankers", reranker["name"]),
            ("runtimes", reranker.get("runtime")),
            ("precisions", reranker.get("precision")),
            ("depths", effective.depth),
        ):
            if value is not None:  # as the precision of no reranker
                seen.setdefault(what, set()).add(str(value))
    several = [what for what, values in seen.items() if len(values) > 1]
    if "slices" in several and "languages" in several:
        several.remove("languages")  # collections in their own languages
    if not several:  # one of one name, set to be another: its settings, such as max_length
        several = [re.sub(r"\W+", "_", key) for key in summary.differing_settings(results)]
    return "_and_".join(several[:2]) or "trials"


@canvas.styled
def sweep(results: Sequence[Result]) -> "Figure | None":
    """Draw the first measure that all have, before and after reranking, a row for each trial, largest gain on top.

    A filled marker stands for a 95 % interval that leaves out 0. Trials that failed are left out. None where fewer
    than two finished, or no measure is common to them.
    """
    from matplotlib.lines import Line2D

    done = [result for result in results if result.status == "finished"]
    common = [n for n in (done[0].effectiveness.delta if done else ()) if all(_has(r, n) for r in done)]
    if len(done) < 2 or not common:
        return None
    name = common[0]
    done.sort(key=lambda result: -result.effectiveness.delta[name])
    placed = canvas.rows(_labels(done), 1.8)
    figure = canvas.sheet(placed.height + 0.6)
    axes = figure.subplots()
    values = []
    for result, y in zip(done, placed.centres, strict=True):
        effect = result.effectiveness
        before, after, delta = (
            effect.first_stage.mean[name],
            effect.reranked.mean[name],
            effect.delta[name],
        )
        look = _GAIN if delta >= 0 else _LOSS
        clear = effect.verdict[name] != "made no clear difference"
        axes.plot([before, after], [y, y], color=look["color"], linewidth=2.5, zorder=1)
        axes.plot([before], [y], **_BEFORE)
        axes.plot([after], [y], **look | {"markerfacecolor": look["color"] if clear else "white"})
        canvas.write_right_of(axes, y, f"{before:.3f} \u2192 {after:.3f} ({delta:+z.3f})")
        values += [before, after]
    canvas.label_rows(axes, placed)
    axes.set_xlim(*canvas.room(values, 0.1))
    canvas.few_ticks(axes.xaxis)
    axes.set_xlabel(f"mean {canvas.readable(name)}")
    systems, slices = ({str(of(one)) for one in done} for of in (summary.label, _slice_name))
    canvas.legend(
        figure,
        [
            (Line2D([], [], **_BEFORE), "first stage"),
            (Line2D([], [], **_GAIN), "reranked: better"),
            (Line2D([], [], **_LOSS), "reranked: worse"),
            (Line2D([], [], **_GAIN | {"markerfacecolor": "white"}), "open: the 95 % interval of the change holds 0"),
        ],
        "; ".join(of.pop() for of in (slices, systems) if len(of) == 1),
    )
    return figure


def _slice_name(result: Result) -> str:
    return str(result.effective.slice["name"])


def _has(result: Result, name: str) -> bool:
    return name in result.effectiveness.delta


def _labels(results: Sequence[Result]) -> list[str]:
    """Return the name of each trial's slice, of its system where all are of one slice, or both."""
    slices = [str(result.effective.slice["name"]) for result in results]
    systems = summary.labels(results)
    if len(set(slices)) == len(slices):
        return slices
    return systems if len(set(slices)) == 1 else [f"{a}: {b}" for a, b in zip(slices, systems, strict=True)]


_BEFORE: dict[str, Any] = {
    "marker": "|",
    "markersize": 12,
    "markeredgewidth": 2,
    "color": canvas.BLACK,
    "linestyle": "none",
}
_GAIN: dict[str, Any] = {"marker": canvas.MORE, "markersize": 9, "color": canvas.BLUE, "linestyle": "none"}
_LOSS: dict[str, Any] = {"marker": canvas.LESS, "markersize": 9, "color": canvas.ORANGE, "linestyle": "none"}
