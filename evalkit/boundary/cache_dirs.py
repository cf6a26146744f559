"""Folders that libraries insist on, where the home cannot be written: a run must not end for want of a cache."""

import atexit
import importlib.util
import os
import shutil
import sys
import tempfile
from pathlib import Path

from evalkit.boundary.progress import say
from evalkit.errors import EvalkitError


def ensure_writable() -> None:
    """Give a temporary folder, removed with this process, to libraries that have none that they can use.

    As soon as ranx is imported, ir_datasets makes its home, and numba refuses to compile what it cannot keep, so this
    comes before; matplotlib warns.
    """
    home = os.environ.get("HOME", "")
    wanted = {}
    if "IR_DATASETS_HOME" not in os.environ and not _can_be_made(Path(home, ".ir_datasets")):
        wanted["IR_DATASETS_HOME"] = "ir_datasets"
    if "NUMBA_CACHE_DIR" not in os.environ and not (_in_its_package() or _can_be_made(Path(home, ".cache", "numba"))):
        wanted["NUMBA_CACHE_DIR"] = "numba"  # https://numba.readthedocs.io/en/stable/developer/caching.html
    if "MPLCONFIGDIR" not in os.environ and not _can_be_made(Path(home, ".config", "matplotlib")):
        wanted["MPLCONFIGDIR"] = "matplotlib"
    if wanted:
        folder = tempfile.mkdtemp(prefix="evalkit-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        os.environ |= {variable: str(Path(folder, name)) for variable, name in wanted.items()}
        why = f"the home {home} cannot be written" if home else "there is no home"
        say(f"  note: {why}, so {' and '.join(wanted)} lead to {folder}")


def _can_be_made(folder: Path) -> bool:
    """Return whether a folder is there, or can be made."""
    if not folder.is_absolute():
        return False
    if folder.exists():
        return True
    above = next(path for path in folder.parents if path.exists())
    return os.access(above, os.W_OK | os.X_OK)


def _in_its_package() -> bool:
    """Return whether numba can keep what it compiles beside the sources of ranx."""
    spec = importlib.util.find_spec("ranx")
    places = spec.submodule_search_locations if spec else None
    if not places:
        return False
    kept = Path(places[0], "metrics", "__pycache__")
    return os.access(kept if kept.exists() else kept.parent, os.W_OK | os.X_OK)


def default_store_path() -> Path:
    """Return ``scores.sqlite`` in $EVALKIT_HOME, or in the folder ``evalkit`` of the platform's cache.

    Raises:
        EvalkitError: the user has no home, and no variable names another place.
    """
    if home := os.environ.get("EVALKIT_HOME"):
        return Path(home).expanduser() / "scores.sqlite"
    # https://specifications.freedesktop.org/basedir-spec: a relative path in the variable is to be ignored.
    cache = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if not cache.is_absolute():
        try:
            cache = Path.home() / ("Library/Caches" if sys.platform == "darwin" else ".cache")
        except RuntimeError:
            raise EvalkitError(
                "there is no home to keep scores in: name a folder with EVALKIT_HOME=DIR, a file with "
                "store=FILE, or go without with store=off"
            ) from None
    return cache / "evalkit" / "scores.sqlite"
