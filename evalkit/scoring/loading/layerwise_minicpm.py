"""bge-reranker-v2-minicpm-layerwise as transformers has it: MiniCPM is Llama with three factors, and so is Granite.

The factors (https://arxiv.org/abs/2404.06395, section 3) are the embeddings' (``scale_emb``), that of each residual
(``scale_depth`` over the root of the number of layers) and attention's, which is the usual one. So the weights are
loaded into Granite, under the same names. `LayerWiseMiniCPMForCausalLM` of FlagEmbedding 1.4.2 is what the tests
compare with.
"""

import math
from collections.abc import Mapping
from typing import Any

from transformers import GraniteConfig, GraniteModel

from evalkit.boundary.errors import EvalkitError
from evalkit.scoring.loading.cut_decoder import CutDecoder, check_layer, rope_theta, settings_up_to

_SAME = (
    "vocab_size", "hidden_size", "intermediate_size", "num_attention_heads", "num_key_value_heads", "hidden_act",
    "max_position_embeddings", "rms_norm_eps", "attention_bias", "pad_token_id", "bos_token_id", "eos_token_id",
)  # fmt: skip


def cut_minicpm(stated: Mapping[str, Any], layer: int, prefix: str) -> CutDecoder:
    """Return the Granite that a MiniCPM up to a layer is.

    Args:
        stated: The content of config.json.
        layer: The layer after which the score is read, counted from 1.
        prefix: The beginning of messages: the setting and the model.

    Raises:
        EvalkitError: it has no head behind that layer, or states what Granite does not compute.
    """
    layers, first = int(stated["num_hidden_layers"]), int(stated.get("start_layer", 8))
    check_layer(stated, layer, first, 1, prefix)
    theta = rope_theta(stated)
    if stated.get("head_type", "simple") != "simple" or not stated.get("head_multi", True) or theta is None:
        raise EvalkitError(
            f"{prefix}: its config.json states head_type={stated.get('head_type')}, head_multi="
            f"{stated.get('head_multi')}, rope_scaling={stated.get('rope_scaling')}, and evalkit computes models with "
            "one head of one label behind each layer and plain rotary positions; score with FlagEmbedding and give "
            "the ranking: reranker=trec_run reranker.path=RUN"
        )
    hidden, heads = int(stated["hidden_size"]), int(stated["num_attention_heads"])
    config = GraniteConfig(
        **settings_up_to(layer, stated, _SAME, theta),
        embedding_multiplier=float(stated.get("scale_emb", 1)),
        residual_multiplier=float(stated.get("scale_depth", 1)) / math.sqrt(layers),
        attention_multiplier=(hidden // heads) ** -0.5,
    )
    return CutDecoder(config, GraniteModel, f"lm_head.{layer - first}.linear_head.weight")
