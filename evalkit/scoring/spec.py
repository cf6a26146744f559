"""What it takes to build a scorer, as plain values: they travel to other processes and machines as they are."""

from dataclasses import dataclass, replace

import torch

from evalkit.scoring.device import Precision, resolve_device, resolve_precision
from evalkit.scoring.pretrained import Pretrained, load_classifier
from evalkit.scoring.scorer import Scorer
from evalkit.scoring.self_check import SelfCheck, check_scores


@dataclass(frozen=True)
class ScorerSpec:
    """Model, device and settings, in the words of the configuration; see `Scorer`."""

    model: str
    device: str
    precision: str
    max_length: int
    truncation: str
    batch_tokens: int | None = None
    path: str = "auto"
    deterministic: bool = False
    compiled: bool = False
    cuda_graphs: bool = False
    revision: str | None = None
    self_check: bool = True


@dataclass(frozen=True)
class Built:
    """A scorer, and what it was built from."""

    scorer: Scorer
    pretrained: Pretrained
    device: torch.device
    precision: Precision
    checked: SelfCheck | None = None
    """None where the self-check was left out by name, and for a planner, which computes nothing."""

    @property
    def check_s(self) -> float:
        """Return the seconds that went into checks: no part of the time to load."""
        return self.pretrained.check_s + (self.checked.seconds if self.checked else 0.0)


def build_scorer(spec: ScorerSpec) -> Built:
    """Load the model onto its device, make a scorer of it, and check that it scores alike on every way.

    Raises:
        EvalkitError: model, device or precision cannot be had, the settings do not fit the model, or the self-check
            fails.
    """
    device = resolve_device(spec.device)
    precision = resolve_precision(spec.precision, device)
    pretrained = load_classifier(spec.model, spec.revision, device, precision, "reranker.model")
    scorer = scorer_of(spec, pretrained, device, spec.batch_tokens)
    built = Built(scorer, pretrained, device, precision)
    return replace(built, checked=check_scores(built)) if spec.self_check else built


def scorer_of(spec: ScorerSpec, pretrained: Pretrained, device: torch.device, batch_tokens: int | None) -> Scorer:
    """Make a scorer as `spec` says, of a model that is loaded, with a token budget of the caller's."""
    return Scorer(
        pretrained,
        device,
        spec.max_length,
        spec.truncation,
        batch_tokens,
        path=spec.path,
        deterministic=spec.deterministic,
        compiled=spec.compiled,
        cuda_graphs=spec.cuda_graphs,
    )
