"""A scorer without weights: it tokenizes and plans batches for workers elsewhere, and need not be able to compute."""

from dataclasses import dataclass, replace
from importlib.metadata import version

import torch

from evalkit.scoring.budget import Budget, budget
from evalkit.scoring.device import device_name, named_precision
from evalkit.scoring.flops import shape_of
from evalkit.scoring.pretrained import load_skeleton
from evalkit.scoring.spec import Built, ScorerSpec, scorer_of


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
