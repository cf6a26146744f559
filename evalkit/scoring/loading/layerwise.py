"""Loads a decoder with heads behind its upper layers, cut after one of them: BAAI's layerwise and lightweight ones.

Their own architecture is code that comes with the models, which evalkit does not run; transformers has each of them,
under another name.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from evalkit.boundary.errors import EvalkitError
from evalkit.scoring.loading.cut_decoder import CutDecoder
from evalkit.scoring.loading.layerwise_gemma2 import cut_gemma2
from evalkit.scoring.loading.layerwise_minicpm import cut_minicpm
from evalkit.scoring.loading.load_errors import load_error
from evalkit.scoring.loading.model_folder import check_folder
from evalkit.scoring.loading.model_location import file_reader, local_folder, resolve_commit
from evalkit.scoring.loading.sbert_files import ReadFile, read_json, refuse_adapter
from evalkit.scoring.loading.weight_files import check_hub_weights

_KINDS: Mapping[str, Callable[[Mapping[str, Any], int, str], CutDecoder]] = {
    "LayerWiseMiniCPMForCausalLM": cut_minicpm,
    "CostWiseGemmaForCausalLM": cut_gemma2,
}
"""By the architecture that config.json states."""


class LayerwiseDecoder(torch.nn.Module):
    """A decoder up to one of its layers, the last norm, and that layer's head, as a classifier of transformers."""

    base_model_prefix = "model"
    _supports_attention_backend = True

    def __init__(self, model: Any, score: torch.nn.Linear, cut: CutDecoder) -> None:
        """Put the parts together.

        Args:
            model: The decoder, of as many layers as are computed.
            score: The head, from its hidden size to 1.
            cut: What it was made of.
        """
        super().__init__()
        self.model = model
        self.score = score
        self.head, self.softcap = cut.head, cut.softcap
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
        logits = self.score(self.model(**inputs).last_hidden_state[:, -1])
        if self.softcap is not None:
            logits = torch.tanh(logits / self.softcap) * self.softcap
        return SimpleNamespace(logits=logits)


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
    return (stated if _kind(stated) else None), commit


def check_layerwise(
    name: str, revision: str | None, setting: str, layer: int, compress_layers: Sequence[int] = ()
) -> tuple[Mapping[str, Any], str | None]:
    """Check that a model has a head behind a layer, and weights that can be read.

    Args:
        name: A local folder, or a name on the hub.
        revision: A branch, a tag or a commit; None for the main branch.
        setting: The configuration key that names the model, for messages.
        layer: The layer after which the score is read, counted from 1.
        compress_layers: The layers behind which tokens of the passage are to be merged, counted from 1.

    Returns:
        The content of its config.json, and the commit on the hub.

    Raises:
        EvalkitError: it is another kind of model, or has no such layers.
    """
    stated, commit = read_layerwise(name, revision, setting)
    if stated is None:
        raise EvalkitError(
            f"{setting}={name}: reranker.cutoff_layer={layer} needs a model with a head behind each layer "
            f"({' or '.join(_KINDS)}, as BAAI/bge-reranker-v2-minicpm-layerwise); leave it out for this one"
        )
    merges = cut_decoder(stated, layer, f"{setting}={name}").merges
    if compress_layers and not merges:
        raise EvalkitError(
            f"reranker.compress_layers={list(compress_layers)}: {setting}={name} was not trained to have tokens "
            "merged; leave reranker.compress_ratio=1 for this one"
        )
    if compress_layers and max(compress_layers) >= (layers := int(stated["num_hidden_layers"])):
        raise EvalkitError(
            f"reranker.compress_layers={list(compress_layers)}: {setting}={name} has {layers} layers, and tokens can "
            f"be merged behind 1 to {layers - 1}"
        )
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
            "with reranker.yes_word=null, or take reranker=bge_v2_minicpm_layerwise or bge_v2_5_gemma2_lightweight"
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
    cut = cut_decoder(stated, layer, prefix)
    model, report = cut.model_class.from_pretrained(
        path, config=cut.config, revision=commit, output_loading_info=True, **settings
    )
    weight = _read_weight(file_reader(path, None if local_folder(path) else commit), cut.head, prefix)
    score = torch.nn.Linear(cut.config.hidden_size, 1, bias=False, dtype=model.dtype)
    with torch.no_grad():
        score.weight.copy_(weight.to(model.dtype))
    later = tuple(f"model.layers.{number}." for number in range(layer, int(stated["num_hidden_layers"])))
    unexpected = {found for found in report["unexpected_keys"] if not found.startswith((*later, "lm_head."))}
    return LayerwiseDecoder(model, score, cut), {**report, "unexpected_keys": unexpected}


def cut_decoder(stated: Mapping[str, Any], layer: int, prefix: str) -> CutDecoder:
    """Return what a layerwise model up to a layer is in transformers.

    Args:
        stated: The content of its config.json.
        layer: The layer after which the score is read, counted from 1.
        prefix: The beginning of messages: the setting and the model.

    Raises:
        EvalkitError: it has no head behind that layer, or states what evalkit does not compute.
    """
    kind = _kind(stated)
    assert kind is not None, "read_layerwise() comes first"
    try:
        return _KINDS[kind](stated, layer, prefix)
    except EvalkitError:
        raise
    except Exception as error:  # transformers checks configurations with errors of its own
        first_line = str(error).strip().partition("\n")[0][:160]
        raise EvalkitError(
            f"{prefix}: its config.json cannot be read as that of a {kind} ({type(error).__name__}: {first_line}); "
            "copy or download the file again"
        ) from None


def _kind(stated: Mapping[str, Any]) -> str | None:
    if stated.get("model_type") == "cost_wise_gemma":  # MiniCPM's type is that of its other models, too
        return "CostWiseGemmaForCausalLM"
    return next((kind for kind in _KINDS if kind in (stated.get("architectures") or ())), None)


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
