"""The forward passes of a decoder that merges tokens of the passage between its layers: packed, padded, and alone.

The layers, the norm, the rotary positions and the masks are transformers' own.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from transformers.masking_utils import create_causal_mask, create_sliding_window_causal_mask

from evalkit.scoring.answer import Answer
from evalkit.scoring.merged_passages import PASSAGE, Merge, merge_passages
from evalkit.scoring.packed_attention import PackedLayout, Span, packed, packed_copy
from evalkit.scoring.packed_decoder import Arrangement, distinct_tokens, pack_prompts
from evalkit.scoring.padded_decoder import PaddedDecoder
from evalkit.scoring.prompt import Prompt
from evalkit.scoring.tokenized_pairs import Batch


@dataclass(frozen=True)
class _Stage:
    """What is the same for all layers between two merges, on the device."""

    layers: range
    merge: tuple[torch.Tensor, torch.Tensor] | None
    """`Merge.rows` and `Merge.weights` of what comes before these layers; None before the first ones."""
    positions: torch.Tensor
    """(1, tokens) where packed, (pairs, tokens of the longest pair) where padded."""
    seen: Any
    """What tokens see: a `PackedLayout`, or a mask of the tokens that are no padding, (pairs, longest)."""


class PackedMergingDecoder:
    """Such a decoder over packed batches; it shares its weights with a transformers model."""

    def __init__(self, model: Any, device: torch.device, answer: Answer, prompt: Prompt) -> None:
        """Wrap a model.

        Args:
            model: A `LayerwiseDecoder` on Gemma 2. It can still be used.
            device: Where the model is.
            answer: Reads the score off a hidden state.
            prompt: Names the layers and the ratio of the merges.
        """
        self.device = device
        self._model = packed_copy(model.base_model)
        self._answer = answer
        self._prompt = prompt

    def inputs(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor, tuple[_Stage, ...]]:
        """Return the ids, (1, tokens), the last token of each pair after the merges, and the stages.

        Args:
            batch: The pairs.
        """
        packed_ids, begin = pack_prompts(batch)
        stages, last = [], begin.last
        for layers, merge, now in _stages(begin, self._prompt, len(self._model.layers)):
            positions = torch.from_numpy(now.positions)[None].to(self.device, non_blocking=True)
            layout = PackedLayout(now.spans, self.device)
            stages.append(_Stage(layers, _on(self.device, merge), positions, layout))
            last = now.last
        ids, of_pairs = (
            torch.from_numpy(values.astype(np.int64)).to(self.device, non_blocking=True)
            for values in (packed_ids, last)
        )
        return ids[None], of_pairs, tuple(stages)

    def computed_tokens(self, batch: Batch) -> int:
        """Return the tokens that go through the first layers: a shared prefix counts once.

        Args:
            batch: The pairs.
        """
        return distinct_tokens(batch)

    def forward(self, ids: torch.Tensor, last: torch.Tensor, stages: tuple[_Stage, ...]) -> torch.Tensor:
        """Return the fp32 scores of a batch, (pairs,), on the device.

        Args:
            ids: As `inputs` returns them.
            last: As `inputs` returns them.
            stages: As `inputs` returns them.
        """
        states = self._model.embed_tokens(ids)
        for stage in stages:
            if stage.merge is not None:
                states = _merged(states[0], *stage.merge)[None]
            with packed(stage.seen):
                states = _through(self._model, states, stage.layers, stage.positions, {})
        return self._answer.of_states(self._model.norm(states[0, last]))


class PaddedMergingDecoder:
    """Such a decoder over batches that are padded on the left, with transformers' own attention."""

    def __init__(self, model: Any, device: torch.device, pad_id: int, answer: Answer, prompt: Prompt) -> None:
        """Wrap a model.

        Args:
            model: A `LayerwiseDecoder` on Gemma 2.
            device: Where the model is.
            pad_id: The id of the padding token.
            answer: Reads the score off a hidden state.
            prompt: Names the layers and the ratio of the merges.
        """
        self.device = device
        self._model = model.base_model
        self._padded = PaddedDecoder(model, device, pad_id, answer)
        self._answer = answer
        self._prompt = prompt

    def inputs(self, batch: Batch) -> tuple[torch.Tensor, tuple[_Stage, ...]]:
        """Return the ids, (pairs, tokens of the longest pair), and the stages.

        Args:
            batch: The pairs.
        """
        (padded,) = self._padded.inputs(batch)
        ends = np.cumsum(batch.lengths, dtype=np.int64)
        spans = (Span(end - length, length) for end, length in zip(ends.tolist(), batch.lengths.tolist(), strict=True))
        begin = Arrangement(batch.type_ids, ends - 1, tuple(spans))
        stages = []
        for layers, merge, now in _stages(begin, self._prompt, len(self._model.layers)):
            lengths = torch.tensor([span.length for span in now.spans])
            longest = int(lengths.max())
            mask = (torch.arange(longest) >= longest - lengths[:, None]).to(self.device)
            positions = (mask.long().cumsum(1) - 1).clamp_min(0)
            stages.append(_Stage(layers, _on(self.device, merge), positions, mask))
        return padded["input_ids"], tuple(stages)

    def computed_tokens(self, batch: Batch) -> int:
        """Return the tokens that go through the first layers, padding included.

        Args:
            batch: The pairs.
        """
        return self._padded.computed_tokens(batch)

    def forward(self, ids: torch.Tensor, stages: tuple[_Stage, ...]) -> torch.Tensor:
        """Return the fp32 scores of a padded batch, (pairs,), on the device.

        Args:
            ids: As `inputs` returns them.
            stages: As `inputs` returns them.
        """
        states, before = self._model.embed_tokens(ids), stages[0].seen
        for stage in stages:
            if stage.merge is not None:
                merged = _merged(states[before], *stage.merge)
                states = merged.new_zeros((*stage.seen.shape, merged.shape[-1]))
                states[stage.seen] = merged
            masks = _masks(self._model, states, stage.seen, stage.positions)
            states = _through(self._model, states, stage.layers, stage.positions, masks)
            before = stage.seen
        return self._answer.of_states(self._model.norm(states[:, -1]))


def score_alone(model: Any, answer: Answer, prompt: Prompt, pair: Batch, device: torch.device) -> float:
    """Return the score of one pair, computed in the plainest way: the reference for the others.

    Args:
        model: A `LayerwiseDecoder` on Gemma 2.
        answer: Reads the score off a hidden state.
        prompt: Names the layers and the ratio of the merges.
        pair: A batch of one pair, no token of whose passage is shared.
        device: Where the model is.
    """
    base = model.base_model
    in_passage = pair.type_ids == PASSAGE
    start = int(in_passage.argmax())
    stop = start + int(in_passage.sum())
    states = base.embed_tokens(torch.from_numpy(pair.ids).long()[None].to(device))
    for number in range(len(base.layers)):
        if number in prompt.merges():
            head, passage, tail = states[0].tensor_split([start, stop])
            means = [group.mean(0, keepdim=True) for group in passage.split(prompt.compress_ratio)]
            states, stop = torch.cat([head, *means, tail])[None], start + len(means)
        positions = torch.arange(states.shape[1], device=device)[None]
        masks = _masks(base, states, None, positions)
        states = _through(base, states, range(number, number + 1), positions, masks)
    return float(answer.of_states(base.norm(states[:, -1]))[0])


def _stages(begin: Arrangement, prompt: Prompt, layers: int) -> Iterator[tuple[range, Merge | None, Arrangement]]:
    """Yield the layers between two merges, the merge before them, and where the tokens are in them."""
    now, merge = begin, None
    for first, end in pairwise((0, *prompt.merges(), layers)):
        if first:
            merge = merge_passages(now, prompt.compress_ratio)
            now = merge.after
        yield range(first, end), merge, now


def _on(device: torch.device, merge: Merge | None) -> tuple[torch.Tensor, torch.Tensor] | None:
    if merge is None:
        return None
    rows, weights = (torch.from_numpy(part).to(device, non_blocking=True) for part in (merge.rows, merge.weights))
    return rows, weights


def _merged(states: torch.Tensor, rows: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Return the means of states, (new tokens, hidden); `states` is (tokens, hidden)."""
    return (states[rows] * weights.to(states.dtype)[..., None]).sum(1)


def _masks(
    model: Any, states: torch.Tensor, mask: torch.Tensor | None, positions: torch.Tensor
) -> dict[str, torch.Tensor | None]:
    """Return what each token sees, by the kind of a layer, as transformers' own model makes it."""
    inputs = {
        "config": model.config, "inputs_embeds": states, "attention_mask": None if mask is None else mask.long(),
        "past_key_values": None, "position_ids": positions,
    }  # fmt: skip
    return {
        "full_attention": create_causal_mask(**inputs),
        "sliding_attention": create_sliding_window_causal_mask(**inputs),
    }


def _through(
    model: Any,
    states: torch.Tensor,
    layers: range,
    positions: torch.Tensor,
    masks: Mapping[str, torch.Tensor | None],
) -> torch.Tensor:
    """Return the states behind some layers; both are (texts, tokens, hidden)."""
    rotary = model.rotary_emb(states, positions)
    for number in layers:
        states = model.layers[number](
            states,
            attention_mask=masks.get(model.config.layer_types[number]),
            position_embeddings=rotary,
            position_ids=positions,
        )
    return states
