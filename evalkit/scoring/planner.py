"""Planning batches for workers on other machines: a scorer without weights, and a comparison of environments."""

from dataclasses import dataclass, replace
from importlib.metadata import version

import torch

from evalkit.scoring.device import device_name, named_precision
from evalkit.scoring.flops import shape_of
from evalkit.scoring.loading.pretrained import load_without_weights
from evalkit.scoring.spec import BuiltScorer, ScorerSpec, scorer_from_spec
from evalkit.scoring.token_budget import TokenBudget, choose_token_budget


@dataclass(frozen=True)
class ComputeEnvironment:
    """What may change the bits of a score: the same batch gets the same bits in two environments that are equal."""

    device: str
    """``cpu``, or a CUDA device as the worker numbers it."""
    device_name: str
    """The vendor's name: the model of the device, not the individual one."""
    attention: str
    """The name of the attention kernel."""
    torch: str
    """The public version, which builds for CUDA and for the CPU share."""
    transformers: str
    revision: str
    """The model's commit on the hub, or the hash of its folder."""
    threads: int | None
    """torch's threads on a CPU if the model is compiled, which splits sums among them. Otherwise each batch is computed
    by one core, and this is None."""


def environment_of(built: BuiltScorer) -> ComputeEnvironment:
    """Return the environment in which a scorer computes.

    Args:
        built: A scorer, or a planner on the workers' device.
    """
    return ComputeEnvironment(
        device=str(built.device),
        device_name=device_name(built.device),
        attention=built.scorer.kernel,
        torch=version("torch").partition("+")[0],
        transformers=version("transformers"),
        revision=built.pretrained.revision,
        threads=torch.get_num_threads() if built.device.type == "cpu" and built.scorer.compiled else None,
    )


def build_planner(spec: ScorerSpec, device: torch.device) -> BuiltScorer:
    """Return a scorer that plans batches for workers and has no weights to compute with.

    Without `spec.batch_tokens` it uses the fixed token budget of the workers' kind of device: free memory on this
    machine is not that of the workers, whose memory may also differ from one to another.

    Args:
        spec: Model and settings of the workers; `spec.device` is ``cpu`` or ``cuda``.
        device: The device of the planner itself.

    Raises:
        EvalkitError: the model is not available, or the settings do not fit it.
    """
    precision = named_precision(spec.precision)
    pretrained = load_without_weights(spec.model, spec.revision, precision, "reranker.model", label=spec.label)
    shape, element_bytes = shape_of(pretrained.model), precision.dtype.itemsize
    budget = choose_token_budget(
        spec.batch_tokens, shape, element_bytes, spec.max_length, torch.device(spec.device), deterministic=True
    )
    scorer = scorer_from_spec(spec, pretrained, device, budget.tokens)
    if spec.batch_tokens is None:
        scorer.budget = TokenBudget(budget.tokens, f"fixed, for workers with {spec.device}")
    return BuiltScorer(scorer, pretrained, device, precision)


def with_planned_budget(spec: ScorerSpec, planner: BuiltScorer) -> ScorerSpec:
    """Return a spec with the token budget of a planner, so that workers check and describe the same budget.

    Args:
        spec: The spec of the workers.
        planner: As `build_planner` returns it.
    """
    return replace(spec, batch_tokens=planner.scorer.budget.tokens)
