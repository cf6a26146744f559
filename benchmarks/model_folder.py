"""Model folders that need no network: random weights of a known architecture, a tokenizer trained on the spot.

    python benchmarks/model_folder.py xlmr-large FOLDER

Speed and memory depend on shapes, not on what was learned, so random weights serve; scores mean nothing. The tokenizer
is of the kind and asked size of the real one, and as large as the texts at hand allow: what it became is printed.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    ModernBertConfig,
    ModernBertForSequenceClassification,
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3ForCausalLM,
    XLMRobertaConfig,
    XLMRobertaForSequenceClassification,
)
from transformers.utils import logging

import evalkit
from evalkit.boundary.errors import EvalkitError, nearest

_EVALKIT = Path(evalkit.__file__).parent
PACKAGED = _EVALKIT / "rerankers" / "packaged"
"""The small trained reranker that comes with evalkit."""


@dataclass(frozen=True)
class Architecture:
    """A model class, its sizes, and the kind of its tokenizer."""

    model: Any
    config: Any
    sizes: dict[str, Any]
    tokenizer: str


ARCHITECTURES = {
    # https://huggingface.co/BAAI/bge-reranker-v2-m3/blob/main/config.json
    "xlmr-large": Architecture(
        XLMRobertaForSequenceClassification,
        XLMRobertaConfig,
        {
            "vocab_size": 250002,
            "hidden_size": 1024,
            "num_hidden_layers": 24,
            "num_attention_heads": 16,
            "intermediate_size": 4096,
            "max_position_embeddings": 8194,
            "type_vocab_size": 1,
            "layer_norm_eps": 1e-5,
        },
        "unigram",
    ),
    # https://huggingface.co/cross-encoder/ms-marco-MiniLM-L6-v2/blob/main/config.json
    "minilm-l6": Architecture(
        BertForSequenceClassification,
        BertConfig,
        {
            "vocab_size": 30522,
            "hidden_size": 384,
            "num_hidden_layers": 6,
            "num_attention_heads": 12,
            "intermediate_size": 1536,
            "max_position_embeddings": 512,
            "type_vocab_size": 2,
            "layer_norm_eps": 1e-12,
        },
        "wordpiece",
    ),
    # https://huggingface.co/answerdotai/ModernBERT-base/blob/main/config.json
    "modernbert-base": Architecture(
        ModernBertForSequenceClassification,
        ModernBertConfig,
        {
            "vocab_size": 50368,
            "hidden_size": 768,
            "num_hidden_layers": 22,
            "num_attention_heads": 12,
            "intermediate_size": 1152,
            "max_position_embeddings": 8192,
        },
        "wordpiece",
    ),
}
"""Encoders with a classifier."""

DECODERS = {
    # https://huggingface.co/Qwen/Qwen3-Reranker-0.6B/blob/main/config.json
    "qwen3-0.6b": Architecture(
        Qwen3ForCausalLM,
        Qwen3Config,
        {
            "vocab_size": 151669,
            "hidden_size": 1024,
            "num_hidden_layers": 28,
            "num_attention_heads": 16,
            "num_key_value_heads": 8,
            "head_dim": 128,
            "intermediate_size": 3072,
            "max_position_embeddings": 40960,
            "tie_word_embeddings": True,
        },
        "bytes",
    ),
}
"""Causal language models."""


def model_folder(asked: str, texts: Sequence[str], into: Path) -> Path:
    """Return the folder for `asked`: the packaged one, one that is there, or one built in `into` over `texts`.

    Raises:
        EvalkitError: `asked` is no name of a model and no model folder.
    """
    if asked == "packaged":
        return PACKAGED
    known = ARCHITECTURES | DECODERS
    if asked in known:
        if not (into / "config.json").exists():  # written last: a folder that has it is whole
            build(known[asked], texts, into)
        return into
    folder = Path(asked).expanduser()
    if not (folder / "config.json").exists():
        raise EvalkitError(
            f"--model={asked}: no such model{nearest(asked, [*known, 'packaged'])}, and no folder with a config.json"
        )
    return folder


def build(architecture: Architecture, texts: Sequence[str], folder: Path) -> None:
    """Write tokenizer and model (fp32) to `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = architecture.sizes["vocab_size"]
    tokenizer = {"unigram": _unigram, "wordpiece": _wordpiece, "bytes": _bytes}[architecture.tokenizer](
        texts, vocabulary
    )
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    head = {} if architecture.model.__name__.endswith("ForCausalLM") else {"num_labels": 1}
    config = architecture.config(
        **architecture.sizes,
        **head,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        # The usual 0.02 leaves attention nearly even and all logits nearly equal: an error would not show. At this
        # deviation a product keeps its input's variance, and logits lie about as far apart as a trained model's.
        initializer_range=architecture.sizes["hidden_size"] ** -0.5,
    )
    model = architecture.model(config)
    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    model.save_pretrained(folder)
    if bars:
        logging.enable_progress_bar()


def packaged_texts() -> list[str]:
    """Return every text of the packaged dev collection: ten languages, some 1,500 passages."""
    return [text for path in sorted(_EVALKIT.glob("slices/dev/*/*.jsonl")) for _, text in read_texts(path)]


def training_texts(texts: Path | None) -> list[str]:
    """Return what a tokenizer is trained on: the BEIR collection in `texts`, if any, and the packaged one."""
    real = [text for name in ("corpus", "queries") for _, text in read_texts(texts / f"{name}.jsonl")] if texts else []
    return [*real, *packaged_texts()]


def read_texts(path: Path) -> Iterator[tuple[str, str]]:
    """Yield id and text, title first, of each line of a BEIR file of passages or queries."""
    with path.open(encoding="utf-8") as lines:
        for record in map(json.loads, lines):
            yield record["_id"], f"{record.get('title', '')} {record['text']}".strip()


def _unigram(texts: Sequence[str], size: int) -> PreTrainedTokenizerFast:
    """SentencePiece's Unigram as XLM-RoBERTa has it: NFKC, runs of spaces made one, ``<s> q </s></s> d </s>``."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()  # FlagReranker decodes and encodes again
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    tokenizer.train_from_iterator(
        texts,
        trainers.UnigramTrainer(vocab_size=size, special_tokens=special, unk_token="<unk>", show_progress=False),
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", cls_token="<s>", sep_token="</s>",
        unk_token="<unk>", pad_token="<pad>", mask_token="<mask>", model_input_names=["input_ids", "attention_mask"],
    )  # fmt: skip


def _wordpiece(texts: Sequence[str], size: int) -> PreTrainedTokenizerFast:
    """Return BERT's uncased WordPiece: ``[CLS] q [SEP] d [SEP]``, the passage of token type 1."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer.train_from_iterator(
        texts, trainers.WordPieceTrainer(vocab_size=size, special_tokens=special, show_progress=False)
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, cls_token="[CLS]", sep_token="[SEP]", unk_token="[UNK]", pad_token="[PAD]",
        mask_token="[MASK]", model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )  # fmt: skip


def _bytes(texts: Sequence[str], size: int) -> PreTrainedTokenizerFast:
    """Return a byte-level BPE as Qwen's, with the special tokens of its chat template."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=special,
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<|endoftext|>", eos_token="<|im_end|>", bos_token="<|endoftext|>"
    )


def main() -> None:
    """Build one folder over the packaged texts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=sorted(ARCHITECTURES | DECODERS))
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    folder = model_folder(options.model, packaged_texts(), options.folder)
    pieces = Tokenizer.from_file(str(folder / "tokenizer.json")).get_vocab_size()
    print(f"{folder}: {options.model}, a tokenizer of {pieces:,} pieces")


if __name__ == "__main__":
    main()
