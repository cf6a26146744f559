"""Which labels of a classifier make the score: its head is cut down to one output, one label or two labels' difference.

Everything that computes a score then has a model with one label. The head as it was saved is kept, for the self-check.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from evalkit.boundary.errors import EvalkitError
from evalkit.scoring.loading.sbert_config import SbertConfig

Label = tuple[int, ...]
"""Empty for the only label; one label; or two, of which the logit of the second is subtracted."""


def read_label(given: Any) -> Label:
    """Return the setting `reranker.label` as a tuple.

    Args:
        given: None, a number, or a list of two numbers.

    Raises:
        EvalkitError: it is something else.
    """
    if given is None:
        return ()
    is_list = isinstance(given, Sequence) and not isinstance(given, str)
    label = tuple(given) if is_list else (given,)
    numbers = all(isinstance(one, int) and not isinstance(one, bool) for one in label)
    if not numbers or len(label) != (2 if is_list else 1):
        raise EvalkitError(
            f"reranker.label={given}: it is the number of a label, as in reranker.label=1, or a list of two, as in "
            "reranker.label=[1,0] for the logit of label 1 minus that of label 0"
        )
    if len(set(label)) != len(label):
        raise EvalkitError(f"reranker.label={given}: a label minus itself is 0 for every pair; name two labels")
    return label


def label_names(config: Any, sbert_config: SbertConfig) -> Mapping[int, str]:
    """Return the names of a model's labels by number.

    Args:
        config: The model's configuration, as transformers reads it.
        sbert_config: The settings in its files in sentence-transformers' format.
    """
    if sbert_config.scores:  # config.json is that of an encoder, and the last layer has the labels
        return {label: f"LABEL_{label}" for label in range(sbert_config.layers[-1].size_out)}
    return {int(label): str(name) for label, name in sorted((config.id2label or {}).items())}


def check_label(label: Label, names: Mapping[int, str], prefix: str) -> None:
    """Check that a label is one of the model's, and that one is named if the model has several.

    Args:
        label: As `read_label` returns it.
        names: As `label_names` returns it.
        prefix: The beginning of messages: the setting and the model.

    Raises:
        EvalkitError: it is not so.
    """
    count, listed = len(names), _listed(names)
    if not label and count != 1:
        way = "reranker.label=1 takes the logit of label 1, and reranker.label=[1,0] that of label 1 minus that of 0"
        raise EvalkitError(
            f"{prefix}: its head has {count} labels ({listed}), and a score is one number; {way}"
            if count
            else f"{prefix}: its head has no labels, and a score is the logit of one"
        )
    if wrong := [one for one in label if not 0 <= one < count]:
        asked = label[0] if len(label) == 1 else list(label)
        raise EvalkitError(
            f"reranker.label={asked}: the model has no label {wrong[0]}; its head has "
            f"{'1 label' if count == 1 else f'{count} labels'} ({listed})"
        )


def describe_label(label: Label, names: Mapping[int, str]) -> str:
    """Return in words what the score is.

    Args:
        label: As `read_label` returns it, not empty.
        names: As `label_names` returns it.
    """
    return "logit of " + " minus that of ".join(f"label {one}{_in_brackets(one, names)}" for one in label)


def _in_brackets(label: int, names: Mapping[int, str]) -> str:
    name = names.get(label, f"LABEL_{label}")[:80]
    return "" if name == f"LABEL_{label}" else f" ({name})"


def _listed(names: Mapping[int, str]) -> str:
    shown = [f"{label} {name[:40]}" for label, name in names.items()]
    return ", ".join(shown[:10]) + (", ..." if len(shown) > 10 else "")


@dataclass(frozen=True)
class CutHead:
    """The last layer of a model whose other outputs were cut off, and its weights as they were saved."""

    label: Label
    linear: torch.nn.Linear
    """In the model; it has one output."""
    weight: Any
    """(labels, inputs)."""
    bias: Any
    """(labels,), or None."""

    @contextmanager
    def as_saved(self) -> Iterator[None]:
        """Give the model all of its labels again, until the context ends."""
        cut = self.linear.weight, self.linear.bias
        self.linear.weight, self.linear.bias = self.weight, self.bias
        try:
            yield
        finally:
            self.linear.weight, self.linear.bias = cut

    def score(self, logits: torch.Tensor) -> torch.Tensor:
        """Return the scores of pairs, (pairs,).

        Args:
            logits: Logits of all labels, (pairs, labels).
        """
        return score_of_labels(logits.T.float(), self.label)


def cut_head(model: Any, label: Label, prefix: str) -> CutHead | None:
    """Replace the last layer of a classifier by one with the output of the score only.

    The difference of two logits is one logit, whose weights are the difference of the two labels' weights.

    Args:
        model: A sequence classifier of transformers, for which `check_label` passed.
        label: As `read_label` returns it.
        prefix: The beginning of messages: the setting and the model.

    Returns:
        The layer as it was; None if the model has one label.

    Raises:
        EvalkitError: the model has no such layer.
    """
    count = int(model.config.num_labels)
    if count == 1:
        return None
    inside = f"{model.base_model_prefix}."
    layers = [
        module
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and module.out_features == count and not name.startswith(inside)
    ]
    if len(layers) != 1:
        raise EvalkitError(
            f"{prefix}: {type(model).__name__} has {len(layers)} layers with {count} outputs behind its encoder, so "
            "that the one of its labels is not known; save a model with one label, or score with transformers and give "
            "the ranking: reranker=trec_run reranker.path=RUN"
        )
    (linear,) = layers
    saved = CutHead(label, linear, linear.weight, linear.bias)
    linear.weight = _parameter(score_of_labels(linear.weight, label), linear.weight)
    if linear.bias is not None:
        linear.bias = _parameter(score_of_labels(linear.bias, label), linear.bias)
    linear.out_features = 1
    return saved


def score_of_labels(of_labels: torch.Tensor, label: Label) -> torch.Tensor:
    """Return the row of a label in fp32, or the difference of the rows of two.

    Args:
        of_labels: A row for each label, (labels, ...).
        label: As `read_label` returns it; empty for the only one.
    """
    rows = of_labels[list(label or (0,))].float()
    return rows[0] if len(rows) == 1 else rows[0] - rows[1]


def _parameter(row: torch.Tensor, like: torch.Tensor) -> torch.nn.Parameter:
    return torch.nn.Parameter(row.detach()[None].to(like.dtype), requires_grad=like.requires_grad)
