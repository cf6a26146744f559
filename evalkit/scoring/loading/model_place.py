"""Where a model is, and what it is called: a local folder, or a name on the hub at one commit."""

import os
from pathlib import Path

from evalkit.scoring.loading import hub


def folder_of(name: str) -> Path | None:
    """Return the local folder that `name` is, or None."""
    folder = Path(os.path.expanduser(name))  # pathlib's own raises an error for a user that there is not
    try:
        return folder if folder.is_dir() else None
    except (OSError, ValueError):  # no file can have such a name
        return None


def location(name: str, commit: str | None = None) -> str:
    """Return what transformers is to load: a folder, or a name of the hub where the hub may be asked for more of it."""
    return str(folder_of(name) or hub.local(name, commit) or name)


def commit_of(name: str, revision: str | None) -> str | None:
    """Return the commit of the hub that `revision` is now, None for a local folder.

    Configuration, tokenizer and weights are asked for by it, so that no push in between can mix two models.
    """
    return None if folder_of(name) else hub.resolve(name, revision)


def short_name(name: str) -> str:
    """Return what a model is called in results: the last part of its name on the hub, or of its folder's path.

    A folder in the hub's cache, ``models--ORG--NAME/snapshots/COMMIT``, has the model's name and not the commit.
    """
    folder = folder_of(name)
    if folder is None:
        return Path(name).name or name
    whole = Path(os.path.abspath(folder))  # "." and ".." have no name of their own
    return Path(hub.cached_name(whole) or whole).name or str(whole)
