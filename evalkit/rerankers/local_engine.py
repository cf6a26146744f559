"""The `Engine` of a loaded cross-encoder, through which its tokens, weights and activations are measured."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from evalkit.boundary.process_memory import MIB
from evalkit.rerankers.base import EngineFacts

if TYPE_CHECKING:
    from evalkit.scoring.scorer import Scorer


@dataclass(frozen=True)
class LocalEngine:
    """An `evalkit.rerankers.base.Engine` over a scorer."""

    scorer: "Scorer"
    facts: EngineFacts
    graph_bytes: int | None = None
    """The size of the graph, in a runtime that computes one."""

    def tokenize(self, texts: Sequence[tuple[str, str]]) -> Any:
        """Return (query, passage) texts as ids."""
        return self.scorer.tokenize(texts)

    def weights_mb(self) -> float:
        """Return the size of parameters and buffers in MiB; of a graph, that of its files."""
        if self.graph_bytes is not None:
            return self.graph_bytes / MIB
        from evalkit.scoring.flops import weights_mb

        return weights_mb(self.scorer.model)

    def predicted_peak_mb(self, batch_tokens: int) -> float:
        """Return weights and activations in MiB for a batch of `batch_tokens` (`scoring.flops.predicted_peak_mb`)."""
        from evalkit.scoring.flops import predicted_peak_mb

        element_bytes = next(iter(self.scorer.model.parameters())).element_size()
        if self.graph_bytes is not None:  # activations are fp32 between the matrix products of a quantized graph too
            activations = predicted_peak_mb(replace(self.scorer.shape, parameters=0), element_bytes, batch_tokens)
            return self.graph_bytes / MIB + activations
        return predicted_peak_mb(self.scorer.shape, element_bytes, batch_tokens)
