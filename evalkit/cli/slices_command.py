"""``python -m evalkit slices``: the slices by name, with size, download, licence, and what a first run takes."""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any

import yaml

from evalkit.boundary.errors import EvalkitError, nearest
from evalkit.boundary.terminal import without_controls
from evalkit.boundary.text import user_path
from evalkit.cli import describe, yaml_size
from evalkit.cli.config import conf_dir
from evalkit.report import terminal
from evalkit.report.content import numbers
from evalkit.results import published
from evalkit.slices import catalogue
from evalkit.slices.catalogue import Facts
from evalkit.slices.known_sizes import QUERIES

READ_PER_S, INDEXED_PER_S, PAIRS_PER_S = 32_000, 12_000, 122
"""What estimates assume: passages that ir_datasets reads, passages that BM25 analyses and indexes (both as
``python -m evalkit slice=miracl slice.lang=yo reranker=none`` printed them, on two cores with other work), and pairs
that the packaged reranker scores (README.md)."""

_HEAD = ("slice=", "dataset", "lang", "queries", "passages", "download", "here", "first run")


@dataclass(frozen=True)
class Row:
    """A slice in one language."""

    name: str
    """The choice, with ``slice.lang=`` where it has several languages."""
    dataset: str
    lang: str
    facts: Facts
    first_run_s: float | None
    """Estimate of reading, indexing and scoring, without the download; None where a size is not known."""
    published: tuple[str, ...]
    """The figures of ``reference`` in the choice's YAML, each with its source."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``slices`` to its parser."""
    parser.add_argument("filter", metavar="FILTER", nargs="?", help="part of a name or dataset id, or a language code")
    parser.add_argument("--config-dir", "-cd", metavar="DIR", help="a folder with YAML of your own")


def run(parsed: argparse.Namespace) -> None:
    """Print the slices by name.

    Raises:
        EvalkitError: there is no such folder, or no slice that the filter fits.
    """
    config_dir = user_path(parsed.config_dir).resolve() if parsed.config_dir else None
    terminal.show_lines([without_controls(line) for line in _lines(parsed.filter, config_dir)])


def rows(wanted: str | None = None, config_dir: Path | None = None) -> list[Row]:
    """Return the slices that have a name and an ir_datasets id.

    Args:
        wanted: part of a name or of a dataset id, or a language code: a choice of several languages has a row for each.
            None for all choices, each in one language.
        config_dir: the folder of ``--config-dir``.

    Raises:
        EvalkitError: there is no such folder, or no slice that the filter fits.
    """
    choices = describe.choices("slice", config_dir)
    found: list[Row] = []
    for name, choice in choices.items():
        yaml_size.check(choice.path)
        settings = yaml.safe_load(choice.path.read_text("utf-8", errors="replace"))
        if isinstance(settings, Mapping) and isinstance(settings.get("dataset"), str):
            found += _of_choice(name, settings, wanted)
    if wanted and not found:
        raise EvalkitError(f"slices {wanted}: no slice has this in its name{nearest(wanted, choices)}")
    return found


def _of_choice(name: str, settings: Mapping[str, Any], wanted: str | None) -> Iterator[Row]:
    several = [lang for lang in QUERIES.get(name, {}) if lang]
    for lang in several if wanted and several else [str(settings.get("lang") or "")]:
        dataset = str(settings["dataset"]).replace("${slice.lang}", lang)
        label = f"{name} slice.lang={lang}" if several else name
        if wanted is None or _fits(wanted.lower(), label, dataset, lang or "en"):
            judged = settings.get("corpus") == "judged"
            facts = catalogue.facts(dataset, judged and settings.get("source") == "auto")
            known = tuple(_published(settings, lang))
            yield Row(label, dataset, lang or "en", facts, _first_run_s(facts, judged), known)


def _published(settings: Mapping[str, Any], lang: str) -> Iterator[str]:
    entries = settings.get("reference") or []
    published.check(entries)
    for one in entries:
        if one.get("lang", lang) == lang:
            yield f"{one['measure']} {one['value']:.4f}  {one['of']} ({one['source']})"


def _fits(wanted: str, label: str, dataset: str, lang: str) -> bool:
    return wanted == lang if len(wanted) == 2 else wanted in label or wanted in dataset


def _first_run_s(facts: Facts, judged: bool) -> float | None:
    if facts.queries is None or facts.passages is None:
        return None
    kept = min(facts.passages, facts.judged_and_candidates or facts.passages) if judged else facts.passages
    read = kept if facts.reads_candidates else facts.passages
    return read / READ_PER_S + kept / INDEXED_PER_S + facts.queries * _depth() / PAIRS_PER_S


@cache
def _depth() -> int:
    return int(yaml.safe_load((conf_dir() / "base.yaml").read_text("utf-8"))["depth"])


def _lines(wanted: str | None, config_dir: Path | None) -> Iterator[str]:
    found = rows(wanted, config_dir)
    widths = [max(map(len, column)) for column in zip(_HEAD, *map(_cells, found), strict=True)]
    yield f"  {_aligned(_HEAD, widths)}"
    for terms, of_family in groupby(found, key=_terms):
        yield terms
        for row in of_family:
            yield f"  {_aligned(_cells(row), widths)}"
            yield from (f"      {line}" for line in (row.published if wanted else ()))
    yield ""
    yield "download: as ir_datasets states it, else blank. here: the passages are on this machine."
    yield f"first run: an estimate for two cores, without the download: {READ_PER_S:,} passages a second read,"
    yield f"{INDEXED_PER_S:,} indexed by BM25, and {PAIRS_PER_S} pairs scored by reranker=packaged, {_depth()} a query."
    if any("nano-beir/" in row.dataset or "bright/" in row.dataset for row in found):
        yield "NanoBEIR and BRIGHT are read with pyarrow: pip install 'evalkit-rerank[nano-beir]'."
    if wanted is None:
        named = {row.name.split()[0] for row in found}
        others = [one for name, one in describe.choices("slice", config_dir).items() if name not in named]
        yield "python -m evalkit slices FILTER, such as miracl or sw, lists languages and published figures."
        yield "Further choices:"
        yield from (f"  slice={one.name:<8}  {one.summary}".rstrip() for one in others)


def _cells(row: Row) -> tuple[str, ...]:
    facts = row.facts
    return (
        row.name, row.dataset, row.lang, numbers.count(facts.queries), numbers.count(facts.passages),
        _size(facts.download_bytes), "yes" if facts.is_here else "", _duration(row.first_run_s),
    )  # fmt: skip


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    """Return cells in columns: texts to the left, numbers to the right."""
    sides = "<<<>>>>>"
    return "  ".join(f"{cell:{side}{width}}" for cell, side, width in zip(cells, sides, widths, strict=True)).rstrip()


def _terms(row: Row) -> str:
    facts = row.facts
    return f"{facts.licence}: {facts.page}" if facts.licence else "Terms: see the collection's own page"


def _size(found: int | None) -> str:
    if found is None:
        return ""
    return f"{found / 1e9:.1f} GB" if found >= 1e9 else f"{max(found / 1e6, 0.1):.1f} MB"


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return ""
    minutes = max(seconds / 60, 1)
    return f"{minutes:.0f} min" if minutes < 100 else f"{minutes / 60:.1f} h"
