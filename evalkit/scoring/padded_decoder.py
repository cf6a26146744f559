"""The padded forward pass of a decoder: transformers' own, padded on the left, and the reference for the packed one."""

from typing import Any

import torch

from evalkit.scoring.answer import Answer
from evalkit.scoring.tokenized_pairs import Batch


class PaddedDecoder:
    """A decoder over padded batches, computed by transformers."""

    def __init__(self, model: Any, device: torch.device, pad_id: int, answer: Answer) -> None:
        """Wrap a model.

        Args:
            model: A causal language model of transformers, or a sequence classifier on one.
            device: Where the model is.
            pad_id: The id of the padding token.
            answer: Reads the score off the model's output.
        """
        self.device = device
        self._model = model
        self._pad = pad_id
        self._answer = answer

    def inputs(self, batch: Batch) -> tuple[dict[str, torch.Tensor]]:
        """Return the model's arguments on the device, each (pairs, tokens of the longest pair).

        Args:
            batch: The pairs.
        """
        longest = int(batch.lengths.max())
        mask = torch.arange(longest) >= longest - torch.from_numpy(batch.lengths)[:, None]
        ids = torch.full(mask.shape, self._pad)
        ids[mask] = torch.from_numpy(batch.ids).long()
        positions = (mask.long().cumsum(1) - 1).clamp_min(0)
        inputs = {"input_ids": ids, "attention_mask": mask.long(), "position_ids": positions}
        return ({name: tensor.to(self.device, non_blocking=True) for name, tensor in inputs.items()},)

    def computed_tokens(self, batch: Batch) -> int:
        """Return the tokens that go through the layers, padding included.

        Args:
            batch: The pairs.
        """
        return int(batch.lengths.max()) * len(batch.lengths)

    def forward(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return the fp32 scores of a padded batch, (pairs,), on the device.

        Args:
            inputs: As `inputs` returns them.
        """
        return self._answer.of_call(self._model, inputs)
