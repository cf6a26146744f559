"""What a runtime offers the engine: a loaded graph that computes logits, from several threads at a time."""

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Feeds = Mapping[str, npt.NDArray[np.int64]]
"""Name of an input -> its values, (pairs, tokens)."""


class Session(Protocol):
    """A graph loaded by a runtime."""

    inputs: tuple[str, ...]
    """The inputs of the graph."""

    def run(self, feeds: Feeds) -> npt.NDArray[np.float32]:
        """Return the logits of pairs, (pairs,); may be called by several threads at a time.

        Args:
            feeds: A value for each input.

        Raises:
            MemoryError: the pairs do not fit into memory.
        """

    def describe(self) -> dict[str, Any]:
        """Return the version of the runtime and the settings that are in force."""


def is_out_of_memory(error: Exception) -> bool:
    """Return whether a runtime's error means that memory was not sufficient: they have no type of their own for it.

    Args:
        error: What was raised.
    """
    text = str(error).lower()
    return any(phrase in text for phrase in ("bad_alloc", "bad allocation", "failed to allocate", "allocate memory"))


def first_line(error: Exception) -> str:
    """Return the first line of an error's text, shortened, for a message.

    Args:
        error: What was raised.
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:300] if lines else type(error).__name__
