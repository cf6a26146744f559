"""A decoder as the reranker: a language model that reads a template and answers with the logits of a token or two."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from evalkit.boundary.errors import EvalkitError
from evalkit.rerankers.engine_reranker import EngineReranker
from evalkit.types import Settings

if TYPE_CHECKING:
    from evalkit.scoring.prompt import Prompt
    from evalkit.scoring.spec import ScorerSpec


@dataclass
class Decoder(EngineReranker):
    """The language model `model`, computing on `device` at `precision`; its prompt is the template of its authors."""

    model: str
    """Hub id or local folder of a causal language model, or of a classifier with one label on one."""
    template: list[str] | None = None
    """What the model reads: parts that are tokenized one by one and joined, with {query}, {passage}, {instruction}."""
    instruction: str | None = None
    """The text of {instruction}."""
    yes_word: str | None = None
    """The token whose logit in the last position is the score; null for the model's own head with one label."""
    no_word: str | None = None
    """The token whose logit is subtracted from that of yes_word; null to subtract nothing."""
    cutoff_layer: int | None = None
    """The layer whose own head gives the score, counted from 1, in a model with a head behind each; null for others."""
    compress_layers: list[int] | None = None
    """Layers behind which tokens of the passage are merged, counted from 1, in models trained for it; null for none."""
    compress_ratio: int = 1
    """How many tokens of the passage become one there: 1 (none are merged), 2, 4 or 8."""
    max_length: int = 1024
    """Tokens of a prompt, template included, beyond which the passage is truncated."""
    share_prefix: bool = True
    """Whether what the prompts of a query have in common is computed once: the same scores, faster."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.template is not None:
            self.template = [str(part) for part in self.template]
        if self.compress_layers is not None:
            self.compress_layers = list(self.compress_layers)

    def check(self) -> None:
        """Check settings, device, precision, and that the model exists and is a decoder.

        Raises:
            EvalkitError: one of them is invalid or not available.
        """
        from evalkit.scoring.device import resolve_device, resolve_precision
        from evalkit.scoring.forward_path import check_path
        from evalkit.scoring.loading.layerwise import check_layerwise, refuse_layerwise
        from evalkit.scoring.loading.model_checks import check_decoder
        from evalkit.scoring.prompt import check_prompt

        resolve_precision(self.precision, resolve_device(self.device))
        check_path(self.path)
        prompt = self._prompt()
        check_prompt(prompt)
        if self.cutoff_layer is None:
            refuse_layerwise(self._where(), self.revision, "reranker.model")
            check_decoder(self._where(), self.revision, "reranker.model", head=self.yes_word is None)
        else:
            compress_layers = prompt.compress_layers if prompt.compress_ratio > 1 else ()
            check_layerwise(self._where(), self.revision, "reranker.model", self.cutoff_layer, compress_layers)
        self._check_store()

    def _prompt(self) -> "Prompt":
        from evalkit.scoring.prompt import Prompt

        if not self.template:
            raise EvalkitError(
                "reranker.template is not set: a decoder reranks by the template that it was trained with, a list of "
                "texts with {query} and {passage}; `python -m evalkit info reranker` lists models whose template "
                "evalkit has, and their YAML shows how it is written"
            )
        return Prompt(
            tuple(self.template),
            self.instruction,
            self.yes_word,
            self.no_word,
            self.cutoff_layer,
            tuple(self.compress_layers or ()),
            self.compress_ratio,
        )

    def _spec(self, device: str) -> "ScorerSpec":
        from evalkit.scoring.spec import ScorerSpec

        return ScorerSpec(
            model=self._where(),
            device=device,
            precision=self.precision,
            max_length=self.max_length,
            truncation="only_second",
            batch_tokens=self.batch_tokens,
            path=self.path,
            deterministic=self.deterministic,
            revision=self.revision,
            self_check=self.self_check,
            prompt=self._prompt(),
            share_prefix=self.share_prefix,
        )

    def _space_keys(self) -> Sequence[str]:
        return ("template", "instruction", "score")

    def _describe_kind(self) -> Settings:
        kind = {"truncation": "only_second", "runtime": "torch", "notes": self._notes()}
        if self.cutoff_layer is None:
            return kind
        merges = self._prompt().merges()
        return {
            **kind,
            "cutoff_layer": self.cutoff_layer,
            "head": self.scorer.model.head,
            "compress_layers": list(merges),
            "compress_ratio": self.compress_ratio if merges else 1,
        }

    def _notes(self) -> list[str]:
        """Return a sentence where a setting has no effect, or the model's own files state other tokens."""
        assert self._built is not None, "load() comes first"
        pairs: Any = self._built.scorer.pairs
        if self.compress_ratio > 1 and not self._prompt().merges():
            return [
                f"no tokens are merged: none of reranker.compress_layers={self.compress_layers} is before "
                f"reranker.cutoff_layer={self.cutoff_layer}"
            ]
        own, used = self._built.pretrained.sbert_config.score_tokens, pairs.answer.tokens
        if not own or own == used:
            return []
        words = self._built.pretrained.tokenizer.convert_ids_to_tokens(list(own))
        return [
            f"the score is made of {self.yes_word!r} and {self.no_word!r}, but the reranker's own files state "
            f"{' and '.join(map(repr, words))}"
        ]
