"""The base class of first stages: everything but `search` has a default."""

from abc import ABC, abstractmethod

from evalkit.boundary.contract import default
from evalkit.types import Fused, Run, Settings, Slice


class FirstStage(ABC):
    """Finds candidates. Only `search` has to be implemented.

    A class does not have to inherit: members that it lacks have the defaults below. For each trial an instance is
    created from the settings of its YAML; then `check`, `search` and `describe` are called once each, in this order.
    Any method may raise an EvalkitError, which is shown as one sentence.
    """

    name: str | None = default(None)
    """Name in results and reports; None for the name of the class."""
    index_s: float | None = default(None)
    """Seconds of the last `search` before the first query, to build or read an index; None if unknown."""
    cache_s: float = default(0.0)
    """Seconds of the last `search` that are not part of its cost: caching an index for later runs, or tuning."""
    uses_judgments: bool = default(False)
    """Whether `search` gets ``data.qrels``, which are empty otherwise.

    They may serve to choose settings by cross-validation over queries (`evalkit.evaluation.cross_validation`): the
    ranking of a query must not depend on judgments of that query.
    """
    fused: Fused | None = default(None)
    """The members of the last `search`, for a first stage that fuses others."""

    @property
    def label(self) -> str:
        """The name in a result if `describe` returns no ``name``."""
        return self.name or type(self).__name__

    def check(self) -> None:
        """Check the settings before any work is done.

        Raises:
            EvalkitError: a setting is invalid or not available; the message names the valid ones.
        """

    def check_language(self, lang: str) -> None:
        """Check a language that the configuration names, before the slice is read.

        Args:
            lang: language code of the slice.

        Raises:
            EvalkitError: this first stage cannot search texts of the language with its settings.
        """

    def max_hits(self) -> int | None:
        """Return the largest number of hits of a query in a finished run; None for a first stage that searches."""
        return None

    @abstractmethod
    def search(self, data: Slice, depth: int) -> Run:
        """Return the best `depth` passages of each query of the slice.

        Args:
            data: ``data.queries`` (query_id -> text) and ``data.docs`` (doc_id -> text); see `uses_judgments` for
                ``data.qrels``.
            depth: the largest number of hits of a query, 1 or more.

        Returns:
            A `Run`: query_id -> hits ``(doc_id, score)``, best first, no passage twice, scores finite and not
            increasing. A query that is missing counts as one without hits, ``()``.

        Raises:
            EvalkitError: the slice cannot be searched.
        """

    def describe(self) -> Settings:
        """Return what was really done, for the result: JSON-ready values, by default none. Called after `search`."""
        return {}
