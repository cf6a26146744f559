"""What it takes to build a scorer, as plain values: they travel to other processes and machines as they are."""

from dataclasses import dataclass, replace
from importlib.metadata import version

import torch

from evalkit.scoring.batching import Budget, budget
from evalkit.scoring.device import Precision, device_name, named_precision, resolve_device, resolve_precision
from evalkit.scoring.flops import shape_of
from evalkit.scoring.loading.pretrained import Pretrained, load_classifier, load_skeleton
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
    return replace(built, checked=check_scores(scorer, pretrained, precision.name)) if spec.self_check else built


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


@dataclass(frozen=True)
class Place:
    """Where and with what a scorer computes: two of them that are equal give the same bits for the same batch."""

    device: str
    """``cpu``, or a CUDA device as the worker sees its own."""
    device_name: str
    """As its maker names it: the same kind of device, not the same one."""
    attention: str
    torch: str
    """Its public version: a build for CUDA and one for the CPU of the same release have the same."""
    transformers: str
    revision: str
    """Of the model: the hub's commit, or the hash of its folder."""
    threads: int | None
    """Of torch on a CPU where its compiler splits sums among them; without it a batch belongs to one core."""


def place_of(built: Built) -> Place:
    """Return where and with what a scorer computes."""
    return Place(
        device=str(built.device),
        device_name=device_name(built.device),
        attention=built.scorer.kernel,
        torch=version("torch").partition("+")[0],
        transformers=version("transformers"),
        revision=built.pretrained.revision,
        threads=torch.get_num_threads() if built.device.type == "cpu" and built.scorer.compiled else None,
    )


def build_planner(spec: ScorerSpec, here: torch.device) -> Built:
    """Return a scorer that plans for workers as `spec` describes them, and cannot compute; `here` is where it is.

    `spec.device` is the workers' kind, ``cpu`` or ``cuda``. Without `spec.batch_tokens` the budget is the fixed one of
    that kind: the memory that is free here says nothing of the workers', and theirs may differ from one to another.

    Raises:
        EvalkitError: the model cannot be had, or the settings do not fit it.
    """
    precision = named_precision(spec.precision)
    pretrained = load_skeleton(spec.model, spec.revision, precision, "reranker.model")
    shape, element_bytes = shape_of(pretrained.model), precision.dtype.itemsize
    kind = torch.device(spec.device)
    fixed = budget(spec.batch_tokens, shape, element_bytes, spec.max_length, kind, deterministic=True)
    scorer = scorer_of(spec, pretrained, here, fixed.tokens)
    if spec.batch_tokens is None:
        scorer.budget = Budget(fixed.tokens, f"fixed, for workers with {spec.device}")
    return Built(scorer, pretrained, here, precision)


def planned(spec: ScorerSpec, planner: Built) -> ScorerSpec:
    """Return `spec` with the budget that `planner` plans with, for the workers to compute in the same batches."""
    return replace(spec, batch_tokens=planner.scorer.budget.tokens)
