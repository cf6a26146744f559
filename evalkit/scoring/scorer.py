"""Scores pairs with a cross-encoder: tokenized ahead of the model, sorted by length, batched by a token budget."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from evalkit.errors import EvalkitError, NotFiniteError
from evalkit.scoring.batching import Budget, batches, budget, windows
from evalkit.scoring.device import PRECISIONS, Precision
from evalkit.scoring.flops import ModelShape, forward_flops, shape_of
from evalkit.scoring.graphs import GraphedModel, check_cuda_graphs
from evalkit.scoring.loading.pretrained import Pretrained
from evalkit.scoring.packed import PackedModel, why_not
from evalkit.scoring.padded import PaddedModel
from evalkit.scoring.runner import DeviceModel, Done, Runner
from evalkit.scoring.threads import Cores, ahead
from evalkit.scoring.token_check import check_ids
from evalkit.scoring.token_table import Batch, TextFacts, TokenizedPairs, TokenTable
from evalkit.scoring.tokenize import PairTokenizer

PATHS = ("auto", "packed", "padded")

_FIRST_WINDOW, _WINDOW = 1024, 8192
"""Pairs that are tokenized together. The model waits for the first of them."""

OnScored = Callable[[Done], None]
"""Is told of each batch as soon as it is scored."""


@dataclass(frozen=True)
class Scored:
    """Logits of pairs in the order they were given, and what it took."""

    logits: npt.NDArray[np.float32]
    truncated_pairs: int
    """Pairs of which something was cut off, computed here or known before."""
    tokens: int
    """Tokens of the pairs that were computed."""
    padded_tokens: int
    """What the model really computed."""
    tokenize_s: float
    """Time spent tokenizing; it runs beside the model."""
    forward_s: float
    """Time of the model: between CUDA events, or by the clock on a CPU."""
    computed_pairs: int
    events: tuple[str, ...]
    """What went wrong on the way and was mended, such as a batch that had to be halved; a sentence each."""
    flops: float
    """Floating-point operations of the pairs that were computed, by `forward_flops`."""
    texts: TextFacts
    """What the texts of all pairs show."""


class Scorer:
    """A cross-encoder that scores (query, passage) pairs to fp32 logits; larger is more relevant."""

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
    ) -> None:
        """Choose the path and the token budget, and check the settings against the model.

        `path` is ``packed``, ``padded``, or ``auto``: packed for the architectures that can, else padded.
        `batch_tokens` of None means as many as pay and fit. `deterministic` fixes the budget, never splits a batch and
        holds torch to its deterministic kernels, so that the same pairs get the same bits again on the same device.
        `compiled` and `cuda_graphs` cost start-up: see `PackedModel` and `GraphedModel`.

        Raises:
            EvalkitError: `max_length` is beyond the model's positions, `batch_tokens` below one pair, the path is none
                that this model can take, or graphs cannot be had.
        """
        pretrained.check_length(max_length, "reranker.max_length")
        self.model = pretrained.model
        self.device = device
        self.shape: ModelShape = shape_of(self.model)
        config = self.model.config
        types, trained_with = getattr(config, "type_vocab_size", None) or 0, pretrained.saved_with
        self.pairs = PairTokenizer(pretrained.tokenizer, max_length, truncation, int(types), trained_with)
        check_ids(self.pairs)
        weight = next(self.model.parameters())
        self.budget: Budget = budget(batch_tokens, self.shape, weight.element_size(), max_length, device, deterministic)
        self.deterministic = deterministic
        self.compiled = compiled
        if deterministic:
            torch.use_deterministic_algorithms(True)
        reason = why_not(self.model)
        self.path = chosen_path(path, reason, compiled, pretrained.name)
        check_cuda_graphs(cuda_graphs, device, self.path)
        self.cuda_graphs = cuda_graphs
        self.path_reason = reason if path == "auto" and reason else None
        if self.path == "packed":
            packed = PackedModel(self.model, device, _precision(weight.dtype), compiled)
            self.kernel = packed.kernel.name
            forward: Any = packed
            if cuda_graphs:
                forward = GraphedModel(packed, self.budget.tokens)
                self.kernel += ", CUDA graphs"
        else:
            self.kernel = f"padded, {self.model.config._attn_implementation}"
            forward = self.padded()
        self.runner = DeviceModel(
            forward,
            advice=f"lower reranker.batch_tokens (now {self.budget.tokens}) or reranker.max_length (now {max_length}), "
            "or use precision=fp16",
            may_split=not deterministic,
            cores=None if compiled or device.type != "cpu" else Cores(),
        )

    def padded(self) -> PaddedModel:
        """Return transformers' own forward of the same model, over the same ids and token types."""
        return PaddedModel(self.model, self.device, int(self.pairs.tokenizer.pad_token_id or 0), self.pairs.types.used)

    def tokenize(self, texts: Sequence[tuple[str, str]]) -> TokenizedPairs:
        """Return (query, passage) texts as ids, each distinct text tokenized once."""
        return TokenTable(self.pairs).tokenize(texts)

    def score(
        self,
        texts: Sequence[tuple[str, str]],
        on_progress: Callable[[int], None] = lambda n: None,
        known: npt.NDArray[np.float32] | None = None,
        on_scored: OnScored = lambda done: None,
        runner: Runner | None = None,
        repeatable: bool = False,
    ) -> Scored:
        """Score (query, passage) texts.

        `known` holds logits that need not be computed again, NaN where there is none; the other pairs go through the
        model in the same batches as if nothing were known, so that a run that goes on where another one stopped gets
        the same bits. `on_progress` is told how many pairs each batch held, the known ones first. `runner` takes the
        place of this scorer's own device.

        `repeatable` keeps out what may change last bits from run to run, and is for scores that are to last: pairs of
        the same two texts are computed once, wherever they stand (all or none of them are `known`), and on a CPU no
        batch is shared by cores, however many there are. Without it, a few pairs are scored as soon as can be.

        Raises:
            EvalkitError: out of memory.
            NotFiniteError: a logit is NaN or infinite.
        """
        made = _Made(np.full(len(texts), np.nan, dtype=np.float32) if known is None else known.astype(np.float32))
        rows = np.arange(len(texts))
        first = _first_of_each(texts) if repeatable else rows
        wanted = np.isnan(made.logits) & (first == rows)
        table = TokenTable(self.pairs)
        source = _Tokenizing(table, texts, self.budget.tokens, self.path == "padded", wanted)
        on_progress(len(texts) - int(wanted.sum()))
        planned = ahead(source.batches(), 4)
        running = runner.run(planned) if runner else self.runner.run(planned, share=not repeatable)
        for done in running:
            _check_finite(done, texts)
            on_scored(done)
            on_progress(made.take(done))
        made.logits = made.logits[first]
        return made.scored(self.shape, source.truncated, source.seconds, table.facts())

    def text_facts(self, texts: Sequence[tuple[str, str]]) -> TextFacts:
        """Return what (query, passage) texts show, scoring none of them."""
        table = TokenTable(self.pairs)
        table.tokenize(texts)
        return table.facts()

    def describe(self) -> dict[str, Any]:
        """Return how pairs are scored: what was chosen, and why."""
        return {
            "path": self.path,
            "path_reason": self.path_reason,
            "attention": self.kernel,
            "batch_tokens": self.budget.tokens,
            "batch_tokens_source": self.budget.source,
            "deterministic": self.deterministic,
            "compiled": self.compiled,
            "cuda_graphs": self.cuda_graphs,
            "token_types": self.pairs.types.why,
            "truncation_side": "left" if self.pairs.cuts_left else "right",
        }


class _Made:
    """Logits as they come in, and what they took."""

    def __init__(self, logits: npt.NDArray[np.float32]) -> None:
        self.logits = logits
        self._lengths: list[npt.NDArray[np.int32]] = []
        self._padded_tokens = 0
        self._forward_s = 0.0
        self._events: tuple[str, ...] = ()

    def take(self, done: Done) -> int:
        """Take a batch in and return how many pairs it holds."""
        self.logits[done.rows] = done.logits
        self._lengths.append(done.lengths)
        self._padded_tokens += done.padded_tokens
        self._forward_s += done.forward_s
        self._events += done.events
        return len(done.rows)

    def scored(self, shape: ModelShape, truncated: int, tokenize_s: float, texts: TextFacts) -> Scored:
        lengths = np.concatenate([np.zeros(0, dtype=np.int32), *self._lengths])
        return Scored(
            self.logits,
            truncated,
            tokens=int(lengths.sum()),
            padded_tokens=self._padded_tokens,
            tokenize_s=tokenize_s,
            forward_s=self._forward_s,
            computed_pairs=len(lengths),
            events=self._events,
            flops=forward_flops(shape, lengths),
            texts=texts,
        )


class _Tokenizing:
    """Makes batches out of texts, window by window, and counts."""

    def __init__(
        self,
        table: TokenTable,
        texts: Sequence[tuple[str, str]],
        budget_tokens: int,
        padded: bool,
        wanted: npt.NDArray[np.bool_],
    ) -> None:
        self._table = table
        self._texts = texts
        self._budget = budget_tokens
        self._padded = padded
        self._wanted = wanted
        self.truncated = 0
        self.seconds = 0.0

    def batches(self) -> Iterator[Batch]:
        for window in windows(self._texts, _FIRST_WINDOW, _WINDOW):
            began = time.perf_counter()
            pairs = self._table.tokenize([self._texts[row] for row in window])
            self.truncated += pairs.truncated
            self.seconds += time.perf_counter() - began
            places = np.array(window, dtype=np.int64)
            for planned in batches(pairs.lengths.tolist(), self._budget, self._padded):
                began = time.perf_counter()
                rows = [row for row in planned if self._wanted[places[row]]]
                batch = pairs.batch(rows, places) if rows else None
                self.seconds += time.perf_counter() - began
                if batch is not None:
                    yield batch


def check_path(asked: str) -> None:
    """Check the name of a path.

    Raises:
        EvalkitError: there is no such path.
    """
    if asked not in PATHS:
        raise EvalkitError(f"reranker.path={asked}: there is {', '.join(PATHS)}")


def chosen_path(asked: str, reason: str | None, compiled: bool, name: str) -> str:
    """Return ``packed`` or ``padded``; `reason` is why this model cannot be packed, None if it can.

    Raises:
        EvalkitError: there is no such path, or this model cannot take it.
    """
    check_path(asked)
    if asked == "packed" and reason:
        raise EvalkitError(f"reranker.path=packed: {name} cannot be packed, for {reason}; use reranker.path=padded")
    path = "padded" if asked == "padded" or reason else "packed"
    if compiled and path == "padded":
        raise EvalkitError("reranker.compile=true: only the packed path is compiled; use reranker.compile=false")
    return path


def _first_of_each(texts: Sequence[tuple[str, str]]) -> npt.NDArray[np.int64]:
    """Return for each pair the row of the first one with the same two texts, (pairs,)."""
    seen: dict[tuple[str, str], int] = {}
    return np.fromiter((seen.setdefault(pair, row) for row, pair in enumerate(texts)), np.int64, len(texts))


def _precision(dtype: torch.dtype) -> Precision:
    return next(precision for precision in PRECISIONS.values() if precision.dtype == dtype)


def _check_finite(done: Done, texts: Sequence[tuple[str, str]]) -> None:
    broken = np.flatnonzero(~np.isfinite(done.logits))
    if not broken.size:
        return
    query, passage = texts[int(done.rows[broken[0]])]
    which = f" (first: query {query[:60]!r}, passage {passage[:60]!r})"
    raise NotFiniteError(
        f"the model gave {done.logits[broken[0]]} as logit for {broken.size} of the {len(done.rows)} pairs of a "
        f"batch{which}; a wider precision (bf16 or fp32) may help, or the weights are broken"
    )
