"""One engine in a process of its own, which scores the pairs on each request; see runtimes.py.

    PYTHON benchmarks/runtime_engines.py ENGINE FOLDER PAIRS.json LOGITS.npy

It prints one JSON line when it has loaded and warmed up, and one more for each line that it reads. evalkit is imported
by evalkit's engines only: a peer runs in whatever environment has the versions that it needs.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

os.environ.setdefault("TQDM_DISABLE", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

import numpy as np

Pairs = Sequence[tuple[str, str]]
Score = Callable[[Pairs], "np.ndarray"]

MAX_LENGTH = 512


def evalkit(name: str, folder: str) -> tuple[Score, float]:
    """Score by evalkit, ``evalkit RUNTIME PRECISION PARALLEL``: as `python -m evalkit runtime=... precision=...`."""
    from evalkit.rerankers.cross_encoder import CrossEncoder

    _, runtime, precision, *parallel = name.split()
    settings = {"name": runtime} | ({"parallel": parallel[0]} if parallel else {})
    reranker = CrossEncoder(
        folder, MAX_LENGTH, truncation="longest_first", device="cpu", precision=precision, runtime=settings
    )
    reranker.check()
    before = resident_mb()
    reranker.load()
    return (lambda pairs: reranker.scorer.score(pairs).logits), before


def sentence_transformers(name: str, folder: str) -> tuple[Score, float]:
    """Score by sentence-transformers' CrossEncoder, ``sentence-transformers BACKEND BATCH [FILE|export]``."""
    import torch
    from sentence_transformers import CrossEncoder

    _, backend, batch, *file = name.split()
    own = {"export": True} if file == ["export"] else {"file_name": file[0]} if file else {"dtype": torch.float32}
    before = resident_mb()
    model = CrossEncoder(folder, max_length=MAX_LENGTH, backend=backend, device="cpu", model_kwargs=own)
    identity = torch.nn.Identity()
    return (lambda pairs: model.predict(list(pairs), batch_size=int(batch), activation_fn=identity)), before


def flag_embedding(name: str, folder: str) -> tuple[Score, float]:
    """Score by FlagEmbedding's FlagReranker with its defaults."""
    from FlagEmbedding import FlagReranker

    before = resident_mb()
    model = FlagReranker(folder, use_fp16=False, devices="cpu", max_length=MAX_LENGTH)
    model.model.float()  # it loads the type of the checkpoint, which is fp16 for the packaged model
    return (lambda pairs: np.array(model.compute_score([list(pair) for pair in pairs]))), before


def fastembed(name: str, folder: str) -> tuple[Score, float]:
    """Score by fastembed's TextCrossEncoder over the same ONNX file, ``fastembed FILE``, in its batches of 64."""
    from fastembed.common.model_description import ModelSource
    from fastembed.rerank.cross_encoder import TextCrossEncoder

    file = name.split()[1]
    TextCrossEncoder.add_custom_model("local/model", model_file=file, sources=ModelSource(hf="local/model"))
    before = resident_mb()
    model = TextCrossEncoder("local/model", specific_model_path=folder)
    return (lambda pairs: np.array(list(model.rerank_pairs(list(pairs), batch_size=64)))), before


def onnxruntime(name: str, folder: str) -> tuple[Score, float]:
    """Score by onnxruntime called plainly, ``onnxruntime FILE``: transformers' tokenizer, padded batches of 32."""
    import onnxruntime
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    before = resident_mb()
    session = onnxruntime.InferenceSession(str(Path(folder) / name.split()[1]), providers=["CPUExecutionProvider"])
    names = {value.name for value in session.get_inputs()}

    def score(pairs: Pairs) -> "np.ndarray":
        found = []
        for start in range(0, len(pairs), 32):
            queries, passages = zip(*pairs[start : start + 32], strict=True)
            inputs = tokenizer(
                list(queries), list(passages), padding=True, truncation=True, max_length=MAX_LENGTH,
                return_tensors="np", return_token_type_ids=True,
            )  # fmt: skip
            found.append(session.run(None, {key: inputs[key].astype(np.int64) for key in names})[0].reshape(-1))
        return np.concatenate(found)

    return score, before


ENGINES = {
    "evalkit": evalkit,
    "sentence-transformers": sentence_transformers,
    "flagembedding": flag_embedding,
    "fastembed": fastembed,
    "onnxruntime": onnxruntime,
}


def resident_mb(field: str = "VmRSS") -> float:
    """Return the resident set of this process in MiB, or with VmHWM its peak."""
    lines = Path("/proc/self/status").read_text("ascii").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{field}:"))


def main() -> None:
    """Load the engine, warm up, and score the pairs once for each line of standard input."""
    name, folder, pairs_file, logits_file = sys.argv[1:]
    out, sys.stdout = sys.stdout, sys.stderr  # what libraries print does not belong to the answers
    pairs = [tuple(pair) for pair in json.loads(Path(pairs_file).read_text("utf-8"))]
    started = time.perf_counter()
    score, before = ENGINES[name.split()[0]](name, folder)
    load_s = time.perf_counter() - started
    loaded = resident_mb()
    score(pairs[:64])
    Path("/proc/self/clear_refs").write_text("5", "ascii")  # proc(5): 5 resets VmHWM
    print(json.dumps({"load_s": load_s, "before_mb": before, "loaded_mb": loaded}), file=out, flush=True)
    for _ in sys.stdin:
        started, cpu = time.perf_counter(), time.process_time()
        logits = np.asarray(score(pairs), dtype=np.float32).reshape(-1)
        taken = {"s": time.perf_counter() - started, "cpu_s": time.process_time() - cpu}
        np.save(logits_file, logits)
        print(json.dumps({**taken, "peak_mb": resident_mb("VmHWM")}), file=out, flush=True)


if __name__ == "__main__":
    main()
