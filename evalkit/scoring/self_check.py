"""The self-check: a pair must get the same logit in every way in which it can be computed."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from evalkit.boundary.errors import EvalkitError, NotFiniteError
from evalkit.scoring.device_runner import DeviceRunner
from evalkit.scoring.encoder_pairs import EncoderPairs
from evalkit.scoring.loading.pretrained import Pretrained
from evalkit.scoring.runner import Runner
from evalkit.scoring.scorer import Scorer
from evalkit.scoring.tokenized_pairs import Batch, Tokenized

_TOLERANCE = {"fp32": 5e-4, "tf32": 2e-2, "fp16": 2e-2, "bf16": 1e-1}
"""The difference that rounding may cause, as a share of the largest logit (of 1 at least). Wrong token types, a missing
prompt or attention to padding change logits by a tenth and more."""


@dataclass(frozen=True)
class SelfCheck:
    """What was compared, and the largest difference between two logits of one pair."""

    ways: tuple[str, ...]
    pairs: int
    largest_difference: float
    tolerance: float
    seconds: float


def check_scores_agree(scorer: Scorer, pretrained: Pretrained, precision: str) -> SelfCheck:
    """Score a few pairs in several ways and compare their logits.

    The ways: by the scorer's forward path, in a batch and one by one; padded, in a batch; and by transformers' own call
    of tokenizer and model, or of its layers where tokens are merged between them. A model without a table of positions
    is also tried at the maximum length.

    Args:
        scorer: The scorer to check.
        pretrained: Its model.
        precision: The name of its precision, which determines the tolerance.

    Raises:
        EvalkitError: a pair has different logits, or the model cannot score a pair at all.
        NotFiniteError: a logit is NaN or infinite.
    """
    began = time.perf_counter()
    name = pretrained.name
    pairs = scorer.tokenize(scorer.pairs.checked_pairs)
    rows = list(range(len(pairs)))
    padded = DeviceRunner(scorer.padded_model(), out_of_memory_advice="use a smaller model")
    try:
        logits_by_way = {
            f"{scorer.path}, in a batch": _logits(scorer.runner, [pairs.batch(rows)], len(pairs)),
            f"{scorer.path}, alone": _logits(scorer.runner, [pairs.batch([row]) for row in rows], len(pairs)),
        }
        if scorer.path == "packed":
            logits_by_way["padded, in a batch"] = _logits(padded, [pairs.batch(rows)], len(pairs))
        logits_by_way[scorer.pairs.reference] = _reference_logits(scorer, pairs)
        if pretrained.max_tokens is None:
            _check_longest_pair(scorer, name)
    except (torch.OutOfMemoryError, EvalkitError):
        raise
    except Exception as error:  # architectures raise errors of any type
        raise EvalkitError(
            f"reranker.model={name}: {pretrained.architecture} cannot score a pair ({_first_line(error)}); "
            "its files do not fit each other, or evalkit does not support this architecture"
        ) from None
    logits = np.stack(list(logits_by_way.values()))
    if broken := np.count_nonzero(~np.isfinite(logits).all(axis=0)):
        raise NotFiniteError(
            f"reranker.model={name}: the model gave {logits[~np.isfinite(logits)][0]} as logit for {broken} of "
            f"{len(pairs)} pairs of the self-check; a wider precision (bf16, fp32) may help, or the weights are broken"
        )
    spread = logits.max(axis=0) - logits.min(axis=0)
    scale = max(1.0, float(np.abs(logits).max()))
    tolerance = _TOLERANCE[precision] * scale
    if not np.all(spread <= tolerance):  # also true for NaN
        raise EvalkitError(_disagreement(name, pretrained.architecture, list(logits_by_way), logits, spread))
    return SelfCheck(tuple(logits_by_way), len(pairs), float(spread.max()), tolerance, time.perf_counter() - began)


def check_embeddings_agree(embed: Callable[[Sequence[str]], torch.Tensor], precision: str, prefix: str) -> None:
    """Check that texts have the same vectors in a batch and one by one.

    Args:
        embed: Returns the vectors of texts, (texts, dimensions).
        precision: The name of the model's precision, which determines the tolerance.
        prefix: The beginning of messages: the setting and the architecture.

    Raises:
        EvalkitError: a text has another vector alone, or the model cannot embed a text at all.
    """
    texts = [passage for _, passage in EncoderPairs.checked_pairs]
    try:
        batch, alone = embed(texts).float(), torch.cat([embed([text]) for text in texts]).float()
    except (torch.OutOfMemoryError, EvalkitError):
        raise
    except Exception as error:  # architectures raise errors of any type
        raise EvalkitError(
            f"{prefix} cannot embed a text ({_first_line(error)}); its files do not fit each other, or evalkit does "
            "not support this architecture"
        ) from None
    distance = (batch - alone).norm(dim=1) / alone.norm(dim=1).clamp_min(1e-12)
    if not torch.all(distance <= 2 * _TOLERANCE[precision]):  # also true for NaN
        worst = int(distance.nan_to_num(torch.inf).argmax())
        cosine = torch.nn.functional.cosine_similarity(batch[worst], alone[worst], dim=0)
        raise EvalkitError(
            f"{prefix} gives one text other vectors alone and in a batch (cosine {float(cosine):.3f}): they depend "
            "on the other texts of the batch; use another model, or search with it elsewhere and give the ranking: "
            "first_stage=trec_run first_stage.path=RUN"
        )


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0][:160]}"


def _logits(runner: Runner, batches: Sequence[Batch], pairs: int) -> npt.NDArray[np.float32]:
    logits = np.full(pairs, np.nan, dtype=np.float32)
    for scored in runner.run(batches):
        logits[scored.rows] = scored.logits
    return logits


@torch.inference_mode()
def _reference_logits(scorer: Scorer, pairs: Tokenized) -> npt.NDArray[np.float32]:
    return np.array(scorer.pairs.reference_logits(pairs, scorer.device), dtype=np.float32)


def _check_longest_pair(scorer: Scorer, name: str) -> None:
    max_length = scorer.pair_tokenizer.max_length
    pair = scorer.tokenize([("word", "word " * max_length)])
    try:
        list(scorer.runner.run([pair.batch([0])]))
    except EvalkitError:
        raise
    except Exception as error:  # architectures raise errors of any type
        raise EvalkitError(
            f"reranker.max_length={max_length}: {name} cannot take a pair of so many tokens ({_first_line(error)}); "
            "lower it"
        ) from None


def _disagreement(
    name: str, architecture: str, ways: Sequence[str], logits: npt.NDArray[np.float32], spread: npt.NDArray[np.float32]
) -> str:
    pair = int(np.nanargmax(np.where(np.isfinite(spread), spread, np.inf)))
    by_way = dict(zip(ways, logits[:, pair].tolist(), strict=True))
    values = ", ".join(f"{value:.4g} {way}" for way, value in by_way.items())
    packed = [value for way, value in by_way.items() if way.startswith("packed")]
    others = [value for way, value in by_way.items() if not way.startswith("packed")]
    if packed and max(others) - min(others) <= np.ptp(packed) + abs(packed[0] - others[0]) / 10:
        advice = "the packed path does not compute what this model does: use reranker.path=padded"
    else:
        advice = (
            "its scores depend on the other pairs of a batch; use another model, or score with it elsewhere and give "
            "the ranking (reranker=trec_run)"
        )
    return f"reranker.model={name}: {architecture} scores one pair in different ways ({values}): {advice}"
