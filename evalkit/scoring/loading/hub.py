"""Models on the Hugging Face hub: resolves a revision to a commit and fetches files, from the cache if possible.

A commit whose files are all in the cache needs no network. A branch, a tag or the main branch is resolved by one
request to the hub with a timeout of 5 seconds (HF_HUB_ETAG_TIMEOUT changes that). If the hub does not answer, the
cache's record of the revision is used, and the result records that.
"""

import json
import os
import re
import time
from contextlib import suppress
from pathlib import Path

from huggingface_hub import HfApi, constants, get_hf_file_metadata, hf_hub_download, hf_hub_url
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

_TIMEOUT_S = 5.0
_RETRY_AFTER_S = 60.0
_COMMIT = re.compile("[0-9a-f]{40}")
_CONVERTER = "SFconvertbot"
"""The account of the hub's service that converts weights to safetensors, as in transformers.safetensors_conversion."""
_OPTIONAL_FILES = ("tokenizer_config.json", "modules.json", "config_sentence_transformers.json", "adapter_config.json")
"""Files that change a score and that many models lack: without a network, the cache must have them or a record that
they do not exist."""

_failures: dict[str, tuple[float, str]] = {}
"""Hub (by address) or model (by name) that was not available -> the time of the request, and the type of its error."""

_offline_notes: dict[tuple[str, str], str] = {}
"""(model, commit) taken from the cache's record of a branch or tag -> the sentence about it for a result."""


def resolve_commit(name: str, revision: str | None) -> str:
    """Return the commit of a revision; the commit's config.json is in the cache afterwards.

    Args:
        name: The model's name on the hub.
        revision: A branch, a tag, or a commit (or a unique prefix of one); None for the main branch.

    Raises:
        Exception: one of huggingface_hub's; neither the hub nor the cache has it.
    """
    if revision and _COMMIT.fullmatch(revision) and _is_complete(name, revision):
        return revision
    failure = _request_metadata(name, revision)
    if failure is not None:
        commit = _cached_commit(name, revision)
        if commit and (_snapshot(name, commit) / "config.json").is_file():
            if not (revision and commit.startswith(revision)):  # a commit cannot have changed
                _offline_notes[name, commit] = (
                    f"the Hugging Face hub did not give {name} ({failure}): commit {commit[:12]} was used, which its "
                    f"cache has as {revision or 'main'}; there may be a newer one"
                )
            return commit
    # In every version of huggingface_hub, the name of the file's folder in the cache is the commit.
    return Path(hf_hub_download(name, "config.json", revision=revision)).parent.name


def _request_metadata(name: str, revision: str | None) -> str | None:
    """Request the metadata of one file from the hub; return None if it answered, else the type of the error."""
    when, failure = _failures.get(constants.ENDPOINT, (0.0, ""))
    if failure and time.monotonic() - when < _RETRY_AFTER_S:
        return failure
    timeout = constants.HF_HUB_ETAG_TIMEOUT if "HF_HUB_ETAG_TIMEOUT" in os.environ else _TIMEOUT_S
    try:
        get_hf_file_metadata(hf_hub_url(name, "config.json", revision=revision), timeout=timeout)
    except Exception as error:  # httpx's or requests', depending on the version of huggingface_hub
        status = getattr(getattr(error, "response", None), "status_code", None)
        answered = status is not None and status < 500 and status not in (408, 429)
        if answered and not _cached_commit(name, revision):
            return None  # hf_hub_download raises the error
        # A model that the hub refuses (it was removed, or needs a token) may still be in the cache.
        _failures[name if answered else constants.ENDPOINT] = time.monotonic(), type(error).__name__
        return type(error).__name__
    _failures.pop(constants.ENDPOINT, None)
    _failures.pop(name, None)
    return None


def _cached_commit(name: str, revision: str | None) -> str | None:
    """Return the commit that the cache has for a branch, a tag, a commit or a unique prefix of one."""
    requested = revision or "main"
    with suppress(OSError, ValueError):
        if ".." not in requested and (reference := _repo(name) / "refs" / requested).is_file():
            commit = reference.read_text("utf-8").strip()
            return commit if _COMMIT.fullmatch(commit) else None
    if not re.fullmatch("[0-9a-f]{7,40}", requested):
        return None
    matching = [commit for commit in _snapshots(name) if commit.startswith(requested)]
    return matching[0] if len(matching) == 1 else None


def usable_snapshot(name: str, commit: str | None) -> Path | None:
    """Return the cache's folder of a commit if it is complete or the hub does not answer, else None.

    Args:
        name: The model's name on the hub.
        commit: The hub's commit; None for a local folder.
    """
    if commit is None or not (_snapshot(name, commit) / "config.json").is_file():
        return None
    offline = constants.HF_HUB_OFFLINE or not _failures.keys().isdisjoint((constants.ENDPOINT, name))
    return _snapshot(name, commit) if offline or _is_complete(name, commit) else None


def _is_complete(name: str, commit: str) -> bool:
    """Return whether the cache has a model's files, and the optional ones or a record that they do not exist."""
    folder = _snapshot(name, commit)
    weights = any((folder / file).is_file() for file in ("model.safetensors", "model.safetensors.index.json"))
    required = all((folder / file).is_file() for file in ("config.json", "tokenizer.json"))
    optional = all(_is_known(name, commit, file) for file in _OPTIONAL_FILES)
    return weights and required and not missing_shards(folder) and optional


def missing_shards(folder: Path) -> list[str]:
    """Return the weight files that a model's index lists and its folder lacks; empty if the index cannot be read.

    Args:
        folder: The model's folder.
    """
    index = folder / "model.safetensors.index.json"
    if not index.is_file() or (folder / "model.safetensors").is_file():
        return []
    try:
        shards = {str(shard) for shard in json.loads(index.read_text("utf-8"))["weight_map"].values()}
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return []
    return sorted(shard for shard in shards if not (folder / shard).is_file())


def _is_known(name: str, commit: str, file: str) -> bool:
    """Return whether the cache has a file, or a record that the commit has no file of that name."""
    return (_snapshot(name, commit) / file).is_file() or (_repo(name) / ".no_exist" / commit / file).is_file()


def fetch(name: str, commit: str, file: str) -> Path | None:
    """Return the path of a file, from the cache or the hub; None if the commit has no file of that name.

    Args:
        name: The model's name on the hub.
        commit: The hub's commit.
        file: The file's name, relative to the model's folder.

    Raises:
        Exception: one of huggingface_hub's; the connection failed.
    """
    if folder := usable_snapshot(name, commit):
        return folder / file if (folder / file).is_file() else None
    if _is_known(name, commit, file) and not (_snapshot(name, commit) / file).is_file():
        return None
    try:
        return Path(hf_hub_download(name, file, revision=commit))
    except LocalEntryNotFoundError:  # a subclass of EntryNotFoundError that means there is no connection
        raise
    except EntryNotFoundError:
        return None


def fetch_latest(name: str, revision: str | None, file: str) -> Path | None:
    """Return the path of a file as a branch or tag has it now; None if it has no file of that name.

    It serves models without a config.json, whose commit `resolve_commit` cannot find.

    Args:
        name: The model's name on the hub.
        revision: A branch, a tag or a commit; None for the main branch.
        file: The file's name, relative to the model's folder.

    Raises:
        Exception: one of huggingface_hub's; the hub cannot be reached.
    """
    try:
        return Path(hf_hub_download(name, file, revision=revision))
    except EntryNotFoundError:
        return None


def list_files(name: str, commit: str) -> list[str] | None:
    """Return the names of all files of a commit; None if neither the cache nor the hub has a list.

    Args:
        name: The model's name on the hub.
        commit: The hub's commit.
    """
    if folder := usable_snapshot(name, commit):
        return [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    try:
        info = HfApi().model_info(name, revision=commit, timeout=_TIMEOUT_S)
    except Exception:  # a mirror may have the files without a list of them
        return None
    return [sibling.rfilename for sibling in info.siblings or ()]


def proposed_conversion(name: str) -> str | None:
    """Return the revision of the pull request in which the hub's own service offers a model's weights as safetensors.

    Args:
        name: The model's name on the hub.

    Returns:
        Such as ``refs/pr/12``; None if there is none, or the hub does not answer.
    """
    with suppress(Exception):  # it only makes a message more useful
        offers = HfApi().get_repo_discussions(name, author=_CONVERTER, discussion_type="pull_request")
        for one in offers:
            if (
                one.author == _CONVERTER
                and one.git_reference
                and "model.safetensors" in (list_files(name, one.git_reference) or ())
            ):
                return one.git_reference
    return None


def cached_revisions(name: str) -> list[str]:
    """Return a phrase for each revision in the cache: branches and tags with their commits, and other commits.

    Args:
        name: The model's name on the hub.
    """
    references: dict[str, str] = {}
    with suppress(OSError, ValueError):
        root = _repo(name) / "refs"
        references = {
            path.relative_to(root).as_posix(): path.read_text("utf-8").strip()
            for path in sorted(root.rglob("*"))
            if path.is_file()
        }
    commits = set(_snapshots(name))
    named = [f"{label} (commit {commit})" for label, commit in references.items() if commit in commits]
    return named + [f"commit {commit}" for commit in sorted(commits - set(references.values()))]


def was_interrupted(name: str) -> bool:
    """Return whether the cache has an incomplete download of the model.

    Args:
        name: The model's name on the hub.
    """
    with suppress(OSError, ValueError):
        return any((_repo(name) / "blobs").glob("*.incomplete"))
    return False


def cached_name(path: Path) -> str | None:
    """Return ``ORG/NAME`` for a folder in a hub's cache, ``models--ORG--NAME/snapshots/COMMIT``; else None.

    Args:
        path: An absolute path.
    """
    for folder in (path, *path.parents):
        if folder.parent.name == "snapshots" and folder.parent.parent.name.startswith("models--"):
            return folder.parent.parent.name.removeprefix("models--").replace("--", "/", 1)
    return None


def offline_notes(name: str, commit: str) -> tuple[str, ...]:
    """Return a sentence for each assumption that was made because the hub did not answer.

    Args:
        name: The model's name on the hub.
        commit: The hub's commit.
    """
    notes = [_offline_notes[name, commit]] if (name, commit) in _offline_notes else []
    unknown = [file for file in _OPTIONAL_FILES if not _is_known(name, commit, file)]
    if unknown and usable_snapshot(name, commit):
        notes.append(
            f"it is not known whether {name} has {', '.join(unknown)}, since the hub's cache has no record of it and "
            "the hub did not answer: assumed not to exist"
        )
    return tuple(notes)


def _repo(name: str) -> Path:
    return Path(constants.HF_HUB_CACHE) / f"models--{name.replace('/', '--')}"


def _snapshot(name: str, commit: str) -> Path:
    return _repo(name) / "snapshots" / commit


def _snapshots(name: str) -> list[str]:
    with suppress(OSError, ValueError):
        return [path.name for path in (_repo(name) / "snapshots").iterdir() if path.is_dir()]
    return []
