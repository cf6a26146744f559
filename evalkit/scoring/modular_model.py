"""A modular cross-encoder of sentence-transformers as one model: an encoder, a pooling, and layers that give scores."""

from collections.abc import Sequence
from typing import Any

import torch
from transformers.modeling_outputs import SequenceClassifierOutput

from evalkit.scoring.embedding import EmbeddingHead, pool_states
from evalkit.scoring.loading.labels import Label, score_of_labels
from evalkit.scoring.loading.sbert_config import HeadLayer


class ModularModel(torch.nn.Module):
    """It is called as a sequence classifier of transformers with one label is."""

    def __init__(self, encoder: Any, pooling: str, layers: Sequence[HeadLayer], label: Label, prefix: str) -> None:
        """Read the weights of the layers, which compute in fp32.

        Args:
            encoder: A model of transformers without a head, on its device.
            pooling: As for `pool_states`.
            layers: What is behind the pooling; the last one has an output for each label.
            label: The label that is the score, or two for their difference; empty for the only one.
            prefix: The beginning of messages: the setting and the model.

        Raises:
            EvalkitError: weights cannot be read, or their shapes are not those of the layer's configuration.
        """
        super().__init__()
        self.encoder = encoder
        self.config = encoder.config
        self.architecture = ", ".join(
            [type(encoder).__name__, f"{pooling} pooling", *(layer.describe() for layer in layers)]
        )
        self._pooling, self._label = pooling, label
        self._head = EmbeddingHead(layers, encoder.device, prefix)
        for number, weight in enumerate(self._head.weights()):  # they count as the model's
            self.register_parameter(f"head_{number}", torch.nn.Parameter(weight, requires_grad=False))

    def forward(self, input_ids: torch.Tensor, **inputs: torch.Tensor) -> SequenceClassifierOutput:
        """Return the scores of pairs as `logits`, (pairs, 1).

        Args:
            input_ids: (pairs, tokens), padded on the right.
            **inputs: The other arguments of the encoder; without an attention mask there is no padding.
        """
        states = self.encoder(input_ids=input_ids, **inputs).last_hidden_state
        mask = inputs.get("attention_mask", torch.ones_like(input_ids))
        labels = self._head(pool_states(states.float(), mask, self._pooling))
        return SequenceClassifierOutput(logits=score_of_labels(labels.T, self._label)[:, None])
