"""Where a configuration that somebody else wrote may have files written: below the folder that evalkit runs in."""

from collections.abc import Collection, Mapping
from pathlib import Path

from evalkit.boundary.text import quoted, user_path
from evalkit.errors import EvalkitError

WRITTEN = ("out_dir", "store", "first_stage_cache", "reranker.store", "first_stage.cache", "gate.junit")
"""The settings that name what is written."""
ADDRESSES = ("executor.address", "reranker.executor.address")
"""The settings that name a cluster, whose machines can run code here and get the texts."""
_HARMLESS = {"auto", "off", "local", ""}


def check(settings: Mapping[str, object], given: Collection[str], here: Path) -> None:
    """Check the settings `WRITTEN` and `ADDRESSES`, by their dotted names, where files of somebody else had a say.

    `given` are the values of the command line and of the environment, which are the user's; `here` is the folder that
    evalkit runs in.

    Raises:
        EvalkitError: a path leads out of `here`, or an address is that of a cluster that the user has not named.
    """
    for key in (*WRITTEN, *ADDRESSES):
        value = settings.get(key)
        if value is None or str(value) in _HARMLESS or str(value) in given:
            continue
        if key in ADDRESSES:
            raise EvalkitError(
                f"{key}={quoted(value)}: a file of --config-dir cannot name the cluster; type {key}=ADDRESS on the "
                "command line, or set RAY_ADDRESS in the environment"
            )
        if not _is_below(str(value), here):
            raise EvalkitError(
                f"{key}={quoted(value)}: a file of --config-dir can have files written below {here} only; type "
                f"{key}={_typed_as(key)} on the command line to write elsewhere"
            )


def _typed_as(key: str) -> str:
    return "DIR" if key in ("out_dir", "first_stage_cache", "first_stage.cache") else "FILE"


def _is_below(value: str, here: Path) -> bool:
    """Return whether a path leads to a place below `here`; links are followed, for they may lead out of it."""
    try:
        return (here / user_path(value)).resolve().is_relative_to(here.resolve())
    except (OSError, ValueError, RuntimeError):
        return False
