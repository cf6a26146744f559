"""Filters and sorts the entries of the history by what a user types: ``reranker=bge``, ``nDCG@10=0.7..``."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import inf

from evalkit.boundary.errors import EvalkitError, nearest
from evalkit.results.history.entry import HistoryEntry

TEXTS = (
    "name", "commit", "slice", "first_stage", "reranker", "runtime", "precision", "device", "verdict", "evalkit",
    "folder", "measure",
)  # fmt: skip
"""Fields that are filtered by a part of their text; `commit` by its beginning."""
NUMBERS = ("queries", "depth", "delta", "p50_ms", "peak_mib")
"""Fields that are filtered by a value or a range, as are the names of measures."""
TIME = "ended"
"""Filtered by a day, or any other beginning of the time, or by a range of them."""
_SMALLEST_FIRST = ("p50_ms", "peak_mib", "queries", "depth")


@dataclass(frozen=True)
class Filter:
    """One condition on an entry."""

    typed: str
    holds: Callable[[HistoryEntry], bool]


def keys(entries: Iterable[HistoryEntry]) -> list[str]:
    """Return the keys that filters and sorting know, with the measures that the entries have."""
    measures = dict.fromkeys(measure for entry in entries for measure in entry.means)
    return [TIME, *TEXTS, *NUMBERS, *measures]


def filters(typed: Sequence[str], entries: Sequence[HistoryEntry]) -> list[Filter]:
    """Read filters.

    Args:
        typed: each ``KEY=VALUE``: a part of a text in any case, one of several parts with commas, the whole text with
            ``KEY==VALUE``; for numbers a value, or a range ``LOW..HIGH`` of which one end may be left out.
        entries: those that are filtered, for the measures that they have.

    Raises:
        EvalkitError: one of them has no ``=``, an unknown key, or a value that is no number where it has to be one.
    """
    known = keys(entries)
    return [_filter(one, known) for one in typed]


def select(entries: Sequence[HistoryEntry], conditions: Sequence[Filter]) -> list[HistoryEntry]:
    """Return the entries for which all conditions hold, in their order.

    Args:
        entries: of the history.
        conditions: as `filters` reads them.
    """
    return [entry for entry in entries if all(condition.holds(entry) for condition in conditions)]


def sort(entries: Sequence[HistoryEntry], key: str | None = None) -> list[HistoryEntry]:
    """Return the entries best first by one key, and the newest first where that does not decide.

    The largest measure and the largest delta come first, the smallest time, memory, depth and number of queries, and
    texts in their order. Entries without a value come last.

    Args:
        entries: in any order.
        key: one of `keys`; None for the newest first.

    Raises:
        EvalkitError: there is no such key.
    """
    newest = sorted(sorted(entries, key=lambda entry: entry.folder), key=lambda entry: entry.ended or "", reverse=True)
    if key is None or key == TIME:
        return newest
    _check_key(key, keys(entries), "--sort")
    if key in TEXTS:
        return sorted(newest, key=lambda entry: (getattr(entry, key) is None, _text(entry, key).casefold()))
    sign = 1 if key in _SMALLEST_FIRST else -1
    return sorted(newest, key=lambda entry: _last(None if (found := _value(entry, key)) is None else sign * found))


def _value(entry: HistoryEntry, key: str) -> float | None:
    """Return the number that a key stands for: a field, or the mean of a measure in the ranking of the run."""
    found: float | None = getattr(entry, key) if key in NUMBERS else entry.means.get(key)
    return found


def _text(entry: HistoryEntry, key: str) -> str:
    """Return the text of a field; ``none`` where there is none."""
    found = getattr(entry, key)
    return "none" if found is None else str(found)


def _filter(typed: str, known: Sequence[str]) -> Filter:
    # A measure may have an equals sign in its name: RR(rel=2)@10.
    key = next((k for k in sorted(known, key=len, reverse=True) if typed.startswith(f"{k}=")), typed.partition("=")[0])
    wanted = typed[len(key) + 1 :]
    if "=" not in typed or not wanted:
        raise EvalkitError(f"{typed!r} is no filter: write KEY=VALUE, such as slice=dev or delta=0.01..")
    _check_key(key, known, typed)
    if key in TEXTS:
        return Filter(typed, _text_filter(key, wanted))
    if key == TIME:
        return Filter(typed, _time_filter(wanted))
    is_in = _range(typed, wanted)
    return Filter(typed, lambda entry: (found := _value(entry, key)) is not None and is_in(found))


def _text_filter(key: str, wanted: str) -> Callable[[HistoryEntry], bool]:
    if wanted.startswith("="):
        return lambda entry: _text(entry, key) == wanted[1:]
    parts = [part.strip().casefold() for part in wanted.split(",")]
    if key == "commit":
        return lambda entry: _text(entry, key).startswith(tuple(parts))
    return lambda entry: any(part in _text(entry, key).casefold() for part in parts)


def _time_filter(wanted: str) -> Callable[[HistoryEntry], bool]:
    low, dots, high = wanted.partition("..")
    if not dots:
        return lambda entry: (entry.ended or "").startswith(low)
    return lambda entry: entry.ended is not None and low <= entry.ended and (entry.ended[: len(high)] <= high)


def _range(typed: str, wanted: str) -> Callable[[float], bool]:
    """Return the condition of a range; a number alone stands for what rounds to it."""
    low, dots, high = wanted.partition("..")
    try:
        if dots and (low or high):
            lowest, highest = float(low or -inf), float(high or inf)
            return lambda number: lowest <= number <= highest
        rounded, around = float(low), 0.5 * 10.0 ** -len(low.partition(".")[2])
        return lambda number: rounded - around <= number < rounded + around
    except ValueError:
        raise EvalkitError(f"{typed}: give a number, or a range such as 0.5..0.7, 0.5.. or ..200") from None


def _check_key(key: str, known: Sequence[str], typed: str) -> None:
    if key not in known:
        close = nearest(key, known)
        all_of_them = "" if "choose from" in close else f"; there are {', '.join(known)}"
        raise EvalkitError(f"{typed}: the history has no {key!r}{close}{all_of_them}")


def _last(number: float | None) -> tuple[bool, float]:
    return number is None, number or 0.0
