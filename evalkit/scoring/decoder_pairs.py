"""A decoder with a prompt as a `PairModel`: the two texts in a template, and a score read off what follows."""

from collections.abc import Sequence

import torch

from evalkit.scoring.answer import answer_of
from evalkit.scoring.device import Precision
from evalkit.scoring.loading.pretrained import Pretrained
from evalkit.scoring.merging_decoder import PackedMergingDecoder, PaddedMergingDecoder, score_alone
from evalkit.scoring.packed_attention import reason_not_packable
from evalkit.scoring.packed_decoder import PackedDecoder
from evalkit.scoring.padded_decoder import PaddedDecoder
from evalkit.scoring.prompt import Prompt, check_prompt
from evalkit.scoring.prompt_tokenizer import PromptCache, PromptTokenizer
from evalkit.scoring.runner import ForwardPass
from evalkit.scoring.tokenized_pairs import Tokenized


class DecoderPairs:
    """An `evalkit.scoring.pair_model.PairModel`."""

    checked_pairs = (
        ("capital of France", "Paris is the capital."),
        ("capital of France", "Berlin is the capital and the largest city of Germany, on the rivers Spree and Havel."),
        (
            "why is the sky blue",
            "Air scatters short waves of sunlight more than long ones, so blue comes from all sides.",
        ),
        ("首都はどこ", "東京は日本の首都である。"),
    )
    """Two of the same query, whose prefix is shared in a batch, and others."""

    def __init__(self, pretrained: Pretrained, prompt: Prompt, max_length: int, share_prefix: bool) -> None:
        """Tokenize the template, and find the tokens of the score.

        Args:
            pretrained: Model and tokenizer.
            prompt: The template, and the tokens of the score.
            max_length: Tokens of a prompt at most, the template included.
            share_prefix: Whether what a query's pairs have in common is computed once.

        Raises:
            EvalkitError: the prompt or `max_length` does not fit the model.
        """
        check_prompt(prompt)
        self.model = pretrained.model
        self._prompt = prompt
        self.pair_tokenizer = PromptTokenizer(pretrained.tokenizer, prompt, max_length, share_prefix)
        self.answer = answer_of(self.model, pretrained.tokenizer, prompt, f"{pretrained.setting}={pretrained.name}")

    def cache(self) -> PromptCache:
        """Return a tokenizer of many pairs."""
        return PromptCache(self.pair_tokenizer)

    def reason_not_packable(self) -> str | None:
        """Return why the packed forward pass does not support the model, or None if it does."""
        return reason_not_packable(self.model)

    def packed(self, device: torch.device, precision: Precision, compiled: bool) -> tuple[ForwardPass, str]:
        """Return the packed forward pass, and the name of its attention kernel.

        Args:
            device: Where the model is.
            precision: The precision of the model.
            compiled: Not supported.
        """
        name = PackedDecoder.kernel if self.pair_tokenizer.share_prefix else "packed, sdpa"
        if self._prompt.merges():
            return PackedMergingDecoder(self.model, device, self.answer, self._prompt), name
        return PackedDecoder(self.model, device, self.answer), name

    def padded(self, device: torch.device) -> ForwardPass:
        """Return the padded forward pass.

        Args:
            device: Where the model is.
        """
        pad_id = int(self.pair_tokenizer.tokenizer.pad_token_id or 0)
        if self._prompt.merges():
            return PaddedMergingDecoder(self.model, device, pad_id, self.answer, self._prompt)
        return PaddedDecoder(self.model, device, pad_id, self.answer)

    @property
    def reference(self) -> str:
        """What `reference_logits` does, for a result."""
        return "by transformers' layers, one by one" if self._prompt.merges() else "by transformers' own call"

    def reference_logits(self, pairs: Tokenized, device: torch.device) -> Sequence[float]:
        """Return the scores of `checked_pairs`, one by one, by transformers' own call of the model, or of its layers.

        Args:
            pairs: The pairs as token ids.
            device: Where the model is.
        """
        alone = [pairs.batch([row]) for row in range(len(pairs))]
        if self._prompt.merges():
            return [score_alone(self.model, self.answer, self._prompt, pair, device) for pair in alone]
        ids = (torch.from_numpy(pair.ids).long()[None] for pair in alone)
        return [float(self.answer.of_call(self.model, {"input_ids": of_pair.to(device)})[0]) for of_pair in ids]
