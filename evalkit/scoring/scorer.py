"""Scores pairs with a model: tokenization is prefetched, batches are limited in tokens, and memory may run short."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from evalkit.boundary.errors import EvalkitError, NotFiniteError
from evalkit.scoring import linear
from evalkit.scoring.batch_stream import BatchStream
from evalkit.scoring.core_threads import CoreThreads
from evalkit.scoring.cuda_graphs import GraphedModel, check_cuda_graphs
from evalkit.scoring.decoder_pairs import DecoderPairs
from evalkit.scoring.device import PRECISIONS
from evalkit.scoring.device_runner import DeviceRunner
from evalkit.scoring.encoder_pairs import EncoderPairs
from evalkit.scoring.flops import ModelShape, shape_of
from evalkit.scoring.forward_path import choose_path
from evalkit.scoring.loading.pretrained import Pretrained
from evalkit.scoring.packed import PackedModel
from evalkit.scoring.pair_model import PairModel, TextEncoding
from evalkit.scoring.prefetch import prefetch
from evalkit.scoring.prompt import Prompt
from evalkit.scoring.runner import ForwardPass, Runner, ScoredBatch
from evalkit.scoring.runtime.graph_model import GraphModel
from evalkit.scoring.scored_pairs import ScoreCollector, ScoredPairs
from evalkit.scoring.token_budget import TokenBudget, choose_token_budget
from evalkit.scoring.tokenized_pairs import PairCache, TextStatistics, Tokenized

_PREFETCHED_BATCHES = 4


class Scorer:
    """A model that scores (query, passage) pairs: fp32 logits, larger for more relevant passages."""

    def __init__(
        self,
        pretrained: Pretrained,
        device: torch.device,
        max_length: int,
        truncation: str,
        batch_tokens: int | None = None,
        path: str = "auto",
        deterministic: bool = False,
        compiled: bool = False,
        cuda_graphs: bool = False,
        graph: GraphModel | None = None,
        prompt: Prompt | None = None,
        share_prefix: bool = True,
    ) -> None:
        """Choose the forward path and the token budget, and check the settings against the model.

        Args:
            pretrained: Model and tokenizer; the model is on `device`.
            device: Where the model computes.
            max_length: Tokens of a pair at most, special tokens included.
            truncation: One of `pair_tokenizer.TRUNCATIONS`; that of a decoder cuts the passage.
            batch_tokens: Tokens of a batch at most; None for as many as are useful and fit into free memory.
            path: ``packed``, ``padded``, or ``auto`` for packed if the architecture supports it.
            deterministic: Whether to use a fixed token budget, never split a batch, and restrict torch to deterministic
                kernels, so that the same pairs get the same bits in each run on the same device.
            compiled: Whether to compile the model, which takes a minute at the start; see `PackedModel`.
            cuda_graphs: Whether to capture CUDA graphs, which takes a second at the start; see `GraphedModel`.
            graph: The forward pass of a runtime, computed in place of the model's own, which then needs no weights.
            prompt: What a decoder is asked; None for an encoder.
            share_prefix: With a prompt: whether what a query's pairs have in common is computed once.

        Raises:
            EvalkitError: the model has fewer positions than `max_length`, `batch_tokens` is smaller than one pair, the
                model does not support the path, or CUDA graphs are not supported.
        """
        pretrained.check_length(max_length, "reranker.max_length")
        self.model = pretrained.model
        self.pretrained = pretrained
        self._merges = prompt is not None and bool(prompt.merges())
        self.device = device
        self.shape: ModelShape = shape_of(self.model, causal=prompt is not None)
        self.pairs: PairModel = (
            EncoderPairs(pretrained, max_length, truncation)
            if prompt is None
            else DecoderPairs(pretrained, prompt, max_length, share_prefix)
        )
        self.pair_tokenizer: TextEncoding = self.pairs.pair_tokenizer
        weight = next(self.model.parameters())
        self.budget: TokenBudget = choose_token_budget(
            batch_tokens, self.shape, weight.element_size(), max_length, device, deterministic
        )
        self.deterministic = deterministic
        self.compiled = compiled
        if deterministic:
            torch.use_deterministic_algorithms(True)
        self.cuda_graphs = cuda_graphs
        forward_pass: ForwardPass
        self.path_reason: str | None
        if graph is None:
            forward_pass = self._torch_forward_pass(path)
            batch_a_thread = not compiled and device.type == "cpu"
        else:
            forward_pass, self.path, self.path_reason, self.kernel = graph, "graph", None, graph.name
            batch_a_thread = graph.batch_a_thread
        self.runner = DeviceRunner(
            forward_pass,
            f"lower reranker.batch_tokens (now {self.budget.tokens}) or reranker.max_length (now {max_length}), "
            "or use precision=fp16",
            may_split=not deterministic,
            core_threads=CoreThreads() if batch_a_thread else None,
        )

    def _torch_forward_pass(self, path: str) -> ForwardPass:
        """Return the packed or padded forward pass, and set `path`, `path_reason` and `kernel`."""
        not_packable = self.pairs.reason_not_packable()
        self.path = choose_path(path, not_packable, self.compiled, self.pretrained.name)
        check_cuda_graphs(self.cuda_graphs, self.device, self.path)
        self.path_reason = not_packable if path == "auto" and not_packable else None
        if self.path == "padded":
            self.kernel = f"padded, {self.model.config._attn_implementation}"
            return self.padded_model()
        weight = next(self.model.parameters())
        precision = next(precision for precision in PRECISIONS.values() if precision.dtype == weight.dtype)
        packed, self.kernel = self.pairs.packed(self.device, precision, self.compiled)
        if not self.compiled and linear.is_faster(self.device, precision.dtype):
            self.kernel += f", {linear.NAME}"
        if not self.cuda_graphs:
            return packed
        if not isinstance(packed, PackedModel):
            raise EvalkitError(
                f"reranker.cuda_graphs=true: the forward pass of {type(self.model).__name__} cannot be recorded, only "
                "that of BERT, RoBERTa and XLM-RoBERTa; use reranker.cuda_graphs=false"
            )
        self.kernel += ", CUDA graphs"
        return GraphedModel(packed, self.budget.tokens)

    def padded_model(self) -> ForwardPass:
        """Return the padded forward pass of the same model."""
        return self.pairs.padded(self.device)

    def tokenize(self, pairs: Sequence[tuple[str, str]]) -> Tokenized:
        """Return pairs as token ids; each distinct text is tokenized once.

        Args:
            pairs: (query, passage) texts.
        """
        return self._cache().tokenize(pairs)

    def score(
        self,
        pairs: Sequence[tuple[str, str]],
        on_progress: Callable[[int], None] = lambda n: None,
        known_logits: npt.NDArray[np.float32] | None = None,
        on_scored: Callable[[ScoredBatch], None] = lambda scored: None,
        runner: Runner | None = None,
        repeatable: bool = False,
    ) -> ScoredPairs:
        """Score pairs.

        Args:
            pairs: (query, passage) texts.
            on_progress: Called with the number of known pairs, and then with the number of pairs of each batch.
            known_logits: Logits that need not be computed, (pairs,), NaN for the others; None to compute all. The
                batches are the same as if none were known, so that a resumed run gets the same bits.
            on_scored: Called with each batch as soon as it is scored.
            runner: Scores the batches; None for this scorer's own device.
            repeatable: Whether to avoid what may change the last bits between runs, for scores that are stored: pairs
                of the same two texts are computed once (either all of them are known or none), and on a CPU no batch is
                shared by several cores. Otherwise, a few pairs take as little time as possible.

        Returns:
            The logits in the order of `pairs`, and what computing them took.

        Raises:
            EvalkitError: out of memory.
            NotFiniteError: a logit is NaN or infinite.
        """
        if known_logits is None:
            known_logits = np.full(len(pairs), np.nan, dtype=np.float32)
        collector = ScoreCollector(known_logits.astype(np.float32))
        rows = np.arange(len(pairs))
        first = _first_occurrences(pairs) if repeatable else rows
        wanted = np.isnan(collector.logits) & (first == rows)
        cache = self._cache()
        # Other processes may have other numbers of cores, and give the bits of this one all the same.
        threads = self.runner.core_threads if runner is None and not repeatable else None
        at_a_time = threads.count if threads else 1
        stream = BatchStream(cache, pairs, self.budget.tokens, self.path == "padded", wanted, at_a_time)
        on_progress(len(pairs) - int(wanted.sum()))
        batches = prefetch(stream.batches(), _PREFETCHED_BATCHES)
        for scored in runner.run(batches) if runner else self.runner.run(batches, share_last=not repeatable):
            _check_finite(scored, pairs)
            on_scored(scored)
            collector.add(scored)
            on_progress(len(scored.rows))
        collector.logits = collector.logits[first]
        shape = None if self._merges else self.shape
        return collector.result(shape, stream.truncated_pairs, stream.tokenize_s, cache.statistics())

    def text_statistics(self, pairs: Sequence[tuple[str, str]]) -> TextStatistics:
        """Return the statistics of the texts of pairs, without scoring them.

        Args:
            pairs: (query, passage) texts.
        """
        cache = self._cache()
        cache.tokenize(pairs)
        return cache.statistics()

    def _cache(self) -> PairCache:
        return self.pairs.cache()

    def describe(self) -> dict[str, Any]:
        """Return the settings in force, with the reason for each that was chosen automatically."""
        return {
            "path": self.path,
            "path_reason": self.path_reason,
            "attention": self.kernel,
            "batch_tokens": self.budget.tokens,
            "batch_tokens_source": self.budget.source,
            "deterministic": self.deterministic,
            "compiled": self.compiled,
            "cuda_graphs": self.cuda_graphs,
            **self.pair_tokenizer.describe(),
        }


def _first_occurrences(pairs: Sequence[tuple[str, str]]) -> npt.NDArray[np.int64]:
    """Return for each pair the row of the first pair with the same two texts, (pairs,)."""
    seen: dict[tuple[str, str], int] = {}
    return np.fromiter((seen.setdefault(pair, row) for row, pair in enumerate(pairs)), np.int64, len(pairs))


def _check_finite(scored: ScoredBatch, pairs: Sequence[tuple[str, str]]) -> None:
    broken = np.flatnonzero(~np.isfinite(scored.logits))
    if not broken.size:
        return
    query, passage = pairs[int(scored.rows[broken[0]])]
    which = f" (first: query {query[:60]!r}, passage {passage[:60]!r})"
    raise NotFiniteError(
        f"the model gave {scored.logits[broken[0]]} as logit for {broken.size} of the {len(scored.rows)} pairs of a "
        f"batch{which}; a wider precision (bf16 or fp32) may help, or the weights are broken"
    )
