"""Scores pairs with a cross-encoder: sorted by length, batched by a token budget, padded, one copy back."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from evalkit.errors import EvalkitError, NotFiniteError
from evalkit.scoring.device import synchronize
from evalkit.scoring.pairs import PairTokenizer, TokenizedPair
from evalkit.scoring.pretrained import Pretrained


@dataclass(frozen=True)
class ScoredBatch:
    """Logits of pairs in the order they were given, and what it took."""

    logits: npt.NDArray[np.float32]
    truncated_pairs: int
    tokens: int
    padded_tokens: int
    tokenize_s: float
    forward_s: float
    """Wall-clock time of the model, the device waited for."""


class Scorer:
    """A cross-encoder that scores (query, passage) pairs to fp32 logits; larger is more relevant."""

    def __init__(
        self, pretrained: Pretrained, device: torch.device, max_length: int, truncation: str, batch_tokens: int
    ) -> None:
        """Check the settings against the model.

        Raises:
            EvalkitError: `max_length` is beyond the model's positions, or `batch_tokens` below one pair.
        """
        if max_length > pretrained.max_tokens:
            raise EvalkitError(
                f"reranker.max_length={max_length}: {pretrained.name} has positions for {pretrained.max_tokens} tokens"
            )
        if batch_tokens < max_length:
            raise EvalkitError(
                f"reranker.batch_tokens={batch_tokens} is smaller than one pair of "
                f"reranker.max_length={max_length} tokens"
            )
        self.model = pretrained.model
        self.device = device
        self.batch_tokens = batch_tokens
        self.pairs = PairTokenizer(pretrained.tokenizer, max_length, truncation)
        self._pad = int(pretrained.tokenizer.pad_token_id or 0)
        self._takes_types = "token_type_ids" in pretrained.tokenizer.model_input_names

    def score(
        self, texts: Sequence[tuple[str, str]], on_progress: Callable[[int], None] = lambda n: None
    ) -> ScoredBatch:
        """Score (query, passage) texts; `on_progress` is told how many pairs each batch held.

        Raises:
            EvalkitError: out of memory.
            NotFiniteError: a logit is NaN or infinite.
        """
        started = time.perf_counter()
        tokenized = self._tokenize(texts)
        tokenized_at = time.perf_counter()
        logits = np.empty(len(texts), dtype=np.float32)
        waiting: list[tuple[list[int], torch.Tensor]] = []
        padded = 0
        with torch.inference_mode():
            for rows in batches([len(pair.ids) for pair in tokenized], self.batch_tokens):
                width = max(len(tokenized[row].ids) for row in rows)
                padded += width * len(rows)
                waiting.append((rows, self._forward([tokenized[row] for row in rows], width)))
                on_progress(len(rows))
            synchronize(self.device)
        for rows, values in waiting:
            logits[rows] = values.cpu().numpy()
        forward_s = time.perf_counter() - tokenized_at
        broken = np.flatnonzero(~np.isfinite(logits))
        if broken.size:
            query, passage = texts[int(broken[0])]
            raise NotFiniteError(
                f"the model gave {logits[broken[0]]} as logit for {broken.size} of {len(texts)} pairs (first: query "
                f"{query[:60]!r}, passage {passage[:60]!r}); a wider precision (bf16 or fp32) may help, or the weights "
                "are broken"
            )
        return ScoredBatch(
            logits,
            sum(pair.truncated for pair in tokenized),
            sum(len(pair.ids) for pair in tokenized),
            padded,
            tokenized_at - started,
            forward_s,
        )

    def _tokenize(self, texts: Sequence[tuple[str, str]]) -> list[TokenizedPair]:
        distinct = list(dict.fromkeys(text for pair in texts for text in pair))
        ids = dict(zip(distinct, self.pairs.encode(distinct), strict=True))
        return [self.pairs.join(ids[query], ids[passage]) for query, passage in texts]

    def _forward(self, batch: Sequence[TokenizedPair], width: int) -> torch.Tensor:
        try:
            inputs = self._padded(batch, width)
            logits: torch.Tensor = self.model(**inputs).logits
            return logits.float().flatten()  # ranked in fp32: rounded logits tie
        except (torch.OutOfMemoryError, MemoryError):
            raise self._out_of_memory(len(batch), width) from None
        except RuntimeError as error:
            if "can't allocate memory" not in str(error):  # how torch's CPU allocator says it
                raise
            raise self._out_of_memory(len(batch), width) from None

    def _padded(self, batch: Sequence[TokenizedPair], width: int) -> dict[str, Any]:
        ids = torch.full((len(batch), width), self._pad)
        mask = torch.zeros((len(batch), width), dtype=torch.long)
        types = torch.zeros((len(batch), width), dtype=torch.long)
        for row, pair in enumerate(batch):
            length = len(pair.ids)
            ids[row, :length] = torch.tensor(pair.ids)
            mask[row, :length] = 1
            types[row, :length] = torch.tensor(pair.type_ids)
        inputs = {"input_ids": ids, "attention_mask": mask}
        if self._takes_types:
            inputs["token_type_ids"] = types
        return {name: tensor.to(self.device, non_blocking=True) for name, tensor in inputs.items()}

    def _out_of_memory(self, pairs: int, width: int) -> EvalkitError:
        return EvalkitError(
            f"out of memory on {self.device} with a batch of {pairs} pairs of {width} tokens; lower "
            f"reranker.batch_tokens (now {self.batch_tokens}) or reranker.max_length (now {self.pairs.max_length}), "
            "or use precision=fp16"
        )


def batches(lengths: Sequence[int], budget: int) -> Iterator[list[int]]:
    """Yield rows, longest first, so that rows x longest stays within `budget` tokens.

    Longest first, so that a batch that does not fit fails at once, not at the end of an hour.
    """
    batch: list[int] = []
    for row in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        if batch and (len(batch) + 1) * lengths[batch[0]] > budget:
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch
