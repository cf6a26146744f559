"""Progress on standard error: one live line a stage on a terminal, one plain line a stage elsewhere."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

T = TypeVar("T")

_console = Console(stderr=True, highlight=False)


def say(message: str) -> None:
    """Print one line to standard error."""
    _console.print(message, markup=False, soft_wrap=True)


@contextmanager
def stage(label: str, total: int | None = None, unit: str = "") -> Iterator[Callable[[int], None]]:
    """Show a stage of work while the block runs; call the yielded function with how many items were done."""
    started = time.perf_counter()
    done = 0
    if not sys.stderr.isatty():

        def count(n: int) -> None:
            nonlocal done
            done += n

        yield count
    else:
        bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn(unit),
            TimeRemainingColumn(),
            console=_console,
            transient=True,
        )
        with bar:
            task = bar.add_task(label, total=total)

            def advance(n: int) -> None:
                nonlocal done
                done += n
                bar.advance(task, n)

            yield advance
    seconds = time.perf_counter() - started
    say(f"  {label}: {f'{done:,} {unit} in ' if done else ''}{seconds:.1f} s")


def track(items: Iterable[T], label: str, unit: str = "", total: int | None = None) -> Iterator[T]:
    """Yield from `items` as one stage."""
    with stage(label, total, unit) as advance:
        for item in items:
            yield item
            advance(1)
