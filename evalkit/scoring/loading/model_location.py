"""Where a model is, a local folder or the hub at one commit, and its short name in results."""

import os
from collections.abc import Callable
from pathlib import Path

from evalkit.scoring.loading import hub

MODEL_FILES = "config.json, tokenizer.json and model.safetensors"
"""The files of a model folder, for messages."""


def local_folder(name: str) -> Path | None:
    """Return the local folder of a model, or None if there is none.

    Args:
        name: A path, or a name on the hub.
    """
    folder = Path(os.path.expanduser(name))  # pathlib's own method raises an error for a user that does not exist
    try:
        return folder if folder.is_dir() else None
    except (OSError, ValueError):  # the name is not a valid path
        return None


def load_path(name: str, commit: str | None = None) -> str:
    """Return the argument for transformers' `from_pretrained`.

    Args:
        name: A local folder, or a name on the hub.
        commit: The hub's commit; None for a local folder.

    Returns:
        A local folder; the folder of the commit in the hub's cache, if that is complete or the hub does not answer; or
        the name, if files may have to be downloaded.
    """
    return str(local_folder(name) or hub.usable_snapshot(name, commit) or name)


def resolve_commit(name: str, revision: str | None) -> str | None:
    """Return the hub's current commit of a revision, None for a local folder.

    Configuration, tokenizer and weights are loaded by commit, so that a push in between cannot mix two models.

    Args:
        name: A local folder, or a name on the hub.
        revision: A branch, a tag or a commit; None for the main branch.

    Raises:
        Exception: one of huggingface_hub's; neither the hub nor the cache has it.
    """
    return None if local_folder(name) else hub.resolve_commit(name, revision)


def file_reader(name: str, commit: str | None) -> Callable[[str], Path | None]:
    """Return a function that returns the path of a model's file, or None if the model has none of that name.

    Args:
        name: A local folder, or a name on the hub.
        commit: The hub's commit; None for a local folder.
    """
    if commit is not None:
        return lambda file: hub.fetch(name, commit, file)
    folder = Path(load_path(name))
    return lambda file: path if (path := folder / file).is_file() else None


def short_name(name: str) -> str:
    """Return a model's name in results: the last part of its name on the hub, or of its folder's path.

    A folder in the hub's cache, ``models--ORG--NAME/snapshots/COMMIT``, gets the model's name, not the commit.

    Args:
        name: A local folder, or a name on the hub.
    """
    folder = local_folder(name)
    if folder is None:
        return Path(name).name or name
    absolute = Path(os.path.abspath(folder))  # "." and ".." have no name of their own
    return Path(hub.cached_name(absolute) or absolute).name or str(absolute)
