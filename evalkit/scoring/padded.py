"""The padded forward pass: transformers' own, for any sequence classifier, and the reference for the packed one."""

from typing import Any

import torch

from evalkit.scoring.tokenized_pairs import Batch


class PaddedModel:
    """A cross-encoder over padded batches, computed by transformers."""

    def __init__(self, model: Any, device: torch.device, pad_id: int, use_types: bool) -> None:
        """Wrap a model.

        Args:
            model: A sequence classifier of transformers with one label.
            device: Where the model is.
            pad_id: The id of the padding token.
            use_types: Whether the model gets token types.
        """
        self.device = device
        self.model = model
        self._pad = pad_id
        self._use_types = use_types

    def inputs(self, batch: Batch) -> tuple[dict[str, torch.Tensor]]:
        """Return the model's arguments on the device, each (pairs, tokens of the longest pair).

        Args:
            batch: The pairs.
        """
        lengths = torch.from_numpy(batch.lengths)
        mask = torch.arange(int(batch.lengths.max())) < lengths[:, None]
        ids = torch.full(mask.shape, self._pad)
        ids[mask] = torch.from_numpy(batch.ids).long()
        inputs = {"input_ids": ids, "attention_mask": mask.long()}
        if self._use_types:
            types = torch.zeros(mask.shape, dtype=torch.long)
            types[mask] = torch.from_numpy(batch.type_ids).long()
            inputs["token_type_ids"] = types
        return ({name: tensor.to(self.device, non_blocking=True) for name, tensor in inputs.items()},)

    def computed_tokens(self, batch: Batch) -> int:
        """Return the tokens that go through the layers, padding included.

        Args:
            batch: The pairs.
        """
        return int(batch.lengths.max()) * len(batch.lengths)

    def forward(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return the fp32 logits of a padded batch, (pairs,), on the device.

        Args:
            inputs: As `inputs` returns them.
        """
        logits: torch.Tensor = self.model(**inputs).logits
        return logits.float().flatten()  # ranked in fp32: logits rounded to half precision tie
