"""Indexes and embeddings, kept on disk by a fingerprint of all that shapes them: whole and unharmed, or made anew.

A folder each, of plain arrays and a manifest with their checksums. It is written under another name and renamed, so
that no half of one is ever found; and nothing in it is code (no pickle).
"""

import hashlib
import json
import os
import shutil
import socket
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from evalkit.boundary.atomic import fsync
from evalkit.boundary.progress import say, stage
from evalkit.errors import EvalkitError, nearest

if TYPE_CHECKING:
    import numpy as np

T = TypeVar("T")
Arrays = Mapping[str, "np.ndarray[Any, Any]"]

_LAYOUT = 1
_MANIFEST = "manifest.json"
_OF_FREE = 0.1
"""The part of the free space that an index may take without being asked for."""


@dataclass(frozen=True)
class CacheResult(Generic[T]):
    """An index, and where it came from."""

    value: T
    from_cache: bool
    cache_s: float
    """Time spent on the cache beside reading from it: fingerprint and writing. No part of what a first stage costs."""


@dataclass(frozen=True)
class CacheEntry:
    """An index on disk."""

    folder: Path
    size_bytes: int
    used_s: float
    """When a run last made or read it, as a Unix time."""


@dataclass(frozen=True)
class Cache:
    """Where indexes are kept."""

    folder: Path
    is_shared: bool
    """Whether the place was not asked for, so that no large part of the disk is taken."""

    def get(
        self,
        kind: str,
        facts: Mapping[str, Any],
        docs: Mapping[str, str],
        make: Callable[[], T],
        pack: Callable[[T], Arrays],
        unpack: Callable[[Arrays], T],
    ) -> CacheResult[T]:
        """Return what is kept under these facts and texts, or make it and keep it.

        What cannot be read or kept is said aloud and is no error: a cache is not what the work depends on.
        """
        started = time.perf_counter()
        with stage("taking the fingerprint of the passages"):
            described = {"layout": _LAYOUT, "kind": kind, **facts, "docs": hash_texts(docs)}
        digest = hashlib.sha256(json.dumps(described, sort_keys=True, allow_nan=False).encode()).hexdigest()
        where = self.folder / f"{kind}-{digest[:32]}"
        cache_s = time.perf_counter() - started
        if where.exists():
            try:
                with stage("reading the index from the cache"):
                    value = unpack(_read(where, described))
            except Exception as error:  # garbage ends in any of a dozen types
                say(f"  the index in {where} is damaged ({error}); it is made anew")
                _remove(where)
            else:
                say(f"  index from the cache: {where}")
                with suppress(OSError):  # a cache that others fill
                    os.utime(where / _MANIFEST)
                return CacheResult(value, True, cache_s)
        value = make()
        started = time.perf_counter()
        self._keep(where, described, pack(value))
        return CacheResult(value, False, cache_s + time.perf_counter() - started)

    def _keep(self, where: Path, described: Mapping[str, Any], arrays: Arrays) -> None:
        size = sum(array.nbytes for array in arrays.values())
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            free = shutil.disk_usage(self.folder).free
            if size > free * (_OF_FREE if self.is_shared else 1):
                say(f"  index not kept: it takes {_mb(size)}, and {_mb(free)} are free in {self.folder}")
                return
            with stage("keeping the index"):
                _write(where, described, arrays)
        except OSError as error:
            say(f"  index not kept in {self.folder}: {error.strerror or error}")
        else:
            say(f"  index kept, {_mb(size)}: {where}")


def check(setting: str) -> None:
    """Check the setting ``first_stage_cache``.

    Raises:
        EvalkitError: it is no folder, and neither ``auto`` nor ``off``.
    """
    if setting not in ("auto", "off") and os.sep not in setting and not Path(setting).is_dir():
        raise EvalkitError(
            f"first_stage_cache={setting}: choose auto, off, or a folder such as ./{setting}"
            f"{nearest(setting, ('auto', 'off'))}"
        )


def open_cache(setting: str, docs: int, least: int) -> Cache | None:
    """Return the cache that a setting asks for, or None: where it is off, and for fewer than `least` passages.

    A folder that was named keeps indexes of any size; ``auto`` is ``first_stage`` beside the score store, and keeps
    what takes longer to make than to read.
    """
    if setting == "off" or (setting == "auto" and docs < least):
        return None
    if setting != "auto":
        return Cache(Path(setting).expanduser(), is_shared=False)
    from evalkit.boundary.cache_dirs import default_store_path

    try:
        return Cache(default_folder(default_store_path()), is_shared=True)
    except EvalkitError:
        say("  index not kept: there is no home to keep it in; EVALKIT_HOME=DIR names a folder")
        return None


def default_folder(store: Path) -> Path:
    """Return the folder of ``first_stage_cache=auto``, which is beside the score store."""
    return store.parent / "first_stage"


def list_entries(folder: Path) -> list[CacheEntry]:
    """Return what is kept in a folder, last used first; what is no index is left out."""
    found = []
    for manifest in folder.glob(f"*/{_MANIFEST}"):
        if manifest.parent.suffix == ".part":  # being written, or removed
            continue
        with suppress(OSError):  # another process just removed it
            size = sum(path.stat().st_size for path in manifest.parent.iterdir())
            found.append(CacheEntry(manifest.parent, size, manifest.stat().st_mtime))
    return sorted(found, key=lambda kept: (-kept.used_s, kept.folder.name))


def prune(folder: Path, older_than_days: float | None = None) -> list[CacheEntry]:
    """Remove what no run has used for so many days, or everything; return what is gone.

    A run that has an index open keeps it: its files stay until they are closed.
    """
    before_s = time.time() - (older_than_days or 0) * 86400
    gone = [kept for kept in list_entries(folder) if older_than_days is None or kept.used_s < before_s]
    for kept in gone:
        _remove(kept.folder)
    _remove_dead(folder)
    return gone


def hash_texts(docs: Mapping[str, str]) -> str:
    """Return the SHA-256 over ids and texts in their order, which is the order of the rows."""
    digest = hashlib.sha256()
    for item in docs.items():
        for field in item:
            data = field.encode("utf-8", "surrogatepass")
            digest.update(len(data).to_bytes(8, "little") + data)  # lengths: no two collections write the same bytes
    return digest.hexdigest()


def hash_code(*files: str) -> str:
    """Return the SHA-256 over source files of ours: another way to make an index makes another index."""
    return hashlib.sha256(b"\0".join(Path(file).read_bytes() for file in files)).hexdigest()


def package_versions(*packages: str) -> dict[str, str | None]:
    """Return the versions of packages, None for one that is not installed."""
    found: dict[str, str | None] = dict.fromkeys(packages)
    for name in packages:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def pack_texts(texts: Iterable[str], name: str) -> dict[str, Any]:
    """Return texts as two arrays: their bytes one after the other, and where each ends, after a 0."""
    import numpy as np

    data = [text.encode("utf-8", "surrogatepass") for text in texts]
    ends = np.cumsum([0, *map(len, data)], dtype=np.int64)
    return {name: np.frombuffer(b"".join(data), np.uint8), f"{name}_ends": ends}


def unpack_texts(arrays: Arrays, name: str) -> Sequence[str]:
    """Return what `pack_texts` packed."""
    data = arrays[name].tobytes()
    return [
        data[start:end].decode("utf-8", "surrogatepass") for start, end in pairwise(arrays[f"{name}_ends"].tolist())
    ]


# --- folders


def _write(where: Path, described: Mapping[str, Any], arrays: Arrays) -> None:
    import numpy as np

    temporary = where.with_name(f"{where.name}.{socket.gethostname()}.{os.getpid()}.part")
    _remove_dead(where.parent)
    try:
        temporary.mkdir()
        for name, array in arrays.items():
            with (temporary / f"{name}.npy").open("wb") as file:
                np.lib.format.write_array(file, array, allow_pickle=False)
        files = {path.name: _checksum(path) for path in sorted(temporary.iterdir())}
        manifest = {"of": dict(described), "sha256": files}
        (temporary / _MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", "utf-8")
        for path in (*temporary.iterdir(), temporary):
            fsync(path)
        try:
            temporary.rename(where)
        except OSError:
            if not where.is_dir():
                raise
            return  # another process was faster
        fsync(where.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _read(where: Path, described: Mapping[str, Any]) -> Arrays:
    """Return the arrays of a folder.

    Raises:
        OSError: a file is not there, or cannot be read.
        ValueError: a file is not what was written.
    """
    import numpy as np

    manifest = json.loads((where / _MANIFEST).read_text("utf-8"))
    if manifest["of"] != json.loads(json.dumps(described)):
        raise ValueError("its manifest is of another one")
    for name, checksum in manifest["sha256"].items():
        if _checksum(where / Path(name).name) != checksum:
            raise ValueError(f"{name} does not fit its checksum")
    # Mapped, not read: embeddings may be larger than what is free of the memory. Changes stay in this process.
    return {
        Path(name).stem: np.asarray(np.load(where / Path(name).name, mmap_mode="c", allow_pickle=False))
        for name in manifest["sha256"]
    }


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _remove(where: Path) -> None:
    """Take a folder out of the way at once, and then remove it."""
    gone = where.with_name(f"{where.name}.{socket.gethostname()}.{os.getpid()}.part")
    with suppress(OSError):
        where.rename(gone)
    shutil.rmtree(gone, ignore_errors=True)


def _remove_dead(folder: Path) -> None:
    """Remove what processes of this machine that are no more have left half written."""
    for path in folder.glob(f"*.{socket.gethostname()}.*.part"):
        number = path.name.split(".")[-2]
        if number.isdecimal() and not _is_alive(int(number)):
            shutil.rmtree(path, ignore_errors=True)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return process != os.getpid()


def _mb(size: float) -> str:
    return f"{size / 1e6:,.1f} MB"
