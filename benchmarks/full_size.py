"""The BGE reranker's architecture at full size, with random weights: that it loads, is right, and how fast it is.

    python benchmarks/full_size.py [--pairs 64] [--rounds 3] [--device cpu] [--precision fp32] [--keep DIR]

Builds a model folder (2.1 GiB in fp32) as the hub's BAAI/bge-reranker-v2-m3 describes itself (model_folder.py), with a
tokenizer trained on the packaged dev collection; then scores the same pairs with evalkit and with transformers' own
padded forward (batches of 16 in the given order), in turn, and prints medians, their ratio and the largest difference,
and what the checks at load take compared with the packaged default's 1,434 pairs.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch
from model_folder import model_folder, packaged_texts

from evalkit.boundary.process_memory import peak_resident_mb
from evalkit.scoring.device import resolve_device, resolve_precision, synchronize
from evalkit.scoring.scorer import Scorer
from evalkit.scoring.spec import ScorerSpec, build_scorer
from evalkit.slices import packaged
from evalkit.types import Slice

_RUN_PAIRS = 1434
"""Of the packaged default, a small run."""


def pairs_of(data: Slice, count: int) -> list[tuple[str, str]]:
    """Return `count` pairs of the dev collection's judged passages."""
    pairs = [(data.queries[q], data.docs[d]) for q, grades in data.qrels.items() for d in grades]
    return pairs[:count]


def by_transformers(scorer: Scorer, tokenizer: object, pairs: list[tuple[str, str]]) -> torch.Tensor:
    """Score as a plain loop over transformers would: padded batches of 16."""
    logits = []
    with torch.inference_mode():
        for start in range(0, len(pairs), 16):
            batch = tokenizer(  # type: ignore[operator]
                *map(list, zip(*pairs[start : start + 16], strict=True)), padding=True, truncation="longest_first",
                max_length=512, return_tensors="pt",
            ).to(scorer.device)  # fmt: skip
            logits.append(scorer.model(**batch).logits.float().flatten().cpu())
    return torch.cat(logits)


def main() -> None:
    """Build, load, compare, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--keep", type=Path, help="build here and keep the folder, or use the one that is there")
    options = parser.parse_args()
    device = resolve_device(options.device)
    precision = resolve_precision(options.precision, device)
    data = packaged.load()
    pairs = pairs_of(data, options.pairs)
    with tempfile.TemporaryDirectory() as temporary:
        folder = model_folder("xlmr-large", packaged_texts(), options.keep or Path(temporary))
        started = time.perf_counter()
        built = build_scorer(
            ScorerSpec(str(folder), str(device), precision.name, 512, "longest_first", batch_tokens=4096)
        )
        load_s = time.perf_counter() - started - built.check_s
    pretrained, scorer = built.pretrained, built.scorer
    seconds: dict[str, list[float]] = {"evalkit": [], "transformers": []}
    difference = 0.0
    scorer.score(pairs[:8])
    for _ in range(options.rounds):
        started = time.perf_counter()
        ours = torch.from_numpy(scorer.score(pairs).logits)
        seconds["evalkit"].append(time.perf_counter() - started)
        started = time.perf_counter()
        theirs = by_transformers(scorer, pretrained.tokenizer, pairs)
        synchronize(device)
        seconds["transformers"].append(time.perf_counter() - started)
        difference = max(difference, float((ours - theirs).abs().max()))
    rate = {name: len(pairs) / statistics.median(samples) for name, samples in seconds.items()}
    parameters = sum(p.numel() for p in pretrained.model.parameters())
    print(
        f"{parameters:,} parameters at {precision.name} on {device}, loaded in {load_s:.1f} s, "
        f"peak resident {peak_resident_mb() or float('nan'):.0f} MiB"
    )
    print(
        f"{len(pairs)} pairs, median of {options.rounds}: evalkit {rate['evalkit']:.2f} pairs/s, transformers' padded "
        f"forward {rate['transformers']:.2f} pairs/s, ratio {rate['evalkit'] / rate['transformers']:.2f}"
    )
    assert built.self_check is not None
    print(
        f"checks at load: {pretrained.check_s:.2f} s for the tokenizer, {built.self_check.seconds:.2f} s for scores, "
        f"{built.check_s / (_RUN_PAIRS / rate['evalkit']):.2%} of the time of {_RUN_PAIRS:,} pairs"
    )
    print(f"largest difference of a logit: {difference:.1e}")


if __name__ == "__main__":
    main()
