"""A decoder reranker with and without its shared prefixes, and transformers' padded batch: same prompts, in turn.

    python benchmarks/decoders.py [--model qwen3-0.6b|FOLDER] [--queries 2] [--passages 20] [--rounds 3]
                                  [--device cpu] [--precision fp32] [--reranker qwen3_reranker_0_6b] [--json FILE]

The prompts are those of the reranker's YAML over TREC DL 2019's queries and BM25's best passages, or over texts of the
same lengths where they are not at hand (msmarco_pairs.py). All three ways are evalkit's engine over one model:

    shared      what the prompts of a query have in common is computed once; no padding
    unshared    every prompt by itself; no padding
    padded      transformers' own call with batches padded on the left, prompts of similar length together

Each round lets every way take its turn; figures are medians over the rounds, and ratios of them. Random weights serve:
speed depends on shapes. Logits are compared with those of the padded way.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from model_folder import model_folder, training_texts
from msmarco_pairs import DEPTH, Pairs, by_query, drawn_pairs, find_texts, real_pairs
from tokenizers import Tokenizer

from evalkit.cli.config import conf_dir
from evalkit.scoring.device import resolve_device, resolve_precision
from evalkit.scoring.loading.pretrained import load_decoder
from evalkit.scoring.prompt import Prompt
from evalkit.scoring.scorer import Scorer

WAYS: dict[str, dict[str, Any]] = {
    "shared": {"path": "packed"},
    "unshared": {"path": "packed", "share_prefix": False},
    "padded": {"path": "padded"},
}


def prompt_of(reranker: str) -> tuple[Prompt, int]:
    """Return the prompt in a reranker's YAML, and its maximum length."""
    stated = yaml.safe_load((conf_dir() / "reranker" / f"{reranker}.yaml").read_text("utf-8"))
    tokens = stated.get("yes_word"), stated.get("no_word")
    return Prompt(tuple(stated["template"]), stated.get("instruction"), *tokens), int(stated.get("max_length", 1024))


def pairs_of(folder: Path, queries: int, passages: int) -> Pairs:
    """Return the best `passages` of each of the first `queries`."""
    texts = find_texts(None)
    count = queries * DEPTH
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    found = real_pairs(texts, count) if texts else drawn_pairs(count, tokenizer)
    return [pair for of_query in by_query(found)[:queries] for pair in of_query[:passages]]


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="qwen3-0.6b")
    parser.add_argument("--reranker", default="qwen3_reranker_0_6b")
    parser.add_argument("--queries", type=int, default=2)
    parser.add_argument("--passages", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--batch-tokens", type=int)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = model_folder(options.model, training_texts(find_texts(None)), Path(place))
        device = resolve_device(options.device)
        precision = resolve_precision(options.precision, device)
        prompt, max_length = prompt_of(options.reranker)
        loaded = load_decoder(str(folder), None, device, precision, "--model", head=prompt.yes_word is None)
        pairs = pairs_of(folder, options.queries, options.passages)
        scorers = {
            way: Scorer(loaded, device, max_length, "only_second", options.batch_tokens, prompt=prompt, **settings)
            for way, settings in WAYS.items()
        }
        seconds: dict[str, list[float]] = {way: [] for way in WAYS}
        scored = {}
        for scorer in scorers.values():
            scorer.score(pairs[:4])
        for _ in range(options.rounds):
            for way, scorer in scorers.items():
                began = time.perf_counter()
                scored[way] = scorer.score(pairs)
                seconds[way].append(time.perf_counter() - began)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)
    print(f"{options.model} at {options.precision} on {name}: {len(pairs)} pairs, {options.passages} a query")
    print(
        f"{'way':10} {'tokens computed':>16} {'pairs/s':>9} {'x padded':>9} {'x unshared':>11} {'logits differ by':>17}"
    )
    medians = {way: statistics.median(times) for way, times in seconds.items()}
    rows = {}
    for way, median in medians.items():
        rows[way] = {
            "tokens": scored[way].padded_tokens,
            "pairs_per_s": len(pairs) / median,
            "times_padded": medians["padded"] / median,
            "times_unshared": medians["unshared"] / median,
            "largest_difference": float(np.abs(scored[way].logits - scored["padded"].logits).max()),
            "seconds": seconds[way],
        }
        row = rows[way]
        print(
            f"{way:10} {row['tokens']:16,} {row['pairs_per_s']:9.2f} {row['times_padded']:9.2f} "
            f"{row['times_unshared']:11.2f} {row['largest_difference']:17.1e}"
        )
    if options.json:
        options.json.write_text(
            json.dumps({"setting": vars(options), "device": name, "ways": rows}, default=str, indent=1)
        )


if __name__ == "__main__":
    main()
