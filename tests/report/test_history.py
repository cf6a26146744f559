"""The page of the history, and its pictures."""

import re
from pathlib import Path

import pytest

from evalkit.report import plots
from evalkit.report.folder import write_history
from evalkit.report.html import pages
from evalkit.results.history.entry import HistoryEntry
from evalkit.results.history.leaderboards import leaderboards
from tests.helpers.history import entry


def runs_of(number: int) -> list[HistoryEntry]:
    """Runs of two precisions, a commit for every three."""
    return [
        entry(f"/runs/{n}", ended=f"2026-01-{1 + n // 20:02}T{n % 20:02}:00:00.000+00:00", commit=f"{n // 3:040x}",
              precision=("fp32", "int8")[n % 2], after=0.6 + 0.1 * (n % 2), p50_ms=(20.0, 300.0)[n % 2])
        for n in range(number)
    ]  # fmt: skip


@pytest.mark.parametrize("number", [1, 2, 30, 300])
def test_a_trend_has_all_runs_and_marks_commits_that_have_room(number: int) -> None:
    (board,) = leaderboards(runs_of(number))
    figure = plots.trend(board)
    quality, latency = figure.axes
    drawn = [line.get_xydata() for line in latency.lines if line.get_marker() not in ("None", "")]
    assert sum(len(points) for points in drawn) == number  # type: ignore[arg-type, misc]
    figure.draw_without_rendering()
    (top,) = quality.child_axes
    marked = [text.get_text() for text in top.get_xticklabels()]
    assert marked[0] == f"{(number - 1) // 3:040x}"[:7]  # the newest one always
    assert len(marked) <= 30
    boxes = [text.get_window_extent() for text in top.get_xticklabels()]
    assert not any(one.overlaps(other) for place, one in enumerate(boxes) for other in boxes[:place])
    figure.clear()


def test_runs_without_a_commit_a_time_or_a_latency_are_drawn() -> None:
    (board,) = leaderboards([entry("/1", commit=None, ended=None, p50_ms=None)])
    figure = plots.trend(board)
    assert len(figure.axes) == 1
    assert figure.axes[0].child_axes == []
    figure.clear()


def test_the_page_has_a_leaderboard_for_each_slice_and_says_that_it_is_no_order(tmp_path: Path) -> None:
    runs = [*runs_of(4), entry("/runs/x", slice="<b>tiny", fingerprint="g", queries=9, delta_low=-0.1, delta_high=0.5)]
    file = tmp_path / "pages" / "history.html"
    write_history(runs, file, ["slice=dev"])
    page = file.read_text("utf-8")
    assert page.count("data:image/svg+xml") == 2
    assert "5 runs on 2 slices" in page
    assert "Only runs with slice=dev" in page
    assert "Means whose difference is within their intervals have no order" in page
    assert "over 9 queries" in page
    assert "<b>tiny" not in page
    page = page.split("bm25 + packaged at fp32", 1)[1]  # the other slice has the newest run
    heads = re.findall(r'<th scope="row"[^>]*>([^<]+)</th>', page)
    assert heads.index("bm25 + packaged at int8") < heads.index("bm25 + packaged at fp32")  # 0.7 and 0.6


def test_a_page_of_thousands_of_runs_lists_the_newest() -> None:
    boards = leaderboards([entry(f"/runs/{n}", ended=f"{n:06}") for n in range(1000)])
    page = pages.history(boards, ["<svg/>"], [])
    assert "The newest 200 of 1,000 runs" in page
    assert "/runs/999 (gone)" in page
    assert "/runs/799 (gone)" not in page
