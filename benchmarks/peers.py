"""The engines that are compared, each called as its own documentation calls it, behind one small interface.

A peer is imported when it is loaded, so that the others run where it is not installed. All give logits, no sigmoid.
"""

import importlib.util
import io
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from functools import wraps
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from msmarco_pairs import Pairs, by_query
from transformers.modeling_outputs import SequenceClassifierOutput

from evalkit.boundary.errors import EvalkitError, nearest
from evalkit.scoring.device import PRECISIONS, Precision, apply_precision, synchronize
from evalkit.scoring.flops import predicted_peak_mb
from evalkit.scoring.loading.pretrained import load_classifier
from evalkit.scoring.pair_tokenizer import PairTokenizer
from evalkit.scoring.scorer import Scorer
from evalkit.scoring.token_cache import TokenCache
from evalkit.scoring.tokenized_pairs import TokenizedPairs

Logits = npt.NDArray[np.float32]
Ids = npt.NDArray[np.integer]


@dataclass(frozen=True)
class Setting:
    """What all engines have in common."""

    folder: str
    device: str
    precision: str
    max_length: int
    batch_tokens: int | None = None
    """evalkit's token budget; None for its own choice."""
    best_batch: int | None = None
    """Of sentence-transformers; None until it has been searched for."""

    @property
    def torch_device(self) -> torch.device:
        """The device as torch has it."""
        return torch.device(self.device)

    @property
    def numbers(self) -> Precision:
        """The precision as evalkit has it."""
        return PRECISIONS[self.precision]


class Engine(ABC):
    """One way to turn pairs of texts into logits."""

    truncation = "longest_first"
    """evalkit's name of the rule by which the engine cuts pairs that are too long."""
    network: Any
    """The transformers model, that its time can be taken and that it can be left out."""
    batch_size: int

    @abstractmethod
    def score(self, pairs: Pairs) -> Logits:
        """Return the logits of the pairs in the order given; they are on the host by then."""

    @abstractmethod
    def tokenize(self, pairs: Pairs) -> tuple[float, list[Ids]]:
        """Return the seconds that the engine's own tokenization takes, and the ids that the model would get."""

    def describe(self) -> dict[str, Any]:
        """Return what decides the engine's speed."""
        return {
            "batch": f"{self.batch_size} pairs",
            "attention": f"padded, {self.network.config._attn_implementation}",
            "truncation": self.truncation,
        }


class Evalkit(Engine):
    """evalkit's own scorer, on the path named."""

    def __init__(self, setting: Setting, path: str) -> None:
        pretrained = load_classifier(setting.folder, None, setting.torch_device, setting.numbers, "--model")
        self.network = pretrained.model
        self.scorer = Scorer(
            pretrained,
            setting.torch_device,
            setting.max_length,
            self.truncation,
            setting.batch_tokens,
            path="packed" if path in ("compiled", "graphs") else path,
            compiled=path == "compiled",
            cuda_graphs=path == "graphs",
        )
        self.model_s = float("nan")

    def score(self, pairs: Pairs) -> Logits:
        """Return the logits; tokenization runs at the same time as the model."""
        scored = self.scorer.score(pairs)
        self.model_s = scored.forward_s
        return scored.logits

    def tokenize(self, pairs: Pairs) -> tuple[float, list[Ids]]:
        """Return the time from texts to the ids of each pair, side by side."""
        started = time.perf_counter()
        ids = ids_of(self.scorer.tokenize(pairs))
        return time.perf_counter() - started, ids

    def describe(self) -> dict[str, Any]:
        """Return what decides the engine's speed, the path and its reason among it."""
        return {
            "batch": f"{self.scorer.budget.tokens:,} tokens",
            "truncation": self.truncation,
            **self.scorer.describe(),
        }

    def predicted_peak_mb(self, pairs: Pairs) -> float:
        """Return what evalkit says that weights and activations take at most over these pairs, in MiB."""
        tokens = min(self.scorer.budget.tokens, int(self.scorer.tokenize(pairs).lengths.sum()))
        return predicted_peak_mb(self.scorer.shape, next(self.network.parameters()).element_size(), tokens)


class SentenceTransformers(Engine):
    """sentence-transformers' CrossEncoder: sorted by characters, batches of 32 by default."""

    def __init__(self, setting: Setting, model: Any, batch_size: int) -> None:
        self.model, self.network, self.batch_size = model, model.model, batch_size

    @staticmethod
    def load(setting: Setting) -> Any:
        """Return the CrossEncoder, to be shared by engines of several batch sizes."""
        from sentence_transformers import CrossEncoder

        return CrossEncoder(
            setting.folder,
            device=setting.device,
            max_length=setting.max_length,
            activation_fn=torch.nn.Identity(),
            model_kwargs={"dtype": setting.numbers.dtype},
            local_files_only=True,
        )

    def score(self, pairs: Pairs) -> Logits:
        """Return the logits, all pairs given at once."""
        return np.asarray(self.model.predict(pairs, batch_size=self.batch_size), dtype=np.float32)

    def tokenize(self, pairs: Pairs) -> tuple[float, list[Ids]]:
        """Return the time of its step from texts to padded tensors, in the batches of its own sorting."""
        return _tokenize_by(self, self.model, "preprocess", pairs)


class FlagEmbedding(Engine):
    """FlagEmbedding's FlagReranker with its defaults: sorted by tokens, batches of 128."""

    truncation = "only_second"

    def __init__(self, setting: Setting) -> None:
        from FlagEmbedding import FlagReranker

        self.reranker = FlagReranker(
            setting.folder,
            use_fp16=setting.precision == "fp16",
            devices=setting.device,
            max_length=setting.max_length,
        )
        # It loads what the checkpoint says and knows of fp16 alone; the others compute at the precision asked for.
        self.reranker.model.to(setting.torch_device, setting.numbers.dtype)
        self.network = self.reranker.model
        self.batch_size = self.reranker.batch_size

    def score(self, pairs: Pairs) -> Logits:
        """Return the logits, all pairs given at once."""
        with redirect_stderr(io.StringIO()):  # its progress bars cannot be turned off
            scores = self.reranker.compute_score([list(pair) for pair in pairs])
        return np.asarray(scores, dtype=np.float32)

    def tokenize(self, pairs: Pairs) -> tuple[float, list[Ids]]:
        """Return the time until the model gets its first batch: all pairs are tokenized by then."""
        with left_out(self.network) as model:
            started = time.perf_counter()
            rows = self.score(pairs)
        return model.first_call - started, [model.seen[int(row)] for row in rows]


class Rerankers(Engine):
    """rerankers' TransformerRanker: a query at a time, batches of 16 in the order given."""

    def __init__(self, setting: Setting) -> None:
        from rerankers import Reranker

        self.ranker = Reranker(
            setting.folder,
            model_type="cross-encoder",
            device=setting.device,
            dtype=setting.numbers.dtype,
            verbose=0,
            tokenizer_kwargs={"model_max_length": setting.max_length},
        )
        self.network = self.ranker.model
        self.batch_size = self.ranker.batch_size

    def score(self, pairs: Pairs) -> Logits:
        """Return the logits, a query at a time: its interface takes no more."""
        scores: list[float] = []
        for group in by_query(pairs):
            ranked = self.ranker.rank(group[0][0], [passage for _, passage in group])
            scores += [result.score for result in sorted(ranked.results, key=lambda result: result.document.doc_id)]
        return np.asarray(scores, dtype=np.float32)

    def tokenize(self, pairs: Pairs) -> tuple[float, list[Ids]]:
        """Return the time of its step from texts to padded tensors on the device, in batches of its own."""
        return _tokenize_by(self, self.ranker, "tokenize", pairs)


PEERS = {
    # name: (module to import, package on the index)
    "sentence-transformers": ("sentence_transformers", "sentence-transformers"),
    "sentence-transformers-best": ("sentence_transformers", "sentence-transformers"),
    "flagembedding": ("FlagEmbedding", "FlagEmbedding"),
    "rerankers": ("rerankers", "rerankers"),
}
ENGINES = ("evalkit-packed", "evalkit-padded", *PEERS)
ON_REQUEST = ("evalkit-compiled", "evalkit-graphs")
"""Not among the engines unless asked for: one compiles for a minute or more, the other is CUDA's and for latency."""


def choose(asked: str | None) -> tuple[list[str], list[str]]:
    """Return the engines of ``--engines`` (all if None), those installed and those missing.

    Raises:
        EvalkitError: one asked for by name does not exist or is not installed, or evalkit is not among them.
    """
    names = list(dict.fromkeys(name.strip() for name in asked.split(","))) if asked else list(ENGINES)
    for name in names:
        if name not in (*ENGINES, *ON_REQUEST):
            raise EvalkitError(f"--engines: there is no {name}{nearest(name, [*ENGINES, *ON_REQUEST])}")
    missing = [name for name in names if name in PEERS and importlib.util.find_spec(PEERS[name][0]) is None]
    if asked and missing:
        raise EvalkitError(
            f"--engines: {', '.join(missing)} not installed; pip install 'evalkit-rerank[benchmark]' brings all peers"
        )
    if not any(name.startswith("evalkit") for name in names):
        raise EvalkitError("--engines needs evalkit-packed or evalkit-padded: the peers are compared with it")
    return [name for name in names if name not in missing], missing


def load(names: Sequence[str], setting: Setting) -> dict[str, Engine]:
    """Load the engines onto the device.

    Raises:
        EvalkitError: an engine did not take the precision asked for.
    """
    apply_precision(setting.numbers)
    if setting.torch_device.type == "cuda":
        torch.cuda.set_device(setting.torch_device)  # the events of the clock belong to the current device
    engines: dict[str, Engine] = {}
    cross_encoder = None
    for name in names:
        if name.startswith("evalkit"):
            engines[name] = Evalkit(setting, name.removeprefix("evalkit-"))
        elif name.startswith("sentence-transformers"):
            cross_encoder = cross_encoder or SentenceTransformers.load(setting)
            batch_size = (setting.best_batch or 32) if name.endswith("-best") else 32
            engines[name] = SentenceTransformers(setting, cross_encoder, batch_size)
        else:
            engines[name] = {"flagembedding": FlagEmbedding, "rerankers": Rerankers}[name](setting)
        found = {parameter.dtype for parameter in engines[name].network.parameters()}
        if found != {setting.numbers.dtype}:
            raise EvalkitError(f"{name} holds its weights as {found}, and --precision={setting.precision} was asked")
    return engines


def evalkit_pairs(setting: Setting, tokenizer: Any, truncation: str, pairs: Pairs) -> TokenizedPairs:
    """Return the pairs as evalkit tokenizes them under the truncation rule named."""
    return TokenCache(PairTokenizer(tokenizer, setting.max_length, truncation)).tokenize(pairs)


def ids_of(tokenized: TokenizedPairs) -> list[Ids]:
    """Return the ids of each pair."""
    batch = tokenized.batch(range(len(tokenized)))
    return np.split(batch.ids, np.cumsum(batch.lengths)[:-1])


class _Answering:
    """Stands in for a model: keeps the ids of each row, and answers at once with the row's number."""

    def __init__(self) -> None:
        self.seen: list[Ids] = []
        self.first_call = float("nan")

    def __call__(self, input_ids: torch.Tensor, attention_mask: torch.Tensor, **_: Any) -> SequenceClassifierOutput:
        if not self.seen:
            self.first_call = time.perf_counter()
        start = len(self.seen)
        self.seen += [row[mask.bool()].numpy() for row, mask in zip(input_ids.cpu(), attention_mask.cpu())]
        return SequenceClassifierOutput(logits=torch.arange(start, len(self.seen), dtype=torch.float32)[:, None])


@contextmanager
def left_out(network: torch.nn.Module) -> Iterator[_Answering]:
    """Put a stand-in in place of the model's forward, so that an engine does all its work but that."""
    answering = _Answering()
    with _replaced(network, answering):
        yield answering


@contextmanager
def _replaced(network: torch.nn.Module, forward: Callable[..., Any]) -> Iterator[None]:
    # No hook: sentence-transformers calls the model's forward past its hooks.
    network.forward = forward
    try:
        yield
    finally:
        del network.forward


def timed_model(engine: Engine, pairs: Pairs, device: torch.device) -> tuple[float, float, Logits]:
    """Score the pairs; return the seconds end to end, those between the model's entry and exit, and the logits.

    The latter by CUDA events on CUDA and by the wall clock on the CPU. evalkit takes its own, in the same way: its
    packed path does not pass through the entry of transformers' model.
    """
    marks: list[Any] = []
    forward = engine.network.forward

    def mark() -> None:
        if device.type == "cuda":
            marks.append(torch.cuda.Event(enable_timing=True))
            marks[-1].record()
        else:
            marks.append(time.perf_counter())

    @wraps(forward)
    def marked(*args: Any, **kwargs: Any) -> Any:
        mark()
        found = forward(*args, **kwargs)
        mark()
        return found

    with _replaced(engine.network, marked):
        seconds, logits = timed(engine, pairs, device)
    if isinstance(engine, Evalkit):
        return seconds, engine.model_s, logits
    spans = zip(marks[::2], marks[1::2], strict=True)
    if device.type == "cuda":
        return seconds, sum(start.elapsed_time(end) for start, end in spans) / 1000, logits
    return seconds, sum(end - start for start, end in spans), logits


def timed(engine: Engine, pairs: Pairs, device: torch.device) -> tuple[float, Logits]:
    """Score the pairs; return the seconds from texts to logits on the host, and the logits."""
    synchronize(device)
    started = time.perf_counter()
    logits = engine.score(pairs)
    synchronize(device)
    return time.perf_counter() - started, logits


def _tokenize_by(engine: Engine, owner: Any, step: str, pairs: Pairs) -> tuple[float, list[Ids]]:
    """Run the engine without its model; take the time of its method `step`, and the ids that came through."""
    original: Callable[..., Any] = getattr(owner, step)
    spent = 0.0

    def timed(*args: Any, **kwargs: Any) -> Any:
        nonlocal spent
        started = time.perf_counter()
        try:
            return original(*args, **kwargs)
        finally:
            spent += time.perf_counter() - started

    setattr(owner, step, timed)
    try:
        with left_out(engine.network) as model:
            rows = engine.score(pairs)
    finally:
        delattr(owner, step)
    return spent, [model.seen[int(row)] for row in rows]
