"""A configuration from ``--config-dir`` may have files written only below the folder that evalkit runs in."""

from collections.abc import Collection, Mapping
from pathlib import Path

from evalkit.boundary.text import quoted, user_path
from evalkit.errors import EvalkitError

WRITTEN = ("out_dir", "store", "history", "first_stage_cache", "reranker.store", "first_stage.cache", "gate.junit")
"""The settings that name what is written."""
ADDRESSES = ("executor.address", "reranker.executor.address")
"""The settings that name a cluster, whose machines receive the texts and can run code here."""
_HARMLESS = {"auto", "off", "local", ""}


def check(settings: Mapping[str, object], given: Collection[str], here: Path) -> None:
    """Check the settings `WRITTEN` and `ADDRESSES` of a configuration that used files of ``--config-dir``.

    Args:
        settings: by their dotted names.
        given: values from the command line and the environment, which the user chose.
        here: the folder that evalkit runs in.

    Raises:
        EvalkitError: a path leads out of `here`, or an address is that of a cluster that the user has not named.
    """
    for key in (*WRITTEN, *ADDRESSES):
        value = settings.get(key)
        if value is None or str(value) in _HARMLESS or str(value) in given:
            continue
        if key in ADDRESSES:
            raise EvalkitError(
                f"{key}={quoted(value)}: a file of --config-dir cannot name the cluster; add {key}=ADDRESS to the "
                "command, or set RAY_ADDRESS in the environment"
            )
        if not _is_below(str(value), here):
            raise EvalkitError(
                f"{key}={quoted(value)}: a file of --config-dir can have files written below {here} only; add "
                f"{key}={_typed_as(key)} to the command to write elsewhere"
            )


def _typed_as(key: str) -> str:
    return "DIR" if key in ("out_dir", "first_stage_cache", "first_stage.cache") else "FILE"


def _is_below(value: str, here: Path) -> bool:
    """Return whether a path is below `here` after its symbolic links are followed."""
    try:
        return (here / user_path(value)).resolve().is_relative_to(here.resolve())
    except (OSError, ValueError, RuntimeError):
        return False
