"""Which weights and words a model is: a hash of its folder, or the hub's commit, with files as the hub states them."""

import hashlib
import json
import os
import re
from pathlib import Path

from evalkit.errors import EvalkitError

_KINDS = {".json", ".txt", ".model", ".safetensors", ".bin"}


def folder_hash(folder: Path) -> str:
    """Return the SHA-256 over names and contents of the files that make a model: JSON, text, weights.

    Those of the parts that its modules.json names, such as 1_Pooling, are among them.
    """
    digest = hashlib.sha256()
    for path in _files(folder):
        digest.update(os.fsencode(path.relative_to(folder).as_posix()) + b"\0")
        digest.update(_digest(path, "sha256"))
    return digest.hexdigest()


def check_download(name: str, commit: str, setting: str) -> None:
    """Check each file of a model in the hub's cache against the checksum that the hub gave with it.

    huggingface_hub compares sizes only. It stores a file under its checksum: SHA-256 of a large file, git's blob hash
    of a small one. Where the cache has no links (some file systems) the checksum is lost, and nothing is checked.

    Raises:
        EvalkitError: a file holds something else.
    """
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        config = try_to_load_from_cache(name, "config.json", revision=commit)
    except HFValidationError:  # no model of the hub can have this name
        return
    for path in _files(Path(config).parent) if isinstance(config, str) else ():
        stored = path.resolve()
        if path.is_symlink() and not _is_what_its_name_says(stored):
            raise EvalkitError(
                f"{setting}={name}: {path.name} is not what the hub has: its checksum is not {stored.name[:12]}...; "
                f"delete {stored} to have it downloaded anew"
            )


def _files(folder: Path) -> list[Path]:
    found = []
    for place in (folder, *_parts(folder)):
        found += sorted(path for path in place.iterdir() if path.suffix in _KINDS and path.is_file())
    return found


def _parts(folder: Path) -> list[Path]:
    """Return the folders inside of a model's that its modules.json names."""
    try:
        listed = json.loads((folder / "modules.json").read_text("utf-8"))
        named = sorted({str(part["path"]) for part in listed} - {"", "."})
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return []  # what is wrong with it is said where it is read
    return [folder / name for name in named if ".." not in Path(name).parts and (folder / name).is_dir()]


def _is_what_its_name_says(path: Path) -> bool:
    if re.fullmatch("[0-9a-f]{64}", path.name):
        return _digest(path, "sha256").hex() == path.name
    if re.fullmatch("[0-9a-f]{40}", path.name):
        # A mirror of the hub may state the file's own SHA-1 instead of git's.
        as_git = hashlib.sha1(b"blob %d\0" % path.stat().st_size + path.read_bytes(), usedforsecurity=False)
        return path.name in (as_git.hexdigest(), _digest(path, "sha1").hex())
    return True  # a mirror may name it in a way of its own


def _digest(path: Path, algorithm: str) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).digest()
