"""Writes folders: all of a trial, of a sweep, of a comparison; what says that it is whole comes last."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from evalkit.errors import EvalkitError
from evalkit.files import write_whole
from evalkit.progress import stage
from evalkit.report import html, markdown, plots, tex
from evalkit.report.queries import passages, per_query
from evalkit.report.result import Result, finished
from evalkit.trec import write_qrels, write_run
from evalkit.types import Trial


def write_trial(trial: Trial, folder: Path, references: Sequence[Mapping[str, Any]] = ()) -> Result:
    """Write everything about `trial` and return its result; result.json comes last, as the sign that all is there.

    `references` are published figures, as `evalkit.published` reads them.

    Raises:
        EvalkitError: the folder cannot be written, or the disk is full.
    """
    with stage("testing"):
        result = finished(trial, references)
    try:
        write_run(trial.first_stage, folder / "first_stage.trec")
        write_run(trial.reranked, folder / "reranked.trec")
        write_qrels(trial.slice.qrels, folder / "qrels.trec")
        per_query(trial).to_csv(folder / "per_query.csv", index=False, float_format="%.6f")
        shown = passages(trial)
        _write(folder / "passages.jsonl", "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in shown))
        with stage("drawing"):
            pictures = _draw(_TRIAL_PICTURES, result, folder)
        _write(folder / "report.md", markdown.trial(result, [f"{name}.png" for name in pictures]))
        _write(folder / "report.html", html.trial(result, shown, _titled(pictures, folder)))
        _write(folder / "report.tex", tex.trial(result))
        write_result(result, folder)
    except OSError as error:
        raise cannot_write(folder, error) from None
    return result


def write_sweep(results: Sequence[Result], folder: Path) -> None:
    """Write the combined report of a sweep.

    Raises:
        EvalkitError: the folder cannot be written, or the disk is full.
    """
    try:
        done = [result for result in results if result["status"] == "finished"]
        drawn = _save({"languages": plots.languages(done)}, folder)
        _write(folder / "report.md", markdown.sweep(results, [f"{name}.png" for name in drawn]))
        write_whole(folder / "sweep.json", _json(list(results)))
    except OSError as error:
        raise cannot_write(folder, error) from None


def write_comparison(compared: Mapping[str, Any], folder: Path) -> None:
    """Write everything about a comparison; comparison.json comes last, as the sign that all is there.

    Raises:
        EvalkitError: the folder cannot be written, or the disk is full.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        measure, systems = compared["measures"][0], compared["systems"]
        pictures = {
            "changes": plots.forest(compared, measure),
            "quality_and_latency": plots.tradeoff(systems, measure),
            "memory": plots.memory(systems),
        }
        drawn = _save(pictures, folder)
        _write(folder / "report.md", markdown.comparison(compared, [f"{name}.png" for name in drawn]))
        _write(folder / "report.html", html.comparison(compared, _titled(drawn, folder)))
        _write(folder / "report.tex", tex.comparison(compared))
        write_whole(folder / "comparison.json", _json(compared))
    except OSError as error:
        raise cannot_write(folder, error) from None


def write_result(result: Result, folder: Path) -> None:
    """Write result.json whole or not at all."""
    write_whole(folder / "result.json", _json(result))


def cannot_write(folder: Path, error: OSError) -> EvalkitError:
    """Return the sentence for a folder that cannot be written."""
    return EvalkitError(
        f"cannot write the results to {folder}: {error.strerror or error}; free some space, or name "
        "another folder with out_dir=DIR"
    )


def _json(value: object) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


_TRIAL_PICTURES = {
    "before_after": plots.before_after,
    "changes": plots.deltas,
    "depths": plots.depths,
    "scores": plots.scores,
    "reliability": plots.reliability,
}
_TITLES = {
    "before_after": "Before and after reranking",
    "changes": "Changes",
    "depths": "Quality by depth",
    "scores": "Scores by grade",
    "reliability": "What the sigmoid says, and what holds",
    "quality_and_latency": "Quality and latency",
    "memory": "Peak memory",
    "languages": "Before and after, by slice",
}


def _draw(pictures: Mapping[str, Callable[[Result], Any]], result: Result, folder: Path) -> list[str]:
    return _save({name: draw(result) for name, draw in pictures.items()}, folder)


def _save(pictures: Mapping[str, Any], folder: Path) -> list[str]:
    """Save the figures that there are as PNG and SVG, and return their names."""
    drawn = []
    for name, figure in pictures.items():
        if figure is not None:
            plots.save(figure, folder / name)
            drawn.append(name)
    return drawn


def _titled(pictures: Sequence[str], folder: Path) -> dict[str, str]:
    """Return title -> SVG text."""
    return {_TITLES[name]: (folder / f"{name}.svg").read_text("utf-8") for name in pictures}


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", errors="surrogatepass")
