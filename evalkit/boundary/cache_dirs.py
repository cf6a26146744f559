"""Cache folders of evalkit and of the libraries it uses, with a substitute where the home folder is not writable."""

import atexit
import importlib.util
import os
import shutil
import sys
import tempfile
from pathlib import Path

from evalkit.boundary.errors import EvalkitError
from evalkit.boundary.progress import say
from evalkit.boundary.text import user_path


def ensure_writable(announce: bool = True) -> None:
    """Point libraries whose cache folder is not writable to a temporary folder, removed when this process ends.

    Call this before they are imported: on import, ir_datasets creates its folder, and numba reads where its cache is,
    without which it refuses to compile. matplotlib only warns.

    Args:
        announce: whether to say so.
    """
    if unwritable := _unwritable():
        folder = tempfile.mkdtemp(prefix="evalkit-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        os.environ |= {variable: str(Path(folder, name)) for variable, name in unwritable.items()}
        if not announce:
            return
        home = os.environ.get("HOME", "")
        why = f"the home folder {home} is not writable" if home else "there is no home folder"
        say(f"  note: {why}; {' and '.join(unwritable)} use {folder} for this run")


def are_writable() -> bool:
    """Return whether the libraries can use the cache folders that they would choose themselves."""
    return not _unwritable()


def _unwritable() -> dict[str, str]:
    """Return for each library without a writable cache folder the variable that names one, and a name for it."""
    home, found = os.environ.get("HOME", ""), {}
    if "IR_DATASETS_HOME" not in os.environ and not _can_be_made(Path(home, ".ir_datasets")):
        found["IR_DATASETS_HOME"] = "ir_datasets"
    if "NUMBA_CACHE_DIR" not in os.environ and not (_in_its_package() or _can_be_made(Path(home, ".cache", "numba"))):
        found["NUMBA_CACHE_DIR"] = "numba"  # https://numba.readthedocs.io/en/stable/developer/caching.html
    if "MPLCONFIGDIR" not in os.environ and not _can_be_made(Path(home, ".config", "matplotlib")):
        found["MPLCONFIGDIR"] = "matplotlib"
    return found


def _can_be_made(folder: Path) -> bool:
    """Return whether a folder exists or can be created."""
    if not folder.is_absolute():
        return False
    if folder.exists():
        return True
    above = next(path for path in folder.parents if path.exists())
    return os.access(above, os.W_OK | os.X_OK)


def _in_its_package() -> bool:
    """Return whether numba can write its cache next to the sources of ranx."""
    spec = importlib.util.find_spec("ranx")
    places = spec.submodule_search_locations if spec else None
    if not places:
        return False
    cache = Path(places[0], "metrics", "__pycache__")
    return os.access(cache if cache.exists() else cache.parent, os.W_OK | os.X_OK)


def cache_folder(purpose: str, otherwise: str) -> Path:
    """Return evalkit's own folder: $EVALKIT_HOME, or ``evalkit`` in the user's cache folder.

    Args:
        purpose: what is to be in it, for the message.
        otherwise: the setting that does without it, for the message.

    Raises:
        EvalkitError: there is no home folder, and neither EVALKIT_HOME nor XDG_CACHE_HOME is set.
    """
    if home := os.environ.get("EVALKIT_HOME"):
        return Path(home).expanduser()
    # https://specifications.freedesktop.org/basedir-spec: a relative path in the variable is ignored.
    cache = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if not cache.is_absolute():
        try:
            cache = Path.home() / ("Library/Caches" if sys.platform == "darwin" else ".cache")
        except RuntimeError:
            raise EvalkitError(
                f"there is no home folder for {purpose}: set EVALKIT_HOME=DIR, or use {otherwise}"
            ) from None
    return cache / "evalkit"


def default_store_path() -> Path:
    """Return the file of the score store: ``scores.sqlite`` in evalkit's own folder.

    Raises:
        EvalkitError: as for `cache_folder`.
    """
    return cache_folder("the score store", "store=FILE, or store=off") / "scores.sqlite"


def store_path(asked: str) -> Path:
    """Return the file of the score store.

    Args:
        asked: The setting `store`: ``auto``, or a path.

    Raises:
        EvalkitError: as for `cache_folder`.
    """
    return default_store_path() if asked == "auto" else user_path(asked)


def default_history_path() -> Path:
    """Return the file of the history: ``history.sqlite`` in evalkit's own folder, next to the score store.

    Raises:
        EvalkitError: as for `cache_folder`.
    """
    return cache_folder("the history", "history=FILE, or history=off") / "history.sqlite"
