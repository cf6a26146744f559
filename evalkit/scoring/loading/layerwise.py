"""Loads bge-reranker-v2-minicpm-layerwise: a MiniCPM with heads behind its upper layers, cut after one of them.

The model's own architecture is code that comes with it, which evalkit does not run. MiniCPM is Llama with three factors
(https://arxiv.org/abs/2404.06395, section 3), and so is transformers' Granite: the embeddings' (``scale_emb``), that of
each residual (``scale_depth`` over the root of the number of layers) and attention's, which is the usual one. So the
weights are loaded into Granite, under the same names. `LayerWiseMiniCPMForCausalLM` of FlagEmbedding 1.4.2 is what the
tests compare with.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from transformers import GraniteConfig, GraniteModel

from evalkit.boundary.errors import EvalkitError
from evalkit.scoring.loading.load_errors import load_error
from evalkit.scoring.loading.model_folder import check_folder
from evalkit.scoring.loading.model_location import file_reader, local_folder, resolve_commit
from evalkit.scoring.loading.sbert_files import ReadFile, read_json, refuse_adapter
from evalkit.scoring.loading.weight_files import check_hub_weights

ARCHITECTURE = "LayerWiseMiniCPMForCausalLM"
_SAME = (
    "vocab_size", "hidden_size", "intermediate_size", "num_attention_heads", "num_key_value_heads", "hidden_act",
    "max_position_embeddings", "rms_norm_eps", "attention_bias", "pad_token_id", "bos_token_id", "eos_token_id",
)  # fmt: skip


class LayerwiseDecoder(torch.nn.Module):
    """A decoder up to one of its layers, the last norm, and that layer's head, as a classifier of transformers."""

    base_model_prefix = "model"
    _supports_attention_backend = True

    def __init__(self, model: Any, score: torch.nn.Linear) -> None:
        """Put the parts together.

        Args:
            model: The decoder, of as many layers as are computed.
            score: The head, from its hidden size to 1.
        """
        super().__init__()
        self.model = model
        self.score = score
        self.config = model.config

    @property
    def base_model(self) -> Any:
        """Return the decoder without the head."""
        return self.model

    @property
    def dtype(self) -> torch.dtype:
        """Return the type of the weights."""
        return self.score.weight.dtype

    def get_input_embeddings(self) -> Any:
        """Return the table of tokens."""
        return self.model.embed_tokens

    def forward(self, **inputs: Any) -> SimpleNamespace:
        """Return the score in the last position as ``logits``, (texts, 1).

        Args:
            inputs: As for the decoder; texts are padded on the left.
        """
        return SimpleNamespace(logits=self.score(self.model(**inputs).last_hidden_state[:, -1]))


def read_layerwise(name: str, revision: str | None, setting: str) -> tuple[Mapping[str, Any] | None, str | None]:
    """Return the content of a layerwise model's config.json, None for another model, and the commit on the hub.

    Args:
        name: A local folder, or a name on the hub.
        revision: A branch, a tag or a commit; None for the main branch.
        setting: The configuration key that names the model, for messages.

    Raises:
        EvalkitError: the model cannot be found, or config.json cannot be read.
    """
    folder = local_folder(name)
    try:
        if folder:
            check_folder(folder, name, setting)
        commit = resolve_commit(name, revision)
        stated = read_json(file_reader(name, commit), "config.json", f"{setting}={name}") or {}
    except EvalkitError:
        raise
    except Exception as error:  # huggingface_hub raises errors of many types
        raise load_error(name, revision, setting, error) from None
    return (stated if ARCHITECTURE in (stated.get("architectures") or ()) else None), commit


def check_layerwise(name: str, revision: str | None, setting: str, layer: int) -> tuple[Mapping[str, Any], str | None]:
    """Check that a model has a head behind a layer, and weights that can be read.

    Args:
        name: A local folder, or a name on the hub.
        revision: A branch, a tag or a commit; None for the main branch.
        setting: The configuration key that names the model, for messages.
        layer: The layer after which the score is read, counted from 1.

    Returns:
        The content of its config.json, and the commit on the hub.

    Raises:
        EvalkitError: it is another kind of model, or has no such layer.
    """
    stated, commit = read_layerwise(name, revision, setting)
    if stated is None:
        raise EvalkitError(
            f"{setting}={name}: reranker.cutoff_layer={layer} needs a model with a head behind each layer "
            f"({ARCHITECTURE}, as BAAI/bge-reranker-v2-minicpm-layerwise); leave it out for this one"
        )
    _granite_config(stated, layer, f"{setting}={name}")
    refuse_adapter(file_reader(name, commit), f"{setting}={name}")
    if commit is not None:
        check_hub_weights(name, commit, setting)
    return stated, commit


def refuse_layerwise(name: str, revision: str | None, setting: str) -> None:
    """Refuse a model with a head behind each layer, where no layer was named.

    Args:
        name: A local folder, or a name on the hub.
        revision: A branch, a tag or a commit; None for the main branch.
        setting: The configuration key that names the model, for messages.

    Raises:
        EvalkitError: it is one.
    """
    stated, _ = read_layerwise(name, revision, setting)
    if stated is not None:
        raise EvalkitError(
            f"{setting}={name}: it has a head behind each layer; name the one that scores, as reranker.cutoff_layer=28 "
            "with reranker.yes_word=null, or take reranker=bge_v2_minicpm_layerwise"
        )


def load_layerwise(
    path: str, stated: Mapping[str, Any], commit: str | None, layer: int, settings: Mapping[str, Any], prefix: str
) -> tuple[LayerwiseDecoder, Mapping[str, Any]]:
    """Load a model up to a layer, and that layer's head; return it, and transformers' loading information.

    Args:
        path: The argument for transformers' `from_pretrained`.
        stated: The content of its config.json.
        commit: The hub's commit; None for a local folder.
        layer: The layer after which the score is read, counted from 1.
        settings: Further arguments of `from_pretrained`.
        prefix: The beginning of messages: the setting and the model.

    Raises:
        EvalkitError: the model has no such layer, or its files have no head for it.
    """
    config = _granite_config(stated, layer, prefix)
    model, report = GraniteModel.from_pretrained(
        path, config=config, revision=commit, output_loading_info=True, **settings
    )
    key = f"lm_head.{layer - int(stated.get('start_layer', 8))}.linear_head.weight"
    weight = _read_weight(file_reader(path, None if local_folder(path) else commit), key, prefix)
    score = torch.nn.Linear(config.hidden_size, 1, bias=False, dtype=model.dtype)
    with torch.no_grad():
        score.weight.copy_(weight.to(model.dtype))
    later = tuple(f"model.layers.{number}." for number in range(layer, int(stated["num_hidden_layers"])))
    unexpected = {found for found in report["unexpected_keys"] if not found.startswith((*later, "lm_head."))}
    return LayerwiseDecoder(model, score), {**report, "unexpected_keys": unexpected}


def _granite_config(stated: Mapping[str, Any], layer: int, prefix: str) -> GraniteConfig:
    """Return the configuration of the Granite that a MiniCPM up to `layer` is."""
    layers, first = int(stated["num_hidden_layers"]), int(stated.get("start_layer", 8))
    if not first <= layer <= layers:
        raise EvalkitError(f"reranker.cutoff_layer={layer}: {prefix} has heads behind the layers {first} to {layers}")
    rope = stated.get("rope_parameters") or {}
    scaled = stated.get("rope_scaling") or rope.get("rope_type", "default") != "default"
    if stated.get("head_type", "simple") != "simple" or not stated.get("head_multi", True) or scaled:
        raise EvalkitError(
            f"{prefix}: its config.json states head_type={stated.get('head_type')}, head_multi="
            f"{stated.get('head_multi')}, rope_scaling={stated.get('rope_scaling')}, and evalkit computes models with "
            "one head of one label behind each layer and plain rotary positions; score with FlagEmbedding and give "
            "the ranking: reranker=trec_run reranker.path=RUN"
        )
    hidden, heads = int(stated["hidden_size"]), int(stated["num_attention_heads"])
    theta = float(rope.get("rope_theta") or stated.get("rope_theta") or 10000.0)
    return GraniteConfig(
        **{key: stated[key] for key in _SAME if stated.get(key) is not None},
        num_hidden_layers=layer,
        embedding_multiplier=float(stated.get("scale_emb", 1)),
        residual_multiplier=float(stated.get("scale_depth", 1)) / math.sqrt(layers),
        attention_multiplier=(hidden // heads) ** -0.5,
        rope_parameters={"rope_type": "default", "rope_theta": theta},
        tie_word_embeddings=False,
        use_cache=False,
    )


def _read_weight(read: ReadFile, key: str, prefix: str) -> torch.Tensor:
    index = read("model.safetensors.index.json")
    try:
        shards = {} if index is None else json.loads(index.read_text("utf-8"))["weight_map"]
        file = str(shards[key]) if index else "model.safetensors"
        path: Path | None = read(file)
        if path is None:
            raise FileNotFoundError(file)
        with safe_open(path, framework="pt") as opened:
            found: torch.Tensor = opened.get_tensor(key)
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise EvalkitError(
            f"{prefix}: {key}, the head of reranker.cutoff_layer, is not in its files ({type(error).__name__}); copy "
            "or download the whole folder"
        ) from None
    return found
