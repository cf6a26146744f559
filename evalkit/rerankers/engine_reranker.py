"""The base of rerankers that evalkit's engine computes: loaded on each device, scored, and their scores stored."""

import hashlib
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from evalkit.boundary.cache_dirs import store_path
from evalkit.boundary.progress import say
from evalkit.rerankers.base import Engine, EngineFacts, Reranker, texts_of
from evalkit.types import Pair, Scores, Settings

if TYPE_CHECKING:
    from evalkit.scoring.device_pool import DevicePool
    from evalkit.scoring.runner import Runner
    from evalkit.scoring.scored_pairs import ScoredPairs
    from evalkit.scoring.scorer import Scorer
    from evalkit.scoring.spec import BuiltScorer, ScorerSpec


@dataclass
class EngineReranker(Reranker):
    """The model `model`, computing on `device` at `precision`."""

    model: str
    """Hub id or local folder."""
    max_length: int = 512
    """Tokens of a pair, beyond which it is truncated."""
    batch_tokens: int | None = None
    """Most tokens computed at a time; null for what the device's memory allows."""
    device: str = "auto"
    """Device of the model: auto, cpu, cuda, cuda:N, cuda:all, or mps on Apple machines (not yet tried there)."""
    precision: str = "fp32"
    """Precision of the model: fp32, tf32, bf16 or fp16."""
    path: str = "auto"
    """Forward pass: auto, packed (no padding) or padded."""
    deterministic: bool = False
    """Whether only deterministic kernels are used: slower, the same logits in every run."""
    store: str = "off"
    """Where scored pairs are stored for later runs: auto (the cache folder), off, or a file."""
    batch_timeout_s: float = 600.0
    """Seconds to wait for a batch from another device before the trial fails."""
    revision: str | None = None
    """Branch, tag or commit on the hub; null for the default branch."""
    self_check: bool = True
    """Whether a few pairs are first scored in every way that is used later, and the scores compared."""
    name: str | None = None
    """Name in results and reports; null for the model's."""
    computes = True

    def __post_init__(self) -> None:
        self._built: BuiltScorer | None = None
        self._pool: DevicePool | None = None

    @property
    def shown_name(self) -> str:
        """Return the model as configured."""
        return self.model

    @abstractmethod
    def _spec(self, device: str) -> "ScorerSpec":
        """Return the engine's settings on a device."""

    @abstractmethod
    def _describe_kind(self) -> Settings:
        """Return what is particular to this kind of reranker, for the result."""

    def load(self) -> None:
        """Load model and tokenizer onto each device.

        Raises:
            EvalkitError: model, device or precision are not available, or the settings do not fit the model.
        """
        from evalkit.scoring.device import resolve_devices
        from evalkit.scoring.device_pool import DevicePool
        from evalkit.scoring.spec import build_scorer

        self._built = build_scorer(self._spec(self.device))
        self.check_s = self._built.check_s
        others = resolve_devices(self.device)[1:]
        if others:
            specs = [self._spec(str(device)) for device in others]
            self._pool = DevicePool(specs, self._built.scorer.runner, self.batch_timeout_s)

    def _check_store(self) -> None:
        if self.store != "off":
            from evalkit.scoring.store.database import check_writable

            check_writable(store_path(self.store))

    @property
    def _runner(self) -> "Runner | None":
        """What scores all pairs; None for the scorer's own device."""
        return self._pool

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

        return LocalEngine(self.scorer, self._facts(), self._built.graph.file.bytes if self._built.graph else None)

    def _facts(self) -> EngineFacts:
        from evalkit.scoring.device import device_name

        assert self._built is not None, "load() comes first"
        return EngineFacts(
            dtype=self._built.dtype,
            max_length=self.max_length,
            batch_tokens=self.scorer.budget.tokens,
            devices=len(self._pool) + 1 if self._pool else 1,
            device_name=device_name(self._built.device),
            attention=self.scorer.kernel,
            prompt=self._query_prompt,
        )

    def _where(self) -> str:
        """Return the hub id or the folder to load."""
        return self.model

    @property
    def _query_prompt(self) -> str:
        """Return what is put in front of each query before it is tokenized."""
        return ""

    def token_offsets(self, texts: Sequence[str]) -> Sequence[Sequence[tuple[int, int]]]:
        """Return where the tokens of texts are.

        Args:
            texts: as for `Reranker.token_offsets`.
        """
        if not texts:
            return []
        from evalkit.scoring.token_offsets import token_offsets

        return token_offsets(self.scorer.pair_tokenizer.tokenizer, texts)

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
        texts = texts_of(pairs, queries, docs, self._query_prompt)
        return _scores(self.scorer.score(texts, on_progress, runner=self._runner if self.remote else None))

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
        texts = texts_of(pairs, queries, docs, self._query_prompt)
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
            **{key: facts[key] for key in ("precision", "attention", "max_length", "truncation", "deterministic")},
            **{key: facts[key] for key in self._space_keys()},
        }

    @abstractmethod
    def _space_keys(self) -> Sequence[str]:
        """Return the keys of `describe` that scores of this kind depend on besides."""

    def describe(self) -> Settings:
        """Return the model, its revision, and the precision, device and limits that were used."""
        import torch

        from evalkit.scoring.device import device_name
        from evalkit.scoring.loading.model_location import short_name

        assert self._built is not None, "load() comes first"
        pretrained, device, precision = self._built.pretrained, self._built.device, self._built.precision
        config = pretrained.model.config
        return {
            "name": self.name or short_name(self.model),
            "model": self.model,
            "revision": pretrained.revision,
            "architecture": pretrained.architecture,
            "layers": config.num_hidden_layers,
            "hidden": config.hidden_size,
            "parameters": self.scorer.shape.parameters,
            "tokenizer": type(pretrained.tokenizer).__name__,
            "tokenizer_source": pretrained.tokenizer_source.description,
            "weights_ignored": list(pretrained.weights_ignored),
            "max_length": self.max_length,
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
            **self._describe_kind(),
        }

    def _describe_check(self) -> Settings | None:
        """Return what the self-check compared; None if it was skipped."""
        checked = self._built.self_check if self._built else None
        return None if checked is None else {**asdict(checked), "ways": list(checked.ways)}


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
