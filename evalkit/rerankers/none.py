"""No reranking: the first stage's order stays, so that first stages can be measured and compared."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from evalkit.rerankers.base import Reranker
from evalkit.types import Pair, Scores, Settings


@dataclass
class NoReranker(Reranker):
    """Scores nothing."""

    name = "none"
    computes = False
    reranks = False

    def score(
        self,
        pairs: Sequence[Pair],
        queries: Mapping[str, str],
        docs: Mapping[str, str],
        on_progress: Callable[[int], None] = lambda n: None,
    ) -> Scores:
        """Return None for each pair.

        Args:
            pairs: as for `Reranker.score`.
            queries: not used.
            docs: not used.
            on_progress: as for `Reranker.score`.
        """
        on_progress(len(pairs))
        return Scores((None,) * len(pairs))

    def describe(self) -> Settings:
        """Return that nothing was reranked."""
        return {"name": "none", "reranks": self.reranks}
