"""What a reranker computes: a logit for each pair, and what computing them took."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Scores:
    """The scores of some pairs, and what computing them took."""

    logits: tuple[float | None, ...]
    """In the order of the pairs, higher is better; None for a pair without a score."""
    truncated_pairs: int = 0
    """Pairs longer than the reranker's maximum length."""
    tokens: int = 0
    """Tokens of all pairs, special tokens included, padding not."""
    padded_tokens: int = 0
    """The same with padding: the tokens that the model computed."""
    tokenize_s: float = 0.0
    """Seconds that the tokenizer was busy; they may overlap with the model's."""
    forward_s: float = 0.0
    """Seconds of the model, summed over devices: by CUDA events on a GPU, by the clock on a CPU."""
    computed_pairs: int | None = None
    """Pairs that the model computed, to which tokens and times refer; None for all pairs that are not from a store.

    If fewer, the remaining pairs have the same two texts as a computed one, and its score.
    """
    from_store: int = 0
    """Pairs whose logits were read from the score store."""
    budget_halvings: tuple[str, ...] = ()
    """One sentence for each batch that did not fit into memory and was split in two."""
    flops: float | None = None
    """Floating point operations of the computed pairs' tokens, without padding; None if the model is unknown."""
    tie_order: Mapping[str, Mapping[str, int]] | None = None
    """query_id -> doc_id -> position, which breaks ties between logits; None for first-stage order."""
    longest_pair_tokens: int | None = None
    """Tokens of the longest pair before truncation, special tokens included; None where it is unknown."""
    unknown_query_share: float | None = None
    """Share of the tokens of the distinct queries that are not in the vocabulary; None where it is unknown."""
    unknown_passage_share: float | None = None
    """The same of the distinct passages."""
    billed_calls: float | None = None
    """Calls to a server, or the units that it counts instead; None without a server."""
    billed_tokens: int | None = None
    """Tokens by a server's own count; None where it states none."""
    chunk_pairs: int | None = None
    """Pairs of a query and a chunk that the logits were made of; None where passages were scored whole.

    Tokens and times are theirs. Counts of pairs above are of pairs with a passage, in the same proportion.
    """

    @property
    def padding_share(self) -> float:
        """Return the share of the computed tokens that are padding."""
        return max(1 - self.tokens / self.padded_tokens, 0.0) if self.tokens and self.padded_tokens else 0.0

    @property
    def shared_share(self) -> float:
        """Return the share of the tokens not computed again, as pairs of a query begin with the same ones."""
        return max(1 - self.padded_tokens / self.tokens, 0.0) if self.tokens and self.padded_tokens else 0.0
