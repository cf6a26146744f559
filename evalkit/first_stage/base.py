"""What a first stage is: the contract, with a default for all but `search`."""

from abc import ABC, abstractmethod

from evalkit.boundary.contract import default
from evalkit.types import Run, Settings, Slice


class FirstStage(ABC):
    """Finds candidates: `search` is all that has to be written.

    A class that has `search` without inheriting is as good: what else it lacks is as here. An instance is made once for
    each trial, from the settings of its YAML; then `check`, `search` and `describe` are called, once each, in this
    order. An EvalkitError may be raised anywhere, and is shown as one sentence.
    """

    name: str | None = default(None)
    """What results and reports call it; None for the class's name."""
    index_s: float | None = default(None)
    """Seconds of the last `search` until the first query was searched: an index is made or read; None if unknown."""
    cache_s: float = default(0.0)
    """Seconds of the last `search` that went into keeping an index for later runs, and are no part of its cost."""

    @property
    def label(self) -> str:
        """What it is called in a result where `describe` gives no ``name``."""
        return self.name or type(self).__name__

    def check(self) -> None:
        """Find what is wrong with the settings, before any work is done.

        Raises:
            EvalkitError: a setting cannot be had; the sentence says what can.
        """

    def check_language(self, lang: str) -> None:
        """Find what is wrong with the slice's language, where the configuration names it, before the slice is read.

        Raises:
            EvalkitError: this first stage cannot search texts of that language as it is set up.
        """

    def max_hits(self) -> int | None:
        """Return how many passages a finished run has of the query that has most; None for what is no finished run."""
        return None

    @abstractmethod
    def search(self, data: Slice, depth: int) -> Run:
        """Return the best `depth` passages of each query of the slice.

        Args:
            data: ``data.queries`` (query_id -> text) and ``data.docs`` (doc_id -> text). Never look at ``data.qrels``.
            depth: the most hits a query, 1 or more.

        Returns:
            A `Run`: query_id -> hits ``(doc_id, score)``, best first, no passage twice, scores finite and not rising.
            A query without hits has ``()``, and so has one that is left out.

        Raises:
            EvalkitError: there is nothing to search, or it cannot be searched.
        """

    def describe(self) -> Settings:
        """Return what was really done, after `search`, for the result: JSON-ready values, by default nothing."""
        return {}
