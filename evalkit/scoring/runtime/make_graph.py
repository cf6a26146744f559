"""The jobs that make a graph: exported from the model's weights, quantized, or compressed; and torch's logits for it.

Each fills a folder, in a process of its own (`evalkit.scoring.made_files`).
"""

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from evalkit.scoring.device import PRECISIONS
from evalkit.scoring.loading.pretrained import load_classifier
from evalkit.scoring.runtime.encoder_graph import HEAD_PREFIX, WORDS, write_encoder_graph
from evalkit.scoring.spec import ScorerSpec, build_scorer

ONNX_FILE, OPENVINO_FILE, LOGITS_FILE = "model.onnx", "openvino_model.xml", "logits.npy"


def export(folder: Path, model: str, revision: str | None, half: bool) -> None:
    """Write the ONNX graph of a model, with its weights in fp32 or fp16.

    Args:
        folder: Where the files go.
        model: A local folder, or a name on the hub.
        revision: A branch, a tag or a commit; None for the main branch.
        half: Whether weights and states are fp16.

    Raises:
        EvalkitError: the model cannot be loaded, or its architecture is not supported.
    """
    loaded = load_classifier(model, revision, torch.device("cpu"), PRECISIONS["fp32"], "reranker.model")
    write_encoder_graph(loaded.model, folder / ONNX_FILE, half)


def quantize(folder: Path, exported: Path, reduce_range: bool) -> None:
    """Write a graph with 8-bit weights, whose activations ONNX Runtime quantizes for each batch.

    Weights of matrix products are quantized symmetrically for each output channel, the table of words as a
    whole; norms, attention's own products, the other embeddings and the head stay fp32.

    Args:
        folder: Where the files go.
        exported: The folder of `export`.
        reduce_range: Whether weights have 7 bits, for a processor without VNNI; see `graph_file.saturates`.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    logging.disable(logging.WARNING)  # a recommendation to preprocess, which is for graphs of other exporters
    source = exported / ONNX_FILE
    nodes = onnx.load(source, load_external_data=False).graph.node
    exact = [
        node.name
        for node in nodes
        if node.name.startswith(HEAD_PREFIX) or (node.op_type == "Gather" and node.input[0] != WORDS)
    ]
    quantize_dynamic(
        source,
        folder / ONNX_FILE,
        op_types_to_quantize=["MatMul", "Gather"],
        per_channel=True,
        reduce_range=reduce_range,
        weight_type=QuantType.QInt8,
        nodes_to_exclude=exact,
        use_external_data_format=True,
    )


def compress(folder: Path, exported: Path) -> None:
    """Write an OpenVINO graph with 8-bit weights, asymmetric for each output channel, compressed by NNCF.

    Args:
        folder: Where the files go.
        exported: The folder of `export`.
    """
    import nncf
    import openvino

    nncf.set_log_level(logging.ERROR)
    model = openvino.Core().read_model(exported / ONNX_FILE)
    compressed = nncf.compress_weights(model, mode=nncf.CompressWeightsMode.INT8_ASYM)
    openvino.save_model(compressed, folder / OPENVINO_FILE, compress_to_fp16=False)


def reference_logits(folder: Path, spec: ScorerSpec, pairs: list[tuple[str, str]]) -> None:
    """Write the logits of a few pairs by torch in fp32, (pairs,), one by one.

    Args:
        folder: Where the file goes.
        spec: A spec for torch.
        pairs: (query, passage) texts.

    Raises:
        EvalkitError: as for `build_scorer`.
    """
    scorer = build_scorer(replace(spec, self_check=False)).scorer
    logits = [scorer.score([pair]).logits[0] for pair in pairs]
    np.save(folder / LOGITS_FILE, np.array(logits, dtype=np.float32))
