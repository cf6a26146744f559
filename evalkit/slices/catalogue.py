"""What ir_datasets states of a collection, read from its own files without importing it: sizes, downloads, licence.

``ir_datasets/etc/metadata.json`` has the counts and ``downloads.json`` the files with their sizes.
"""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from evalkit.boundary.text import user_path
from evalkit.slices import candidates


@dataclass(frozen=True)
class Facts:
    """What is known of an ir_datasets id before anything is downloaded."""

    queries: int | None
    """Queries of the id; None if ir_datasets does not state it."""
    passages: int | None
    """Of the whole collection."""
    judged_and_candidates: int | None
    """Judgments and candidates together: at most as many passages does ``slice.corpus=judged`` keep."""
    download_bytes: int | None
    """Of the files that a first run downloads; None if ir_datasets does not state them in bytes."""
    reads_candidates: bool
    """Whether the passages come from MS MARCO's official candidate files."""
    is_here: bool
    """Whether the passages are in ir_datasets' folder on this machine."""
    licence: str
    page: str
    """Where the terms are, which ir_datasets does not have."""


_FILES: Mapping[str, tuple[str, ...]] = {
    "beir": ("{1}",),
    "nano-beir": ("{1}/docs", "{1}/queries", "{1}/qrels"),
    "bright": ("{1}/docs", "{1}/queries"),
    "msmarco-passage": ("collectionandqueries", "{1}/queries", "{1}/qrels"),
    "msmarco-passage-v2": ("passages", "{1}/queries", "{1}/qrels", "{1}/scoreddocs"),
    "miracl": ("v1.0/{1}/corpus", "v1.0/{1}/{2}/topics", "v1.0/{1}/{2}/qrels"),
    "mmarco": ("v2/{2}/docs", "v2/{2}/queries/dev", "v2/{2}/scoreddocs/dev", "dev/qrels-small"),
}
"""First part of an id -> keys of downloads.json, the first one that of the passages; {1} is the id's second part."""

_BUILT: Mapping[str, str] = {
    "beir": "{1}/docs.pklz4", "nano-beir": "{1}/docs.pklz4", "msmarco-passage": "collection.tsv",
}  # fmt: skip
"""First part of an id -> file or folder with its passages in ir_datasets' home, where it is not the download itself."""

_MSMARCO = ("Microsoft: non-commercial research", "https://microsoft.github.io/msmarco/")
_TERMS: Mapping[str, tuple[str, str]] = {
    "beir": ("terms of each collection", "https://github.com/beir-cellar/beir"),
    "nano-beir": ("terms of each collection", "https://huggingface.co/zeta-alpha-ai"),
    "bright": ("CC BY 4.0", "https://huggingface.co/datasets/xlangai/BRIGHT"),
    "msmarco-passage": _MSMARCO,
    "msmarco-passage-v2": _MSMARCO,
    "miracl": ("Apache 2.0", "https://huggingface.co/datasets/miracl/miracl-corpus"),
    "mteb": ("of the hub, terms of each collection", "https://huggingface.co/mteb"),
    "mmarco": ("Apache 2.0, over MS MARCO", "https://github.com/unicamp-dl/mMARCO"),
}
"""First part of an id -> terms in short, and the page that has them."""


_LEAST_BYTES = 10
"""Bytes of a passage below which a stated size is wrong: NanoBEIR has numbers of rows, Yoruba of MIRACL 11 KB."""


def facts(dataset: str, by_candidates: bool = False) -> Facts:
    """Return what ir_datasets states of an id.

    Args:
        dataset: an ir_datasets id, such as ``beir/scifact/test``.
        by_candidates: whether MS MARCO's candidate files are read where there are some, as with ``slice.source=auto``.
    """
    parts = dataset.split("/")
    instead = candidates.keys(dataset) if by_candidates else None
    downloads = list(_downloads(parts, instead))
    sizes = [one.get("size_hint") for one in downloads]
    judged = _count(dataset, "qrels")
    passages = _count(dataset, "docs")
    least = 0 if instead else _LEAST_BYTES * (passages or 0)
    known = bool(sizes) and None not in sizes and sum(sizes) >= least
    licence, page = _TERMS.get(parts[0], ("", ""))
    return Facts(
        queries=_count(dataset, "queries"),
        passages=passages,
        download_bytes=sum(sizes) if known else None,
        judged_and_candidates=None if judged is None else judged + (_count(dataset, "scoreddocs") or 0),
        reads_candidates=instead is not None,
        is_here=_is_here(parts, downloads, instead),
        licence=licence,
        page=page,
    )


def _downloads(parts: list[str], instead: Sequence[str] | None) -> Iterator[Any]:
    """Yield the entries of downloads.json for an id, those of the passages first, for which others may be taken."""
    of_family = _file("downloads.json").get(parts[0], {})
    patterns = _FILES.get(parts[0], ())
    for pattern in patterns if instead is None else (*instead, *patterns[1:]):
        try:
            key = pattern.format(*parts)
        except IndexError:
            continue
        if parts == ["beir", "webis-touche2020", "v2"]:
            key = "webis-touche2020/v2"
        found = of_family.get(key)
        yield from (found,) if found else (one for name, one in of_family.items() if name.startswith(f"{key}/"))


def _is_here(parts: list[str], downloads: list[Any], instead: Sequence[str] | None) -> bool:
    home = user_path(os.environ.get("IR_DATASETS_HOME", "~/.ir_datasets")) / parts[0]
    if instead and all((home / key.split("/")[0] / "candidates.tsv").exists() for key in instead):
        return True
    if built := _BUILT.get(parts[0]):
        subset = "/".join(parts[1:3]) if parts[1:2] == ["cqadupstack"] or parts[-1] == "v2" else parts[1]
        if (home / built.format(parts[0], subset)).exists():
            return True
    path = downloads[0].get("cache_path") if downloads else None
    return path is not None and (home / path).exists()


def _count(dataset: str, what: str) -> int | None:
    """Return a count of metadata.json, where one id may refer to another one."""
    stated = _file("metadata.json").get(dataset, {}).get(what, {})
    for _ in range(5):
        if "_ref" not in stated:
            break
        stated = _file("metadata.json").get(stated["_ref"], {}).get(what, {})
    count = stated.get("count")
    return count if isinstance(count, int) else None


@cache
def _file(name: str) -> dict[str, Any]:
    spec = find_spec("ir_datasets")
    assert spec is not None
    assert spec.origin is not None
    found: dict[str, Any] = json.loads((Path(spec.origin).parent / "etc" / name).read_text("utf-8"))
    return found
