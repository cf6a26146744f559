"""Reads a decoder's score off its last position: the logits of one or two tokens, or a head with one label."""

from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional

from evalkit.boundary.errors import EvalkitError
from evalkit.scoring.prompt import Prompt


@dataclass(frozen=True)
class Answer:
    """What a score is computed from."""

    weight: torch.Tensor
    """The rows of the output matrix that are needed: of one token or two, or of the head; (rows, hidden), fp32."""
    bias: torch.Tensor | None
    """(rows,), fp32."""
    softcap: float | None
    """The limit of logits, as Gemma 2 has it; None for none."""
    tokens: tuple[int, ...]
    """The ids of the token whose logit is the score, and of the one whose logit is subtracted; empty for a head."""

    def of_states(self, states: torch.Tensor) -> torch.Tensor:
        """Return the score of each pair, (pairs,), fp32.

        Args:
            states: The hidden state of each pair's last token, (pairs, hidden).
        """
        logits = functional.linear(states.float(), self.weight, self.bias)
        if self.softcap is not None:
            logits = torch.tanh(logits / self.softcap) * self.softcap
        return _difference(logits)

    def of_call(self, model: Any, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return the score of each pair, (pairs,), fp32, from a call of transformers' own model.

        Args:
            model: The whole model.
            inputs: Its arguments; prompts are padded on the left.
        """
        if not self.tokens:
            logits: torch.Tensor = model(**inputs, use_cache=False).logits
            return logits.float().flatten()
        last = model(**inputs, use_cache=False, logits_to_keep=1).logits[:, -1]
        return _difference(last[:, list(self.tokens)].float())


def answer_of(model: Any, tokenizer: Any, prompt: Prompt, prefix: str) -> Answer:
    """Return what a model's score is computed from.

    Args:
        model: A causal language model, or a sequence classifier with one label on one.
        tokenizer: Its tokenizer.
        prompt: Names the tokens.
        prefix: The beginning of messages: the setting and the model.

    Raises:
        EvalkitError: a token is none of the vocabulary.
    """
    if prompt.yes_word is None:
        head = model.score
        bias = None if head.bias is None else head.bias.detach().float()
        return Answer(head.weight.detach().float(), bias, getattr(model, "softcap", None), ())
    named = [("yes_word", prompt.yes_word)]
    if prompt.no_word is not None:
        named.append(("no_word", prompt.no_word))
    ids = tuple(_token_id(tokenizer, token, f"reranker.{key}", prefix) for key, token in named)
    output = model.get_output_embeddings()
    rows = list(ids)
    bias = None if getattr(output, "bias", None) is None else output.bias[rows].detach().float()
    softcap = getattr(model.config, "final_logit_softcapping", None)
    return Answer(output.weight[rows].detach().float(), bias, softcap, ids)


def _token_id(tokenizer: Any, token: str, setting: str, prefix: str) -> int:
    ids = tokenizer.backend_tokenizer.encode(token, add_special_tokens=False).ids
    if len(ids) != 1:
        pieces = tokenizer.convert_ids_to_tokens(ids)
        raise EvalkitError(
            f"{setting}={token!r}: the tokenizer of {prefix} has no such token: it makes {len(ids)} of it "
            f"({', '.join(map(repr, pieces))[:80]}); name one that it has"
        )
    if ids[0] == tokenizer.unk_token_id:
        raise EvalkitError(f"{setting}={token!r}: the tokenizer of {prefix} does not know this token; name one it has")
    return int(ids[0])


def _difference(logits: torch.Tensor) -> torch.Tensor:
    """Return the first column, less the second if there is one."""
    return logits[:, 0] if logits.shape[1] == 1 else logits[:, 0] - logits[:, 1]
