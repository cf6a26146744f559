"""What limits the driver of executor=ray: planning, bytes a pair, blocks a second, and keeping what comes back.

    python benchmarks/scaling.py [--pairs 4300] [--batch-tokens 16384] [--batches-per-block 8] [--rounds 3]
                                 [--model FOLDER] [--texts FOLDER] [--ray WORKERS] [--json]

- plan: texts to batches, as `Scorer.score` does it, with a runner that does nothing else. `encode` is the part in which
  the tokenizer turns texts into ids, on all cores; `assemble` the rest, which is Python on one core
- pack: batches to blocks, and what came back to arrays; bytes a pair there and back
- keep: what came back into a score store of its own, a block at a time
- with --ray, blocks a second through Ray Data: actors that answer without scoring, a CPU each

No GPU is needed, and no model is loaded. docs/scaling.md works with the figures.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from model_folder import PACKAGED
from msmarco_pairs import Pairs, drawn_pairs, find_texts, real_pairs

from evalkit.scoring.batching import plan_batches
from evalkit.scoring.cluster import block_format, ray_runner
from evalkit.scoring.cluster.settings import RaySettings
from evalkit.scoring.planner import build_planner
from evalkit.scoring.runner import ScoredBatch, concatenate
from evalkit.scoring.scorer import Scorer
from evalkit.scoring.spec import ScorerSpec
from evalkit.scoring.store.score_store import SPACE, ScoreStore, pair_keys
from evalkit.scoring.token_cache import TokenCache
from evalkit.scoring.tokenized_pairs import Batch


class Collecting:
    """A runner that keeps batches and scores nothing."""

    def __init__(self) -> None:
        self.batches: list[Batch] = []

    def run(self, batches: Iterable[Batch]) -> Iterator[ScoredBatch]:
        """Take all batches, and yield nothing."""
        self.batches = list(batches)
        return iter(())


def unscored(batch: Batch) -> ScoredBatch:
    """Return a batch as if it were scored."""
    logits = np.zeros(len(batch.rows), dtype=np.float32)
    return ScoredBatch(batch.rows, logits, batch.lengths, batch.truncated, 0.0, int(batch.lengths.sum()))


class Answering(ray_runner.ScoringWorker):  # Ray Data shows the class by name, and gives it what it gives the real one
    """A worker that answers without scoring."""

    def __init__(self, *given: object) -> None:
        pass

    def __call__(self, table: object) -> object:
        """Return an answer to a block."""
        number, found = block_format.decode_block(table)
        return block_format.encode_scores(number, concatenate([unscored(batch) for batch in found]))


def measure(scorer: Scorer, texts: Pairs, size: int, folder: Path) -> dict[str, float]:
    """Return the figures of one round."""
    collecting, pairs = Collecting(), len(texts)
    clock, busy = time.perf_counter(), time.process_time()
    scorer.score(texts, runner=collecting)
    plan_s, plan_busy_s = time.perf_counter() - clock, time.process_time() - busy
    distinct = list(dict.fromkeys(text for pair in texts for text in pair))
    busy = time.process_time()
    scorer.pair_tokenizer.encode(distinct)
    encode_busy_s = time.process_time() - busy
    table = TokenCache(scorer.pair_tokenizer)
    table.tokenize(texts)
    busy = time.process_time()
    tokenized = table.tokenize(texts)  # no text is new to it
    for rows in plan_batches(tokenized.lengths.tolist(), scorer.budget.tokens, padded=False):
        tokenized.batch(rows)
    assemble_busy_s = time.process_time() - busy
    busy = time.process_time()
    tables = [
        block_format.encode_block(n, group)
        for n, group in enumerate(block_format.group_batches(collecting.batches, size))
    ]
    back = [
        block_format.encode_scores(0, concatenate([unscored(b) for b in block_format.decode_block(table)[1]]))
        for table in tables
    ]
    done = [done for table in back for _, done in block_format.decode_scores(table)]
    pack_busy_s = time.process_time() - busy
    keys = pair_keys(texts)
    clock, busy = time.perf_counter(), time.process_time()
    with ScoreStore(folder / f"{time.time_ns()}.sqlite", dict.fromkeys(SPACE, "benchmark")) as store:
        for one in done:
            store.add(keys[one.rows], one.logits, one.truncated, one.lengths)
    return {
        "plan_pairs_per_s": pairs / plan_s,
        "plan_us": plan_busy_s / pairs * 1e6,
        "encode_us": encode_busy_s / pairs * 1e6,
        "encode_us_a_text": encode_busy_s / len(distinct) * 1e6,
        "assemble_us": assemble_busy_s / pairs * 1e6,
        "pack_us": pack_busy_s / pairs * 1e6,
        "keep_us": (time.process_time() - busy) / pairs * 1e6,
        "keep_pairs_per_s": pairs / (time.perf_counter() - clock),
        "bytes_there": sum(table.nbytes for table in tables) / pairs,
        "bytes_back": sum(table.nbytes for table in back) / pairs,
        "tokens": sum(int(batch.lengths.sum()) for batch in collecting.batches) / pairs,
        "blocks": len(tables),
    }


def over_ray(spec: ScorerSpec, planned: list[Batch], workers: int, size: int) -> dict[str, float]:
    """Return blocks a second once the workers are there: from the first answer to the last."""
    settings = RaySettings(workers=workers, num_gpus=0, num_cpus=1, batches_per_block=size)
    ray_runner.ScoringWorker = Answering  # type: ignore[misc]
    ray, times = ray_runner.RayRunner(spec, settings), []
    ray.start()
    started = time.perf_counter()
    for _ in ray.run(planned):
        times.append(time.perf_counter())
    return {"ray_first_s": times[0] - started, "ray_blocks_per_s": (len(times) - 1) / (times[-1] - times[0])}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=4300)
    parser.add_argument("--batch-tokens", type=int, default=16384)
    parser.add_argument("--batches-per-block", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", type=Path, default=PACKAGED)
    parser.add_argument("--texts", type=Path)
    parser.add_argument("--ray", type=int, metavar="WORKERS")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    spec = ScorerSpec(str(asked.model), "cpu", "fp32", 256, "longest_first", asked.batch_tokens)
    scorer = build_planner(spec, torch.device("cpu")).scorer
    found = find_texts(asked.texts)
    texts = real_pairs(found, asked.pairs) if found else drawn_pairs(asked.pairs, scorer.pair_tokenizer.tokenizer)
    with tempfile.TemporaryDirectory() as folder:
        rounds = [measure(scorer, texts, asked.batches_per_block, Path(folder)) for _ in range(asked.rounds)]
    figures = {name: statistics.median(one[name] for one in rounds) for name in rounds[0]}
    if asked.ray:
        collecting = Collecting()
        scorer.score(texts, runner=collecting)
        figures |= over_ray(spec, collecting.batches, asked.ray, asked.batches_per_block)
    if asked.json:
        print(json.dumps(figures, indent=1))
    else:
        print("\n".join(f"{name:>20} {value:12,.2f}" for name, value in figures.items()))


if __name__ == "__main__":
    main()
