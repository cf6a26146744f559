"""The forward pass of ModernBERT, ELECTRA, DistilBERT, ALBERT and GTE over packed pairs: transformers' own modules.

Only attention is replaced, and the head reads the first token of each pair, or the mean of its tokens, as the
architecture has it. XLM-RoBERTa, RoBERTa and BERT have a forward pass of their own in `evalkit.scoring.packed`.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from transformers.modeling_outputs import BaseModelOutputWithPooling

from evalkit.scoring.packed_attention import PackedLayout, Span, packed, packed_copy
from evalkit.scoring.tokenized_pairs import Batch

ENCODERS = {
    "ModernBertForSequenceClassification",
    "ElectraForSequenceClassification",
    "DistilBertForSequenceClassification",
    "AlbertForSequenceClassification",
    "GteForSequenceClassification",
}
"""Their heads read one state for each text, and their positions count from 0."""


class PackedEncoder:
    """A cross-encoder over packed batches; it shares its weights with a transformers model."""

    kernel = "packed, sdpa by equal length"

    def __init__(self, model: Any, device: torch.device, use_types: bool) -> None:
        """Wrap a model.

        Args:
            model: A sequence classifier for which `packed_attention.reason_not_packable` is None. It can still be used.
            device: Where the model is.
            use_types: Whether the model gets token types.
        """
        self.device = device
        self._use_types = use_types
        self.model = packed_copy(model)
        prefix = model.base_model_prefix
        means = getattr(model.config, "classifier_pooling", "cls") == "mean"
        setattr(self.model, prefix, _OneStatePerText(getattr(self.model, prefix), means))

    def inputs(self, batch: Batch) -> tuple[dict[str, torch.Tensor], PackedLayout, torch.Tensor, torch.Tensor]:
        """Return the model's arguments, each (1, tokens), the layout, and the first token and the length of each pair.

        Args:
            batch: The pairs.
        """
        starts: npt.NDArray[np.int64] = np.cumsum(batch.lengths, dtype=np.int64) - batch.lengths
        arrays: dict[str, npt.NDArray[Any]] = {
            "input_ids": batch.ids,
            "position_ids": np.arange(len(batch.ids)) - np.repeat(starts, batch.lengths),
        }
        if self._use_types:
            arrays["token_type_ids"] = batch.type_ids
        tensors = {
            name: torch.from_numpy(values.astype(np.int64)).to(self.device, non_blocking=True)[None]
            for name, values in arrays.items()
        }
        spans = [Span(*span) for span in zip(starts.tolist(), batch.lengths.tolist(), strict=True)]
        lengths = torch.from_numpy(batch.lengths.astype(np.int64))
        return (
            tensors,
            PackedLayout(spans, self.device),
            torch.from_numpy(starts).to(self.device),
            lengths.to(self.device),
        )

    def computed_tokens(self, batch: Batch) -> int:
        """Return the tokens that go through the layers.

        Args:
            batch: The pairs.
        """
        return len(batch.ids)

    def forward(
        self, inputs: dict[str, torch.Tensor], layout: PackedLayout, starts: torch.Tensor, lengths: torch.Tensor
    ) -> torch.Tensor:
        """Return the fp32 logits of a packed batch, (pairs,), on the device.

        Args:
            inputs: As `inputs` returns them.
            layout: As `inputs` returns it.
            starts: As `inputs` returns them.
            lengths: As `inputs` returns them.
        """
        with packed(layout):
            logits: torch.Tensor = self.model(**inputs, text_starts=starts, text_lengths=lengths).logits
        return logits.float().flatten()


class _OneStatePerText(torch.nn.Module):
    """A base model whose output has one token for each packed text, which the head of the whole model reads."""

    def __init__(self, base: torch.nn.Module, means: bool) -> None:
        super().__init__()
        self._base = base
        self._means = means

    def forward(
        self, input_ids: torch.Tensor, *, text_starts: torch.Tensor, text_lengths: torch.Tensor, **others: Any
    ) -> BaseModelOutputWithPooling:
        states = self._base(input_ids, **others).last_hidden_state[0]
        if self._means:
            of_text = torch.arange(len(text_lengths), device=states.device).repeat_interleave(text_lengths)
            sums = states.new_zeros(len(text_lengths), states.shape[1]).index_add_(0, of_text, states)
            texts = sums / text_lengths[:, None]
        else:
            texts = states[text_starts]
        pooler = getattr(self._base, "pooler", None)
        pooled = None if pooler is None else self._pooled(pooler, texts)
        return BaseModelOutputWithPooling(last_hidden_state=texts[:, None], pooler_output=pooled)

    def _pooled(self, pooler: torch.nn.Module, texts: torch.Tensor) -> torch.Tensor:
        if isinstance(pooler, torch.nn.Linear):  # ALBERT's, whose activation is another member
            activation: Any = self._base.pooler_activation
            found: torch.Tensor = activation(pooler(texts))
        else:
            found = pooler(texts[:, None])
        return found
