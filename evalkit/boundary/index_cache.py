"""A cache of indexes and embeddings on disk, keyed by a fingerprint of everything they depend on.

An entry is a folder of plain arrays and a manifest with their checksums. It is written under another name and then
renamed, so an incomplete entry is never read; it contains no code (no pickle). A damaged entry is rebuilt.
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
from evalkit.boundary.errors import EvalkitError, nearest
from evalkit.boundary.progress import say, stage

if TYPE_CHECKING:
    import numpy as np

T = TypeVar("T")
Arrays = Mapping[str, "np.ndarray[Any, Any]"]

_LAYOUT = 1
_MANIFEST = "manifest.json"
_OF_FREE = 0.1
"""The share of free disk space that an entry of ``first_stage_cache=auto`` may take."""


@dataclass(frozen=True)
class CacheResult(Generic[T]):
    """An index, and whether it was read from the cache."""

    value: T
    from_cache: bool
    cache_s: float
    """Seconds spent on fingerprint and writing, which are not part of the cost of a first stage."""


@dataclass(frozen=True)
class CacheEntry:
    """An index in the cache."""

    folder: Path
    size_bytes: int
    used_s: float
    """When a run last wrote or read it, as Unix time."""


@dataclass(frozen=True)
class Cache:
    """A folder of cached indexes."""

    folder: Path
    is_shared: bool
    """Whether the folder is the default one, of whose disk only a small share may be used."""

    def get_or_create(
        self,
        kind: str,
        facts: Mapping[str, Any],
        docs: Mapping[str, str],
        make: Callable[[], T],
        pack: Callable[[T], Arrays],
        unpack: Callable[[Arrays], T],
    ) -> CacheResult[T]:
        """Return the index of these facts and texts from the cache, or create and cache it.

        An entry that cannot be read or written is reported on the terminal and is not an error.

        Args:
            kind: of the index, such as ``bm25``.
            facts: everything that the index depends on besides the texts, JSON-ready.
            docs: doc_id -> text.
            make: creates the index.
            pack: turns an index into named arrays.
            unpack: the reverse; it may raise any exception for damaged arrays.
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
            except Exception as error:  # damaged arrays raise many types
                say(f"  the index in {where} is damaged ({error}); it is rebuilt")
                _remove(where)
            else:
                say(f"  index from the cache: {where}")
                with suppress(OSError):  # a read-only cache
                    os.utime(where / _MANIFEST)
                return CacheResult(value, True, cache_s)
        value = make()
        started = time.perf_counter()
        self._store(where, described, pack(value))
        return CacheResult(value, False, cache_s + time.perf_counter() - started)

    def _store(self, where: Path, described: Mapping[str, Any], arrays: Arrays) -> None:
        size = sum(array.nbytes for array in arrays.values())
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            free = shutil.disk_usage(self.folder).free
            if size > free * (_OF_FREE if self.is_shared else 1):
                say(f"  index not cached: it takes {_mb(size)}, and {_mb(free)} are free in {self.folder}")
                return
            with stage("writing the index to the cache"):
                _write(where, described, arrays)
        except OSError as error:
            say(f"  index not cached in {self.folder}: {error.strerror or error}")
        else:
            say(f"  index cached, {_mb(size)}: {where}")


def check(setting: str, key: str = "first_stage_cache") -> None:
    """Check the setting that says where a cache is.

    Args:
        setting: its value.
        key: its name, for messages.

    Raises:
        EvalkitError: it is neither a folder nor ``auto`` nor ``off``.
    """
    if setting not in ("auto", "off") and os.sep not in setting and not Path(setting).is_dir():
        raise EvalkitError(
            f"{key}={setting}: choose auto, off, or a folder such as ./{setting}{nearest(setting, ('auto', 'off'))}"
        )


def open_cache(setting: str, docs: int, least: int) -> Cache | None:
    """Return the cache of a setting, or None for no cache.

    Args:
        setting: ``off``; a folder, which caches indexes of any size; or ``auto`` for the default folder, which caches
            indexes that take longer to build than to read.
        docs: number of passages.
        least: with ``auto``, the number of passages from which an index is cached.
    """
    if setting == "off" or (setting == "auto" and docs < least):
        return None
    if setting != "auto":
        return Cache(Path(setting).expanduser(), is_shared=False)
    from evalkit.boundary.cache_dirs import default_store_path

    try:
        return Cache(default_folder(default_store_path()), is_shared=True)
    except EvalkitError:
        say("  index not cached: there is no home folder; set EVALKIT_HOME=DIR")
        return None


def default_folder(store: Path) -> Path:
    """Return the folder of ``first_stage_cache=auto``: ``first_stage`` next to the score store."""
    return store.parent / "first_stage"


def list_entries(folder: Path) -> list[CacheEntry]:
    """Return the entries in a folder, last used first."""
    found = []
    for manifest in folder.glob(f"*/{_MANIFEST}"):
        if manifest.parent.suffix == ".part":  # being written or removed
            continue
        with suppress(OSError):  # removed by another process
            size = sum(path.stat().st_size for path in manifest.parent.iterdir())
            found.append(CacheEntry(manifest.parent, size, manifest.stat().st_mtime))
    return sorted(found, key=lambda entry: (-entry.used_s, entry.folder.name))


def prune(folder: Path, older_than_days: float | None = None) -> list[CacheEntry]:
    """Remove entries from a cache folder, and return them.

    A run that has an index open can continue: its files exist until they are closed.

    Args:
        folder: the cache.
        older_than_days: remove only entries that no run has used for so many days; None for all.
    """
    before_s = time.time() - (older_than_days or 0) * 86400
    gone = [entry for entry in list_entries(folder) if older_than_days is None or entry.used_s < before_s]
    for entry in gone:
        _remove(entry.folder)
    _remove_dead(folder)
    return gone


def hash_texts(docs: Mapping[str, str]) -> str:
    """Return the SHA-256 over ids and texts in order, which is that of the rows of the index."""
    digest = hashlib.sha256()
    for item in docs.items():
        for field in item:
            data = field.encode("utf-8", "surrogatepass")
            digest.update(
                len(data).to_bytes(8, "little") + data
            )  # lengths, so that different collections cannot give the same bytes
    return digest.hexdigest()


def hash_code(*files: str) -> str:
    """Return the SHA-256 over source files, so that an index of other code is not reused."""
    return hashlib.sha256(b"\0".join(Path(file).read_bytes() for file in files)).hexdigest()


def package_versions(*packages: str) -> dict[str, str | None]:
    """Return package -> version, None for one that is not installed."""
    found: dict[str, str | None] = dict.fromkeys(packages)
    for name in packages:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def pack_texts(texts: Iterable[str], name: str) -> dict[str, Any]:
    """Return texts as two arrays: their concatenated bytes, and 0 followed by the end of each text.

    Args:
        texts: n texts.
        name: name of the first array; that of the second has ``_ends`` appended.

    Returns:
        Name -> array: bytes as uint8, and ends as int64, shape (n + 1,).
    """
    import numpy as np

    data = [text.encode("utf-8", "surrogatepass") for text in texts]
    ends = np.cumsum([0, *map(len, data)], dtype=np.int64)
    return {name: np.frombuffer(b"".join(data), np.uint8), f"{name}_ends": ends}


def unpack_texts(arrays: Arrays, name: str) -> Sequence[str]:
    """Return what `pack_texts` packed.

    Args:
        arrays: name -> array, as `pack_texts` returns them.
        name: as for `pack_texts`.
    """
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
            return  # another process wrote the same entry first
        fsync(where.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _read(where: Path, described: Mapping[str, Any]) -> Arrays:
    """Return the arrays of an entry.

    Raises:
        OSError: a file is missing or cannot be read.
        ValueError: a file is not as it was written.
    """
    import numpy as np

    manifest = json.loads((where / _MANIFEST).read_text("utf-8"))
    if manifest["of"] != json.loads(json.dumps(described)):
        raise ValueError("its manifest is that of another index")
    for name, checksum in manifest["sha256"].items():
        if _checksum(where / Path(name).name) != checksum:
            raise ValueError(f"{name} does not match its checksum")
    # Memory-mapped: embeddings may be larger than free memory. Changes stay in this process (copy on write).
    return {
        Path(name).stem: np.asarray(np.load(where / Path(name).name, mmap_mode="c", allow_pickle=False))
        for name in manifest["sha256"]
    }


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _remove(where: Path) -> None:
    """Rename a folder, so that it is not found any more, and then remove it."""
    gone = where.with_name(f"{where.name}.{socket.gethostname()}.{os.getpid()}.part")
    with suppress(OSError):
        where.rename(gone)
    shutil.rmtree(gone, ignore_errors=True)


def _remove_dead(folder: Path) -> None:
    """Remove incomplete entries of processes of this machine that do not run any more."""
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
