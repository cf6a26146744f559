"""Progress on standard error: a live bar a stage on terminals and in notebooks, lines elsewhere, or JSON; and a log.

The log has one JSON object a line, with the duration of each stage. It is written while the work goes on: after a
process was killed, the last line shows how far it came. Durations are by the monotonic clock.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from evalkit.boundary import redaction
from evalkit.boundary.errors import EvalkitError
from evalkit.boundary.process_memory import MIB, peak_resident_mb, resident_mb
from evalkit.boundary.terminal import PlainConsole

T = TypeVar("T")

FORMATS = ("text", "json")
LOG = "evalkit.log"
"""Name of the log file in a run's folder."""
LOG_EVERY_S = 10.0
"""Seconds between two entries in the log on the progress of one stage."""


@dataclass(frozen=True)
class Output:
    """Where progress goes; a process that continues the work of another one takes it over."""

    format: str = "text"
    log: Path | None = None
    began_s: float = field(default_factory=time.perf_counter)
    """Start of the work by `time.perf_counter`, which all processes of a machine share."""


_output = Output()
_console = PlainConsole(stderr=True, highlight=False, markup=False, emoji=False, force_jupyter=False)


def set_format(form: str) -> None:
    """Switch progress to another of `FORMATS`.

    Raises:
        EvalkitError: it is none of them.
    """
    global _output
    if form not in FORMATS:
        raise EvalkitError(f"log_format={form}: choose from {', '.join(FORMATS)}")
    _output = replace(_output, format=form)


def current_output() -> Output:
    """Return where progress goes now."""
    return _output


@contextmanager
def redirected(output: Output) -> Iterator[None]:
    """Send progress elsewhere while the block runs."""
    global _output
    before, _output = _output, output
    try:
        yield
    finally:
        _output = before


@contextmanager
def log_to(log: Path) -> Iterator[None]:
    """Also write to a log file, which exists already, while the block runs; its clock starts now."""
    with redirected(Output(_output.format, log)):
        yield


def say(message: str) -> None:
    """Print one line to standard error."""
    if not event("message", message=message.strip()):
        _print(message)


def event(kind: str, **facts: Any) -> bool:
    """Write one line to the log, and to standard error if the format is JSON; return whether the format is JSON.

    Args:
        kind: what happened, such as ``begin`` or ``message``.
        **facts: further fields of the line, JSON-ready; secrets in them are redacted.
    """
    in_json = _output.format == "json"
    if _output.log is None and not in_json:
        return False
    line = json.dumps({
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "at_s": round(time.perf_counter() - _output.began_s, 3),
        "event": kind,
        **redaction.settings(facts),
        **_memory(),
    }) + "\n"  # fmt: skip
    if in_json:
        sys.stderr.write(line)
        sys.stderr.flush()
    if _output.log is not None:
        with suppress(OSError):  # a full disk must not end the run because of its log
            append_line(_output.log, line)
    return in_json


def append_line(log: Path, line: str) -> None:
    """Append a line to an existing file in a single write, so that several processes can share it.

    Args:
        log: path of the file.
        line: what is appended, with the line feed at its end.

    Raises:
        OSError: the file does not exist any more, or cannot be written.
    """
    number = os.open(log, os.O_WRONLY | os.O_APPEND)
    try:
        os.write(number, line.encode())
    finally:
        os.close(number)


@contextmanager
def stage(label: str, total: int | None = None, unit: str = "") -> Iterator[Callable[[int], None]]:
    """Show a stage of work while the block runs; call the yielded function with the number of items just done.

    Args:
        label: what the stage does, such as ``searching``.
        total: number of items; None if it is unknown.
        unit: what the items are, in the plural, such as ``queries``; may be empty.
    """
    started = logged_at = time.perf_counter()
    done = 0
    live = (sys.stderr.isatty() or in_notebook()) and _output.format == "text"
    if not event("begin", stage=label, of=total, unit=unit or None) and not live:
        _print(f"  {label} ...{f' ({total:,} {unit})' if total else ''}")

    def facts() -> dict[str, Any]:
        seconds = time.perf_counter() - started
        return {
            "stage": label, "items": done or None, "of": total, "unit": unit or None, "seconds": round(seconds, 3),
            "per_s": round(done / seconds, 2) if done and seconds else None,
        }  # fmt: skip

    with _live(label, total, unit) if live else nullcontext(_nothing) as show:

        def advance(n: int) -> None:
            nonlocal done, logged_at
            done += n
            show(n)
            if (now := time.perf_counter()) - logged_at >= LOG_EVERY_S:
                logged_at = now
                event("progress", **facts())

        try:
            yield advance
        except BaseException as error:
            event("broken off", **facts(), error=type(error).__name__)
            raise
    ended = facts()
    if not event("end", **ended) and not in_notebook():
        _print(f"  {label}: {_amount(ended)}{ended['seconds']:.1f} s{_rate(ended)}")


def track(items: Iterable[T], label: str, unit: str = "", total: int | None = None) -> Iterator[T]:
    """Yield from `items` as one stage.

    Args:
        items: what is worked on, one after the other.
        label: as for `stage`.
        unit: as for `stage`.
        total: as for `stage`.
    """
    with stage(label, total, unit) as advance:
        for item in items:
            yield item
            advance(1)


def last_stage(log: Path) -> str | None:
    """Return the last stage in a log and how many items were done; None where the log has no stage."""
    try:
        lines = log.read_text("utf-8", errors="replace").splitlines()
    except OSError:
        return None
    found: str | None = None
    for line in lines:
        with suppress(ValueError, KeyError, TypeError):  # the last line may be incomplete
            entry = json.loads(line)
            if entry["event"] == "end":
                found = f"after {entry['stage']}"
            elif entry["event"] in ("begin", "progress", "broken off"):
                of = f" of {entry['of']:,}" if entry["of"] else ""
                done = f", {entry.get('items') or 0:,}{of} {entry['unit'] or 'done'}"
                found = entry["stage"] + (done if of or entry.get("items") else "")
    return found


def in_notebook() -> bool:
    """Return whether this process is the kernel of a notebook."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return type(shell).__name__ == "ZMQInteractiveShell"


def _print(message: str) -> None:
    _console.print(redaction.text(message), markup=False, soft_wrap=True)


@contextmanager
def _live(label: str, total: int | None, unit: str) -> Iterator[Callable[[int], None]]:
    if in_notebook():
        form = "{desc}: {elapsed}" if total is None else None
        unit = f" {unit}".rstrip()
        with _notebook_bar(desc=label, total=total, unit=unit, bar_format=form, leave=False, file=sys.stderr) as shown:
            yield shown.update
        return
    columns: list[ProgressColumn] = [SpinnerColumn(), TextColumn("{task.description}")]
    if total is None:
        columns += [TimeElapsedColumn()]
    else:
        columns += [BarColumn(), MofNCompleteColumn(), TextColumn(unit), _RateColumn(), TimeRemainingColumn()]
    with Progress(*columns, console=_console, transient=True) as bar:
        task = bar.add_task(label, total=total)
        yield lambda n: bar.advance(task, n)


def _notebook_bar(**settings: Any) -> Any:
    """Return tqdm's bar: of widgets where they are installed, else of text."""
    if find_spec("ipywidgets"):
        from tqdm.notebook import tqdm_notebook as bar
    else:
        from tqdm.std import tqdm as bar
    return bar(**settings, position=0)  # others may have left bars open, below which tqdm would put or hide this one


class _RateColumn(ProgressColumn):
    """Items a second over the last half minute."""

    def render(self, task: Task) -> Text:
        """Return the rate, or an empty text before there is one."""
        return Text("" if task.speed is None else f"{_plain(task.speed)}/s")


def _nothing(n: int) -> None:
    pass


def _amount(ended: Mapping[str, Any]) -> str:
    return f"{ended['items']:,} {ended['unit'] or ''} in " if ended["items"] else ""


def _rate(ended: Mapping[str, Any]) -> str:
    """Return the rate of a finished stage; empty for one of less than 0.1 s."""
    return f", {_plain(ended['per_s'])}/s" if ended["per_s"] and ended["seconds"] >= 0.1 else ""


def _plain(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2f}"


def _memory() -> dict[str, float | None]:
    """Return memory in MiB: the resident set, its peak since the reranker was loaded, and what CUDA tensors hold."""
    facts = {"rss_mb": resident_mb(), "rss_peak_mb": peak_resident_mb()}
    torch = sys.modules.get("torch")  # imported only by what computes; logging must not import it
    if torch is not None and hasattr(torch, "cuda") and torch.cuda.is_initialized():
        facts["cuda_mb"] = torch.cuda.memory_allocated() / MIB
    return {name: None if value is None else round(value, 1) for name, value in facts.items()}
