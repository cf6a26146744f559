"""The forward pass of a decoder over packed prompts: no padding, and a prefix that pairs share is computed once."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from evalkit.scoring.answer import Answer
from evalkit.scoring.packed_attention import PackedLayout, Span, packed, packed_copy
from evalkit.scoring.tokenized_pairs import Batch


@dataclass(frozen=True)
class Arrangement:
    """Where the tokens of a packed batch are, before the layers or between two of them."""

    types: npt.NDArray[np.int32]
    """As in the batch, (tokens,)."""
    last: npt.NDArray[np.int64]
    """The last token of each pair, (pairs,)."""
    spans: tuple[Span, ...]

    @property
    def positions(self) -> npt.NDArray[np.int64]:
        """The place of each token in its prompt, (tokens,)."""
        of_spans = (np.arange(span.prefix_length, span.prefix_length + span.length) for span in self.spans)
        return np.concatenate(list(of_spans))


def pack_prompts(batch: Batch) -> tuple[npt.NDArray[np.int32], Arrangement]:
    """Return the ids of a batch in which consecutive pairs with the same prefix have it once, and where they are.

    Args:
        batch: Prompts; tokens of type 0, which stand at the beginning, may be shared.

    Returns:
        Ids, (tokens,); a shared prefix comes before the own tokens of its pairs.
    """
    tokens: list[npt.NDArray[np.int64]] = []
    last, spans, count = [], [], 0

    def add(part: range, prefix: tuple[int, int]) -> None:
        nonlocal count
        tokens.append(np.arange(part.start, part.stop))
        spans.append(Span(count, len(part), *prefix))
        count += len(part)

    for prompts, shared in _groups(batch):
        prefix = (count, shared) if shared else (0, 0)
        if shared:
            add(prompts[0][:shared], (0, 0))
        for prompt in prompts:
            add(prompt[shared:], prefix)
            last.append(count - 1)
    chosen = np.concatenate(tokens)
    return batch.ids[chosen], Arrangement(batch.type_ids[chosen], np.array(last), tuple(spans))


def distinct_tokens(batch: Batch) -> int:
    """Return the tokens of a batch, those of a shared prefix counted once.

    Args:
        batch: As for `pack_prompts`.
    """
    return sum(sum(map(len, prompts)) - shared * (len(prompts) - 1) for prompts, shared in _groups(batch))


def _groups(batch: Batch) -> Iterator[tuple[list[range], int]]:
    """Yield the tokens of consecutive pairs with the same prefix, and its length; 0 for a pair by itself."""
    ends = np.cumsum(batch.lengths)
    group: list[range] = []
    group_prefix = b""
    shared = 0
    for end, length in zip(ends.tolist(), batch.lengths.tolist(), strict=True):
        ids, types = batch.ids[end - length : end], batch.type_ids[end - length : end]
        prefix = ids[types == 0].tobytes()
        if group and prefix != group_prefix:
            yield group, shared if len(group) > 1 else 0
            group = []
        group.append(range(end - length, end))
        group_prefix, shared = prefix, int((types == 0).sum())
    if group:
        yield group, shared if len(group) > 1 else 0


class PackedDecoder:
    """A decoder over packed batches; it shares its weights with a transformers model."""

    kernel = "packed, sdpa, shared prefixes"

    def __init__(self, model: Any, device: torch.device, answer: Answer) -> None:
        """Wrap a model.

        Args:
            model: A model for which `packed_attention.reason_not_packable` is None. It can still be used.
            device: Where the model is.
            answer: Reads the score off a hidden state.
        """
        self.device = device
        self._model = packed_copy(model.base_model)
        self._answer = answer

    def inputs(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, PackedLayout]:
        """Return ids and positions, each (1, tokens), the last token of each pair, and what each token sees.

        Args:
            batch: The pairs.
        """
        packed_ids, where = pack_prompts(batch)
        ids, positions, last = (
            torch.from_numpy(values.astype(np.int64)).to(self.device, non_blocking=True)
            for values in (packed_ids, where.positions, where.last)
        )
        return ids[None], positions[None], last, PackedLayout(where.spans, self.device)

    def computed_tokens(self, batch: Batch) -> int:
        """Return the tokens that go through the layers: a shared prefix counts once.

        Args:
            batch: The pairs.
        """
        return distinct_tokens(batch)

    def forward(
        self, ids: torch.Tensor, positions: torch.Tensor, last: torch.Tensor, layout: PackedLayout
    ) -> torch.Tensor:
        """Return the fp32 scores of a batch, (pairs,), on the device.

        Args:
            ids: As `inputs` returns them.
            positions: As `inputs` returns them.
            last: As `inputs` returns them.
            layout: As `inputs` returns it.
        """
        with packed(layout):
            states = self._model(input_ids=ids, position_ids=positions, use_cache=False).last_hidden_state[0]
        return self._answer.of_states(states[last])
