"""A configuration from ``--config-dir`` may have files written only below the folder that evalkit runs in."""

from collections.abc import Collection, Mapping
from pathlib import Path

from evalkit.boundary.errors import EvalkitError
from evalkit.boundary.text import quoted, user_path

FOLDERS = ("out_dir", "first_stage_cache", "first_stage.cache", "reranker.cache")
"""The settings that name a folder."""
WRITTEN = (*FOLDERS, "store", "history", "reranker.store", "gate.junit", "gate.markdown")
"""The settings that name what is written."""
ADDRESSES = ("executor.address", "reranker.executor.address")
"""The settings that name a cluster, whose machines receive the texts and can run code here."""
SENT = ("reranker.url", "reranker.key_env")
"""The settings that name a server, which receives the texts, and the key that it receives."""
CHECKED = (*WRITTEN, *ADDRESSES, *SENT)
_HARMLESS = {"auto", "off", "local", ""}


def check(settings: Mapping[str, object], given: Collection[str], here: Path) -> None:
    """Check the settings `CHECKED` of a configuration that used files of ``--config-dir``.

    Args:
        settings: by their dotted names.
        given: values from the command line and the environment, which the user chose.
        here: the folder that evalkit runs in.

    Raises:
        EvalkitError: a path leads out of `here`, or the user has not named a cluster, a server or its key.
    """
    for key in CHECKED:
        value = settings.get(key)
        if value is None or str(value) in _HARMLESS or str(value) in given:
            continue
        if key in ADDRESSES:
            raise EvalkitError(
                f"{key}={quoted(value)}: a file of --config-dir cannot name the cluster; add {key}=ADDRESS to the "
                "command, or set RAY_ADDRESS in the environment"
            )
        if key in SENT:
            shown = f"{key}={quoted(value)}" if key == "reranker.url" else key
            raise EvalkitError(
                f"{shown}: a file of --config-dir cannot choose who receives texts or a key; add {key}=... to "
                "the command"
            )
        if not _is_below(str(value), here):
            raise EvalkitError(
                f"{key}={quoted(value)}: a file of --config-dir can have files written below {here} only; add "
                f"{key}={_typed_as(key)} to the command to write elsewhere"
            )


def _typed_as(key: str) -> str:
    return "DIR" if key in FOLDERS else "FILE"


def _is_below(value: str, here: Path) -> bool:
    """Return whether a path is below `here` after its symbolic links are followed."""
    try:
        return (here / user_path(value)).resolve().is_relative_to(here.resolve())
    except (OSError, ValueError, RuntimeError):
        return False
