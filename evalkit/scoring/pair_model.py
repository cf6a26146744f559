"""What a scorer needs of a kind of model: how it encodes pairs, and its forward passes."""

from collections.abc import Sequence
from typing import Any, Protocol

import torch

from evalkit.scoring.device import Precision
from evalkit.scoring.pair_tokenizer import TokenIds
from evalkit.scoring.runner import ForwardPass
from evalkit.scoring.tokenized_pairs import PairCache, Tokenized


class TextEncoding(Protocol):
    """Encodes the texts of pairs with a model's own tokenizer."""

    tokenizer: Any
    """A fast tokenizer of transformers."""
    max_length: int

    def encode(self, texts: Sequence[str]) -> list[TokenIds]:
        """Return the ids of each text, without special tokens being added and without truncation.

        Args:
            texts: Queries or passages.
        """

    def describe(self) -> dict[str, Any]:
        """Return how pairs are encoded, for a result."""


class PairModel(Protocol):
    """An encoder with a classifier, or a decoder with a prompt."""

    model: Any
    """A model of transformers, on its device."""

    @property
    def checked_pairs(self) -> Sequence[tuple[str, str]]:
        """The pairs of the self-check, (query, passage) texts."""

    @property
    def pair_tokenizer(self) -> TextEncoding:
        """What encodes the pairs."""

    def cache(self) -> PairCache:
        """Return a tokenizer of many pairs."""

    def reason_not_packable(self) -> str | None:
        """Return why the packed forward pass does not support the model, or None if it does."""

    def packed(self, device: torch.device, precision: Precision, compiled: bool) -> tuple[ForwardPass, str]:
        """Return the packed forward pass, and the name of its attention kernel.

        Args:
            device: Where the model is.
            precision: The precision of the model.
            compiled: Whether it is compiled.
        """

    def padded(self, device: torch.device) -> ForwardPass:
        """Return the padded forward pass.

        Args:
            device: Where the model is.
        """

    @property
    def reference(self) -> str:
        """What `reference_logits` does, for a result."""

    def reference_logits(self, pairs: Tokenized, device: torch.device) -> Sequence[float]:
        """Return the logits of `checked_pairs`, one by one, by transformers' own call of tokenizer and model.

        Args:
            pairs: The pairs as token ids.
            device: Where the model is.
        """
