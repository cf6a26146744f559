"""Writes the folders of a trial, a sweep and a comparison, whose JSON file comes last, and the page of the history."""

import json
import shutil
import tempfile
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from evalkit.boundary.atomic import atomic_folder, write_atomically
from evalkit.boundary.errors import EvalkitError
from evalkit.boundary.progress import event, stage
from evalkit.evaluation.trec import write_qrels, write_run
from evalkit.report import markdown, plots, tex
from evalkit.report.html import pages
from evalkit.report.per_query import passages, per_query, with_adjusted_scores
from evalkit.results import summary
from evalkit.results.comparison_schema import Comparison
from evalkit.results.history.entry import HistoryEntry
from evalkit.results.history.leaderboards import leaderboards
from evalkit.results.judges_schema import JudgeReport
from evalkit.results.pick_schema import Pick
from evalkit.results.result import cannot_write, finished, to_json, to_plain
from evalkit.results.schema import Result, Unfinished
from evalkit.types import Trial


def write_trial(
    trial: Trial,
    folder: Path,
    references: Sequence[Mapping[str, Any]] = (),
    on_result: Callable[[Result], None] = lambda result: None,
    ranked: Result | None = None,
) -> Result:
    """Write everything about a trial; result.json comes last, so that a folder with it is complete.

    If a picture or a report cannot be made, the rest is written with status ``partial`` and a list of what is missing.

    Args:
        trial: the finished trial.
        folder: where to write; an earlier result there is replaced.
        references: published figures, which `evalkit.results.published.check` has accepted.
        on_result: called with the result before anything is drawn or written, as that takes seconds.
        ranked: as for `evalkit.results.result.finished`.

    Returns:
        The result that was written.

    Raises:
        EvalkitError: the folder cannot be written, or the disk is full.
    """
    if ranked is None:
        with stage("testing"):
            ranked = finished(trial)
    result = finished(trial, references, ranked)
    on_result(result)
    try:
        with atomic_folder(folder, "result.json") as part:
            result, pictures = _write_reports(result, _write_data(trial, part), part)
            _write(part / "result.json", to_json(to_plain(result)))
        _remove_pictures(folder, TRIAL_PICTURES.keys() - set(pictures))
    except OSError as error:
        raise cannot_write(folder, error) from None
    return result


def write_trial_data(trial: Trial, folder: Path, references: Sequence[Mapping[str, Any]] = ()) -> Result:
    """Write what `write_trial` does, but for pictures and reports, which `write_reports` makes of it.

    Args:
        trial: the finished trial.
        folder: where to write; an earlier result there is replaced.
        references: as for `write_trial`.

    Raises:
        EvalkitError: the folder cannot be written, or the disk is full.
    """
    with stage("testing"):
        result = finished(trial, references)
    try:
        with atomic_folder(folder, "result.json") as part:
            _write_data(trial, part)
            _write(part / "result.json", to_json(to_plain(result)))
    except OSError as error:
        raise cannot_write(folder, error) from None
    return result


def write_reports(result: Result, source: Path, folder: Path) -> Result:
    """Write a finished trial to another folder, with its pictures and reports.

    Args:
        result: the result in `source`.
        source: the folder of the trial.
        folder: where to write; an earlier result there is replaced.

    Returns:
        The result as it was written: with status ``partial`` if a picture or a report could not be made.

    Raises:
        EvalkitError: the folder cannot be written, or the disk is full.
    """
    try:
        with atomic_folder(folder, "result.json") as part:
            for name in _DATA:
                if (source / name).exists():
                    shutil.copyfile(source / name, part / name)
            shown = [json.loads(line) for line in (part / _PASSAGES).read_text("utf-8").splitlines()]
            result, pictures = _write_reports(result, shown, part)
            _write(part / "result.json", to_json(to_plain(result)))
        _remove_pictures(folder, TRIAL_PICTURES.keys() - set(pictures))
    except OSError as error:
        raise cannot_write(folder, error) from None
    return result


_PASSAGES = "passages.jsonl"
_DATA = ("first_stage.trec", "reranked.trec", "qrels.trec", "per_query.csv", _PASSAGES)
"""The files of a trial that are no pictures and no reports, without result.json."""


def _write_data(trial: Trial, folder: Path) -> list[dict[str, Any]]:
    """Write runs, judgments, values and passages, and return what `passages` does."""
    adjusted = {
        "first_stage": write_run(trial.first_stage, folder / "first_stage.trec"),
        "reranked": write_run(trial.reranked, folder / "reranked.trec"),
    }
    write_qrels(trial.slice.qrels, folder / "qrels.trec")
    per_query(trial).to_csv(folder / "per_query.csv", index=False, float_format="%.6f")
    shown = passages(trial)
    _write(folder / _PASSAGES, "".join(map(_line, with_adjusted_scores(shown, adjusted))))
    return shown


def _write_reports(result: Result, shown: Sequence[Mapping[str, Any]], folder: Path) -> tuple[Result, list[str]]:
    """Draw the pictures and write the reports; return the result with what could not be made, and the pictures."""
    failures: list[str] = []
    pictures = _draw(result, folder, failures) if summary.reranks(result) else []
    with stage("writing the reports"):
        with _recorded_in(failures, "report.md"):
            _write(folder / "report.md", markdown.trial(result, [f"{name}.png" for name in pictures]))
        with _recorded_in(failures, "report.html"):
            _write(folder / "report.html", pages.trial(result, shown, _texts(pictures, folder)))
        with _recorded_in(failures, "report.tex"):
            _write(folder / "report.tex", tex.trial(result))
    if failures:
        result = replace(result, status="partial", missing=tuple(failures))
    return result, pictures


def _remove_pictures(folder: Path, names: Iterable[str]) -> None:
    """Remove pictures of an earlier result."""
    for name in names:
        for ending in ("png", "svg"):
            (folder / f"{name}.{ending}").unlink(missing_ok=True)


def _draw(result: Result, folder: Path, failures: list[str]) -> list[str]:
    """Draw the pictures that a trial has data for, and return their names; errors go to `failures`.

    Their number is known afterwards: a trial with one depth has no picture of depths.
    """
    pictures: list[str] = []
    with stage("drawing", unit="pictures") as advance:
        for name, draw in TRIAL_PICTURES.items():
            with _recorded_in(failures, f"{name}.png"):
                drawn = _save({name: draw(result)}, folder)
                advance(len(drawn))
                pictures += drawn
    return pictures


@contextmanager
def _recorded_in(failures: list[str], name: str) -> Iterator[None]:
    """Append an error to `failures` with the name of the missing file, and go on; errors of the disk are raised."""
    try:
        yield
    except OSError:
        raise  # of the disk, not of the drawing
    except Exception as error:
        failures.append(f"{name} ({type(error).__name__}: {error})")
        event("error", file=name, traceback=traceback.format_exc())


def write_sweep(results: Sequence[Result | Unfinished], folder: Path, without: Sequence[Unfinished] = ()) -> None:
    """Write the combined report of a sweep.

    Args:
        results: its trials, finished or not.
        folder: where to write.
        without: trials that have no folder of results.

    Raises:
        EvalkitError: the folder cannot be written, or the disk is full.
    """
    try:
        done = [result for result in results if isinstance(result, Result) and result.status == "finished"]
        with atomic_folder(folder, "sweep.json") as part:
            drawn = _save({plots.varying(done): plots.sweep(done)}, part)
            report = markdown.sweep(results, [f"{name}.png" for name in drawn]) if results else "# Sweep\n"
            if without:
                report += "\n## Without a result\n" + "".join(f"- `{one.name}`: {one.error}\n" for one in without)
            _write(part / "report.md", report)
            _write(part / "sweep.json", to_json([to_plain(one) for one in (*results, *without)]))
    except OSError as error:
        raise cannot_write(folder, error) from None


@contextmanager
def _written_folder(folder: Path, last: str) -> Iterator[Path]:
    """Yield a folder whose files become those of `folder`, `last` as the last one; `folder` is made if there is none.

    Raises:
        EvalkitError: it cannot be written, or the disk is full.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_folder(folder, last) as part:
            yield part
    except OSError as error:
        raise cannot_write(folder, error) from None


def write_comparison(compared: Comparison, folder: Path) -> None:
    """Write everything about a comparison; comparison.json comes last, so that a folder with it is complete.

    Args:
        compared: a comparison.
        folder: where to write.

    Raises:
        EvalkitError: the folder cannot be written, or the disk is full.
    """
    with _written_folder(folder, "comparison.json") as part:
        drawn = _save({name: draw(compared) for name, draw in COMPARISON_PICTURES.items()}, part)
        _write(part / "report.md", markdown.comparison(compared, [f"{name}.png" for name in drawn]))
        _write(part / "report.html", pages.comparison(compared, _titled(drawn, part)))
        _write(part / "report.tex", tex.comparison(compared))
        _write(part / "comparison.json", to_json(asdict(compared)))


def write_pick(found: Pick, folder: Path) -> None:
    """Write a pick: its report, its picture, and pick.json.

    Args:
        found: a pick.
        folder: where to write.

    Raises:
        EvalkitError: the folder cannot be written, or the disk is full.
    """
    with _written_folder(folder, "pick.json") as part:
        drawn = _save({"settings": plots.settings(found)}, part)
        _write(part / "report.md", markdown.pick(found, [f"{name}.png" for name in drawn]))
        _write(part / "pick.json", to_json(asdict(found)))


def write_judges(found: JudgeReport, folder: Path) -> None:
    """Write a report on judges: report.md, its pictures, and judges.json.

    Args:
        found: a report.
        folder: where to write.

    Raises:
        EvalkitError: the folder cannot be written, or the disk is full.
    """
    with _written_folder(folder, "judges.json") as part:
        drawn = _save({"gains": plots.gains(found), "confusion": plots.confusion(found)}, part)
        _write(part / "report.md", markdown.judges(found, [f"{name}.png" for name in drawn]))
        _write(part / "judges.json", to_json(asdict(found)))


def write_history(entries: Sequence[HistoryEntry], file: Path, filters: Sequence[str] = ()) -> None:
    """Write the page of the history.

    Args:
        entries: the runs that it shows, one or more.
        file: where to write; an older page is replaced.
        filters: as they were typed; empty for all runs.

    Raises:
        EvalkitError: the file cannot be written.
    """
    boards = leaderboards(entries)
    try:
        with tempfile.TemporaryDirectory(prefix="evalkit-") as drawn:
            names = _save({f"trend-{number}": plots.trend(board) for number, board in enumerate(boards)}, Path(drawn))
            page = pages.history(boards, list(_texts(names, Path(drawn)).values()), filters)
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, page)
    except OSError as error:
        raise EvalkitError(
            f"cannot write the page {file}: {error.strerror or error}; name another --html FILE"
        ) from None


def _line(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False) + "\n"


TRIAL_PICTURES: dict[str, Callable[[Result], Any]] = {
    "before_after": plots.before_after,
    "changes": plots.deltas,
    "depths": plots.depths,
    "blend": plots.blend,
    "scores": plots.scores,
    "reliability": plots.reliability,
    "latency": plots.latency,
    "latency_grid": plots.latency_grid,
    "load": plots.load,
}
"""Name -> function of a result that returns a figure, or None where there is nothing to draw."""
COMPARISON_PICTURES: dict[str, Callable[[Comparison], Any]] = {
    "changes": lambda compared: plots.forest(compared, compared.measures[0]),
    "quality_and_latency": lambda compared: plots.tradeoff(compared.systems, compared.measures[0]),
    "costs": lambda compared: plots.costs(compared, compared.measures[0]),
}
"""The same of a comparison."""
_TITLES = {
    "changes": "Changes",
    "quality_and_latency": "Quality and latency",
    "costs": "What each costs",
}
"""Of a comparison's pictures."""


def _save(pictures: Mapping[str, Any], folder: Path) -> list[str]:
    """Save the figures that are not None as PNG and SVG, and return their names."""
    drawn = []
    for name, figure in pictures.items():
        if figure is not None:
            plots.save(figure, folder / name)
            drawn.append(name)
    return drawn


def _texts(pictures: Sequence[str], folder: Path) -> dict[str, str]:
    """Return name -> SVG text."""
    return {name: (folder / f"{name}.svg").read_text("utf-8") for name in pictures}


def _titled(pictures: Sequence[str], folder: Path) -> dict[str, str]:
    """Return title -> SVG text."""
    return {_TITLES[name]: svg for name, svg in _texts(pictures, folder).items()}


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", errors="surrogatepass")
