"""The part of gpu.py about ONNX Runtime: the packaged model's graph, called plainly on the CUDA provider.

"Plainly" is what a user would write first: pairs sorted by length, padded batches, one `session.run` for each.
"""

import importlib.util
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from engine_jobs import in_own_process
from gpu_parts import MAX_LENGTH, Found, Plan, Work
from model_folder import PACKAGED
from msmarco_pairs import Pairs
from peers import Logits
from transformers import AutoModelForSequenceClassification

from evalkit.errors import EvalkitError
from evalkit.scoring.scorer import Scorer
from evalkit.scoring.tokenized_pairs import TokenizedPairs

BATCH_PAIRS, TURNS = 64, 3


def onnxruntime(plan: Plan) -> Found:
    """Compare ONNX Runtime's provider for the device with evalkit at fp32: logits and pairs a second, in turn."""
    provider = "CUDAExecutionProvider" if plan.cuda else "CPUExecutionProvider"
    needed = ("onnxruntime", "onnx", "onnxscript")  # torch's exporter needs the last two
    if lacking := [name for name in needed if importlib.util.find_spec(name) is None]:
        raise EvalkitError(f"{', '.join(lacking)} not installed; pip install onnxruntime-gpu onnx onnxscript")
    import onnxruntime as library

    if provider not in library.get_available_providers():
        raise EvalkitError(
            f"onnxruntime {library.__version__} has no {provider} here, only "
            f"{', '.join(library.get_available_providers())}; onnxruntime-gpu has it"
        )
    pairs = plan.pairs_of(str(PACKAGED))
    return {"provider": provider, "version": library.__version__, "batch_pairs": BATCH_PAIRS} | in_own_process(
        run_beside, Work(str(PACKAGED), plan.device, "fp32", pairs)
    )


def run_beside(work: Work) -> Found:
    """Score with both in turn; return medians and the largest difference of a logit."""
    import onnxruntime as library

    (scorer,) = work.scorers(path=("packed",))
    with tempfile.TemporaryDirectory() as folder:
        graph = export(work.folder, Path(folder))
        provider = f"{scorer.device.type.upper()}ExecutionProvider"
        options = {"use_tf32": "0"} if scorer.device.type == "cuda" else {}  # its CUDA provider's default is TF32
        session = library.InferenceSession(str(graph), providers=[(provider, options)])
    if provider not in session.get_providers():
        raise EvalkitError(f"onnxruntime fell back from {provider} to {', '.join(session.get_providers())}")
    seconds: dict[str, list[float]] = {"evalkit": [], "onnxruntime": []}
    differences = []
    for turn in range(TURNS + 1):
        started = time.perf_counter()
        ours = scorer.score(work.pairs).logits
        between = time.perf_counter()
        theirs = by_onnxruntime(session, scorer, work.pairs)
        if turn:  # the first one warms up
            seconds["evalkit"].append(between - started)
            seconds["onnxruntime"].append(time.perf_counter() - between)
        differences.append(float(np.abs(ours - theirs).max()))
    rates = {name: len(work.pairs) / statistics.median(taken) for name, taken in seconds.items()}
    return {"pairs": len(work.pairs), "pairs_per_s": rates, "max_logit_difference": max(differences)}


def export(folder: str, into: Path) -> Path:
    """Write the model at `folder` as a graph whose batch and length are free, and return its path."""
    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()
    names = ["input_ids", "attention_mask", "token_type_ids"]
    example = {name: torch.ones(2, 16, dtype=torch.long) for name in names}
    free = {0: torch.export.Dim("pairs", max=4096), 1: torch.export.Dim("length", min=2, max=MAX_LENGTH)}
    path = into / "model.onnx"
    torch.onnx.export(
        model, (), str(path), kwargs=example, input_names=names, output_names=["logits"],
        dynamic_shapes=dict.fromkeys(names, free), dynamo=True, external_data=False, verbose=False,
    )  # fmt: skip
    return path


def by_onnxruntime(session: Any, scorer: Scorer, pairs: Pairs) -> Logits:
    """Return the logits of padded batches of neighbours in length, in the order given."""
    tokenized: TokenizedPairs = scorer.tokenize(pairs)
    logits = np.empty(len(pairs), dtype=np.float32)
    ordered = np.argsort(tokenized.lengths, kind="stable")
    for start in range(0, len(ordered), BATCH_PAIRS):
        rows = ordered[start : start + BATCH_PAIRS]
        batch = tokenized.batch(rows)
        filled = np.arange(batch.lengths.max()) < batch.lengths[:, None]
        inputs = {name: np.zeros(filled.shape, dtype=np.int64) for name in ("input_ids", "token_type_ids")}
        inputs["input_ids"][filled] = batch.ids
        inputs["token_type_ids"][filled] = batch.type_ids
        logits[rows] = session.run(["logits"], {**inputs, "attention_mask": filled.astype(np.int64)})[0][:, 0]
    return logits
