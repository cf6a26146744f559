"""An encoder with a classifier as a `PairModel`: the two texts in the tokenizer's template for pairs."""

from collections.abc import Sequence
from typing import Any

import torch

from evalkit.boundary.errors import EvalkitError
from evalkit.scoring import packed_attention, packed_encoder
from evalkit.scoring.device import Precision
from evalkit.scoring.loading.pretrained import Pretrained
from evalkit.scoring.packed import ENCODERS, PackedModel, reason_not_packable
from evalkit.scoring.padded import PaddedModel
from evalkit.scoring.pair_tokenizer import PairTokenizer
from evalkit.scoring.runner import ForwardPass
from evalkit.scoring.token_cache import TokenCache
from evalkit.scoring.tokenized_pairs import Tokenized
from evalkit.scoring.tokenizer_check import check_pair_encoding


class EncoderPairs:
    """An `evalkit.scoring.pair_model.PairModel`."""

    checked_pairs = (
        ("capital of France", "Paris is the capital."),
        (
            "why is the sky blue",
            "Air scatters short waves of sunlight more than long ones, so blue comes from all sides.",
        ),
        ("首都はどこ", "東京は日本の首都である。"),
    )
    """They differ in length, so that a batch of them is padded."""

    def __init__(self, pretrained: Pretrained, max_length: int, truncation: str) -> None:
        """Read the template from the tokenizer, and check it.

        Args:
            pretrained: Model and tokenizer.
            max_length: Tokens of a pair at most, special tokens included.
            truncation: One of `pair_tokenizer.TRUNCATIONS`.

        Raises:
            EvalkitError: the settings do not fit the tokenizer.
        """
        self.model = pretrained.model
        self._cut_head = pretrained.cut_head
        types = int(getattr(self.model.config, "type_vocab_size", None) or 0)
        self.pair_tokenizer = PairTokenizer(pretrained.tokenizer, max_length, truncation, types, pretrained.saved_with)
        check_pair_encoding(self.pair_tokenizer)

    def cache(self) -> TokenCache:
        """Return a tokenizer of many pairs."""
        return TokenCache(self.pair_tokenizer)

    def reason_not_packable(self) -> str | None:
        """Return why the packed forward pass does not support the model, or None if it does."""
        name = type(self.model).__name__
        if name in ENCODERS:
            return reason_not_packable(self.model)
        if name in packed_encoder.ENCODERS:
            return packed_attention.reason_not_packable(self.model)
        return f"{name} is none of {', '.join([*ENCODERS, *sorted(packed_encoder.ENCODERS)])}"

    def packed(self, device: torch.device, precision: Precision, compiled: bool) -> tuple[ForwardPass, str]:
        """Return the packed forward pass, and the name of its attention kernel.

        Args:
            device: Where the model is.
            precision: The precision of the model.
            compiled: Whether it is compiled.

        Raises:
            EvalkitError: it is to be compiled, and that is not supported.
        """
        if type(self.model).__name__ in packed_encoder.ENCODERS:
            if compiled:
                raise EvalkitError(
                    f"reranker.compile=true: the forward pass of {type(self.model).__name__} is not compiled, only "
                    "that of BERT, RoBERTa and XLM-RoBERTa; use reranker.compile=false"
                )
            encoder = packed_encoder.PackedEncoder(self.model, device, self.pair_tokenizer.token_types.used)
            return encoder, encoder.kernel
        packed = PackedModel(self.model, device, precision, compiled)
        return packed, packed.kernel.name

    def padded(self, device: torch.device) -> ForwardPass:
        """Return the padded forward pass.

        Args:
            device: Where the model is.
        """
        pad_id = int(self.pair_tokenizer.tokenizer.pad_token_id or 0)
        return PaddedModel(self.model, device, pad_id, self.pair_tokenizer.token_types.used)

    reference = "by transformers' own call"

    def reference_logits(self, pairs: Tokenized, device: torch.device) -> Sequence[float]:
        """Return the logits of `checked_pairs`, one by one, by transformers' own call of tokenizer and model.

        A model that was cut down to the score's label computes all of its labels here.

        Args:
            pairs: The pairs as token ids.
            device: Where the model is.
        """
        tokenizer, use_types = self.pair_tokenizer.tokenizer, self.pair_tokenizer.token_types.used
        logits = []
        for row, texts in enumerate(self.checked_pairs):
            if pairs.truncated[row]:  # perhaps by a rule that is no option of the tokenizer's call
                batch = pairs.batch([row])
                inputs: Any = {"input_ids": torch.from_numpy(batch.ids).long()[None]}
                if use_types:
                    inputs["token_type_ids"] = torch.from_numpy(batch.type_ids).long()[None]
            else:
                inputs = dict(tokenizer(*texts, return_tensors="pt", return_token_type_ids=use_types))
            inputs = {key: value.to(device) for key, value in inputs.items()}
            if self._cut_head is None:
                score = self.model(**inputs).logits
            else:
                with self._cut_head.as_saved():
                    score = self._cut_head.score(self.model(**inputs).logits)
            logits.append(float(score.float().flatten()[0]))
        return logits
