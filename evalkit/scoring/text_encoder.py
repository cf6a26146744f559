"""Texts in, one vector for each out, in batches of texts of similar length, whatever the encoder computes."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

from evalkit.boundary.errors import EvalkitError
from evalkit.boundary.progress import stage
from evalkit.scoring import linear
from evalkit.scoring.batching import plan_batches
from evalkit.scoring.core_threads import CoreThreads
from evalkit.scoring.device import device_name
from evalkit.scoring.embedding import pad_right
from evalkit.scoring.loading.pretrained import Pretrained
from evalkit.scoring.self_check import check_embeddings_agree

_CHUNK = 100_000
"""Texts tokenized at a time."""

_USEFUL_TOKENS = {"cpu": 2048}
_USEFUL_TOKENS_ELSEWHERE = 16384
"""Tokens of a batch beyond which a device embeds no more texts a second. On a CPU each core has a batch of its own."""

Batch = dict[str, torch.Tensor]
"""`input_ids` and `attention_mask`, each (texts, tokens of the longest text)."""


@dataclass(frozen=True)
class TextCounts:
    """What tokenization did to some texts."""

    tokens: int = 0
    unknown: int = 0
    """Tokens that the vocabulary does not know."""
    truncated: int = 0
    """Texts that were cut to the maximum length."""

    @property
    def unknown_share(self) -> float:
        """The share of tokens that the vocabulary does not know."""
        return self.unknown / max(self.tokens, 1)

    def __add__(self, other: "TextCounts") -> "TextCounts":
        """Return the counts of both."""
        return TextCounts(self.tokens + other.tokens, self.unknown + other.unknown, self.truncated + other.truncated)


@dataclass(frozen=True)
class TextEncoder:
    """A model that turns texts into vectors."""

    pretrained: Pretrained
    forward: Callable[[Any, Batch], torch.Tensor]
    """Returns the vectors of a padded batch, (texts, dimensions), given the model and the batch."""
    max_length: int
    """Tokens of a text, beyond which it is truncated."""
    batch_tokens: int
    """Tokens of a batch at most, padding included."""
    device: torch.device
    batch_a_core: bool = True
    """Whether each core of a CPU computes a batch of its own, which takes the memory of as many batches."""

    @cached_property
    def _core_threads(self) -> CoreThreads | None:
        return CoreThreads() if self.batch_a_core and self.device.type == "cpu" else None

    def check(self, precision: str) -> None:
        """Check the lengths, and that the vector of a text does not depend on the other texts of its batch.

        Args:
            precision: The name of the model's precision, which determines the tolerance.

        Raises:
            EvalkitError: a batch is smaller than one text, the model has too few positions, its vectors depend on the
                batch, or it cannot encode a text.
        """
        group = group_of(self.pretrained.setting)
        self.pretrained.check_length(self.max_length, f"{group}.max_length")
        if self.batch_tokens < self.max_length:
            raise EvalkitError(
                f"{group}.batch_tokens={self.batch_tokens} is smaller than one text of {group}.max_length="
                f"{self.max_length} tokens; give {self.max_length} or more, or a smaller {group}.max_length"
            )
        architecture = type(self.pretrained.model).__name__
        prefix = f"{self.pretrained.setting}={self.pretrained.name}: {architecture}"
        check_embeddings_agree(lambda texts: self._vectors(self._tokenize(texts)["input_ids"]), precision, prefix)

    def encode(
        self, prefix: str, texts: Sequence[str], label: str, take: Callable[[list[int], torch.Tensor], None]
    ) -> TextCounts:
        """Encode texts, and show the progress.

        Args:
            prefix: What stands before each text.
            texts: The texts.
            label: What they are, such as ``passages``.
            take: As for `encode_silently`.
        """
        with stage(f"embedding {label}", len(texts), label) as advance:
            return self.encode_silently(prefix, texts, take, advance)

    def encode_silently(
        self,
        prefix: str,
        texts: Sequence[str],
        take: Callable[[list[int], torch.Tensor], None],
        advance: Callable[[int], None] = lambda n: None,
        on_truncated: Callable[[list[int]], None] = lambda rows: None,
    ) -> TextCounts:
        """Encode texts.

        Args:
            prefix: What stands before each text.
            texts: The texts.
            take: Is called with the numbers of the texts of each batch and their vectors, (texts, dimensions), on the
                encoder's device.
            advance: Is called with the number of texts of each batch.
            on_truncated: Is called with the numbers of the texts that were cut.
        """
        counts, unknown_id = TextCounts(), self.pretrained.tokenizer.unk_token_id
        for start in range(0, len(texts), _CHUNK):
            tokenized = self._tokenize([prefix + text for text in texts[start : start + _CHUNK]])
            tokens = tokenized["input_ids"]
            cut = [start + row for row, encoding in enumerate(tokenized.encodings) if encoding.overflowing]
            counts += TextCounts(sum(map(len, tokens)), sum(ids.count(unknown_id) for ids in tokens), len(cut))
            on_truncated(cut)
            for rows, vectors in self._computed(tokens):
                take([start + row for row in rows], vectors)
                advance(len(rows))
        return counts

    def _computed(self, tokens: Sequence[Sequence[int]]) -> Iterator[tuple[list[int], torch.Tensor]]:
        """Yield the rows of each batch and their vectors; on a CPU, each core computes a batch of its own."""

        @torch.inference_mode()  # a thread has its own
        def compute(rows: list[int]) -> tuple[list[int], torch.Tensor]:
            return rows, self._vectors([tokens[row] for row in rows])

        batches = list(plan_batches([len(ids) for ids in tokens], self.batch_tokens))
        threads = self._core_threads
        # A single batch, as that of one query, is computed by all cores together.
        return threads.map_unordered(compute, batches) if threads and len(batches) > 1 else map(compute, batches)

    def describe(self) -> dict[str, Any]:
        """Return the origin of model and tokenizer, and where and in which type they computed."""
        return {
            "model_files": self.pretrained.sbert_config.as_settings(),
            "padding": "right",
            "tokenizer_source": self.pretrained.tokenizer_source.description,
            "revision": self.pretrained.revision,
            "device": str(self.device),
            "device_name": device_name(self.device),
            "dtype": str(self.pretrained.model.dtype).removeprefix("torch."),
            "linear": linear.name_for(self.device, self.pretrained.model.dtype),
        }

    def fingerprint(self) -> dict[str, Any]:
        """Return what vectors depend on besides settings and code: the model's files, the device, and its products."""
        return {
            "revision": self.pretrained.revision,
            "device": f"{self.device.type}, {device_name(self.device)}",
            "linear": linear.name_for(self.device, self.pretrained.model.dtype),
        }

    def _tokenize(self, texts: Sequence[str]) -> Any:
        return self.pretrained.tokenizer(list(texts), truncation=True, max_length=self.max_length)

    def _vectors(self, tokens: Sequence[Sequence[int]]) -> torch.Tensor:
        padded = pad_right(tokens, self.pretrained.model.config, self.pretrained.tokenizer)
        return self.forward(self.pretrained.model, {key: ids.to(self.device) for key, ids in padded.items()})


def batch_tokens_for(asked: int | None, max_length: int, device: torch.device) -> int:
    """Return the tokens of a batch at most: as asked, or as many as are useful.

    Args:
        asked: The setting; None for as many as are useful.
        max_length: Tokens of the longest text.
        device: Where the encoder computes.
    """
    useful = _USEFUL_TOKENS.get(device.type, _USEFUL_TOKENS_ELSEWHERE)
    return max(useful, max_length) if asked is None else asked


def group_of(setting: str) -> str:
    """Return the group of a setting: ``reranker`` of ``reranker.model``."""
    return setting.partition(".")[0]


def describe_texts(queries: TextCounts, passages: TextCounts) -> dict[str, Any]:
    """Return for a result how many texts were truncated, and the shares of unknown tokens.

    Args:
        queries: The counts of all queries.
        passages: The counts of all passages.
    """
    return {
        "unknown_query_share": queries.unknown_share,
        "unknown_passage_share": passages.unknown_share,
        "truncated_queries": queries.truncated,
        "truncated_passages": passages.truncated,
    }


@contextmanager
def inference(device: torch.device, batch_tokens: int, group: str = "first_stage") -> Iterator[None]:
    """Compute without gradients, and explain an error for want of memory.

    Args:
        device: Where the encoder computes.
        batch_tokens: The setting of that name.
        group: The group that it is in, for the message.

    Raises:
        EvalkitError: memory does not suffice.
    """
    try:
        with torch.inference_mode():
            yield
    except torch.OutOfMemoryError:
        raise EvalkitError(
            f"out of memory on {device} while embedding; lower {group}.batch_tokens (now {batch_tokens}) or "
            f"{group}.max_length"
        ) from None
