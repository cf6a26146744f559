"""What a decoder is asked about a pair: a template of parts, and the tokens whose logits make the score."""

import re
from dataclasses import dataclass
from enum import Enum

from evalkit.boundary.errors import EvalkitError

_PLACEHOLDER = re.compile(r"\{(query|passage|instruction)\}")

COMPRESS_RATIOS = (1, 2, 4, 8)
"""Those that bge-reranker-v2.5-gemma2-lightweight was trained with, by its model card."""


class Slot(Enum):
    """What a template leaves open for a pair."""

    QUERY = "query"
    PASSAGE = "passage"


@dataclass(frozen=True)
class Prompt:
    """A template, and what is read off the model after it."""

    template: tuple[str, ...]
    """Parts that are tokenized by themselves, without special tokens being added, and then joined. ``{query}``,
    ``{passage}`` and ``{instruction}`` are replaced; everything else is taken literally, special tokens such as
    ``<|im_start|>`` included."""
    instruction: str | None
    """The text of ``{instruction}``."""
    yes_word: str | None
    """The score is the logit of this token in the last position; None for the model's own head with one label."""
    no_word: str | None = None
    """The token whose logit is subtracted; None to subtract nothing."""
    layer: int | None = None
    """The layer whose head gives the score, counted from 1, in a model with a head behind each; None for the last."""
    compress_layers: tuple[int, ...] = ()
    """The layers behind which tokens of the passage are merged, counted from 1, in a model that was trained for it."""
    compress_ratio: int = 1
    """How many tokens of the passage become one; 1 to merge none."""

    def merges(self) -> tuple[int, ...]:
        """Return the layers behind which tokens are merged: those of `compress_layers` that are before `layer`."""
        if self.compress_ratio == 1 or self.layer is None:
            return ()
        return tuple(layer for layer in self.compress_layers if layer < self.layer)

    def pieces(self) -> tuple[tuple[str | Slot, ...], ...]:
        """Return each part as texts, instruction included, and the slots between them."""
        return tuple(tuple(self._pieces(part)) for part in self.template)

    def _pieces(self, part: str) -> list[str | Slot]:
        pieces: list[str | Slot] = []
        for number, piece in enumerate(_PLACEHOLDER.split(part)):
            if number % 2 == 0:
                pieces += [piece] if piece else []
            elif piece == "instruction":
                pieces.append(self.instruction or "")
            else:
                pieces.append(Slot(piece))
        return pieces

    def describe(self) -> str:
        """Return in words what the score is."""
        if self.yes_word is None:
            behind = "" if self.layer is None else f" behind layer {self.layer}"
            return f"the model's head{behind}, at the last token{self._describe_merges()}"
        logit = f"logit of {self.yes_word!r}"
        return f"{logit} in the last position" if self.no_word is None else (
            f"{logit} less that of {self.no_word!r}, in the last position"
        )  # fmt: skip

    def _describe_merges(self) -> str:
        if not (layers := self.merges()):
            return ""
        where = f"layer{'s' if len(layers) > 1 else ''} {' and '.join(map(str, layers))}"
        return f"; {self.compress_ratio} tokens of the passage become 1 behind {where}"


def check_prompt(prompt: Prompt) -> None:
    """Check that a template can ask about a pair.

    Args:
        prompt: The prompt.

    Raises:
        EvalkitError: a placeholder is missing, doubled or unknown to the template, or the tokens contradict each other.
    """
    whole = "".join(prompt.template)
    found = _PLACEHOLDER.findall(whole)
    for name in ("query", "passage"):
        if found.count(name) != 1:
            raise EvalkitError(
                f"reranker.template has {{{name}}} {found.count(name)} times, and it has to have it once: it is the "
                f"list of texts that the model reads, such as ['Query: {{query}}\\n', 'Passage: {{passage}}', "
                "'\\nRelevant:']"
            )
    if "instruction" in found and prompt.instruction is None:
        raise EvalkitError("reranker.template has {instruction}, and reranker.instruction is not set")
    if "instruction" not in found and prompt.instruction is not None:
        raise EvalkitError(
            f"reranker.instruction={prompt.instruction[:60]!r}: reranker.template has no {{instruction}} to put it in"
        )
    if prompt.yes_word is None and prompt.no_word is not None:
        raise EvalkitError(
            f"reranker.no_word={prompt.no_word!r}: it is subtracted from reranker.yes_word, which is not set"
        )
    if prompt.layer is not None and prompt.yes_word is not None:
        raise EvalkitError(
            f"reranker.cutoff_layer={prompt.layer}: the score is that of the head behind a layer, and "
            f"reranker.yes_word={prompt.yes_word!r} asks for a token's logit; set one of them"
        )
    _check_compression(prompt)
    if prompt.yes_word is not None and prompt.yes_word == prompt.no_word:
        raise EvalkitError(
            f"reranker.yes_word and reranker.no_word are both {prompt.no_word!r}: every score would be 0"
        )


def _check_compression(prompt: Prompt) -> None:
    layers, ratio = prompt.compress_layers, prompt.compress_ratio
    if ratio not in COMPRESS_RATIOS:
        raise EvalkitError(f"reranker.compress_ratio={ratio}: choose one of {', '.join(map(str, COMPRESS_RATIOS))}")
    if any(layer < 1 for layer in layers) or list(layers) != sorted(set(layers)):
        raise EvalkitError(
            f"reranker.compress_layers={list(layers)}: it has to be layers counted from 1, each once, in rising order"
        )
    if ratio > 1 and not layers:
        raise EvalkitError(
            f"reranker.compress_ratio={ratio}: reranker.compress_layers names no layer to merge tokens behind; set it, "
            "as reranker.compress_layers=[24,40], or reranker.compress_ratio=1"
        )
    if ratio > 1 and prompt.layer is None:
        raise EvalkitError(
            f"reranker.compress_ratio={ratio}: tokens are merged in models with a head behind each layer, and "
            "reranker.cutoff_layer, which names the layer that scores, is not set"
        )
