"""A cross-encoder as the reranker: BGE and similar models, or any sequence classifier."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evalkit.boundary.errors import EvalkitError
from evalkit.boundary.progress import stage
from evalkit.rerankers.base import EngineFacts
from evalkit.rerankers.engine_reranker import EngineReranker
from evalkit.types import Settings

if TYPE_CHECKING:
    from evalkit.scoring.cluster.ray_runner import RayRunner
    from evalkit.scoring.loading.adapter import Merged
    from evalkit.scoring.runner import Runner
    from evalkit.scoring.runtime.graph_file import PreparedGraph
    from evalkit.scoring.runtime.settings import Runtime
    from evalkit.scoring.spec import ScorerSpec

PACKAGED = "packaged"
"""Value of `reranker.model` for the small cross-encoder that comes with evalkit."""
_PACKAGED_FOLDER = Path(__file__).parent / "packaged"


@dataclass
class CrossEncoder(EngineReranker):
    """The model `model` (a hub id, a local folder, or "packaged"), computing on `device` at `precision`."""

    model: str
    """Hub id or local folder of a sequence classifier, or "packaged"."""
    precision: str = "fp32"
    """Precision of the model: fp32, tf32, bf16, fp16, or int8 in another runtime than torch."""
    truncation: str = "only_second"
    """What is cut where a pair is too long: only_second (the passage) or longest_first."""
    label: Any = None
    """Label whose logit is the score, or a list of two for the difference; null if the model has one label."""
    prompt: str | None = None
    """Text before each query; null for what the model's files state, which is nothing for most."""
    runtime: Mapping[str, Any] | None = None
    """What computes the forward pass: null for torch, else `evalkit.scoring.runtime.settings`."""
    graph: str | None = None
    """In another runtime than torch: a graph's file, export for one that evalkit makes, null for the model's own."""
    compile: bool = False
    """Whether torch.compile compiles the model: a slow start, then faster."""
    cuda_graphs: bool = False
    """Whether single queries are replayed as CUDA graphs: lower latency."""
    executor: Mapping[str, Any] | None = None
    """Where pairs are scored: null or ``name: local`` for `device`, else `evalkit.scoring.cluster.settings`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._cluster: RayRunner | None = None
        self._graph: PreparedGraph | None = None

    @property
    def remote(self) -> bool:  # type: ignore[override]  # derived from the executor
        """Return whether other machines compute, whose memory, latency and energy this one cannot measure."""
        return self.executor is not None and self.executor["name"] != "local"

    def check(self) -> None:
        """Check settings, device, precision, and that the model exists and is a reranker.

        A graph that evalkit has to make is made here. From here on, torch uses the threads that `runtime` names.

        Raises:
            EvalkitError: one of them is invalid or not available.
        """
        import torch

        from evalkit.scoring.cuda_graphs import check_cuda_graphs
        from evalkit.scoring.device import resolve_device, resolve_precision
        from evalkit.scoring.forward_path import check_path
        from evalkit.scoring.loading.labels import read_label
        from evalkit.scoring.loading.model_checks import check_classifier, is_packable_checkpoint
        from evalkit.scoring.pair_tokenizer import check_truncation
        from evalkit.scoring.runtime.settings import check_runtime
        from evalkit.scoring.spec import build_scorer

        runtime, label = self._runtime, read_label(self.label)
        check_runtime(runtime)
        if runtime.threads is not None:
            torch.set_num_threads(runtime.threads)
        if self._uses_graph:
            from evalkit.scoring.runtime.checks import check_graph_settings

            check_graph_settings(runtime, self)
        elif self.graph is not None:
            raise EvalkitError(
                f"reranker.graph={self.graph}: a graph is computed by runtime=onnxruntime or runtime=openvino, and "
                "this trial has runtime=torch"
            )
        elif self.remote:
            self._check_remote()
        else:
            device = resolve_device(self.device)
            resolve_precision(self.precision, device)
            check_cuda_graphs(self.cuda_graphs, device, self.path)
        check_truncation(self.truncation)
        check_path(self.path)
        commit = check_classifier(
            self._where(), self.revision, "reranker.model", weights=not self._uses_graph, label=label
        )
        if self._uses_graph:
            self._prepare_graph()
        elif not self.remote and not is_packable_checkpoint(self._where(), commit, "reranker.model"):
            with stage("loading the model once, as its architecture or weights are not known to work"):
                build_scorer(self._spec(self.device))
        self._check_store()

    @property
    def _runtime(self) -> "Runtime":
        from evalkit.scoring.runtime.settings import runtime_of

        return runtime_of(self.runtime)

    @property
    def _uses_graph(self) -> bool:
        return self._runtime.name != "torch"

    def _prepare_graph(self) -> None:
        """Find or make the graph; the device is then the one that the runtime computes on, whose memory is measured."""
        from evalkit.scoring.runtime.capabilities import resolve_runtime_device
        from evalkit.scoring.runtime.prepare import prepare_graph

        spec = self._spec(self.device)
        self._graph = prepare_graph(spec)
        self.device = str(resolve_runtime_device(self.device, spec.runtime))

    def _check_remote(self) -> None:
        from evalkit.scoring.cluster.settings import RaySettings
        from evalkit.scoring.device import named_precision

        assert self.executor is not None
        settings = RaySettings.of(self.executor)
        settings.check()
        if self.device not in ("auto", settings.device):
            raise EvalkitError(
                f"reranker.device={self.device}: with executor=ray a worker's device follows from executor.num_gpus or "
                f"executor.num_cpus, here {settings.device}; use reranker.device=auto"
            )
        if self.cuda_graphs:
            raise EvalkitError(
                "reranker.cuda_graphs=true speeds up single queries, which executor=ray does not measure; use "
                "reranker.cuda_graphs=false"
            )
        named_precision(self.precision)  # only the workers can check whether their device supports it

    def load(self) -> None:
        """Load model and tokenizer onto the device, or start workers that load them.

        Raises:
            EvalkitError: model, device or precision are not available, or the settings do not fit the model.
        """
        if self.remote:
            self._load_remote()
        elif self._uses_graph:
            self._load_graph()
        else:
            super().load()

    def _load_graph(self) -> None:
        from evalkit.scoring.spec import build_graph_scorer

        if self._graph is None:
            self._prepare_graph()
        assert self._graph is not None
        self._built = build_graph_scorer(self._spec(self.device), self._graph)
        self.check_s = self._built.check_s

    def _load_remote(self) -> None:
        import torch

        from evalkit.scoring.cluster.ray_runner import RayRunner
        from evalkit.scoring.cluster.settings import RaySettings
        from evalkit.scoring.planner import build_planner, with_planned_budget

        assert self.executor is not None
        settings = RaySettings.of(self.executor)
        spec = self._spec(settings.device)
        self._built = build_planner(spec, torch.device("cpu"))
        self._cluster = RayRunner(with_planned_budget(spec, self._built), settings)
        self._cluster.start()

    def check_protocol(self, protocol: Mapping[str, Any]) -> None:
        """Refuse a protocol that measures this machine if others compute.

        Raises:
            EvalkitError: the protocol times something besides the scoring of all pairs.
        """
        if self.remote:
            from evalkit.scoring.cluster.settings import check_protocol

            check_protocol(protocol)

    @cached_property
    def _merged(self) -> "Merged | None":
        """The full model where `model` is an adapter, which is merged when this is first read."""
        from evalkit.scoring.loading.adapter import merge_adapter

        return merge_adapter(self.model, "reranker.model")

    def _where(self) -> str:
        if self.model == PACKAGED:
            return str(_PACKAGED_FOLDER)
        return self._merged.folder if self._merged else self.model

    def _spec(self, device: str) -> "ScorerSpec":
        from evalkit.scoring.loading.labels import read_label
        from evalkit.scoring.spec import ScorerSpec

        return ScorerSpec(
            model=self._where(),
            device=device,
            precision=self.precision,
            max_length=self.max_length,
            truncation=self.truncation,
            batch_tokens=self.batch_tokens,
            path=self.path,
            deterministic=self.deterministic,
            compiled=self.compile,
            cuda_graphs=self.cuda_graphs,
            revision=self.revision,
            self_check=self.self_check,
            label=read_label(self.label),
            runtime=self._runtime,
            graph=self.graph,
        )

    @property
    def _runner(self) -> "Runner | None":
        return self._cluster or super()._runner

    def _facts(self) -> EngineFacts:
        facts = super()._facts()
        if self._cluster is None:
            return facts
        place = self._cluster.environment
        return replace(facts, devices=self._cluster.workers, device_name=place.device_name, attention=place.attention)

    @property
    def _query_prompt(self) -> str:
        """Return the text in front of each query, as in sentence-transformers' CrossEncoder."""
        if self.prompt is not None:
            return self.prompt
        return self._built.pretrained.sbert_config.prompt if self._built else ""

    def _space_keys(self) -> Sequence[str]:
        keys: tuple[str, ...] = ("prompt", "compiled", "token_types", "truncation_side")
        keys = keys if self.label is None else (*keys, "score")
        return (*keys, "runtime", "runtime_version", "graph_sha256") if self._uses_graph else keys

    def _describe_kind(self) -> Settings:
        """Return the rule of truncation, and what is particular to files, runtime and workers."""
        return {
            "truncation": self.truncation,
            **self._describe_score(),
            **self._describe_files(),
            **self._describe_runtime(),
            **self._describe_workers(),
        }

    def _describe_score(self) -> Settings:
        """Return what the score is made of where it is not the only logit of a full model."""
        from evalkit.scoring.loading.labels import describe_label, label_names, read_label

        assert self._built is not None, "load() comes first"
        merged, pretrained = self.model != PACKAGED and self._merged, self._built.pretrained
        found: dict[str, Any] = {}
        if self.label is not None:
            names = label_names(pretrained.model.config, pretrained.sbert_config)
            found["score"] = describe_label(read_label(self.label), names)
        if merged:
            adapter = {"kind": merged.kind, "base": merged.base, "base_revision": merged.base_revision}
            found |= {"revision": merged.revision, "adapter": adapter}
        return found

    def _describe_runtime(self) -> Settings:
        """Return the runtime, and for a graph where it came from and how it was quantized."""
        assert self._built is not None, "load() comes first"
        graph = self._built.graph
        if graph is None:
            return {"runtime": "torch"}
        return {
            "runtime": self._runtime.name,
            **self._built.runtime_facts,
            "graph": graph.file.source,
            "graph_sha256": graph.file.sha256,
            "graph_opset": graph.file.opset,
            "quantization": graph.quantization,
        }

    def _describe_check(self) -> Settings | None:
        """Return what the self-check compared, or that each worker made it; None if it was skipped."""
        if self.remote and self.self_check:
            return {"made_by": "each worker"}
        if self.self_check and self._built and self._built.graph and not self._built.graph.compared:
            return {"not_made": "the model has no weights to compare the graph with"}
        return super()._describe_check()

    def _describe_files(self) -> Settings:
        """Return what was taken from the model's files, and a note for each setting that overrides them."""
        assert self._built is not None, "load() comes first"
        files = self._built.pretrained.sbert_config
        notes = list(files.notes)
        if self._built.graph is not None and not self._built.graph.compared:
            notes.append(
                "the model has a graph and no weights that evalkit reads, so the graph's logits were compared with no "
                "others"
            )
        if self._built.graph is not None and self._built.graph.batch_dependent and not self.deterministic:
            notes.append(
                "activations are quantized by the range of a batch, so a pair's score depends a little on the others "
                "of its batch; reranker.deterministic=true computes each pair alone, which is slower"
            )
        if self.prompt is not None and self.prompt != files.prompt and files.prompt:
            notes.append(
                f"reranker.prompt={self.prompt!r} was used, but the reranker's own files state {files.prompt!r}"
            )
        if files.max_length is not None and files.max_length != self.max_length:
            notes.append(
                f"reranker.max_length={self.max_length} was used, but the reranker's own files state {files.max_length}"
            )
        own = "config_sentence_transformers.json" if files.prompt else None
        return {
            "prompt": self._query_prompt,
            "prompt_source": own if self.prompt is None else "reranker.prompt",
            "activation": files.activation,
            "lowercase": files.lowercase,
            "notes": notes,
        }

    def _describe_workers(self) -> Settings:
        """Return the facts of remote workers that replace those of this machine; empty without workers."""
        if self._cluster is None:
            return {}
        place = self._cluster.environment
        return {
            "device": place.device,
            "device_name": place.device_name,
            "devices": self._cluster.workers,
            "attention": place.attention,
            "threads": place.threads,
        }
