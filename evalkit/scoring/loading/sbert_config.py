"""How a model is to be used, as its files in sentence-transformers' format state it: pooling, layers, prompts."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class HeadLayer:
    """A layer after the pooling: ``Dense``, ``LayerNorm`` or ``Normalize``."""

    kind: str
    path: str
    """Its folder, relative to the model's."""
    size_in: int = 0
    size_out: int = 0
    bias: bool = True
    activation: str = "Identity"
    """The name of a class in torch.nn."""
    residual: bool = False
    weights: Path | None = None

    def describe(self) -> str:
        """Return its kind, and for a Dense its sizes and activation."""
        return f"Dense {self.size_in}x{self.size_out} {self.activation}" if self.kind == "Dense" else self.kind


@dataclass(frozen=True)
class SbertConfig:
    """The settings in a model's own files; None, or empty, for what they do not state."""

    modules: tuple[str, ...] = ()
    """The classes in modules.json."""
    pooling: str | None = None
    pools_prompt: bool = True
    """Whether the tokens of a prompt are included in the pooling."""
    layers: tuple[HeadLayer, ...] = ()
    similarity: str | None = None
    truncate_dim: int | None = None
    prompts: Mapping[str, str] = field(default_factory=dict)
    default_prompt_name: str | None = None
    max_length: int | None = None
    """Tokens of a text at most."""
    lowercase: bool = False
    """Whether texts are lowercased before tokenization."""
    activation: str | None = None
    """The activation of a cross-encoder's logit, the name of a class in torch.nn; or that of a sparse encoder's."""
    scores: bool = False
    """Whether the last layer gives scores: a modular cross-encoder, which is an encoder with a pooling and layers."""
    is_masked_lm: bool = False
    """Whether an embedding model's config.json states a masked language model, as that of a sparse encoder does."""
    top_tokens: int | None = None
    """How many of the largest weights of a sparse vector count."""
    query_weights: Path | None = None
    """The weight of each token in queries, for a sparse encoder that computes no model for them; else None."""
    query_tokenizer: Path | None = None
    """The tokenizer of these queries."""
    score_tokens: tuple[int, ...] = ()
    """The ids of a decoder's token for yes, and of that for no if there is one; empty if the files name none."""
    notes: tuple[str, ...] = ()
    """A sentence for each setting that was found and is not followed."""

    @property
    def prompt(self) -> str:
        """Return the prompt that a cross-encoder puts before each query; empty if there is none."""
        return self.prompts.get(self.default_prompt_name or "", "")

    @property
    def normalize(self) -> bool | None:
        """Return whether vectors are normalized before they are compared; None if the files do not state it."""
        if not self.modules:
            return None
        ends_normalized = bool(self.layers) and self.layers[-1].kind == "Normalize" and self.truncate_dim is None
        return ends_normalized or self.similarity in (None, "cosine")

    def layers_for(self, normalize: bool) -> tuple[HeadLayer, ...]:
        """Return the layers to compute; a last ``Normalize`` is left out if the setting overrides it.

        Args:
            normalize: Whether vectors are to be normalized.
        """
        overridden = not normalize and self.normalize is True
        ends_normalized = bool(self.layers) and self.layers[-1].kind == "Normalize"
        return self.layers[:-1] if overridden and ends_normalized else self.layers

    def as_settings(self) -> dict[str, Any]:
        """Return the settings as plain values, for a result."""
        return {
            "modules": list(self.modules),
            "pooling": self.pooling,
            "layers": [layer.describe() for layer in self.layers],
            "similarity": self.similarity,
            "truncate_dim": self.truncate_dim,
            "prompts": dict(self.prompts),
            "max_length": self.max_length,
            "lowercase": self.lowercase,
        }  # fmt: skip
