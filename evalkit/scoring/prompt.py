"""What a decoder is asked about a pair: a template of parts, and the tokens whose logits make the score."""

import re
from dataclasses import dataclass
from enum import Enum

from evalkit.boundary.errors import EvalkitError

_PLACEHOLDER = re.compile(r"\{(query|passage|instruction)\}")


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
            return f"the model's head{behind}, at the last token"
        logit = f"logit of {self.yes_word!r}"
        return f"{logit} in the last position" if self.no_word is None else (
            f"{logit} less that of {self.no_word!r}, in the last position"
        )  # fmt: skip


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
    if prompt.yes_word is not None and prompt.yes_word == prompt.no_word:
        raise EvalkitError(
            f"reranker.yes_word and reranker.no_word are both {prompt.no_word!r}: every score would be 0"
        )
