"""Runtimes and their peers on a CPU: end-to-end throughput and memory, in turn, over the pairs of TREC DL 2019.

    python benchmarks/runtimes.py [--model packaged|FOLDER] [--pairs 4300] [--rounds 3] [--engines NAME,NAME,...]
                                  [--peers PYTHON] [--openvino-peers PYTHON] [--json FILE]

Each engine is loaded in a process of its own (runtime_engines.py); then they score all pairs in turn, round by round.
Figures are medians over the rounds; ratios are to evalkit's torch engine in fp32. Memory is the peak of the process's
resident set while it scores, above what it was before the model was loaded. sentence-transformers' ONNX backend and
fastembed, and its OpenVINO backend, need other versions of transformers, and two environments:

    python -m venv PEERS
    PEERS/bin/pip install torch 'sentence-transformers<6' 'transformers<4.58' optimum-onnx onnxruntime fastembed
    python -m venv OPENVINO_PEERS
    OPENVINO_PEERS/bin/pip install torch 'sentence-transformers<6' 'transformers<4.58' 'optimum-intel[openvino]'

A peer whose name ends in a file computes evalkit's own graph: the same weights, quantization and saving in the last
layer, so that only the engine differs. One whose name ends in "export" makes its own, as its documentation describes.
Engines whose first word is not installed are left out and named.
"""

import argparse
import json
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.numpy_helper
import torch
from model_folder import model_folder, packaged_texts
from msmarco_pairs import find_texts, real_pairs
from onnx import TensorProto, helper

from evalkit.boundary.errors import EvalkitError
from evalkit.rerankers.cross_encoder import CrossEncoder
from evalkit.scoring.device import device_name

WORKER = Path(__file__).with_name("runtime_engines.py")

OURS = (
    "evalkit torch fp32",
    "evalkit onnxruntime fp32",
    "evalkit onnxruntime fp32 threads",
    "evalkit onnxruntime int8",
    "evalkit onnxruntime int8 threads",
    "evalkit openvino fp32",
    "evalkit openvino fp32 threads",
    "evalkit openvino int8",
)
PEERS_HERE = ("sentence-transformers torch 8", "flagembedding", "onnxruntime onnx/model.onnx",
              "onnxruntime onnx/model_int8.onnx")  # fmt: skip
PEERS_APART = (
    "sentence-transformers onnx 32 onnx/model.onnx",
    "sentence-transformers onnx 8 onnx/model.onnx",
    "sentence-transformers onnx 32 onnx/model_int8.onnx",
    "sentence-transformers onnx 8 onnx/model_int8.onnx",
    "sentence-transformers onnx 32 export",
    "sentence-transformers onnx 8 export",
    "sentence-transformers openvino 32 export",
    "sentence-transformers openvino 8 export",
    "fastembed onnx/model.onnx",
    "fastembed onnx/model_int8.onnx",
)


class Worker:
    """An engine in a process of its own."""

    def __init__(self, name: str, python: str, folder: Path, scratch: Path) -> None:
        self.name, self.rounds = name, list[dict[str, float]]()
        self._logits = scratch / f"{name.replace(' ', '_').replace('/', '_')}.npy"
        self._log = (scratch / f"{self._logits.stem}.log").open("w")
        command = [python, str(WORKER), name, str(folder), str(scratch / "pairs.json"), str(self._logits)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, text=True, cwd=scratch
        )

    def ready(self) -> str | None:
        """Wait until the engine is loaded; return why it cannot be, or None."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if line:
            self.loaded = json.loads(line)
            return None
        self._process.wait()
        lines = Path(self._log.name).read_text().strip().splitlines()
        return lines[-1] if lines else f"exit code {self._process.returncode}"

    def score(self) -> None:
        """Let the engine score all pairs once."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        self.rounds.append(json.loads(self._process.stdout.readline()))

    def logits(self) -> np.ndarray:
        """Return the logits of the last round, (pairs,)."""
        return np.load(self._logits)

    def stop(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()


def with_graphs(model: Path, folder: Path) -> Path:
    """Return a copy of a model folder with evalkit's graphs as other libraries expect them: with an attention mask."""
    copy = Path(shutil.copytree(model, folder / "model"))
    (copy / "onnx").mkdir(exist_ok=True)
    for precision, name in (("fp32", "model.onnx"), ("int8", "model_int8.onnx")):
        reranker = CrossEncoder(str(model), 512, precision=precision, runtime={"name": "onnxruntime"}, graph="export")
        reranker.check()
        assert reranker._graph is not None
        graph = onnx.load(reranker._graph.file.path)
        # evalkit's graph has no mask, since its batches have no padding; other libraries pad, so attention gets one.
        mask_padding(graph)
        onnx.save(graph, copy / "onnx" / name, save_as_external_data=graph.ByteSize() > 2**30)
    return copy


def mask_padding(model: onnx.ModelProto) -> None:
    """Add the input ``attention_mask`` to a graph of evalkit's: padding gets no attention."""
    graph = model.graph
    graph.input.append(helper.make_tensor_value_info("attention_mask", TensorProto.INT64, ["pairs", "tokens"]))
    graph.initializer.extend(
        [
            onnx.numpy_helper.from_array(np.array([1, 2], np.int64), "mask.axes"),
            onnx.numpy_helper.from_array(np.array(1, np.float32), "mask.one"),
            onnx.numpy_helper.from_array(np.array(-10000, np.float32), "mask.low"),
        ]
    )
    first = [
        helper.make_node("Cast", ["attention_mask"], ["mask.float"], to=TensorProto.FLOAT),
        helper.make_node("Sub", ["mask.one", "mask.float"], ["mask.off"]),
        helper.make_node("Mul", ["mask.off", "mask.low"], ["mask.bias"]),
        helper.make_node("Unsqueeze", ["mask.bias", "mask.axes"], ["mask.bias4"]),
    ]
    nodes = []
    for node in graph.node:
        if node.op_type == "Softmax":
            biased = f"{node.input[0]}.masked"
            nodes.append(helper.make_node("Add", [node.input[0], "mask.bias4"], [biased]))
            node.input[0] = biased
        nodes.append(node)
    del graph.node[:]
    graph.node.extend([*first, *nodes])


def main() -> None:
    """Run the engines in turn and print a table."""
    arguments = _arguments()
    with tempfile.TemporaryDirectory() as scratch_name:
        scratch = Path(scratch_name)
        texts = find_texts(None)
        if texts is None:
            raise EvalkitError("the texts of TREC DL 2019 are not at hand (shared/data/msmarco-dl19)")
        pairs = real_pairs(texts, 4300)[: arguments.pairs]
        (scratch / "pairs.json").write_text(json.dumps(pairs), "utf-8")
        model = model_folder(arguments.model, packaged_texts(), scratch / "made")
        folder = with_graphs(model, scratch)
        python = {name: arguments.openvino_peers if " openvino " in name else arguments.peers for name in PEERS_APART}
        apart = {name: where for name, where in python.items() if where}
        names = arguments.engines.split(",") if arguments.engines else [*OURS, *PEERS_HERE, *apart]
        workers, missing = [], {}
        for name in names:
            where = model if name.startswith("evalkit") or name.endswith("export") else folder
            worker = Worker(name, apart.get(name, sys.executable), where, scratch)
            if why := worker.ready():
                missing[name] = why
                print(f"left out: {name}: {why}", file=sys.stderr)
            else:
                workers.append(worker)
        for number in range(arguments.rounds):
            for worker in workers if number % 2 == 0 else reversed(workers):
                worker.score()
                print(f"round {number + 1}: {worker.name}: {worker.rounds[-1]['s']:.1f} s", file=sys.stderr)
        _report(workers, missing, len(pairs), arguments)
        for worker in workers:
            worker.stop()


def _report(workers: list[Worker], missing: dict[str, str], pairs: int, arguments: Any) -> None:
    reference = workers[0]
    rows = []
    for worker in workers:
        seconds = statistics.median(each["s"] for each in worker.rounds)
        rows.append(
            {
                "engine": worker.name,
                "pairs_per_s": pairs / seconds,
                "ratio": statistics.median(
                    base["s"] / each["s"] for base, each in zip(reference.rounds, worker.rounds, strict=True)
                ),
                "load_s": worker.loaded["load_s"],
                "memory_mb": max(each["peak_mb"] for each in worker.rounds) - worker.loaded["before_mb"],
                "largest_logit_difference": float(np.abs(worker.logits() - reference.logits()).max()),
                "rounds": worker.rounds,
            }
        )
    print("| engine | pairs/s | ratio | memory, MiB | largest difference of a logit |")
    print("| --- | --- | --- | --- | --- |")
    for row in rows:
        print(
            f"| {row['engine']} | {row['pairs_per_s']:.1f} | {row['ratio']:.2f} | {row['memory_mb']:.0f} | "
            f"{row['largest_logit_difference']:.2g} |"
        )
    if arguments.json:
        packages = ("torch", "transformers", "onnxruntime", "openvino", "nncf")
        facts = {"device": device_name(torch.device("cpu")), "threads": torch.get_num_threads(),
                 "platform": platform.platform(), **{name: version(name) for name in packages}}  # fmt: skip
        found = {"pairs": pairs, "environment": facts, "engines": rows, "left_out": missing}
        arguments.json.write_text(json.dumps(found, indent=1) + "\n", "utf-8")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="packaged")
    parser.add_argument("--pairs", type=int, default=4300)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--engines", help="names separated by commas; the first one is the reference")
    parser.add_argument("--peers", help="the Python of the environment with sentence-transformers' ONNX backend")
    parser.add_argument("--openvino-peers", help="the Python of the one with its OpenVINO backend")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    try:
        main()
    except EvalkitError as error:
        sys.exit(f"{Path(sys.argv[0]).name}: {error}")
