"""Starts processes for functions of evalkit's own modules, whatever the main program is."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType


@contextmanager
def without_main() -> Iterator[None]:
    """Start processes in the block without this program's main module.

    multiprocessing would run a user's script once more in each process, and evaluate in it again.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main
