"""Published figures from a slice's ``reference``: checked, and compared with ours."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from evalkit.boundary import languages
from evalkit.boundary.errors import EvalkitError, nearest
from evalkit.evaluation.measure_names import parse
from evalkit.results.schema import Effective, Effectiveness, Reference

REQUIRED = ("of", "measure", "value", "source")
OPTIONAL = ("note", "lang")


def check(entries: object) -> None:
    """Check a list of published figures.

    Each entry is a mapping of `of` ("bm25", or "bm25 + bge-reranker-v2-m3": names as a result has them), `measure`,
    `value` (in [0, 1]), `source` (a short citation or an address), and optionally `note` and `lang`
    (the language of the slice that it is for; any language without it).

    Raises:
        EvalkitError: an entry lacks a key, has an unknown one, or a value of the wrong kind.
    """
    if not isinstance(entries, Sequence) or isinstance(entries, str):
        raise EvalkitError(f"slice.reference={entries}: give a list of entries {{{', '.join(REQUIRED)}}}")
    for number, entry in enumerate(entries):
        _check_entry(f"slice.reference[{number}]", entry)


def _check_entry(where: str, entry: object) -> None:
    if not isinstance(entry, Mapping):
        raise EvalkitError(f"{where}={entry}: an entry is a mapping of {', '.join(REQUIRED)}")
    for key in entry:
        if key not in (*REQUIRED, *OPTIONAL):
            raise EvalkitError(f"{where}: there is no key {key!r}{nearest(str(key), (*REQUIRED, *OPTIONAL))}")
    for key in (*REQUIRED, *OPTIONAL):
        text = entry.get(key)
        if key == "value" or (key in OPTIONAL and text is None):
            continue
        if not isinstance(text, str) or not text.strip():
            raise EvalkitError(f"{where}: {key} is {_shown(text)}, and has to be {_MEANING[key]}")
    if entry.get("lang") is not None:
        _in_entry(where, languages.canonical, entry["lang"])
    value = entry.get("value")
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:  # false for NaN too
        raise EvalkitError(
            f"{where}: value is {_shown(value)}, and has to be a number from 0 to 1; divide a percentage by 100"
        )
    _in_entry(where, lambda measure: parse(measure, depth=1), entry["measure"])


def _in_entry(where: str, checked: Callable[[str], object], value: str) -> None:
    try:
        checked(value)
    except EvalkitError as error:
        raise EvalkitError(f"{where}: {error}") from None


_MEANING = {
    "of": 'the name of a first stage, or "first stage + reranker"',
    "measure": "a measure, such as nDCG@10",
    "source": "a short citation or an address",
    "note": "a text",
    "lang": 'the code of a language, quoted, such as "no"',  # which YAML takes for False without the quotes
}


def _shown(value: object) -> str:
    return "missing" if value is None else repr(value)


def compare_published(
    entries: Sequence[Mapping[str, Any]], effective: Effective, effect: Effectiveness
) -> tuple[Reference, ...]:
    """Return the published figures that fit a result, in their order, each with ours.

    Args:
        entries: published figures, which `check` has accepted. Those of another system or language, or of a measure
            that was not measured, are left out.
        effective: what the trial did.
        effect: its measures.
    """
    first = effective.first_stage["name"]
    means = {first: effect.first_stage.mean, f"{first} + {effective.reranker['name']}": effect.reranked.mean}
    found = []
    for entry in entries:
        measure = str(parse(entry["measure"], effective.depth))
        ours = means.get(entry["of"], {}).get(measure)
        lang = entry.get("lang")
        if ours is None or (lang is not None and languages.canonical(lang) != effective.slice["lang"]):
            continue
        found.append(
            Reference(
                of=entry["of"],
                measure=measure,
                value=entry["value"],
                ours=ours,
                difference=ours - entry["value"],
                source=entry["source"],
                note=entry.get("note") or "",
            )
        )
    return tuple(found)
