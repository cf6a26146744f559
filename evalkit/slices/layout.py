"""Where a folder has its passages, queries and judgments: BEIR's layout, or that of MTEB and Hugging Face."""

import re
from glob import glob, has_magic
from pathlib import Path
from typing import Any

from evalkit.boundary.compression import SUFFIXES
from evalkit.boundary.errors import EvalkitError
from evalkit.boundary.table_files import TABLES, base_name, suffix_of
from evalkit.boundary.text import is_folder, printable_name, user_path

TREC = (".trec", ".qrels", ".txt")
"""Extensions of judgments in trec_eval's format, such as the ``qrels.trec`` that evalkit writes."""
_FORMATS = (".tsv", *(end for end in TABLES if end != ".tsv"), *TREC)
_SINGULAR = {"queries": "query"}
"""What MTEB calls this part in some datasets."""
_SHARD = re.compile(r"(-\d+-of-\d+)$")


def find_files(setting: str, place: str) -> list[Path]:
    """Return the files that a setting names, in the order of their names.

    Args:
        setting: its name, for messages.
        place: a file, a folder whose tables are all meant, or a pattern such as ``corpus/*.parquet``.

    Raises:
        EvalkitError: there is none.
    """
    path = user_path(place)
    if is_folder(path):
        is_read = _is_read if setting == "slice.qrels" else _is_table
        found = [file for files in _by_split(path).values() for file in files if is_read(file)]
        if not found:
            raise EvalkitError(f"{setting}={place}: the folder has no file named {', '.join(TABLES)}")
        return found
    if has_magic(str(path)) and not path.exists():
        found = [Path(name) for name in sorted(glob(str(path)))]
        if not found:
            raise EvalkitError(f"{setting}={place}: no file has such a name")
        return found
    return [path]


def find_part(folder: Path, name: str, split: str = "") -> list[Path]:
    """Return the files of the passages or the queries: NAME.jsonl or another table, or those in the folder NAME.

    Args:
        folder: of the collection.
        name: ``corpus`` or ``queries``.
        split: which files of the folder NAME are taken, if those of several splits are there.

    Raises:
        EvalkitError: the folder NAME has several splits, and not this one.
    """
    for end in TABLES:
        for compression in ("", *SUFFIXES):
            if (path := folder / f"{name}{end}{compression}").exists():
                return [path]
    configs = configured(folder)
    by_split = _by_split(folder / name) or configs.get(name) or configs.get(_SINGULAR.get(name, ""), {})
    if len(by_split) == 1:
        return next(iter(by_split.values()))
    if by_split and split not in by_split:
        raise EvalkitError(f"{folder / name} has {', '.join(by_split)}, and none of them is {printable_name(split)}")
    return by_split.get(split) or [folder / f"{name}.jsonl"]


def find_judgments(folder: Path, split: str, subset: str | None = None) -> list[Path]:
    """Return the files of a split's judgments, in ``qrels`` as in BEIR, or in ``default`` or ``data`` as in MTEB.

    Args:
        folder: of the collection.
        split: its name, such as ``test``.
        subset: of a collection in several parts, whose judgments are in the folder SUBSET-qrels.

    Raises:
        EvalkitError: they do not exist; the message lists the splits that do.
    """
    found = find_splits(folder, subset)
    if split in found:
        return found[split]
    place = _places(folder, subset)[0]
    there = sorted(path for path in place.glob("*") if path.is_file())
    if found:
        have = f"; choose from {', '.join(sorted(found))}"
    elif there:
        have = f"; it has {', '.join(path.name for path in there[:5])}, and files named {_named()} are read"
    elif others := sorted(path.name for path in folder.glob("*qrels*") if path.is_file() and _is_read(path)):
        have = f"; there is {others[0]} in the folder, which slice.qrels={folder / others[0]} reads"
    else:
        have = "; the folder has no qrels at all"
    name = printable_name(split)
    raise EvalkitError(f"slice.split={name}: there is no {place}/{name}.tsv{have}")


def find_splits(folder: Path, subset: str | None = None) -> dict[str, list[Path]]:
    """Return split -> the files of its judgments, for each split of a folder.

    Args:
        folder: of the collection.
        subset: as for `find_judgments`.
    """
    found: dict[str, list[Path]] = {}
    for place in _places(folder, subset):
        for name, files in (_by_split(place) or configured(folder).get(place.name, {})).items():
            found.setdefault(name, files)
    return found


def configured(folder: Path) -> dict[str, dict[str, list[Path]]]:
    """Return part -> split -> files, as the README.md of a dataset of the hub lists them for `datasets`.

    Args:
        folder: of the dataset; its README.md may begin with YAML that has ``configs``.
    """
    import yaml

    readme = folder / "README.md"
    if not readme.is_file() or not (head := _FRONT.match(readme.read_text("utf-8", errors="replace"))):
        return {}
    try:
        configs = yaml.safe_load(head[1])["configs"]
        return {str(one["config_name"]): _files_of(folder, one["data_files"]) for one in configs if "data_files" in one}
    except (yaml.YAMLError, LookupError, TypeError, ValueError, NotImplementedError, RecursionError):
        return {}


_FRONT = re.compile(r"---\r?\n(.*?)\n---", re.DOTALL)


def _files_of(folder: Path, entries: list[dict[str, Any]]) -> dict[str, list[Path]]:
    """Return split -> files of patterns such as ``corpus/test-*``; what leads out of the folder is no match."""
    found = {}
    for entry in entries:
        patterns = [entry["path"]] if isinstance(entry["path"], str) else entry["path"]
        found[str(entry["split"])] = [
            file for one in patterns if ".." not in one for file in sorted(folder.glob(one)) if _is_read(file)
        ]
    return {split: files for split, files in found.items() if files}


def _places(folder: Path, subset: str | None) -> list[Path]:
    return [folder / name for name in ((f"{subset}-qrels",) if subset else ("qrels", "default", "data"))]


def split_of(path: Path) -> str:
    """Return the split that a file is named after: ``test`` for ``test.tsv.gz`` and ``test-00000-of-00002.parquet``."""
    return _SHARD.sub("", base_name(path))


def _by_split(place: Path) -> dict[str, list[Path]]:
    """Return split -> its files; of several formats the first in `_FORMATS`, and as it is before compressed.

    A split is a file or its shards, or, as `datasets` saves it, a folder of shards.
    """
    found: dict[str, dict[str, list[Path]]] = {}
    for path in sorted([*place.glob("*"), *place.glob("*/*")]):
        if path.is_file() and _is_read(path):
            split = split_of(path) if path.parent == place else path.parent.name
            found.setdefault(split, {}).setdefault(_format(path), []).append(path)
    return {split: by_format[min(by_format, key=_preference)] for split, by_format in found.items()}


def _format(path: Path) -> str:
    return suffix_of(path) + (path.suffix if path.suffix in SUFFIXES else "")


def _preference(form: str) -> tuple[int, bool]:
    return _FORMATS.index(suffix_of(Path(f"x{form}"))), form.endswith(SUFFIXES)


def _is_read(path: Path) -> bool:
    return suffix_of(path) in TREC or _is_table(path)


def _is_table(path: Path) -> bool:
    return suffix_of(path) in TABLES and path.name not in _NO_TABLES


_NO_TABLES = {"dataset_info.json", "state.json", "dataset_dict.json", "dataset_infos.json"}
"""What `datasets` writes next to its tables."""


def _named() -> str:
    return f"SPLIT{', SPLIT'.join(_FORMATS)}"
