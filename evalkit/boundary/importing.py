"""Imports without the garbage collector, which would look through thousands of modules' objects again and again."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """Collect nothing while the block imports, and never look at what is there at its end again.

    Only for processes of evalkit's own: in somebody else's, garbage that exists by then would stay for good.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
