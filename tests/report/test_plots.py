"""The pictures: what is written in them, when there are none, and that they are the same files each time."""

import copy
import json
import math
import struct
import sys
import warnings
import weakref
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit.report import plots as drawing
from evalkit.report.content import intervals
from evalkit.report.plots import canvas
from evalkit.results.comparison_schema import ComparedSystem, Comparison, QueryTime
from tests.helpers import comparisons
from tests.helpers.comparisons import paired
from tests.helpers.results import complete

LONG = "an-organisation-with-a-name/multilingual-reranker-large-v2.5_instruct at bf16 + hybrid_of_bm25_and_dense {}"
MEASURES = ("nDCG@10", "RR@10")


class Plots:
    """The pictures, of results as a result.json has them.

    What they return is untyped: matplotlib's getters are typed as all that they could return.
    """

    def __getattr__(self, name: str) -> Any:
        draw = getattr(drawing, name)
        if name not in ("before_after", "deltas", "depths", "scores", "reliability", "latency", "latency_grid", "load"):
            return draw
        return lambda found: draw(complete(found))

    def sweep(self, found: Any) -> Any:
        return drawing.sweep([complete(one) for one in found])

    def varying(self, found: Any) -> str:
        return drawing.varying([complete(one) for one in found])


plots = Plots()


def result(
    changes: Any = (0.25, 0.5, 0.0, -0.125),
    first: Any = "bm25",
    second: Any = "bge",
    name: Any = "tiny",
    interval: Any = (0.05, 0.26),
) -> Any:
    """A finished result: all queries begin at 0.5 and change by the given differences, the same by both measures."""
    before = {f"q{n}": 0.5 for n in range(len(changes))}
    after = {f"q{n}": 0.5 + change for n, change in enumerate(changes)}
    mean = sum(changes) / len(changes)

    def each(value: Any) -> dict[str, Any]:
        return dict.fromkeys(MEASURES, value)

    bounds: Any = interval if len(changes) > 1 else (None, None)
    low, high = bounds
    verdict = "made no clear difference" if None in (low, high) or low <= 0 <= high else "helped" if low > 0 else "hurt"
    return {
        "status": "finished",
        "name": name,
        "effective": {
            "slice": {"name": name, "docs": 1234},
            "depth": 20,
            "first_stage": {"name": first},
            "reranker": {"name": second, "precision": "fp32"},
        },
        "effectiveness": {
            "queries": len(changes),
            "relevance_level": 2,
            "first_stage": {"mean": each(0.5)},
            "reranked": {"mean": each(0.5 + mean)},
            "ceiling": {"mean": each(1.0)},
            "delta": each(mean),
            "delta_ci95": each([low, high]),
            "verdict": each(verdict),
            "wins": each(sum(c > 0 for c in changes)),
            "ties": each(sum(c == 0 for c in changes)),
            "losses": each(sum(c < 0 for c in changes)),
            "per_query": {"first_stage": each(before), "reranked": each(after)},
        },
    }


def analysed(**scores: Any) -> Any:
    found = result()
    found["analysis"] = {
        "depths": [{"depth": d, "pairs": d * 4, "mean": dict.fromkeys(MEASURES, 0.5 + d / 100)} for d in (5, 10, 20)],
        "scores": {
            "grades": [
                {"grade": 0, "pairs": 6, "p5": -3, "p25": -2, "p50": -1.5, "p75": 0, "p95": 1},
                {"grade": 2, "pairs": 1, "p5": 2, "p25": 2, "p50": 2.0, "p75": 2, "p95": 2},
                {"grade": None, "pairs": 1200, "p5": -3, "p25": -2, "p50": -2.25, "p75": 0, "p95": 1},
            ],
            "histogram": {
                "edges": [-4.0, -2.0, 0.0, 2.0, 4.0],
                "counts": {"0": [2, 2, 2, 0], "2": [0, 0, 0, 1], "unjudged": [600, 300, 300, 0]},
            },
            "thresholds": [],
            "best_f1": {"logit": 1.75, "sigmoid": 0.852, "precision": 1.0, "recall": 0.5, "f1": 0.67},
            "rules": [],
            "calibration": [
                {"low": 0.0, "high": 0.5, "pairs": 5, "mean_sigmoid": 0.2, "relevant_share": 0.0},
                {"low": 0.75, "high": 1.0, "pairs": 2, "mean_sigmoid": 0.9, "relevant_share": 0.5},
            ],
            "expected_calibration_error": 0.257,
        }
        | scores,
    }
    return found


def system(
    label: Any, quality: Any = 0.7, p50_ms: Any = 100.0, peak_mb: Any = 1000.0, device: Any = "a processor", **more: Any
) -> ComparedSystem:
    figures = {"pairs_per_s": 9.0, "p50_ms": p50_ms, "p99_ms": p50_ms, "peak_mb": peak_mb, "weights_mb": None}
    found = comparisons.cost(**figures, device=device)
    return comparisons.system(label, **{"mean": {"nDCG@10": quality}, "cost": found} | more)


def uncosted(label: Any) -> ComparedSystem:
    return replace(system(label), cost=None)


def comparison(changes: Any, baseline: Any = "the baseline", holm_p: Any = 0.01, half: Any = 0.02) -> Comparison:
    """Changes against the baseline by label, each with an interval of `half` to either side (None for no interval)."""
    tests = {
        label: {"nDCG@10": paired(mean, low=low, high=high, bca_low=low, bca_high=high, holm_p=holm_p)}
        for label, mean in changes.items()
        for low, high in [(None, None) if half is None else (mean - half, mean + half)]
    }
    return comparisons.comparison([system(label) for label in (baseline, *changes)], tests)


def measured(samples_ms: Any, cells: Any = None, ends: Any = (9.0, None)) -> Any:
    """A result with latencies, each percentile the largest of them, and a grid of (depth, length, samples)."""
    found = result()
    latency = {"samples_ms": samples_ms, "pairs_per_query": 100.0}
    for name in ("p50", "p90", "p95", "p99"):
        latency |= {f"{name}_ms": max(samples_ms), f"{name}_ci95_ms": list(ends)}
    grid = cells and {
        "cells": [
            {"depth": depth, "length": length, "latency": {"samples_ms": times, "p50_ms": times[0]}}
            for depth, length, times in cells
        ]
    }
    return found | {"cost": {"latency": latency, "latency_grid": grid}}


def loaded(*levels: Any) -> Any:
    """A result with a load of (clients or None, rate or None, queries a second, p50, p99)."""
    made = [
        {"kind": "open" if clients is None else "closed", "clients": clients, "rate_per_s": rate, "answered": 200,
         "seconds": 10.0, "queries_per_s": per_s, "p50_ms": p50, "p90_ms": p99, "p99_ms": p99}
        for clients, rate, per_s, p50, p99 in levels
    ]  # fmt: skip
    return result() | {"cost": {"load": {"at_once": True, "queries": 9, "pairs_per_query": 50.0, "levels": made}}}


def compared(*systems: ComparedSystem) -> Comparison:
    changes = {s.label: -0.001 * n for n, s in enumerate(systems) if n}
    return replace(comparison(changes, baseline=systems[0].label), systems=systems)


GRID = [(d, n, [d * n / 500 + t for t in (0.0, 0.5, 1.0)]) for d in (10, 50, 100) for n in (64, 128, 256, 512)]
LOADS = [
    (1, None, 9.8, 100.0, 120.0), (4, None, 38.0, 103.0, 140.0), (16, None, 80.0, 190.0, 400.0),
    (64, None, 82.0, 780.0, 1400.0), (None, 20.0, 20.0, 100.0, 130.0), (None, 70.0, 70.0, 140.0, 300.0),
    (None, 100.0, 81.0, 2000.0, 3800.0),
]  # fmt: skip

PICTURES = {
    "before_after": lambda: plots.before_after(result()),
    "deltas": lambda: plots.deltas(result()),
    "depths": lambda: plots.depths(analysed()),
    "scores": lambda: plots.scores(analysed()),
    "reliability": lambda: plots.reliability(analysed()),
    "tradeoff": lambda: plots.tradeoff([system("a"), system("b", 0.8, 900.0), system("c", 0.6, 950.0)], "nDCG@10"),
    "latency": lambda: plots.latency(measured([10.0, 10.5, 11.0, 14.0])),
    "latency_grid": lambda: plots.latency_grid(measured([10.0], GRID)),
    "load": lambda: plots.load(loaded(*LOADS)),
    "costs": lambda: plots.costs(compared(system("a"), system("b", p50_ms=9.5, peak_mb=2310.4)), "nDCG@10"),
    "forest": lambda: plots.forest(comparison({"a": 0.1, "b": -0.2}), "nDCG@10"),
    "sweep": lambda: plots.sweep([result(name="dev/en"), result((-0.25, -0.5), name="dev/de")]),
}

EXTREMES = {
    "clients of a model that is saturated by one": lambda: plots.load(
        loaded(*[(n, None, 2.2, 400.0 * n, 450.0 * n) for n in (1, 4, 16)])
    ),
    "rates that are long numbers": lambda: plots.load(
        loaded((None, 0.125, 0.125, 9e3, 9e4), (None, 999.875, 999.875, 1e4, 1e6))
    ),
    "one query": lambda: plots.before_after(result((0.25,))),
    "no change at all": lambda: plots.before_after(result((0.0, 0.0), interval=(0.0, 0.0))),
    "no change of any query": lambda: plots.deltas(result((0.0,) * 5)),
    "losses only": lambda: plots.deltas(result((-0.5, -0.25))),
    "seven thousand queries": lambda: plots.deltas(result([math.sin(n) / 2 for n in range(7000)])),
    "long names": lambda: plots.before_after(result(first=LONG, second=LONG, name=LONG)),
    "names without a place to break": lambda: plots.before_after(result(first="W" * 300, second="i" * 300)),
    "equal depths": lambda: plots.depths(equal_depths()),
    "one logit": lambda: plots.scores(analysed(histogram={"edges": [2.0, 2.0], "counts": {"2": [1]}})),
    "no threshold": lambda: plots.scores(analysed(best_f1=None)),
    "no calibration error": lambda: plots.reliability(analysed(expected_calibration_error=None)),
    "twelve long names in a trade-off": lambda: plots.tradeoff(
        [system(LONG.format(n), n / 20, 2.0**n, device=f"device {n}") for n in range(12)], "nDCG@10"
    ),
    "forty systems in one place": lambda: plots.tradeoff([system(str(n)) for n in range(40)], "nDCG@10"),
    "a latency of nothing": lambda: plots.tradeoff([system("a", p50_ms=0.0), system("b", p50_ms=0.0)], "nDCG@10"),
    "twelve systems' costs": lambda: plots.costs(compared(*(system(str(n)) for n in range(12))), "nDCG@10"),
    "latencies that are all alike": lambda: plots.latency(measured([10.0] * 3, ends=(None, None))),
    "one latency far from the others": lambda: plots.latency(measured([0.01, 0.02, 900.0])),
    "a grid timed once, at one depth": lambda: plots.latency_grid(
        measured([1.0], [(10, n, [20000.0 * n]) for n in range(1, 9)])
    ),
    "costs of nothing and of much, with long names": lambda: plots.costs(
        compared(
            system(LONG.format(1), peak_mb=0.0, p50_ms=0.0),
            system(LONG.format(2), peak_mb=1e6, p50_ms=123456.0),
            system("c", peak_mb=None, p50_ms=None, device="another"),
        ),
        "nDCG@10",
    ),
    "twelve long names in a forest": lambda: plots.forest(
        comparison({LONG.format(n): -n / 50 for n in range(12)}, LONG), "nDCG@10"
    ),
    "one system, no interval, no p": lambda: plots.forest(comparison({"a": 0.0}, holm_p=None, half=None), "nDCG@10"),
    "forty slices": lambda: plots.sweep([result((-n / 99, 0.0), name=LONG.format(n)) for n in range(40)]),
    "equal slices": lambda: plots.sweep([result((0.0, 0.0), name="a")] * 2),
}


def equal_depths() -> Any:
    found = analysed()
    for depth, point in zip((1, 2, 3), found["analysis"]["depths"], strict=True):
        point |= {"depth": depth, "mean": dict.fromkeys(MEASURES, 0.5)}
    found["effectiveness"]["ceiling"]["mean"] = dict.fromkeys(MEASURES, 0.5)
    return found


@canvas.styled
def texts(figure: Any) -> list[str]:
    """All that is written in a picture, its lines joined again."""
    from matplotlib.text import Text

    figure.draw_without_rendering()
    return [" ".join(t.get_text().split("\n")) for t in figure.findobj(Text) if t.get_visible() and t.get_text()]


@canvas.styled
def boxes(figure: Any) -> list[Any]:
    """Text and rectangle in pixels of everything that is written in a picture."""
    from matplotlib.text import Text

    figure.draw_without_rendering()
    shown = {id(t): t for t in figure.findobj(Text) if t.get_visible() and t.get_text().strip()}
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks()):
                if not low <= tick.get_loc() <= high:  # matplotlib keeps more ticks than it draws
                    shown.pop(id(tick.label1), None)
    renderer = figure.canvas.get_renderer()
    return [(t.get_text(), Text.get_window_extent(t, renderer)) for t in shown.values()]  # an arrow is no text


def size_of(png: Any) -> Any:
    return struct.unpack(">II", png.read_bytes()[16:24])


# --- every picture ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("draw", [*PICTURES.values(), *EXTREMES.values()], ids=[*PICTURES, *EXTREMES])
def test_a_picture_is_written_whole_with_no_text_cut_or_upon_another(draw: Any, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = draw()
        width, height = figure.get_size_inches()
        placed = boxes(figure)
        png, svg = plots.save(figure, tmp_path / "a.b@10")
    assert (png.name, svg.name) == ("a.b@10.png", "a.b@10.svg")
    assert width in (canvas.WIDTH, canvas.NARROW)
    assert size_of(png) == (960, round(height * 960 / width))
    for text, box in placed:
        assert box.x0 >= -1, text
        assert box.x1 <= width * 150 + 1, text
        assert box.y0 >= -1, text
        assert box.y1 <= height * 150 + 1, text
    for index, (text, box) in enumerate(placed):
        for other, its in placed[index + 1 :]:
            across = min(box.x1, its.x1) - max(box.x0, its.x0)
            down = min(box.y1, its.y1) - max(box.y0, its.y0)
            assert across < 2 or down < 5, f"{text!r} is upon {other!r}"  # five pixels: boxes hold the room of a g


@pytest.mark.parametrize("draw", PICTURES.values(), ids=PICTURES)
def test_the_same_input_gives_the_same_bytes(draw: Any, tmp_path: Path) -> None:
    once, again = (plots.save(draw(), tmp_path / stem) for stem in ("once", "again"))
    for one, other in zip(once, again, strict=True):
        assert one.read_bytes() == other.read_bytes()


def test_an_svg_holds_shapes_in_place_of_letters_and_neither_date_nor_random_names(tmp_path: Path) -> None:
    _, svg = plots.save(plots.before_after(result()), tmp_path / "a")
    drawing = svg.read_text("utf-8")
    assert "<text" not in drawing
    assert "dc:date" not in drawing
    assert "DejaVuSans-" in drawing


def test_a_user_s_own_settings_neither_change_a_picture_nor_are_changed(tmp_path: Path) -> None:
    import matplotlib

    _, plain = plots.save(plots.deltas(result()), tmp_path / "plain")
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "red", "svg.fonttype": "none", "savefig.dpi": 20}):
        _, within = plots.save(plots.deltas(result()), tmp_path / "within")
        assert matplotlib.rcParams["font.size"] == 30
    assert plain.read_bytes() == within.read_bytes()


def test_nothing_goes_through_pyplot(tmp_path: Path) -> None:
    had = "matplotlib.pyplot" in sys.modules
    plots.save(plots.tradeoff([system("a"), system("b", 0.8)], "nDCG@10"), tmp_path / "a")
    assert ("matplotlib.pyplot" in sys.modules) == had


def test_a_saved_figure_is_closed_and_its_memory_free(tmp_path: Path) -> None:
    import gc

    figure = plots.deltas(result())
    axes = weakref.ref(figure.axes[0])
    plots.save(figure, tmp_path / "a")
    assert figure.axes == []
    gc.collect()
    assert axes() is None


def test_a_folder_that_is_not_there_is_an_os_error_and_the_figure_is_closed_all_the_same(tmp_path: Path) -> None:
    figure = plots.deltas(result())
    with pytest.raises(FileNotFoundError):
        plots.save(figure, tmp_path / "missing" / "a")
    assert figure.axes == []


def test_pictures_leave_their_input_as_it_was() -> None:
    given_result, given_comparison = complete(analysed()), comparison({"a": 0.1})
    copies = copy.deepcopy((given_result, given_comparison))
    for draw in (drawing.before_after, drawing.deltas, drawing.depths, drawing.scores, drawing.reliability):
        draw(given_result)
    plots.forest(given_comparison, "nDCG@10")
    assert (given_result, given_comparison) == copies


# --- where there is nothing to draw -----------------------------------------------------------------------------------


@pytest.mark.parametrize("draw", [plots.before_after, plots.deltas, plots.depths])
def test_a_first_stage_by_itself_has_no_before_and_after(draw: Any) -> None:
    alone = analysed()
    assert draw(alone) is not None
    alone["effective"]["reranker"] = {"name": "none", "reranks": False}
    assert draw(alone) is None


@pytest.mark.parametrize("draw", [plots.depths, plots.scores, plots.reliability])
@pytest.mark.parametrize("analysis", [{}, {"analysis": {"depths": [], "scores": None}}])
def test_without_an_analysis_there_is_no_picture_of_one(draw: Any, analysis: Any) -> None:
    assert draw(result() | analysis) is None


def test_fewer_than_two_points_are_no_picture() -> None:
    one_depth, one_bin = analysed(), analysed()
    del one_depth["analysis"]["depths"][1:]
    del one_bin["analysis"]["scores"]["calibration"][1:]
    assert plots.depths(one_depth) is None
    assert plots.reliability(one_bin) is None
    assert plots.deltas(result((0.5,))) is None
    assert plots.tradeoff([system("a"), uncosted("b")], "nDCG@10") is None
    assert plots.tradeoff([system("a"), system("b", p50_ms=None)], "nDCG@10") is None
    assert plots.latency(measured([1.0])) is None
    assert plots.latency(result() | {"cost": None}) is None
    assert plots.latency_grid(measured([1.0, 2.0])) is None
    assert plots.latency_grid(measured([1.0], GRID[:1])) is None
    assert plots.costs(compared(system("a"), uncosted("b")), "nDCG@10") is None
    assert plots.forest(comparison({}), "nDCG@10") is None
    assert plots.sweep([]) is None
    assert plots.sweep([result()]) is None


def test_a_histogram_without_pairs_is_no_picture() -> None:
    assert plots.scores(analysed(histogram={"edges": [0.0, 1.0], "counts": {"0": [0], "unjudged": [0]}})) is None


def test_slices_without_a_common_measure_are_no_picture() -> None:
    other = result(name="b")
    other["effectiveness"]["delta"] = {"AP@100": 0.1}
    assert plots.sweep([result(name="a"), other]) is None


# --- what is written in them ------------------------------------------------------------------------------------------


def test_means_and_change_are_written_next_to_their_bars() -> None:
    written = texts(plots.before_after(result()))  # 0.5, and (0.25 + 0.5 - 0.125) / 4 = 0.15625 more
    assert written.count("0.500") == 2
    assert written.count("0.656") == 2
    assert written.count("+0.156 \u00b1 0.105") == 2  # (0.26 - 0.05) / 2
    assert {"bm25", "+ bge", "better", "95 % interval (Student's t)"} <= set(written)


def spans(axes: Any) -> Any:
    """The ends of the intervals that are drawn, from the first measure on."""
    ends = [tuple(map(float, line.get_xdata())) for line in axes.lines]
    return [pair for pair in ends if len(pair) == 2 and pair[0] != pair[1]]


def test_the_change_has_a_scale_of_its_own_and_no_interval_lies_upon_a_mean() -> None:
    levels, changes = plots.before_after(result(interval=(0.05, 0.26))).axes
    assert not levels.lines
    assert spans(changes) == [(0.05, 0.26)] * 2


def test_an_interval_does_not_pass_the_ceiling_or_0_of_its_measure_and_is_marked_where_it_was_cut() -> None:
    found = result(interval=(-0.7, 0.6))  # 0.5 before, and ceilings of 0.9 and 1.0
    found["effectiveness"]["ceiling"]["mean"]["nDCG@10"] = 0.9
    figure = plots.before_after(found)
    assert spans(figure.axes[1]) == [pytest.approx((-0.5, 0.4)), pytest.approx((-0.5, 0.5))]
    assert "no end mark: cut at 0 or the ceiling of the measure" in texts(figure)
    assert not [text for text in texts(plots.before_after(result())) if "cut at 0" in text]


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1), st.floats(0, 3), st.floats(0, 3))
def test_no_interval_leads_out_of_the_measure_s_bounds(
    first: Any, ceiling: Any, share: Any, below: Any, above: Any
) -> None:
    first, ceiling = sorted((first, ceiling))
    delta = share * ceiling - first  # the reranked mean lies between 0 and the ceiling
    whole = (delta - below, delta + above)
    clipped = intervals.clip(whole, delta, first, ceiling)
    assert clipped is not None
    low, high = clipped
    assert low <= delta <= high
    assert first + low >= -1e-12
    assert first + high <= ceiling + 1e-12
    assert whole[0] <= low <= high <= whole[1]


@pytest.mark.parametrize(
    ("interval", "marker", "colour"),
    [((0.05, 0.26), ">", canvas.BETTER), ((-0.3, -0.1), "<", canvas.WORSE), ((-0.1, 0.3), "o", canvas.DARK)],
)
def test_a_change_has_a_colour_and_an_arrow_only_where_its_interval_leaves_out_0(
    interval: Any, marker: Any, colour: Any
) -> None:
    changes = plots.before_after(result(interval=interval)).axes[1]
    points = [line for line in changes.lines if line.get_marker() in ("<", ">", "o")]
    assert {(line.get_marker(), line.get_color()) for line in points} == {(marker, colour)}


def colours(figure: Any) -> Any:
    """Every colour that is in a picture."""
    from matplotlib.colors import to_hex, to_rgba_array

    found = set()
    for artist in figure.findobj():
        for name in ("get_color", "get_facecolor", "get_edgecolor", "get_markerfacecolor"):
            if (get := getattr(artist, name, None)) is not None:
                found |= {to_hex(value).upper() for value in to_rgba_array(get())}
    return found


def test_the_colours_of_better_and_worse_mean_nothing_else_in_a_trial_s_pictures() -> None:
    taken = {canvas.BETTER, canvas.WORSE, "#E69F00"}
    for figure in (
        plots.depths(analysed()), plots.scores(analysed()), plots.reliability(analysed()),
        plots.latency(measured([10.0, 12.0, 14.0])), plots.latency_grid(measured([10.0], GRID)),
        plots.load(loaded(*LOADS)), plots.before_after(result(interval=(-0.1, 0.3))),
    ):  # fmt: skip
        assert not colours(figure) & taken
    assert colours(plots.deltas(result())) >= {canvas.BETTER, canvas.WORSE}


def test_every_picture_of_a_trial_has_a_title_and_the_slice_in_small_type_below() -> None:
    from matplotlib.text import Text

    found = analysed() | {"cost": measured([10.0, 11.0], GRID)["cost"] | loaded(*LOADS)["cost"]}
    for draw, title in {
        plots.before_after: "Quality before and after reranking",
        plots.deltas: "Change of nDCG@10, query by query",
        plots.depths: "nDCG@10 by the number of candidates reranked",
        plots.scores: "Logits by grade",
        plots.reliability: "Relevant share by the sigmoid of the logit",
        plots.latency: "Latency of single queries, ms",
        plots.latency_grid: "Latency by passages and by length, ms",
        plots.load: "Latency under load, ms",
    }.items():
        sizes = {t.get_text(): t.get_fontsize() for t in draw(found).findobj(Text)}
        assert sizes[title] > sizes["tiny: 4 queries, 1,234 passages, depth 20"]


@pytest.mark.parametrize("changes", [(0.25,), (0.0, 0.0)])
def test_without_an_interval_none_is_drawn_or_explained(changes: Any) -> None:
    figure = plots.before_after(result(changes, interval=(0.0, 0.0)))
    assert not spans(figure.axes[1])
    assert not [text for text in texts(figure) if "interval" in text]


def test_better_worse_and_equal_queries_are_counted() -> None:
    written = texts(plots.deltas(result()))
    assert {"2 better", "1 worse", "1 equal", "mean +0.1562", "4 queries, ordered by change"} <= set(written)


def test_gains_and_losses_are_distinguished_by_side_and_by_colour() -> None:
    gains, losses = plots.deltas(result()).axes[0].patches
    assert list(gains.get_data().values) == [0.5, 0.25, 0, 0]
    assert list(losses.get_data().values) == [0, 0, 0, -0.125]
    assert list(gains.get_data().edges) == [0, 1, 2, 3, 4]
    assert gains.get_facecolor() != losses.get_facecolor()


def test_thousands_of_queries_make_few_steps_and_keep_their_places() -> None:
    changes = [0.25] * 3000 + [0.0] * 3999 + [-0.5]
    gains, losses = plots.deltas(result(changes)).axes[0].patches
    assert list(gains.get_data().edges) == [0, 3000, 6999, 7000]
    assert list(gains.get_data().values) == [0.25, 0, 0]
    assert list(losses.get_data().values) == [0, 0, -0.5]


def test_quality_is_drawn_over_depth() -> None:
    figure = plots.depths(analysed())
    line, first, ceiling = figure.axes[0].lines
    assert list(line.get_xdata()) == [5, 10, 20]
    assert list(line.get_ydata()) == pytest.approx([0.55, 0.6, 0.7])
    assert (first.get_ydata()[0], ceiling.get_ydata()[0]) == (0.5, 1.0)
    assert {"+ bge: 0.550 at 5, 0.700 at 20", "bm25: 0.500"} <= set(texts(figure))


def test_each_grade_has_a_panel_the_best_on_top_and_unjudged_last() -> None:
    figure = plots.scores(analysed())
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles == [
        "grade 2: 1 pair, median 2.00",
        "grade 0: 6 pairs, median -1.50",
        "unjudged: 1,200 pairs, median -2.25",
    ]
    assert list(figure.axes[2].patches[0].get_data().values) == [0.5, 0.25, 0.25, 0]
    threshold = "best F1 0.67 at logit 1.75, sigmoid 0.85 (precision 1.00, recall 0.50)"
    assert {threshold, "relevant: grade 2 and above", "not relevant"} <= set(texts(figure))


def test_each_bin_with_pairs_is_a_point_of_the_calibration() -> None:
    figure = plots.reliability(analysed())
    line = figure.axes[0].lines[1]
    assert (list(line.get_xdata()), list(line.get_ydata())) == ([0.2, 0.9], [0.0, 0.5])
    assert "+ bge (expected calibration error 0.257)" in texts(figure)


def test_the_pareto_front_is_what_none_beats_in_both() -> None:
    systems = [system("slow", 0.8, 900), system("bad", 0.6, 200), system("fast", 0.7, 100), system("late", 0.8, 950)]
    axes = plots.tradeoff([*systems, uncosted("free")], "nDCG@10").axes[0]
    front, *points = axes.lines
    assert list(zip(front.get_xdata(), front.get_ydata(), strict=True)) == [(100, 0.7), (900, 0.8)]
    filled = {p.get_xdata()[0] for p in points if p.get_markerfacecolor() != "white"}
    assert filled == {100, 900}


def test_the_points_are_numbered_and_named_in_the_key() -> None:
    written = texts(plots.tradeoff([system("slow", 0.8, 1234.5), system("fast", 0.7, 2.5)], "nDCG@10"))
    assert {"1", "2", "1. slow: 0.800, 1,234 ms; 1,000 MiB", "2. fast: 0.700, 2.5 ms; 1,000 MiB"} <= set(written)


def test_devices_are_named_where_they_differ_only() -> None:
    both = compared(system("a", device="cpu"), system("b", device="gpu"))
    assert {"1. a on cpu (baseline)", "2. b on gpu"} <= set(texts(plots.costs(both, "nDCG@10")))
    assert {"1. a (baseline)", "2. b"} <= set(texts(plots.costs(compared(system("a"), system("b")), "nDCG@10")))


def test_percentiles_are_below_the_latencies_with_the_known_ends() -> None:
    figure = plots.latency(measured([10.0, 12.0], ends=(9.0, None)))
    written = texts(figure)
    assert written.count("12.0 [9.00, ?]") == 4
    assert {"2 samples, 100 passages a query", "an end that 2 samples do not determine"} <= set(written)
    assert dots(figure) == [10.0, 12.0]
    sure = texts(plots.latency(measured([10.0, 12.0], ends=(9.0, 12.0))))
    assert not [text for text in sure if "do not determine" in text]


def dots(figure: Any) -> Any:
    """The samples that are drawn."""
    return list(figure.axes[0].lines[0].get_xdata())


def test_each_sample_is_a_dot_and_the_percentiles_are_lines_among_them() -> None:
    found = measured([14.0, 10.0, 11.0, 10.5])
    found["cost"]["latency"] |= {"p50_ms": 10.5, "p90_ms": 13.0, "p95_ms": 14.0, "p99_ms": 14.0}
    figure = plots.latency(found)
    assert dots(figure) == [10.0, 10.5, 11.0, 14.0]
    lines = [(line.get_xdata()[0], line.get_linestyle()) for line in figure.axes[0].lines[1:]]
    assert lines == [(10.5, "-"), (13.0, "--"), (14.0, ":")]
    assert {"p50", "p90", "p99"} <= set(texts(figure))


def test_two_outliers_are_drawn_at_the_edge_with_their_values_and_do_not_compress_the_axis() -> None:
    near = [200.0 + n for n in range(18)]
    figure = plots.latency(measured([*near, 900.0, 70.0]))  # each percentile is the slowest sample here
    axes, below = figure.axes
    left, right = axes.get_xlim()
    assert dots(figure) == near
    assert (near[-1] - near[0]) / (right - left) > 0.8
    edges = {(line.get_marker(), line.get_xdata()[0]) for line in axes.lines[1:] if line.get_marker() in ("<", ">")}
    assert edges == {("<", left), (">", right)}
    assert {"1 at 70.0 ms", "1 at 900 ms", "a sample beyond the edge", "900 [9.00, ?]"} <= set(texts(figure))
    points = [line for line in below.lines if line.get_marker() == ">"]
    assert {line.get_xdata()[0] for line in points} == {right}


@pytest.mark.parametrize("samples", [[10.0, 500.0], [1.0, 2.0, 3.0, 900.0], [100.0 + n for n in range(20)]])
def test_where_no_few_are_far_from_many_all_samples_are_on_the_axis(samples: Any) -> None:
    figure = plots.latency(measured(samples))
    assert dots(figure) == samples
    assert "a sample beyond the edge" not in texts(figure)


@given(st.lists(st.floats(0.01, 1e5), min_size=2, max_size=60))
@settings(deadline=None, max_examples=40)
def test_every_sample_is_drawn_and_none_outside_of_the_axis(samples: Any) -> None:
    figure = plots.latency(measured(samples))
    axes = figure.axes[0]
    drawn = [x for line in axes.lines if line.get_marker() in ("o", "<", ">") for x in line.get_xdata()]
    left, right = axes.get_xlim()
    assert len(drawn) == len(samples)
    assert left <= min(drawn) <= max(drawn) <= right


def test_of_many_thousand_samples_each_dot_stands_for_some_and_the_slowest_is_one() -> None:
    figure = plots.latency(measured([float(n) for n in range(1, 5001)]))
    assert (len(dots(figure)), max(dots(figure))) == (1667, 5000)  # every third, from the slowest on
    assert "5,000 samples, 100 passages a query; a dot for each 3" in texts(figure)


def test_the_grid_is_drawn_over_depth_and_over_length() -> None:
    over_depth, over_length = plots.latency_grid(measured([1.0], GRID)).axes
    lines = {tuple(line.get_xdata()) for line in over_depth.lines if len(line.get_xdata()) > 1}
    assert lines == {(10, 50, 100)}
    middle = next(line for line in over_length.lines if len(line.get_xdata()) == 4)
    assert (list(middle.get_xdata()), middle.get_ydata()[0]) == ([64, 128, 256, 512], 10 * 64 / 500)


def test_a_cell_that_was_timed_once_is_an_open_marker() -> None:
    figure = plots.latency_grid(measured([1.0], [(10, 64, [1.0, 2.0]), (10, 128, [9.0])]))
    [axes] = figure.axes
    points = {line.get_xdata()[0]: line.get_markerfacecolor() for line in axes.lines if len(line.get_xdata()) == 1}
    assert points[128] == "white"
    assert points[64] != "white"
    assert "open: timed once" in texts(figure)


def test_clients_and_rates_are_drawn_by_throughput_and_have_their_numbers_next_to_them() -> None:
    by_clients, by_rate = plots.load(loaded(*LOADS)).axes
    assert {(tuple(line.get_xdata()), tuple(line.get_ydata())) for line in by_clients.lines} == {
        ((9.8, 38.0, 80.0, 82.0), (100.0, 103.0, 190.0, 780.0)),
        ((9.8, 38.0, 80.0, 82.0), (120.0, 140.0, 400.0, 1400.0)),
    }
    assert [text.get_text() for text in by_clients.texts] == ["1", "4", "16", "64"]
    assert [text.get_text() for text in by_rate.texts] == ["20", "70", "100"]


def test_a_load_without_a_p99_is_not_drawn() -> None:
    assert plots.load(loaded(LOADS[0], (4, None, 9.0, 1.0, None))) is None
    [axes] = plots.load(loaded(*LOADS[:2], (None, 9.0, 5.0, 1.0, None))).axes
    assert [text.get_text() for text in axes.texts] == ["1", "4"]


def test_cost_is_drawn_row_by_row_with_the_change_against_the_baseline() -> None:
    figures = comparisons.cost(p50_ms=25.0, p99_ms=30.0, peak_mb=500.0, weights_mb=250.0, device="a processor")
    one, other = system("one"), system("other", cost=figures)
    written = texts(plots.costs(compared(one, other, uncosted("free")), "nDCG@10"))
    assert {"1. one (baseline)", "2. other", "25.0 / 30.0", "500 / 250", "baseline", "-0.0010"} <= set(written)
    assert not [text for text in written if "free" in text]


def test_a_filled_marker_is_a_change_that_is_clear() -> None:
    found = comparison({"sure": 0.1, "unsure": -0.2, "untold": 0.0})
    ps = {"sure": 0.01, "unsure": 0.05, "untold": None}
    tests = {
        label: {"nDCG@10": replace(tests["nDCG@10"], holm_p=ps[label])}
        for label, tests in found.against_baseline.items()
    }
    figure = plots.forest(replace(found, against_baseline=tests), "nDCG@10")
    points = [line for line in figure.axes[0].lines if line.get_marker() == "o"]
    assert [(p.get_xdata()[0], p.get_markerfacecolor() != "white") for p in points] == [
        (0.1, True),
        (0.0, False),
        (-0.2, False),
    ]
    assert {"+0.100 [+0.080, +0.120]", "-0.200 [-0.220, -0.180]", "95 % interval (bootstrap, BCa)"} <= set(
        texts(figure)
    )
    assert "change of nDCG@10 against the baseline" in texts(figure)


def test_slices_are_sorted_by_gain_and_point_where_they_went() -> None:
    up, down = result((0.25, 0.25), name="dev/en"), result((-0.25, -0.25), name="dev/de", interval=(-0.3, 0.1))
    figure = plots.sweep([down, up])
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["dev/en", "dev/de"]
    looks = [(line.get_marker(), line.get_markerfacecolor() == "white") for line in axes.lines]
    assert [look for look in looks if look[0] in "<>"] == [(">", False), ("<", True)]
    assert {"0.500 \u2192 0.750 (+0.250)", "0.500 \u2192 0.250 (-0.250)", "bm25 + bge at fp32"} <= set(texts(figure))


def test_trials_on_one_slice_have_the_names_of_their_systems_and_the_slice_is_named_once() -> None:
    written = texts(plots.sweep([result(second="one"), result(second="other")]))
    assert {"bm25 + one at fp32", "bm25 + other at fp32", "tiny"} <= set(written)


def test_a_slice_that_occurs_twice_among_others_is_labelled_by_its_systems() -> None:
    written = texts(plots.sweep([result(second="one"), result(second="other"), result(name="large", second="one")]))
    assert {"tiny: bm25 + one at fp32", "tiny: bm25 + other at fp32"} <= set(written)


# --- labels -----------------------------------------------------------------------------------------------------------


def test_what_the_font_lacks_is_an_escape_and_other_scripts_stay() -> None:
    assert canvas.readable("模-café Привет \U0001f9ff\ud800") == "\\u6a21-café Привет \\U0001f9ff\\ud800"


def test_dollars_underscores_and_line_breaks_are_text(tmp_path: Path) -> None:
    figure = plots.before_after(result(first="_first$x^$", second="a\n\tb", name="模型"))
    written = texts(figure)
    assert {"_first$x^$", "+ a b"} <= set(written)
    plots.save(figure, tmp_path / "a")


@given(st.text(max_size=80), st.sampled_from([0.5, 2.2, 5.6]))
@settings(deadline=None, max_examples=60)
def test_wrapping_loses_nothing_and_keeps_to_the_width(text: Any, width: Any) -> None:
    lines = canvas.wrapped(text, width, canvas.SMALL).split("\n")
    assert "".join("".join(lines).split()) == "".join(canvas.readable(text).split())
    assert all(canvas.width_in(line, canvas.SMALL) <= width for line in lines)


def test_lines_break_between_the_parts_of_a_name_and_not_inside_of_a_number() -> None:
    assert canvas.wrapped("organisation/reranker-v2.5 at fp16", 1.1, 9.5).split("\n") == [
        "organisation/",
        "reranker-v2.5 at",
        "fp16",
    ]


def test_colours_differ_in_grey_print() -> None:
    lightness = {}
    for colour in (canvas.BLACK, canvas.BLUE, canvas.ORANGE, canvas.LIGHT):
        red, green, blue = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
        lightness[colour] = (0.299 * red + 0.587 * green + 0.114 * blue) / 255
    assert [round(value, 2) for value in lightness.values()] == [0.0, 0.34, 0.47, 0.75]


def test_better_and_worse_are_the_colours_of_the_page() -> None:
    style = (resources.files("evalkit.report.html") / "page.css").read_text("utf-8")
    assert f"--up: {canvas.BETTER.lower()}; --down: {canvas.WORSE.lower()};" in style


def test_a_result_read_back_from_json_gives_the_same_picture(tmp_path: Path) -> None:
    found = analysed()
    back = json.loads(json.dumps(found))
    one, other = (plots.save(plots.scores(r), tmp_path / name) for r, name in ((found, "one"), (back, "other")))
    assert one[1].read_bytes() == other[1].read_bytes()


@pytest.mark.parametrize(
    ("what", "changes"),
    [("languages", [{"slice": {"name": "dev/en", "lang": "en"}}, {"slice": {"name": "dev/de", "lang": "de"}}]),
     ("slices", [{"slice": {"name": "dl19", "lang": "en"}}, {"slice": {"name": "dl20", "lang": "en"}}]),
     ("slices", [{"slice": {"name": "dl19", "lang": "en"}}, {"slice": {"name": "miracl/de", "lang": "de"}}]),
     ("precisions", [{"reranker": {"name": "r", "precision": name}} for name in ("fp32", "fp16")]),
     ("depths", [{"depth": 20}, {"depth": 100}]),
     ("first_stages_and_rerankers", [{"first_stage": {"name": "a"}, "reranker": {"name": "r"}},
                                     {"first_stage": {"name": "b"}, "reranker": {"name": "s"}}]),
     ("max_length", [{"reranker": {"name": "r", "max_length": length}} for length in (128, 256)]),
     ("k1", [{"first_stage": {"name": "bm25", "k1": k1}, "reranker": {"name": "none", "reranks": False}}
             for k1 in (0.9, 1.2)]),
     ("rerankers", [{"reranker": {"name": "none", "reranks": False}},
                    {"reranker": {"name": "r", "precision": "fp32"}}]),
     ("trials", [{}, {}])],
)  # fmt: skip
def test_the_picture_of_a_sweep_is_named_for_what_varies(what: Any, changes: Any) -> None:
    same = {"slice": {"name": "dev/en", "lang": "en"}, "first_stage": {"name": "bm25"}, "reranker": {"name": "r"},
            "depth": 20}  # fmt: skip
    assert plots.varying([{"effective": same | change} for change in changes]) == what


def test_a_system_without_a_reranker_is_on_the_picture_and_on_the_front() -> None:
    """MiniLM alone is better and faster than BM25 with a reranker, which so is no point of the front."""
    systems = [
        system("bm25", 0.5, side="first_stage", cost=None, time=QueryTime(0.4, 0.0, 0.4)),
        system("bm25 + r", 0.7, own_first_stage="bm25", time=QueryTime(0.4, 440.0, 440.4)),
        system("minilm", 0.84, side="first_stage", cost=None, time=QueryTime(11.0, 0.0, 11.0)),
    ]
    figure = plots.tradeoff(systems, "nDCG@10")
    front = figure.axes[0].lines[0]
    assert list(zip(front.get_xdata(), front.get_ydata(), strict=True)) == [(0.4, 0.5), (11.0, 0.84)]
    written = texts(figure)
    assert "2. bm25 + r: 0.700, 440 ms = 0.4 + 440; 1,000 MiB" in written
    assert "3. minilm: 0.840, 11 ms" in written
