"""The parts of gpu.py: what each measures, as a function from a `Plan` to a dictionary for its JSON.

A figure that cannot be had is ``{"not_measured": why}`` in its place, never a substitute. Work on the device is done by
fresh processes, so that the memory and the kernels of one part do not influence the next.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import engines
import numpy as np
from engine_jobs import in_own_process
from model_folder import PACKAGED, model_folder, training_texts
from msmarco_pairs import DEPTH, Pairs, by_query, drawn_pairs, real_pairs
from peers import Logits, Setting, load
from tokenizers import Tokenizer

from evalkit.boundary.errors import EvalkitError
from evalkit.cost.latency import measure_latency, summarize
from evalkit.cost.memory import measure_memory
from evalkit.evaluation.parity import parity
from evalkit.evaluation.ranking import order
from evalkit.scoring.device import resolve_device, resolve_precision
from evalkit.scoring.flops import predicted_peak_mb, weights_mb
from evalkit.scoring.loading.pretrained import load_classifier
from evalkit.scoring.scorer import Scorer
from evalkit.slices import packaged
from evalkit.types import Hit, Run, Slice

Found = dict[str, Any]

MAX_LENGTH = 512
PRECISIONS = ("fp32", "tf32", "fp16", "bf16")

LATENCY_TURNS, LATENCY_TURN_S = 3, 4.0
"""Turns of each way to answer a query, and seconds of a turn at least."""

MEMORY_BUDGETS = {"cpu": (2048,), "cuda": (4096, 16384, 65536)}
"""Tokens of a batch at which memory is measured."""


@dataclass(frozen=True)
class Plan:
    """What every part is given."""

    device: str
    """As torch names it: ``cpu`` or ``cuda:0``."""
    folder: Path
    """Where the large model is built, or found if it was built before."""
    quick: bool = False
    """Whether the packaged model takes the large one's place, to see that every part runs."""
    texts: Path | None = None
    """Folder of TREC DL 2019's texts; None for pairs of the same lengths."""
    pairs: int = 4300
    rounds: int = 3

    @property
    def cuda(self) -> bool:
        """Whether the device is a GPU."""
        return self.device.startswith("cuda")

    @property
    def precision(self) -> str:
        """The precision at which speed is measured: the one in which rerankers are used on such a device."""
        return "fp16" if self.cuda else "fp32"

    @cached_property
    def large(self) -> str:
        """The folder of BGE-reranker-v2-m3's architecture at full size; the packaged model if quick."""
        return str(PACKAGED if self.quick else model_folder("xlmr-large", training_texts(self.texts), self.folder))

    def models(self) -> dict[str, str]:
        """Return name -> folder of the models: the large one, unless quick, and the packaged one."""
        return {"packaged": str(PACKAGED)} if self.quick else {"xlmr-large": self.large, "packaged": str(PACKAGED)}

    def pairs_of(self, folder: str) -> Pairs:
        """Return the real pairs, or pairs of the same lengths in tokens of the model in `folder`."""
        if self.texts:
            return real_pairs(self.texts, self.pairs)
        tokenizer = Tokenizer.from_file(str(Path(folder) / "tokenizer.json"))
        tokenizer.no_padding()
        tokenizer.no_truncation()
        return drawn_pairs(self.pairs, tokenizer)


@dataclass(frozen=True)
class Work:
    """What one process scores with one model."""

    folder: str
    device: str
    precision: str
    pairs: Pairs
    batch_tokens: tuple[int, ...] = ()
    paths: tuple[str, ...] = ()

    def scorers(self, **settings: Sequence[Any]) -> list[Scorer]:
        """Return scorers that share one loaded model; each argument of `Scorer` has a value for each of them."""
        device = resolve_device(self.device)
        precision = resolve_precision(self.precision, device)
        pretrained = load_classifier(self.folder, None, device, precision, "--model")
        rows = [dict(zip(settings, values, strict=True)) for values in zip(*settings.values(), strict=True)]
        return [Scorer(pretrained, device, MAX_LENGTH, "longest_first", **row) for row in rows]


def correctness(plan: Plan) -> Found:
    """Compare packed logits with padded ones, at each precision and with those of fp32, over pairs of real lengths."""
    found: Found = {}
    for name, folder in plan.models().items():
        pairs = plan.pairs_of(folder)
        scored = _at_each_precision(plan, folder, pairs, ("packed", "padded"))
        found[name] = {"pairs": len(pairs)}
        for precision, logits in scored.items():
            found[name][precision] = logits if isinstance(logits, dict) else {
                "to_padded": _compared(pairs, logits[1], logits[0]),
                "to_padded_fp32": _compared(pairs, scored["fp32"][1], logits[0]),
            }  # fmt: skip
    return found


def quality_logits(plan: Plan) -> Found:
    """Score the judged passages of the packaged dev collection with the packaged model, at each precision."""
    data = _dev(plan.quick)
    pairs = [(data.queries[query], data.docs[doc]) for query, grades in data.qrels.items() for doc in grades]
    scored = _at_each_precision(plan, str(PACKAGED), pairs, ("packed",))
    return {
        precision: logits if isinstance(logits, dict) else {"logits": logits[0].tolist()}
        for precision, logits in scored.items()
    }


def score_all(works: Sequence[Work]) -> list[list[Logits]]:
    """Return the logits of each piece of work on each of its paths, in one process."""
    return [[scorer.score(work.pairs).logits for scorer in work.scorers(path=work.paths)] for work in works]


def quality(logits: Found, quick: bool) -> Found:
    """Return nDCG@10 at each precision from what `quality_logits` found; needs no device, but ranx.

    Raises:
        EvalkitError: ranx is not installed.
    """
    from evalkit.evaluation.measure_names import parse
    from evalkit.evaluation.measures import evaluate

    data = _dev(quick)
    found: Found = {}
    for precision, of_one in logits.items():
        if "logits" not in of_one:
            found[precision] = of_one
            continue
        scored = iter(of_one["logits"])
        run = Run(precision, {q: order(Hit(d, next(scored)) for d in docs) for q, docs in data.qrels.items()})
        try:
            values = evaluate(run, data.qrels, [parse("nDCG@10", 10)], 1).per_query["nDCG@10"].values()
        except ModuleNotFoundError as error:
            raise EvalkitError(
                f"{error.name} is not installed, so the logits are saved and nDCG is left for a run with the same "
                "--out where it is"
            ) from None
        found[precision] = {"ndcg@10": float(np.mean(list(values))), "queries": len(values)}
    return found


def throughput(plan: Plan) -> Found:
    """Compare pairs a second and MFU with the peers that are installed; see engines.py."""
    arguments = ["--model", plan.large, "--device", plan.device, "--precision", plan.precision, "--no-apart",
                 "--pairs", str(plan.pairs), "--rounds", str(plan.rounds)]  # fmt: skip
    return engines.as_json(
        engines.measure(engines.parse([*arguments, *(["--texts", str(plan.texts)] * bool(plan.texts))]))
    )


def latency(plan: Plan) -> Found:
    """Time single queries of 100 passages, with and without CUDA graphs."""
    found: Found = {}
    for name, folder in plan.models().items():
        found[name] = in_own_process(time_queries, Work(folder, plan.device, plan.precision, plan.pairs_of(folder)))
    return found


def time_queries(work: Work) -> Found:
    """Return the latency of each way, in turn, in one process."""
    setting = Setting(work.folder, work.device, work.precision, MAX_LENGTH)
    cuda = setting.torch_device.type == "cuda"
    ways = load(["evalkit-packed", *(["evalkit-graphs"] if cuda else [])], setting)
    queries = [pairs for pairs in by_query(work.pairs) if len(pairs) == DEPTH]
    if not queries:
        raise EvalkitError(f"no query has {DEPTH} passages; give --pairs={DEPTH} or more")
    samples: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(LATENCY_TURNS + 1):
        for name, engine in ways.items():
            timed = [partial(engine.score, pairs) for pairs in (queries if cuda else queries[:2])]
            taken = measure_latency(timed, DEPTH, min_s=LATENCY_TURN_S if turn and cuda else 0.0)
            samples[name] += taken.samples_ms if turn else ()  # the first turn warms up
    found: Found = {
        name: {
            key: value for key, value in asdict(summarize(taken, len(queries), DEPTH)).items() if key != "samples_ms"
        }
        for name, taken in samples.items()
    }
    return found if cuda else found | {"evalkit-graphs": {"not_measured": "CUDA graphs need a CUDA device"}}


def memory(plan: Plan) -> Found:
    """Compare peak memory with its prediction, at several token budgets, and fp16 with fp32."""
    budgets = MEMORY_BUDGETS["cuda" if plan.cuda else "cpu"]
    found: Found = {}
    for precision in ("fp32", "fp16"):
        why = unavailable(plan.device, precision)
        work = Work(plan.large, plan.device, precision, plan.pairs_of(plan.large), budgets)
        found[precision] = {"not_measured": why} if why else in_own_process(peaks, work)
    return found


def peaks(work: Work) -> Found:
    """Return the peak of the longest pairs at each token budget, the smallest budget first."""
    longest_first = sorted(work.pairs, key=lambda pair: -len(pair[0]) - len(pair[1]))
    found: Found = {}
    scorers = work.scorers(batch_tokens=work.batch_tokens)
    scorers[0].score(longest_first[:32])  # what kernels and libraries allocate once
    for scorer, budget in zip(scorers, work.batch_tokens, strict=True):
        lengths = scorer.tokenize(longest_first).lengths
        some = longest_first[: int(np.searchsorted(np.cumsum(lengths), 2 * budget)) + 1]
        tokens = int(lengths[: len(some)].sum())

        def score(scorer: Scorer = scorer, some: Pairs = some, tokens: int = tokens) -> tuple[int, int]:
            return len(scorer.score(some).logits), tokens

        weight = next(scorer.model.parameters()).element_size()
        predicted = predicted_peak_mb(scorer.shape, weight, min(budget, tokens))
        found[str(budget)] = asdict(replace(measure_memory(work.device, score), predicted_peak_mb=predicted))
    return found | {"weights_mb": weights_mb(scorers[0].model)}


def unavailable(device: str, precision: str) -> str | None:
    """Return why a device does not have a precision, or None if it does."""
    try:
        resolve_precision(precision, resolve_device(device))
    except EvalkitError as error:
        return str(error)
    return None


def _at_each_precision(plan: Plan, folder: str, pairs: Pairs, paths: tuple[str, ...]) -> dict[str, Any]:
    """Return precision -> logits of each path, or why the device does not have the precision; fp32 comes first."""
    why = {precision: unavailable(plan.device, precision) for precision in PRECISIONS}
    works = [Work(folder, plan.device, precision, pairs, paths=paths) for precision in PRECISIONS if not why[precision]]
    scored = iter(in_own_process(score_all, works))
    return {precision: {"not_measured": why[precision]} if why[precision] else next(scored) for precision in PRECISIONS}


def _dev(quick: bool) -> Slice:
    return packaged.load(queries=5 if quick else None)


def _compared(pairs: Pairs, before: Logits, after: Logits) -> Found:
    """Return how logits and the rankings by them differ."""
    runs, start = [dict[str, tuple[Hit, ...]](), dict[str, tuple[Hit, ...]]()], 0
    for group in by_query(pairs):
        for run, logits in zip(runs, (before, after), strict=True):
            some = logits[start : start + len(group)].tolist()
            run[f"{start:06}"] = order(Hit(f"{place:06}", score) for place, score in enumerate(some))
        start += len(group)
    found = parity(Run("before", runs[0]), Run("after", runs[1]), DEPTH)
    return {key: value for key, value in asdict(found).items() if key != "per_query"}
