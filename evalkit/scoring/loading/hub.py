"""A model of the Hugging Face hub: which commit is meant, asked of the hub once and briefly, else of its local cache.

The rule: a commit whose files are all in the cache needs no network. A branch, a tag or no revision is asked of the
hub, with one request of at most 5 seconds (HF_HUB_ETAG_TIMEOUT changes that); where it does not answer, the cache's
own record of that revision is used, and it is said.
"""

import json
import os
import re
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from huggingface_hub import HfApi, constants, get_hf_file_metadata, hf_hub_download, hf_hub_url
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

_ASK_S = 5.0
_ASK_AGAIN_S = 60.0
_COMMIT = re.compile("[0-9a-f]{40}")
_OPTIONAL = ("tokenizer_config.json", "modules.json", "config_sentence_transformers.json", "adapter_config.json")
"""Files that change a score and that many models lack: without a network their absence must be on record."""
_no_answer: dict[str, tuple[float, str]] = {}
"""Of each hub (by address) or model (by name) that was not to be had: when it was asked for, and how that ended."""

_taken_from_cache: dict[tuple[str, str], str] = {}
"""Of each model and commit that the cache's record of a branch or tag named: the sentence that says so."""


def resolve(name: str, revision: str | None) -> str:
    """Return the commit of model `name` at `revision`; its config.json is in the cache then.

    Raises:
        Exception: one of huggingface_hub's own; neither the hub nor the cache has it.
    """
    if revision and _COMMIT.fullmatch(revision) and complete(name, revision):
        return revision
    ended = _ask(name, revision)
    if ended is not None:
        commit = cached_commit(name, revision)
        if commit and (_snapshot(name, commit) / "config.json").is_file():
            if not (revision and commit.startswith(revision)):  # a commit is what it is
                _taken_from_cache[name, commit] = (
                    f"the Hugging Face hub did not give {name} ({ended}): commit {commit[:12]} was used, which its "
                    f"cache has as {revision or 'main'}; there may be a newer one"
                )
            return commit
    # The hub's commit is told by where the cache puts the file, in every version of huggingface_hub.
    return Path(hf_hub_download(name, "config.json", revision=revision)).parent.name


def _ask(name: str, revision: str | None) -> str | None:
    """Ask the hub for one file's facts; return None if it answered, else how that ended."""
    when, ended = _no_answer.get(constants.ENDPOINT, (0.0, ""))
    if ended and time.monotonic() - when < _ASK_AGAIN_S:
        return ended
    timeout = constants.HF_HUB_ETAG_TIMEOUT if "HF_HUB_ETAG_TIMEOUT" in os.environ else _ASK_S
    try:
        get_hf_file_metadata(hf_hub_url(name, "config.json", revision=revision), timeout=timeout)
    except Exception as error:  # httpx's and requests' own, by version of huggingface_hub
        status = getattr(getattr(error, "response", None), "status_code", None)
        answered = status is not None and status < 500 and status not in (408, 429)
        if answered and not cached_commit(name, revision):
            return None  # hf_hub_download says what is wrong
        # A model that is no longer given may be in the cache all the same.
        _no_answer[name if answered else constants.ENDPOINT] = time.monotonic(), type(error).__name__
        return type(error).__name__
    _no_answer.pop(constants.ENDPOINT, None)
    _no_answer.pop(name, None)
    return None


def cached_commit(name: str, revision: str | None) -> str | None:
    """Return the commit that the cache has for a branch, a tag, a whole commit or an unambiguous start of one."""
    asked = revision or "main"
    with suppress(OSError, ValueError):
        if ".." not in asked and (reference := _repo(name) / "refs" / asked).is_file():
            commit = reference.read_text("utf-8").strip()
            return commit if _COMMIT.fullmatch(commit) else None
    if not re.fullmatch("[0-9a-f]{7,40}", asked):
        return None
    matching = [commit for commit in _snapshots(name) if commit.startswith(asked)]
    return matching[0] if len(matching) == 1 else None


def local(name: str, commit: str | None) -> Path | None:
    """Return the cache's folder of a commit, where it can or must serve without the hub; else None."""
    if commit is None or not (_snapshot(name, commit) / "config.json").is_file():
        return None
    silent = constants.HF_HUB_OFFLINE or not _no_answer.keys().isdisjoint((constants.ENDPOINT, name))
    return _snapshot(name, commit) if silent or complete(name, commit) else None


def complete(name: str, commit: str) -> bool:
    """Return whether the cache has a model's files, and knows of the optional ones that they are there or not."""
    folder = _snapshot(name, commit)
    weights = any((folder / file).is_file() for file in ("model.safetensors", "model.safetensors.index.json"))
    needed = all((folder / file).is_file() for file in ("config.json", "tokenizer.json"))
    return weights and needed and not missing_shards(folder) and all(known(name, commit, file) for file in _OPTIONAL)


def missing_shards(folder: Path) -> list[str]:
    """Return the files of weights that an index names and the folder lacks; none for an index that cannot be read."""
    index = folder / "model.safetensors.index.json"
    if not index.is_file() or (folder / "model.safetensors").is_file():
        return []
    try:
        shards = {str(shard) for shard in json.loads(index.read_text("utf-8"))["weight_map"].values()}
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return []
    return sorted(shard for shard in shards if not (folder / shard).is_file())


def known(name: str, commit: str, file: str) -> bool:
    """Return whether the cache has a file, or has it on record that the commit has none of that name."""
    return (_snapshot(name, commit) / file).is_file() or (_repo(name) / ".no_exist" / commit / file).is_file()


def fetch(name: str, commit: str, file: str) -> Path | None:
    """Return a file of a commit, from the cache or the hub, None if the commit has none of that name.

    Raises:
        Exception: one of huggingface_hub's own; the hub broke off.
    """
    if folder := local(name, commit):
        return folder / file if (folder / file).is_file() else None
    if known(name, commit, file) and not (_snapshot(name, commit) / file).is_file():
        return None
    try:
        return Path(hf_hub_download(name, file, revision=commit))
    except LocalEntryNotFoundError:  # one of EntryNotFoundError, which means no connection here
        raise
    except EntryNotFoundError:
        return None


def listing(name: str, commit: str) -> list[str] | None:
    """Return the names of all files of a commit, None where neither cache nor hub can say."""
    if folder := local(name, commit):
        return [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    try:
        info = HfApi().model_info(name, revision=commit, timeout=_ASK_S)
    except Exception:  # a mirror may have files and no such list
        return None
    return [sibling.rfilename for sibling in info.siblings or ()]


def cached_revisions(name: str) -> list[str]:
    """Return what the cache has of a model: its branches and tags with their commits, and commits without a name."""
    references: dict[str, str] = {}
    with suppress(OSError, ValueError):
        root = _repo(name) / "refs"
        references = {
            path.relative_to(root).as_posix(): path.read_text("utf-8").strip()
            for path in sorted(root.rglob("*"))
            if path.is_file()
        }
    there = set(_snapshots(name))
    named = [f"{label} (commit {commit})" for label, commit in references.items() if commit in there]
    return named + [f"commit {commit}" for commit in sorted(there - set(references.values()))]


def was_interrupted(name: str) -> bool:
    """Return whether a download of a file of the model was begun and not finished."""
    with suppress(OSError, ValueError):
        return any((_repo(name) / "blobs").glob("*.incomplete"))
    return False


def cached_name(path: Path) -> str | None:
    """Return ``ORG/NAME`` of a folder in a hub's cache, ``models--ORG--NAME/snapshots/COMMIT``; else None."""
    for folder in (path, *path.parents):
        if folder.parent.name == "snapshots" and folder.parent.parent.name.startswith("models--"):
            return folder.parent.parent.name.removeprefix("models--").replace("--", "/", 1)
    return None


def fetch_any(name: str, revision: str | None, file: str) -> Path | None:
    """Return a file of a branch or tag as it is now, None if it has none; for a model without a config.json.

    Raises:
        Exception: one of huggingface_hub's own; it cannot be reached.
    """
    try:
        return Path(hf_hub_download(name, file, revision=revision))
    except EntryNotFoundError:
        return None


def notes(name: str, commit: str) -> tuple[str, ...]:
    """Return a sentence on each thing that would have taken the hub's answer, where it gave none."""
    found = [_taken_from_cache[name, commit]] if (name, commit) in _taken_from_cache else []
    unknown = [file for file in _OPTIONAL if not known(name, commit, file)]
    if unknown and local(name, commit):
        found.append(
            f"the hub's cache does not say whether {name} has {', '.join(unknown)}, and the hub did not answer: taken "
            "as not there"
        )
    return tuple(found)


def reader(name: str, commit: str) -> Callable[[str], Path | None]:
    """Return `fetch` for one commit."""
    return lambda file: fetch(name, commit, file)


def _repo(name: str) -> Path:
    return Path(constants.HF_HUB_CACHE) / f"models--{name.replace('/', '--')}"


def _snapshot(name: str, commit: str) -> Path:
    return _repo(name) / "snapshots" / commit


def _snapshots(name: str) -> list[str]:
    with suppress(OSError, ValueError):
        return [path.name for path in (_repo(name) / "snapshots").iterdir() if path.is_dir()]
    return []
