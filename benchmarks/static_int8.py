"""ONNX Runtime's static int8, calibrated on passages without judgments, compared with evalkit's dynamic int8, in turn.

    python benchmarks/static_int8.py [--pairs 500] [--rounds 3] [--calibration 64]

Both have the same weights in 8 bits; static ranges of the activations come from a few pairs of TREC DL 2019, dynamic
ones from each batch. Printed are pairs a second, the ratio to fp32, and how far logits are from those of fp32. A way
whose graph fails the comparison with torch is named.
"""

import argparse
import logging
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from model_folder import model_folder, packaged_texts
from msmarco_pairs import find_texts, real_pairs
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantType, quantize_static
from transformers import AutoTokenizer

from evalkit.boundary.errors import EvalkitError
from evalkit.rerankers.cross_encoder import CrossEncoder
from evalkit.scoring.runtime.encoder_graph import HEAD_PREFIX, WORDS

WAYS = {
    "MinMax": {},
    "Percentile": {"CalibPercentile": 99.99},
    "Entropy": {},
}
"""ONNX Runtime's methods of calibration, with what they are given."""


class Calibration(CalibrationDataReader):
    """Inputs of a graph for pairs of one length, as ONNX Runtime's histograms need equal shapes."""

    def __init__(self, folder: str, pairs: Sequence[tuple[str, str]], most: int, names: Sequence[str]) -> None:
        tokenizer = AutoTokenizer.from_pretrained(folder)
        encoded = [
            tokenizer(*pair, truncation=True, max_length=512, return_tensors="np", return_token_type_ids=True)
            for pair in pairs
        ]
        length = Counter(one["input_ids"].shape[1] for one in encoded).most_common(1)[0][0]
        chosen = [one for one in encoded if one["input_ids"].shape[1] == length][:most]
        self._inputs: Iterator[dict[str, npt.NDArray[np.int64]]] = iter(
            [{name: one[name].astype(np.int64) for name in names} for one in chosen]
        )

    def get_next(self) -> dict[str, npt.NDArray[np.int64]] | None:
        """Return the inputs of the next pair, or None."""
        return next(self._inputs, None)


def main() -> None:
    """Quantize, score in turn, and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--pairs", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--calibration", type=int, default=64, help="pairs")
    parsed = parser.parse_args()
    texts = find_texts(None)
    if texts is None:
        raise EvalkitError("the texts of TREC DL 2019 are not at hand (shared/data/msmarco-dl19)")
    every = real_pairs(texts, 4300)
    logging.disable(logging.WARNING)  # a recommendation to preprocess, which is for graphs of other exporters
    with tempfile.TemporaryDirectory() as scratch:
        folder = str(model_folder("packaged", packaged_texts(), Path(scratch)))
        ways = {"fp32": reranker(folder, "fp32", "export"), "int8, dynamic": reranker(folder, "int8", "export")}
        exact = ways["fp32"]
        assert exact._graph is not None
        for method, options in WAYS.items():
            file = Path(scratch, f"{method}.onnx")
            quantize(exact._graph.file.path, file, folder, every, parsed.calibration, method, options)
            try:
                ways[f"int8, static, {method}"] = reranker(folder, "int8", str(file))
            except EvalkitError as error:
                print(f"{method}: {error}", file=sys.stderr)
        compare(ways, every[: parsed.pairs], parsed.rounds)


def reranker(folder: str, precision: str, graph: str) -> CrossEncoder:
    """Return a loaded reranker over ONNX Runtime."""
    made = CrossEncoder(
        folder, 512, truncation="longest_first", device="cpu", precision=precision,
        runtime={"name": "onnxruntime"}, graph=graph,
    )  # fmt: skip
    made.check()
    made.load()
    return made


def quantize(
    source: Path, file: Path, folder: str, pairs: Sequence[tuple[str, str]], most: int, method: str, options: object
) -> None:
    """Write a graph with static ranges; what stays fp32 is the same as in evalkit's dynamic one."""
    graph = onnx.load(source).graph
    weights = {each.name for each in graph.initializer}
    stays = [
        node.name
        for node in graph.node
        if node.name.startswith(HEAD_PREFIX)
        or (node.op_type == "Gather" and node.input[0] != WORDS)
        or (node.op_type == "MatMul" and weights.isdisjoint(node.input))
    ]
    reader = Calibration(folder, pairs, most, [each.name for each in graph.input])
    quantize_static(
        source, file, reader, op_types_to_quantize=["MatMul", "Gather"], per_channel=True, reduce_range=True,
        activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8, nodes_to_exclude=stays,
        calibrate_method=getattr(CalibrationMethod, method), extra_options=options,
    )  # fmt: skip


def compare(ways: dict[str, CrossEncoder], pairs: Sequence[tuple[str, str]], rounds: int) -> None:
    """Score all pairs in turn and print what it takes, and how far logits are from fp32's."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    logits = {}
    for _ in range(rounds):
        for name, one in ways.items():
            started = time.perf_counter()
            logits[name] = np.array(one.scorer.score(pairs).logits, dtype=float)
            seconds[name].append(time.perf_counter() - started)
    print("| | pairs/s | ratio to fp32 | logits differ by (rms) | at most |\n| --- | ---: | ---: | ---: | ---: |")
    for name in ways:
        far = logits[name] - logits["fp32"]
        ratio = statistics.median(base / own for base, own in zip(seconds["fp32"], seconds[name], strict=True))
        rate = len(pairs) / statistics.median(seconds[name])
        print(f"| {name} | {rate:.1f} | {ratio:.2f} | {np.sqrt((far**2).mean()):.2f} | {np.abs(far).max():.2f} |")


if __name__ == "__main__":
    try:
        main()
    except EvalkitError as error:
        sys.exit(f"{Path(sys.argv[0]).name}: {error}")
