"""Folders of tiny decoders with random weights, in architectures that rerankers have, and templates for them."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, PreTrainedTokenizerFast, set_seed
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from evalkit.scoring.device import PRECISIONS
from evalkit.scoring.loading.pretrained import load_decoder
from evalkit.scoring.prompt import Prompt
from evalkit.scoring.scorer import Scorer

CPU = torch.device("cpu")
_MERGES = Path(__file__).parents[1] / "data" / "merges.txt"
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<bos>")

QWEN3 = Prompt(
    (
        '<|im_start|>system\nJudge the Document. Answer "yes" or "no".<|im_end|>\n<|im_start|>user\n',
        "<Instruct>: {instruction}\n<Query>: {query}\n<Document>: {passage}",
        "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n",
    ),
    "retrieve relevant passages",
    "yes",
    "no",
)
"""The form of Qwen3-Reranker's: query and passage in one part."""
BGE = Prompt(("<bos>", "A: {query}", "\n", "B: {passage}", "\n", "Does B answer A?"), None, "Yes")
"""The form of bge-reranker-v2-gemma's: each in a part of its own."""
HEAD = Prompt(("{query}\n{passage}<|endoftext|>",), None, None)


@cache
def _tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE as GPT's and Qwen's, with few merges."""
    lines = _MERGES.read_text("utf-8").splitlines()
    merges = [(left, right) for left, right in (line.split(" ") for line in lines)]
    words = [*SPECIAL, *sorted(pre_tokenizers.ByteLevel.alphabet()), *("".join(merge) for merge in merges)]
    vocabulary = {word: number for number, word in enumerate(dict.fromkeys(words))}
    backend = Tokenizer(BPE(vocabulary, merges))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens(list(SPECIAL))
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<|endoftext|>", eos_token="<|im_end|>", bos_token="<bos>",
        model_max_length=1024,
    )  # fmt: skip


def make_decoder(folder: Path, kind: str, head: bool = False, **more: Any) -> Path:
    """Save a decoder of the architecture `kind`, such as qwen3; with a head, a classifier with one label."""
    set_seed(11)
    tokenizer = _tokenizer()
    settings = {
        "vocab_size": len(tokenizer), "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "max_position_embeddings": 1024,
        "initializer_range": 0.2, "pad_token_id": 0, "bos_token_id": 3, "eos_token_id": 2,
    }  # fmt: skip
    if head:
        settings["num_labels"] = 1
    config = CONFIG_MAPPING[kind](**{**settings, **more})
    auto_class = AutoModelForSequenceClassification if head else AutoModelForCausalLM
    model = auto_class.from_config(config).eval()
    with torch.no_grad():  # norms begin as ones, which would hide a norm that is left out
        for name, weight in model.named_parameters():
            if "norm" in name:
                weight.add_(torch.randn_like(weight) * 0.2)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


FACTORS = {"scale_emb": 12, "scale_depth": 1.4, "dim_model_base": 8}
"""Of the small MiniCPM below."""


def make_layerwise(folder: Path, layers: int = 6, first: int = 2) -> Path:
    """Save a MiniCPM with a head behind each layer from the `first` on, as BAAI's is saved."""
    make_decoder(folder, "llama", num_hidden_layers=layers, head_dim=8, tie_word_embeddings=False)
    add_heads(folder, layers - first + 1)
    stated = json.loads((folder / "config.json").read_text("utf-8"))
    changed = {
        "architectures": ["LayerWiseMiniCPMForCausalLM"], "model_type": "minicpm", "start_layer": first,
        "head_type": "simple", "head_multi": True, "auto_map": {"AutoConfig": "configuration.LayerWiseMiniCPMConfig"},
    }  # fmt: skip
    write_json(folder / "config.json", {**stated, **changed, **FACTORS})
    return folder


def make_lightweight(folder: Path, layers: int = 8, first: int = 4, **more: Any) -> Path:
    """Save a Gemma 2 with a head for each layer from the `first` on, as BAAI's is saved."""
    sizes: dict[str, Any] = {
        "query_pre_attn_scalar": 16,
        "sliding_window": 40,
        "attn_logit_softcapping": 5.0,
        "rms_norm_eps": 1e-6,
    }
    make_decoder(folder, "gemma2", num_hidden_layers=layers, tie_word_embeddings=False, **sizes)
    add_heads(folder, layers - first + 1)
    stated = json.loads((folder / "config.json").read_text("utf-8"))
    changed = {
        "architectures": ["CostWiseGemmaForCausalLM"], "model_type": "cost_wise_gemma", "start_layer": first,
        "layer_sep": 1, "layer_wise": True, "final_logit_softcapping": 30.0, "rope_theta": 10000.0,
        "auto_map": {"AutoModelForCausalLM": "gemma_model.CostWiseGemmaForCausalLM"},
    }  # fmt: skip
    del stated["rope_parameters"], stated["layer_types"]  # the model's own file is of an older transformers
    write_json(folder / "config.json", {**stated, **changed, **more})
    return folder


def add_heads(folder: Path, heads: int) -> None:
    """Replace the output matrix of a saved decoder by heads with one label."""
    weights = {key: weight for key, weight in load_file(folder / "model.safetensors").items() if "lm_head" not in key}
    draw = torch.Generator().manual_seed(5)
    for number in range(heads):
        weights[f"lm_head.{number}.linear_head.weight"] = torch.randn((1, 32), generator=draw)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    words = json.loads((folder / "tokenizer_config.json").read_text("utf-8"))
    write_json(folder / "tokenizer_config.json", {**words, "tokenizer_class": "PreTrainedTokenizerFast"})


def decoder_scorer(folder: Path, prompt: Prompt, max_length: int = 128, tokens: int = 400, **more: Any) -> Scorer:
    """Load a decoder onto the CPU at fp32."""
    pretrained = load_decoder(
        str(folder), None, CPU, PRECISIONS["fp32"], "reranker.model", prompt.yes_word is None, prompt.layer
    )
    return Scorer(pretrained, CPU, max_length, "only_second", tokens, prompt=prompt, **more)


def write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content), "utf-8")
