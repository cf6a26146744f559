"""The part of gpu.py about ONNX Runtime's CUDA provider: evalkit's runtime=onnxruntime compared with torch, in turn."""

import statistics
import time

import numpy as np
from engine_jobs import in_own_process
from gpu_parts import MAX_LENGTH, Found, Plan, Work, unavailable
from model_folder import PACKAGED

from evalkit.rerankers.cross_encoder import CrossEncoder

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
TURNS = 3


def onnxruntime(plan: Plan) -> Found:
    """Compare logits and pairs a second at fp32 and fp16, over evalkit's own export of the packaged model.

    Raises:
        EvalkitError: onnxruntime or its provider for the device is not installed.
    """
    provider = PROVIDERS["cuda" if plan.cuda else "cpu"]
    _reranker(Work(str(PACKAGED), plan.device, "fp32", []), provider).check()
    found: Found = {"provider": provider, "at": {}}
    for precision in ("fp32", "fp16"):
        why = unavailable(plan.device, precision)
        work = Work(str(PACKAGED), plan.device, precision, plan.pairs_of(str(PACKAGED)))
        found["at"][precision] = {"not_measured": why} if why else in_own_process(run_beside, work)
    return found


def run_beside(work: Work) -> Found:
    """Score with both in turn; return medians and the largest difference of a logit."""
    (by_torch,) = work.scorers(path=("packed",))
    reranker = _reranker(work, PROVIDERS[by_torch.device.type])
    reranker.check()
    reranker.load()
    scorers = {"torch": by_torch, "onnxruntime": reranker.scorer}
    seconds: dict[str, list[float]] = {name: [] for name in scorers}
    logits = {}
    for turn in range(TURNS + 1):
        for name, scorer in scorers.items():
            started = time.perf_counter()
            logits[name] = scorer.score(work.pairs).logits
            if turn:  # the first one warms up
                seconds[name].append(time.perf_counter() - started)
    return {
        "pairs": len(work.pairs),
        "pairs_per_s": {name: len(work.pairs) / statistics.median(taken) for name, taken in seconds.items()},
        "max_logit_difference": float(np.abs(logits["torch"] - logits["onnxruntime"]).max()),
        "attention": {name: scorer.kernel for name, scorer in scorers.items()},
    }


def _reranker(work: Work, provider: str) -> CrossEncoder:
    runtime = {"name": "onnxruntime", "providers": [provider]}
    return CrossEncoder(
        work.folder,
        MAX_LENGTH,
        truncation="longest_first",
        device=work.device,
        precision=work.precision,
        runtime=runtime,
        graph="export",
    )
