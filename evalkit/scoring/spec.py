"""The specification of a scorer, as plain values that can be sent to other processes, and the scorer built from it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch

from evalkit.scoring.device import Precision, named_precision, resolve_device, resolve_precision
from evalkit.scoring.loading.labels import Label
from evalkit.scoring.loading.pretrained import Pretrained, load_classifier, load_decoder, load_without_weights
from evalkit.scoring.prompt import Prompt
from evalkit.scoring.runtime.settings import GraphRuntime, Runtime
from evalkit.scoring.scorer import Scorer
from evalkit.scoring.self_check import SelfCheck, check_scores_agree

if TYPE_CHECKING:
    from evalkit.scoring.runtime.graph_file import PreparedGraph


@dataclass(frozen=True)
class ScorerSpec:
    """Model, device and settings, as in the configuration; see `Scorer`."""

    model: str
    """A local folder, or a name on the Hugging Face hub."""
    device: str
    """As for `device.resolve_device`."""
    precision: str
    """A key of `device.PRECISIONS`."""
    max_length: int
    """Tokens of a pair at most, special tokens included."""
    truncation: str
    batch_tokens: int | None = None
    path: str = "auto"
    deterministic: bool = False
    compiled: bool = False
    cuda_graphs: bool = False
    revision: str | None = None
    """A branch, a tag or a commit of the hub; None for its main branch."""
    self_check: bool = True
    """Whether `build_scorer` checks that the scores do not depend on how they are computed."""
    runtime: Runtime = field(default_factory=Runtime)
    prompt: Prompt | None = None
    """What a decoder is asked; None for an encoder."""
    share_prefix: bool = True
    """Whether what a query's prompts have in common is computed once."""
    label: Label = ()
    """The label of a classifier that is the score, or two for their difference; empty for its only one."""
    graph: str | None = None
    """The file of the graph, or ``export``; None for one of the model's own files, else an export."""


@dataclass(frozen=True)
class BuiltScorer:
    """A scorer, and what it was built from."""

    scorer: Scorer
    pretrained: Pretrained
    device: torch.device
    precision: Precision
    self_check: SelfCheck | None = None
    """None if the self-check is switched off, and for a planner, which does not compute."""
    graph: "PreparedGraph | None" = None
    """What a runtime other than torch computes."""
    runtime_facts: Mapping[str, Any] = field(default_factory=dict)
    """The version of the runtime and its settings in force; empty for torch."""

    @property
    def dtype(self) -> str:
        """Return the type of the weights, as torch names it."""
        return str(self.precision.dtype).removeprefix("torch.")

    @property
    def check_s(self) -> float:
        """Return the seconds spent on checks, which are not part of the loading time."""
        return self.pretrained.check_s + (self.self_check.seconds if self.self_check else 0.0)


def build_scorer(spec: ScorerSpec) -> BuiltScorer:
    """Load a model onto its device, build a scorer, and run its self-check.

    Args:
        spec: Model, device and settings.

    Raises:
        EvalkitError: model, device or precision are not available, the settings do not fit the model, or the self-check
            fails.
    """
    device = resolve_device(spec.device)
    precision = resolve_precision(spec.precision, device)
    where = spec.model, spec.revision, device, precision, "reranker.model"
    if spec.prompt is None:
        pretrained = load_classifier(*where, label=spec.label)
    else:
        pretrained = load_decoder(*where, head=spec.prompt.yes_word is None, layer=spec.prompt.layer)
    scorer = scorer_from_spec(spec, pretrained, device, spec.batch_tokens)
    built = BuiltScorer(scorer, pretrained, device, precision)
    if not spec.self_check:
        return built
    return replace(built, self_check=check_scores_agree(scorer, pretrained, precision.name))


def build_graph_scorer(spec: ScorerSpec, graph: "PreparedGraph") -> BuiltScorer:
    """Load a graph into its runtime, build a scorer, and compare it with torch's logits.

    Args:
        spec: Model, runtime and settings.
        graph: As `evalkit.scoring.runtime.prepare.prepare_graph` returns it for the spec.

    Raises:
        EvalkitError: the graph cannot be loaded, the settings do not fit the model, or the self-check fails.
    """
    from evalkit.scoring.runtime.capabilities import resolve_runtime_device, resolve_runtime_precision
    from evalkit.scoring.runtime.graph_check import check_graph
    from evalkit.scoring.runtime.load import load_graph

    runtime = spec.runtime
    assert isinstance(runtime, GraphRuntime)
    device = resolve_runtime_device(spec.device, runtime)
    precision = resolve_runtime_precision(spec.precision, device, runtime)
    # The model has shapes and no weights: its configuration and its tokenizer are what the engine needs.
    pretrained = load_without_weights(
        spec.model, spec.revision, named_precision("fp32"), "reranker.model", weights=False
    )
    model, facts = load_graph(graph, runtime, spec.precision, spec.deterministic)
    scorer = Scorer(
        pretrained,
        torch.device("cpu"),  # where token ids and logits are, whatever the runtime computes on
        spec.max_length,
        spec.truncation,
        spec.batch_tokens,
        deterministic=spec.deterministic,
        graph=model,
    )
    built = BuiltScorer(scorer, pretrained, device, precision, graph=graph, runtime_facts=facts)
    if graph.reference_logits is None:
        return built
    name = f"reranker.model={spec.model}: {graph.file.source}"
    return replace(built, self_check=check_graph(scorer, graph.reference_logits, spec.precision, name))


def scorer_from_spec(
    spec: ScorerSpec, pretrained: Pretrained, device: torch.device, batch_tokens: int | None
) -> Scorer:
    """Return a scorer of a loaded model.

    Args:
        spec: The settings; model, device, precision and token budget are those of the other arguments.
        pretrained: The loaded model.
        device: Where the model is.
        batch_tokens: Tokens of a batch at most; None to choose a number.

    Raises:
        EvalkitError: the settings do not fit the model.
    """
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
        prompt=spec.prompt,
        share_prefix=spec.share_prefix,
    )
