"""The self-check of a graph: it must score a few pairs as torch does in fp32, in a batch as alone."""

import time
from collections.abc import Sequence

import numpy as np

from evalkit.boundary.errors import EvalkitError, NotFiniteError
from evalkit.scoring.scorer import Scorer
from evalkit.scoring.self_check import SelfCheck

PROBE = (
    ("capital of France", "Paris is the capital."),
    ("capital of France", "The Rhône rises in Switzerland and reaches the sea west of Marseille."),
    ("why is the sky blue", "Air scatters short waves of sunlight more than long ones, so blue comes from all sides."),
    ("why is the sky blue", "A loaf of bread needs flour, water, salt, yeast and some hours of patience."),
    ("首都はどこ", "東京は日本の首都である。"),
    ("كم عدد الكواكب", "تدور ثمانية كواكب حول الشمس."),
    ("сколько лет живут слоны", "Слоны живут до семидесяти лет."),
    ("भारत की राजधानी", "नई दिल्ली भारत की राजधानी है।"),
)
"""Relevant and irrelevant passages in five scripts, of different lengths."""

_TOLERANCE = {"fp32": 1e-3, "tf32": 2e-2, "fp16": 2e-2, "bf16": 1e-1, "int8": 0.5}
"""The difference to torch in fp32 that a precision may cause, as a share of the largest logit (of 1 at least).

Dynamic quantization moves logits of the packaged model, which reach 11, by up to 1, and those of 24 layers of random
weights by 0.3; the logits of another model differ by about as much as the logits themselves."""


def check_graph(scorer: Scorer, reference: Sequence[float], precision: str, name: str) -> SelfCheck:
    """Score the probe in a batch and one by one, and compare the logits with torch's.

    Args:
        scorer: The scorer of the graph.
        reference: torch's logits in fp32 of `PROBE`.
        precision: The name of the graph's precision, which determines the tolerance.
        name: The graph in messages.

    Raises:
        EvalkitError: the logits are far from torch's, or the graph cannot be computed.
        NotFiniteError: a logit is NaN or infinite.
    """
    began = time.perf_counter()
    ways = ("by the graph, in a batch", "by the graph, alone", "by torch in fp32")
    try:
        together = scorer.score(PROBE).logits
        alone = np.concatenate([scorer.score([pair]).logits for pair in PROBE])
    except (EvalkitError, NotFiniteError):
        raise
    except Exception as error:  # a runtime's errors, of many types
        raise EvalkitError(
            f"{name} cannot score a pair ({type(error).__name__}: {str(error).strip().partition(chr(10))[0][:200]}); "
            "use reranker.graph=export, which makes a graph of the model's weights, or runtime=torch"
        ) from None
    expected = np.array(reference, dtype=np.float32)
    off = np.maximum(np.abs(together - expected), np.abs(alone - expected))
    scale = max(1.0, float(np.abs(expected).max()))
    tolerance = _TOLERANCE[precision] * scale
    if not np.all(off <= tolerance):
        worst = int(off.argmax())
        raise EvalkitError(
            f"{name} is not the graph of this model at {precision}: for {PROBE[worst][0]!r} and "
            f"{PROBE[worst][1][:40]!r} its logit is {together[worst]:.4g}, and torch's in fp32 is "
            f"{expected[worst]:.4g} (at most {tolerance:.2g} apart is accepted); use reranker.graph=export, which "
            "makes a graph of the model's weights, or reranker.self_check=false to measure it as it is"
        )
    return SelfCheck(ways, len(PROBE), float(off.max()), tolerance, time.perf_counter() - began)
