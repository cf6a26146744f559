"""Identifies a model's weights and vocabulary: a hash of a local folder, or the checksums of the hub's files."""

import hashlib
import json
import os
import re
from pathlib import Path

from evalkit.boundary.errors import EvalkitError

_SUFFIXES = {".json", ".txt", ".model", ".safetensors", ".bin"}


def folder_hash(folder: Path) -> str:
    """Return the SHA-256, in hexadecimal, over names and contents of a model's files: JSON, text and weights.

    Args:
        folder: The model's folder; those of the parts in its modules.json, such as 1_Pooling, are included.
    """
    digest = hashlib.sha256()
    for path in _files(folder):
        digest.update(os.fsencode(path.relative_to(folder).as_posix()) + b"\0")
        digest.update(_digest(path, "sha256"))
    return digest.hexdigest()


def check_download(name: str, commit: str, setting: str) -> None:
    """Check each file of a model in the hub's cache against its checksum on the hub.

    huggingface_hub compares sizes only. It stores a file under its checksum: SHA-256 for a large file, git's blob hash
    for a small one. On file systems without links the cache does not have the checksum, and nothing is checked.

    Args:
        name: The model's name on the hub.
        commit: The hub's commit.
        setting: The configuration key that names the model, for messages.

    Raises:
        EvalkitError: a checksum differs.
    """
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        config = try_to_load_from_cache(name, "config.json", revision=commit)
    except HFValidationError:  # not a valid name on the hub
        return
    for path in _files(Path(config).parent) if isinstance(config, str) else ():
        stored = path.resolve()
        if path.is_symlink() and not _matches_its_name(stored):
            raise EvalkitError(
                f"{setting}={name}: {path.name} is not what the hub has: its checksum is not {stored.name[:12]}...; "
                f"delete {stored} to have it downloaded again"
            )


def _files(folder: Path) -> list[Path]:
    files = []
    for part in (folder, *_part_folders(folder)):
        files += sorted(path for path in part.iterdir() if path.suffix in _SUFFIXES and path.is_file())
    return files


def _part_folders(folder: Path) -> list[Path]:
    """Return the subfolders of a model that its modules.json lists."""
    try:
        listed = json.loads((folder / "modules.json").read_text("utf-8"))
        names = sorted({str(part["path"]) for part in listed} - {"", "."})
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return []  # `sbert_files` reports what is wrong with it
    return [folder / name for name in names if ".." not in Path(name).parts and (folder / name).is_dir()]


def _matches_its_name(path: Path) -> bool:
    if re.fullmatch("[0-9a-f]{64}", path.name):
        return _digest(path, "sha256").hex() == path.name
    if re.fullmatch("[0-9a-f]{40}", path.name):
        # A mirror of the hub may use the SHA-1 of the file itself instead of git's blob hash.
        as_git = hashlib.sha1(b"blob %d\0" % path.stat().st_size + path.read_bytes(), usedforsecurity=False)
        return path.name in (as_git.hexdigest(), _digest(path, "sha1").hex())
    return True  # not a checksum: a mirror may use other names


def _digest(path: Path, algorithm: str) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).digest()
