"""The padded forward: transformers' own, for any sequence classifier, and the reference for the packed one."""

from typing import Any

import torch

from evalkit.scoring.token_table import Batch


class PaddedModel:
    """A cross-encoder over padded batches, computed by transformers itself."""

    def __init__(self, model: Any, device: torch.device, pad_id: int, takes_types: bool) -> None:
        self.device = device
        self.model = model
        self._pad = pad_id
        self._takes_types = takes_types

    def inputs(self, batch: Batch) -> tuple[dict[str, torch.Tensor]]:
        """Return the model's arguments on the device, each (pairs, tokens of the longest)."""
        lengths = torch.from_numpy(batch.lengths)
        mask = torch.arange(int(batch.lengths.max())) < lengths[:, None]
        ids = torch.full(mask.shape, self._pad)
        ids[mask] = torch.from_numpy(batch.ids).long()
        inputs = {"input_ids": ids, "attention_mask": mask.long()}
        if self._takes_types:
            types = torch.zeros(mask.shape, dtype=torch.long)
            types[mask] = torch.from_numpy(batch.type_ids).long()
            inputs["token_type_ids"] = types
        return ({name: tensor.to(self.device, non_blocking=True) for name, tensor in inputs.items()},)

    def computed_tokens(self, batch: Batch) -> int:
        """Return the tokens that go through the layers, padding among them."""
        return int(batch.lengths.max()) * len(batch.lengths)

    def forward(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return the logits of a padded batch as fp32, (pairs,), on the device."""
        logits: torch.Tensor = self.model(**inputs).logits
        return logits.float().flatten()  # ranked in fp32: rounded logits tie
