"""bge-reranker-v2.5-gemma2-lightweight as transformers has it: Gemma 2, with heads in place of the output matrix.

The model states the type ``cost_wise_gemma``, whose code comes with it and is not run. Its layers are those of Gemma 2,
under the same names. `CostWiseGemmaForCausalLM` of FlagEmbedding 1.4.2 is what the tests compare with.

That class applies its first head to the first of the layers that it is asked for, whichever that is: with
``cutoff_layers=[28]``, as in the authors' example, the score is that of ``lm_head.0`` and not of the head at the index
of layer 28. The authors' scores are those that the model is known by, so the first head is used here too.
"""

from collections.abc import Mapping
from typing import Any

from transformers import Gemma2Config, Gemma2Model

from evalkit.boundary.errors import EvalkitError
from evalkit.scoring.loading.cut_decoder import CutDecoder, check_layer, rope_theta, settings_up_to

_SAME = (
    "vocab_size", "hidden_size", "intermediate_size", "num_attention_heads", "num_key_value_heads", "head_dim",
    "hidden_activation", "max_position_embeddings", "rms_norm_eps", "attention_bias", "query_pre_attn_scalar",
    "pad_token_id", "bos_token_id", "eos_token_id",
)  # fmt: skip
_OR_NONE = ("sliding_window", "attn_logit_softcapping")
"""Null switches them off."""


def cut_gemma2(stated: Mapping[str, Any], layer: int, prefix: str) -> CutDecoder:
    """Return the Gemma 2 that such a model up to a layer is.

    Args:
        stated: The content of config.json.
        layer: The layer after which the score is read, counted from 1.
        prefix: The beginning of messages: the setting and the model.

    Raises:
        EvalkitError: it has no head behind that layer, or states what Gemma 2 does not compute.
    """
    theta = rope_theta(stated)
    if not stated.get("layer_wise", False) or theta is None:
        raise EvalkitError(
            f"{prefix}: its config.json states layer_wise={stated.get('layer_wise')}, rope_scaling="
            f"{stated.get('rope_scaling')}, and evalkit computes models with a head behind each layer and plain rotary "
            "positions; score with FlagEmbedding and give the ranking: reranker=trec_run reranker.path=RUN"
        )
    check_layer(stated, layer, int(stated.get("start_layer", 28)), int(stated.get("layer_sep", 28)), prefix)
    kinds = stated.get("layer_types")
    config = Gemma2Config(
        **settings_up_to(layer, stated, _SAME, theta),
        **{key: stated[key] for key in _OR_NONE if key in stated},
        layer_types=kinds[:layer] if kinds else None,
    )
    softcap = stated.get("final_logit_softcapping", 30.0)
    return CutDecoder(
        config, Gemma2Model, "lm_head.0.linear_head.weight", None if softcap is None else float(softcap), merges=True
    )
