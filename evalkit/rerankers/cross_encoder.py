"""A cross-encoder as the reranker: BGE and similar models, or any sequence classifier with one label."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evalkit.boundary.progress import say, stage
from evalkit.boundary.text import user_path
from evalkit.errors import EvalkitError
from evalkit.rerankers.base import Engine, EngineFacts, Reranker, check_texts
from evalkit.types import Pair, Scores, Settings

if TYPE_CHECKING:
    from evalkit.scoring.cluster.ray_runner import RayRunner
    from evalkit.scoring.device_pool import DevicePool
    from evalkit.scoring.runner import Runner
    from evalkit.scoring.runtime.graph_file import PreparedGraph
    from evalkit.scoring.runtime.settings import Runtime
    from evalkit.scoring.scored_pairs import ScoredPairs
    from evalkit.scoring.scorer import Scorer
    from evalkit.scoring.spec import BuiltScorer, ScorerSpec

PACKAGED = "packaged"
"""Value of `reranker.model` for the small cross-encoder that comes with evalkit."""
_PACKAGED_FOLDER = Path(__file__).parent / "packaged"


@dataclass
class CrossEncoder(Reranker):
    """The model `model` (a hub id, a local folder, or "packaged"), computing on `device` at `precision`."""

    model: str
    """Hub id or local folder of a sequence classifier with one label, or "packaged"."""
    max_length: int = 512
    """Tokens of a pair, beyond which it is truncated."""
    truncation: str = "only_second"
    """What is cut where a pair is too long: only_second (the passage) or longest_first."""
    batch_tokens: int | None = None
    """Most tokens computed at a time; null for what the device's memory allows."""
    device: str = "auto"
    """Device of the model: auto, cpu, cuda, cuda:N, cuda:all, or mps on Apple machines (not yet tried there)."""
    precision: str = "fp32"
    """Precision of the model: fp32, tf32, bf16, fp16, or int8 in another runtime than torch."""
    runtime: Mapping[str, Any] | None = None
    """What computes the forward pass: null for torch, else `evalkit.scoring.runtime.settings`."""
    graph: str | None = None
    """In another runtime than torch: a graph's file, export for one that evalkit makes, null for the model's own."""
    path: str = "auto"
    """Forward pass: auto, packed (no padding) or padded."""
    deterministic: bool = False
    """Whether only deterministic kernels are used: slower, the same logits in every run."""
    compile: bool = False
    """Whether torch.compile compiles the model: a slow start, then faster."""
    cuda_graphs: bool = False
    """Whether single queries are replayed as CUDA graphs: lower latency."""
    store: str = "off"
    """Where scored pairs are kept from run to run: auto (the cache folder), off, or a file."""
    batch_timeout_s: float = 600.0
    """Seconds to wait for a batch from another device before the trial fails."""
    executor: Mapping[str, Any] | None = None
    """Where pairs are scored: null or ``name: local`` for `device`, else `evalkit.scoring.cluster.settings`."""
    revision: str | None = None
    """Branch, tag or commit on the hub; null for the default branch."""
    prompt: str | None = None
    """Text before each query; null for what the model's files state, which is nothing for most."""
    self_check: bool = True
    """Whether a few pairs are first scored in every way that is used later, and the scores compared."""
    name: str | None = None
    """Name in results and reports; null for the model's."""
    computes = True

    def __post_init__(self) -> None:
        self._built: BuiltScorer | None = None
        self._pool: DevicePool | None = None
        self._cluster: RayRunner | None = None
        self._graph: PreparedGraph | None = None

    @property
    def label(self) -> str:
        """Return the model as configured."""
        return self.model

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
        from evalkit.scoring.loading.model_checks import check_classifier, is_packable_checkpoint
        from evalkit.scoring.pair_tokenizer import check_truncation
        from evalkit.scoring.runtime.settings import check_runtime
        from evalkit.scoring.spec import build_scorer

        runtime = self._runtime
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
        commit = check_classifier(self._where(), self.revision, "reranker.model", weights=not self._uses_graph)
        if self._uses_graph:
            self._prepare_graph()
        elif not self.remote and not is_packable_checkpoint(self._where(), commit, "reranker.model"):
            with stage("loading the model once, as its architecture or weights are not known to work"):
                build_scorer(self._spec(self.device))
        if self.store != "off":
            from evalkit.scoring.store.database import check_writable

            check_writable(store_path(self.store))

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
        from evalkit.scoring.device import resolve_devices
        from evalkit.scoring.device_pool import DevicePool
        from evalkit.scoring.spec import build_graph_scorer, build_scorer

        if self.remote:
            self._load_remote()
            return
        if self._uses_graph:
            if self._graph is None:
                self._prepare_graph()
            assert self._graph is not None
            self._built = build_graph_scorer(self._spec(self.device), self._graph)
            self.check_s = self._built.check_s
            return
        self._built = build_scorer(self._spec(self.device))
        self.check_s = self._built.check_s
        others = resolve_devices(self.device)[1:]
        if others:
            specs = [self._spec(str(device)) for device in others]
            self._pool = DevicePool(specs, self._built.scorer.runner, self.batch_timeout_s)

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

    @property
    def _runner(self) -> "Runner | None":
        return self._cluster or self._pool

    @property
    def scorer(self) -> "Scorer":
        """Return the scoring engine, which exists after `load`."""
        assert self._built is not None, "load() comes first"
        return self._built.scorer

    @property
    def engine(self) -> Engine | None:  # type: ignore[override]  # it exists after loading
        """Return the loaded model for measurement; None before `load`."""
        if self._built is None:
            return None
        from evalkit.rerankers.local_engine import LocalEngine
        from evalkit.scoring.device import device_name

        place, scorer = self._cluster.environment if self._cluster else None, self.scorer
        devices = self._cluster.workers if self._cluster else len(self._pool) + 1 if self._pool else 1
        facts = EngineFacts(
            dtype=self._built.dtype,
            max_length=self.max_length,
            batch_tokens=scorer.budget.tokens,
            devices=devices,
            device_name=place.device_name if place else device_name(self._built.device),
            attention=place.attention if place else scorer.kernel,
            prompt=self._prompt,
        )
        return LocalEngine(scorer, facts, self._built.graph.file.bytes if self._built.graph else None)

    def _where(self) -> str:
        return str(_PACKAGED_FOLDER) if self.model == PACKAGED else self.model

    def _spec(self, device: str) -> "ScorerSpec":
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
            runtime=self._runtime,
            graph=self.graph,
        )

    def score(
        self,
        pairs: Sequence[Pair],
        queries: Mapping[str, str],
        docs: Mapping[str, str],
        on_progress: Callable[[int], None] = lambda n: None,
    ) -> Scores:
        """Compute the logit of each pair, on one device unless `remote`.

        Args:
            pairs: as for `Reranker.score`.
            queries: as for `Reranker.score`.
            docs: as for `Reranker.score`.
            on_progress: as for `Reranker.score`.

        Raises:
            EvalkitError: a passage has no text, memory does not suffice, or a logit is NaN or infinite.
        """
        return _scores(self.scorer.score(self._texts(pairs, queries, docs), on_progress, runner=self._cluster))

    def score_all(
        self,
        pairs: Sequence[Pair],
        queries: Mapping[str, str],
        docs: Mapping[str, str],
        on_progress: Callable[[int], None] = lambda n: None,
    ) -> Scores:
        """Return the logit of each pair, computed on all devices unless the store has it.

        An interrupted run continues where it stopped, as its scores are in the store. Pairs with the same two texts, as
        of a duplicate passage, are computed once, also without a store.

        Args:
            pairs: as for `Reranker.score`.
            queries: as for `Reranker.score`.
            docs: as for `Reranker.score`.
            on_progress: as for `Reranker.score`.

        Raises:
            EvalkitError: as for `score`, or the store cannot be used.
        """
        texts = self._texts(pairs, queries, docs)
        if self.store == "off":
            return _scores(self.scorer.score(texts, on_progress, runner=self._runner, repeatable=True))
        import numpy as np

        from evalkit.scoring.store.score_store import ScoreStore, pair_keys

        path = store_path(self.store)
        keys = pair_keys(texts)
        with ScoreStore(path, self._space()) as store:
            known = store.look_up(keys)
            there = int(np.isfinite(known.logits).sum())
            say(f"  {there:,} of {len(texts):,} scores are in the store ({path})")
            if there == len(texts):
                on_progress(there)
                return Scores(tuple(known.logits.tolist()), int(known.truncated.sum()), computed_pairs=0,
                              from_store=there, **asdict(self.scorer.text_statistics(texts)))  # fmt: skip
            scored = self.scorer.score(
                texts,
                on_progress,
                known.logits,
                lambda done: store.add(keys[done.rows], done.logits, done.truncated, done.lengths),
                self._runner,
                repeatable=True,
            )
        return _scores(scored, there)

    @property
    def _prompt(self) -> str:
        """Return the text in front of each query, as in sentence-transformers' CrossEncoder."""
        if self.prompt is not None:
            return self.prompt
        return self._built.pretrained.sbert_config.prompt if self._built else ""

    def _texts(
        self, pairs: Sequence[Pair], queries: Mapping[str, str], docs: Mapping[str, str]
    ) -> list[tuple[str, str]]:
        check_texts(pairs, docs)
        prompt = self._prompt
        return [(prompt + queries[pair.query_id], docs[pair.doc_id]) for pair in pairs]

    def _space(self) -> dict[str, Any]:
        """Return everything that a score depends on besides the two texts: the key of a space in the store."""
        import evalkit

        facts = self.describe()
        words = self._built.pretrained.tokenizer.backend_tokenizer.to_str() if self._built else ""
        return {
            # A folder is identified by its hash; its path may differ between machines.
            "model": "folder" if str(facts["revision"]).startswith("sha256:") else self.model,
            "revision": facts["revision"],
            "tokenizer": hashlib.sha256(words.encode()).hexdigest(),
            "engine": evalkit.__version__,
            "torch": f"{version('torch')}, transformers {version('transformers')}",
            "device": facts["device_name"],
            "prompt": facts["prompt"],
            **({key: facts[key] for key in ("runtime", "runtime_version", "graph_sha256")} if self._uses_graph else {}),
            **{key: facts[key] for key in ("precision", "attention", "max_length", "truncation", "deterministic",
                                           "compiled", "token_types", "truncation_side")},
        }  # fmt: skip

    def describe(self) -> Settings:
        """Return the model, its revision, and the precision, device and limits that were used."""
        import torch

        from evalkit.scoring.device import device_name
        from evalkit.scoring.loading.model_location import short_name

        assert self._built is not None, "load() comes first"
        pretrained, device, precision = self._built.pretrained, self._built.device, self._built.precision
        config = pretrained.model.config
        return {
            "name": self.name or (self.model if self.model == PACKAGED else short_name(self.model)),
            "model": self.model,
            "revision": pretrained.revision,
            "architecture": type(pretrained.model).__name__,
            "layers": config.num_hidden_layers,
            "hidden": config.hidden_size,
            "parameters": self.scorer.shape.parameters,
            "tokenizer": type(pretrained.tokenizer).__name__,
            "tokenizer_source": pretrained.tokenizer_source.description,
            "weights_ignored": list(pretrained.weights_ignored),
            "max_length": self.max_length,
            "truncation": self.truncation,
            **self._describe_files(),
            **self.scorer.describe(),
            "device": str(device),
            "device_name": device_name(device),
            "devices": len(self._pool) + 1 if self._pool else 1,
            "store": self.store,
            "precision": precision.name,
            "dtype": self._built.dtype,
            "tf32": precision.tf32,
            "threads": torch.get_num_threads() if device.type == "cpu" else None,
            "self_check": self._describe_check(),
            **self._describe_runtime(),
            **self._describe_workers(),
        }

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
        checked = self._built.self_check if self._built else None
        return None if checked is None else {**asdict(checked), "ways": list(checked.ways)}

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
            "prompt": self._prompt,
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


def store_path(asked: str) -> Path:
    """Return the file of the score store for the setting `store`: ``auto`` or a path."""
    from evalkit.boundary.cache_dirs import default_store_path

    return default_store_path() if asked == "auto" else user_path(asked)


def _scores(scored: "ScoredPairs", from_store: int = 0) -> Scores:
    return Scores(
        tuple(scored.logits.tolist()),
        scored.truncated_pairs,
        scored.tokens,
        scored.padded_tokens,
        scored.tokenize_s,
        scored.forward_s,
        computed_pairs=scored.computed_pairs,
        from_store=from_store,
        budget_halvings=scored.events,
        flops=scored.flops,
        **asdict(scored.text_statistics),
    )
