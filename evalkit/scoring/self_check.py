"""Before a model scores anything: a pair has to get the same logit in every way that it can be computed."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from evalkit.errors import EvalkitError, NotFiniteError
from evalkit.scoring.loading.pretrained import Pretrained
from evalkit.scoring.runner import DeviceModel
from evalkit.scoring.scorer import Scorer
from evalkit.scoring.token_table import Batch, TokenizedPairs

_PAIRS = (
    ("capital of France", "Paris is the capital."),
    ("why is the sky blue", "Air scatters short waves of sunlight more than long ones, so blue comes from all sides."),
    ("首都はどこ", "東京は日本の首都である。"),
)
"""Of different lengths, so that a batch of them is padded."""

_TOLERANCE = {"fp32": 5e-4, "tf32": 2e-2, "fp16": 2e-2, "bf16": 1e-1}
"""By which share of the largest logit (1 at least) two ways may differ by rounding alone. Other token types, a missing
prompt or attention to padding move logits by a tenth of it and more."""


@dataclass(frozen=True)
class SelfCheck:
    """What was compared, and how far the logits of one pair lay apart at most."""

    ways: tuple[str, ...]
    pairs: int
    largest_difference: float
    tolerance: float
    seconds: float


def check_scores(scorer: Scorer, pretrained: Pretrained, precision: str) -> SelfCheck:
    """Score a handful of pairs in every way and hold the logits against each other.

    The ways: as the engine is set up, in a batch and each pair alone; padded, in a batch; and by transformers' own call
    of tokenizer and model.

    Raises:
        EvalkitError: a pair has different logits on two of them, or the model cannot score a pair at all.
    """
    began = time.perf_counter()
    name = pretrained.name
    pairs = scorer.tokenize(_PAIRS)
    every = list(range(len(pairs)))
    padded = DeviceModel(scorer.padded(), advice="use a smaller model")
    try:
        found = {
            f"{scorer.path}, in a batch": _logits(scorer.runner, [pairs.batch(every)]),
            f"{scorer.path}, alone": _logits(scorer.runner, [pairs.batch([row]) for row in every]),
        }
        if scorer.path == "packed":
            found["padded, in a batch"] = _logits(padded, [pairs.batch(every)])
        found["by transformers' own call"] = _own(scorer, pairs)
        if pretrained.max_tokens is None:
            _try_longest(scorer, name)
    except (torch.OutOfMemoryError, EvalkitError):
        raise
    except Exception as error:  # whatever a model of any architecture may raise
        raise EvalkitError(
            f"reranker.model={name}: {type(pretrained.model).__name__} cannot score a pair "
            f"({type(error).__name__}: {str(error).strip().partition(chr(10))[0][:160]}); its files do not fit each "
            "other, or this architecture is none that evalkit can score with"
        ) from None
    logits = np.stack(list(found.values()))
    if broken := np.count_nonzero(~np.isfinite(logits).all(axis=0)):
        raise NotFiniteError(
            f"reranker.model={name}: the model gave {logits[~np.isfinite(logits)][0]} as logit for {broken} of "
            f"{len(pairs)} pairs of the self-check; a wider precision (bf16, fp32) may help, or the weights are broken"
        )
    spread = logits.max(axis=0) - logits.min(axis=0)
    scale = max(1.0, float(np.abs(logits).max()))
    tolerance = _TOLERANCE[precision] * scale
    if not np.all(spread <= tolerance):  # NaN among them
        raise EvalkitError(_disagreement(name, type(pretrained.model).__name__, list(found), logits, spread))
    return SelfCheck(tuple(found), len(pairs), float(spread.max()), tolerance, time.perf_counter() - began)


def check_vectors(vectors: Callable[[Sequence[str]], torch.Tensor], precision: str, who: str) -> None:
    """Check that texts have the same vectors in a batch and alone; `vectors` gives those of texts, (texts, dimensions).

    `who` begins the message: the setting, and the architecture.

    Raises:
        EvalkitError: a text has another vector alone, or the model cannot embed a text at all.
    """
    texts = [passage for _, passage in _PAIRS]
    try:
        batch, alone = vectors(texts).float(), torch.cat([vectors([text]) for text in texts]).float()
    except (torch.OutOfMemoryError, EvalkitError):
        raise
    except Exception as error:  # whatever a model of any architecture may raise
        raise EvalkitError(
            f"{who} cannot embed a text ({type(error).__name__}: {str(error).strip().partition(chr(10))[0][:160]}); "
            "its files do not fit each other, or this architecture is none that evalkit can embed with"
        ) from None
    apart = (batch - alone).norm(dim=1) / alone.norm(dim=1).clamp_min(1e-12)
    if not torch.all(apart <= 2 * _TOLERANCE[precision]):  # NaN among them
        worst = int(apart.nan_to_num(torch.inf).argmax())
        cosine = torch.nn.functional.cosine_similarity(batch[worst], alone[worst], dim=0)
        raise EvalkitError(
            f"{who} gives one text other vectors alone and in a batch (cosine {float(cosine):.3f}): they depend on "
            "what is embedded beside it; take another model, or search with it elsewhere and give the ranking: "
            "first_stage=trec_run first_stage.path=RUN"
        )


def _logits(model: DeviceModel, batches: Sequence[Batch]) -> npt.NDArray[np.float32]:
    logits = np.full(len(_PAIRS), np.nan, dtype=np.float32)
    for done in model.run(batches):
        logits[done.rows] = done.logits
    return logits


@torch.inference_mode()
def _own(scorer: Scorer, pairs: TokenizedPairs) -> npt.NDArray[np.float32]:
    tokenizer, logits = scorer.pairs.tokenizer, np.empty(len(_PAIRS), dtype=np.float32)
    for row, texts in enumerate(_PAIRS):
        if pairs.cut[row]:  # by a rule that the call does not know
            inputs: Any = {"input_ids": torch.from_numpy(pairs.batch([row]).ids).long()[None]}
            if scorer.pairs.types.used:
                inputs["token_type_ids"] = torch.from_numpy(pairs.batch([row]).type_ids).long()[None]
        else:
            inputs = dict(tokenizer(*texts, return_tensors="pt", return_token_type_ids=scorer.pairs.types.used))
        found = scorer.model(**{key: value.to(scorer.device) for key, value in inputs.items()}).logits
        logits[row] = found.float().flatten().cpu().numpy()[0]
    return logits


def _try_longest(scorer: Scorer, name: str) -> None:
    text = "word " * scorer.pairs.max_length
    pair = scorer.tokenize([("word", text)])
    try:
        list(scorer.runner.run([pair.batch([0])]))
    except EvalkitError:
        raise
    except Exception as error:  # as above
        raise EvalkitError(
            f"reranker.max_length={scorer.pairs.max_length}: {name} cannot take a pair of so many "
            f"tokens ({type(error).__name__}: {str(error).strip().partition(chr(10))[0][:160]}); lower it"
        ) from None


def _disagreement(
    name: str, architecture: str, ways: Sequence[str], logits: npt.NDArray[np.float32], spread: npt.NDArray[np.float32]
) -> str:
    pair = int(np.nanargmax(np.where(np.isfinite(spread), spread, np.inf)))
    of_pair = dict(zip(ways, logits[:, pair].tolist(), strict=True))
    values = ", ".join(f"{value:.4g} {way}" for way, value in of_pair.items())
    packed = [value for way, value in of_pair.items() if way.startswith("packed")]
    others = [value for way, value in of_pair.items() if not way.startswith("packed")]
    if packed and max(others) - min(others) <= np.ptp(packed) + abs(packed[0] - others[0]) / 10:
        advice = "the packed path does not compute what this model does: use reranker.path=padded"
    else:
        advice = (
            "its scores depend on what stands in the same batch, so they are none of the pair's own; take another "
            "model, or its scores from where it runs (reranker=trec_run)"
        )
    return f"reranker.model={name}: {architecture} scores one pair in different ways ({values}): {advice}"
