"""Passages into vectors on a CPU: evalkit's first stage compared with sentence-transformers, in turn.

    python benchmarks/embedding.py [--hidden 384] [--layers 6] [--passages 1000] [--rounds 3]

BERT with random weights in the sizes asked for (384 and 6 are all-MiniLM-L6-v2's, 768 and 12 those of bge-base), mean
pooling, vectors of length 1, passages cut at 256 tokens. Both get the texts and return all vectors; loading and the
first round are not counted. sentence-transformers runs as it does without settings.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from model_folder import PACKAGED, packaged_texts, read_texts
from msmarco_pairs import find_texts
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
from transformers import AutoTokenizer, BertConfig, BertModel
from transformers.utils import logging

from evalkit.scoring.embedding_model import load_embedding_model
from evalkit.scoring.loading.embedding_settings import Requested

MAX_LENGTH = 256


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--hidden", type=int, default=384)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--passages", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parsed = parser.parse_args()
    folder = find_texts(None)
    every = [text for _, text in read_texts(folder / "corpus.jsonl")] if folder else packaged_texts()
    texts = every[: parsed.passages]
    with tempfile.TemporaryDirectory() as scratch:
        build(Path(scratch), parsed.hidden, parsed.layers)
        ways = {"evalkit": evalkit_way(scratch), "sentence-transformers": peer_way(scratch)}
        taken: dict[str, list[float]] = {name: [] for name in ways}
        vectors = {}
        for number in range(parsed.rounds + 1):
            for name, way in ways.items():
                started = time.perf_counter()
                vectors[name] = way(texts)
                if number:
                    taken[name].append(time.perf_counter() - started)
    apart = (vectors["evalkit"] - vectors["sentence-transformers"]).abs().max().item()
    median_s = {name: statistics.median(seconds) for name, seconds in taken.items()}
    print(f"{len(texts)} passages of {folder or 'the packaged collection'}; vectors differ by {apart:.1e} at most")
    print("| | passages/s | ratio |\n| --- | ---: | ---: |")
    for name, seconds in median_s.items():
        print(f"| {name} | {len(texts) / seconds:.1f} | {median_s['sentence-transformers'] / seconds:.2f} |")


def build(folder: Path, hidden: int, layers: int) -> None:
    """Write a model with random weights, and the packaged reranker's tokenizer."""
    AutoTokenizer.from_pretrained(PACKAGED).save_pretrained(folder)
    torch.manual_seed(0)
    logging.disable_progress_bar()
    config = BertConfig(
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=12,
        intermediate_size=4 * hidden,
        initializer_range=hidden**-0.5,  # as in model_folder.py
    )
    BertModel(config).save_pretrained(folder)


def evalkit_way(folder: str) -> Callable[[list[str]], torch.Tensor]:
    """Return what embeds texts as evalkit's first stage does."""
    loaded = load_embedding_model(folder, None, Requested("mean", True, MAX_LENGTH, "", ""), None, "cpu", "fp32")

    def embed(texts: list[str]) -> torch.Tensor:
        parts: dict[int, torch.Tensor] = {}
        with torch.inference_mode():
            loaded.encoder.encode_silently("", texts, lambda rows, vectors: parts.update(zip(rows, vectors)))
        return torch.stack([parts[row] for row in range(len(texts))])

    return embed


def peer_way(folder: str) -> Callable[[list[str]], torch.Tensor]:
    """Return what embeds texts as sentence-transformers does."""
    transformer = Transformer(folder, max_seq_length=MAX_LENGTH)
    pooling = Pooling(transformer.get_embedding_dimension(), "mean")
    model = SentenceTransformer(modules=[transformer, pooling, Normalize()], device="cpu")
    return lambda texts: model.encode(texts, convert_to_tensor=True, show_progress_bar=False)


if __name__ == "__main__":
    main()
