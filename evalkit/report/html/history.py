"""The HTML page of the history: for each slice a leaderboard, and how measure and latency changed over time."""

from collections.abc import Iterable, Sequence

from evalkit.report.content import history as content
from evalkit.report.content import numbers
from evalkit.report.html import parts
from evalkit.report.html.markup import Markup, picture, tag
from evalkit.results.history.entry import HistoryEntry
from evalkit.results.history.leaderboards import Leaderboard

_MOST_LISTED = 200
"""Runs of a slice in its table of runs: a page of thousands would not open."""


def history(boards: Sequence[Leaderboard], pictures: Sequence[str], filters: Sequence[str]) -> str:
    """Return the page, as one HTML file that loads nothing.

    Args:
        boards: a leaderboard for each slice.
        pictures: the SVG of each one's trend.
        filters: as they were typed; empty for all runs.
    """
    runs = [run for board in boards for _, run in board.runs]
    sections = [
        parts.section(f"slice-{number}", f"{board.slice}, {board.measure}", *_slice(board, svg))
        for number, (board, svg) in enumerate(zip(boards, pictures, strict=True), 1)
    ]
    head = tag(
        "header",
        tag("p", "evalkit: history"),
        tag(
            "h1",
            tag("strong", f"{numbers.counted(len(runs), 'run')} on {numbers.counted(len(boards), 'slice')}"),
            "Which setting is best on each slice, and how it changed from commit to commit.",
        ),
        tag("p", f"Only runs with {' '.join(filters)}") if filters else None,
        tag("p", "Figures of different slices cannot be compared with one another.") if len(boards) > 1 else None,
    )
    return parts.page("History of evaluations", head, sections)


def _slice(board: Leaderboard, svg: str) -> Iterable[Markup | None]:
    yield _standings(board)
    queries = numbers.counted(board.queries, "query", "queries")
    yield parts.note(
        f"The newest run of each setting, sorted by mean {board.measure} over {queries}. Means whose difference is "
        "within their intervals have no order: change, interval and verdict are those of each setting against its own "
        "first stage; python -m evalkit compare tests two settings against one another."
    )
    if len({run.device for _, run in board.runs if run.p50_ms is not None}) > 1:
        yield parts.note("The runs are from several devices, whose times and memory cannot be compared.")
    newest_last = [run for _, run in board.runs]
    note = f"Mean {board.measure} and median latency by run; vertical lines separate commits: {_when(newest_last)}."
    yield picture(f"{board.slice}: {board.measure} over time", svg, note)
    listed = newest_last[::-1][:_MOST_LISTED]
    title = (
        f"The newest {len(listed):,} of {len(newest_last):,} runs" if len(listed) < len(newest_last) else "Every run"
    )
    yield parts.more(title, _runs(board, listed))


def _when(runs: Sequence[HistoryEntry]) -> str:
    first, last = content.ended(runs[0]), content.ended(runs[-1])
    when = first if first == last else f"{first} to {last}"
    return f"{numbers.counted(len(runs), 'run')}, {when} (UTC)"


def _standings(board: Leaderboard) -> Markup | None:
    newest = [standing.newest for standing in board.standings]
    scale = parts.scale([_ends(one) for one in newest], [one.delta for one in newest if one.delta is not None])
    rows = [
        [
            standing.label,
            numbers.measure_value(one.after),
            "" if one.delta is None else parts.mean_change(one.delta, _ends(one)),
            "" if one.delta is None else parts.interval_drawing(one.delta, _ends(one), scale),
            content.delta_interval(one),
            one.verdict or "",
            numbers.number(one.p50_ms),
            numbers.number(one.peak_mib),
            numbers.count(standing.runs),
            content.ended(one),
            content.commit(one),
        ]
        for standing, one in zip(board.standings, newest, strict=True)
    ]
    columns = [
        "setting", board.measure, "change", parts.DRAWN, "95 % interval", "reranking", "p50 ms", "peak MiB", "runs",
        "newest (UTC)", "commit",
    ]  # fmt: skip
    return parts.table(columns, rows, f"Leaderboard of {board.slice}", text=("reranking", "commit"), cards=True)


def _ends(entry: HistoryEntry) -> tuple[float | None, float | None]:
    return entry.delta_low, entry.delta_high


def _runs(board: Leaderboard, runs: Sequence[HistoryEntry]) -> Markup | None:
    labels = {run.folder: board.standings[place].label for place, run in board.runs}
    rows = [
        [
            content.ended(run),
            content.commit(run),
            labels[run.folder],
            numbers.measure_value(run.after),
            content.change(run).rstrip(),
            numbers.number(run.p50_ms),
            numbers.number(run.peak_mib),
            run.folder + ("" if run.is_there else " (gone)"),
        ]
        for run in runs
    ]
    columns = ["ended (UTC)", "commit", "setting", board.measure, "change", "p50 ms", "peak MiB", "folder"]
    return parts.table(columns, rows, f"Runs of {board.slice}", text=("commit", "setting", "folder"))
