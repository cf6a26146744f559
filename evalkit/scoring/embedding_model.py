"""An embedding model ready to use: loaded, with the way in which its vectors are pooled and scaled."""

from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import normalize

from evalkit.scoring.device import resolve_device, resolve_precision
from evalkit.scoring.embedding import EmbeddingHead, pool_states
from evalkit.scoring.loading.embedding_settings import Requested, Resolved, resolve
from evalkit.scoring.loading.pretrained import load_encoder
from evalkit.scoring.text_encoder import Batch, TextEncoder, batch_tokens_for, group_of


@dataclass(frozen=True)
class EmbeddingModel:
    """A text encoder with the settings that its vectors depend on."""

    encoder: TextEncoder
    how: Resolved


def load_embedding_model(
    name: str,
    revision: str | None,
    asked: Requested,
    batch_tokens: int | None,
    device: str,
    precision: str,
    setting: str = "first_stage.model",
) -> EmbeddingModel:
    """Load an embedding model.

    Args:
        name: A local folder, or a name on the hub.
        revision: A branch, a tag or a commit; None for the main branch.
        asked: The settings; None for what the model's own files state.
        batch_tokens: Tokens of a batch at most, padding included; None for as many as are useful.
        device: Device: auto, cpu, cuda or cuda:N.
        precision: A key of `evalkit.scoring.device.PRECISIONS`.
        setting: The configuration key that names the model, for messages.

    Raises:
        EvalkitError: model, device or precision are not available, or its files state what evalkit does not compute.
    """
    on = resolve_device(device)
    pretrained = load_encoder(name, revision, on, resolve_precision(precision, on), setting)
    how = resolve(asked, pretrained.sbert_config, pretrained.max_tokens, f"{setting}={name}", group_of(setting))
    head = EmbeddingHead(pretrained.sbert_config.layers_for(how.normalize), on, f"{setting}={name}")

    def vectors(model: Any, batch: Batch) -> torch.Tensor:
        pooled = head(pool_states(model(**batch).last_hidden_state.float(), batch["attention_mask"], how.pooling))
        pooled = pooled[:, : pretrained.sbert_config.truncate_dim]
        return normalize(pooled, dim=1) if how.normalize else pooled

    most = batch_tokens_for(batch_tokens, how.max_length, on)
    return EmbeddingModel(TextEncoder(pretrained, vectors, how.max_length, most, on), how)
