"""A pipeline that works, and ways to break it: what the tests of the gate run."""

import json
import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from evalkit import trial
from evalkit.cost.protocol import CostProtocol
from evalkit.evaluation.trec import write_run
from evalkit.first_stage.bm25 import BM25
from evalkit.report import per_query as queries
from evalkit.rerankers.cross_encoder import CrossEncoder
from evalkit.results import reading, result
from evalkit.results.gate import baseline
from evalkit.results.gate.judge import judge
from evalkit.results.gate.limits import Limits
from evalkit.results.gate.verdict import Verdict
from evalkit.results.result import finished
from evalkit.trial import Plan
from evalkit.types import Pair, Run, Scores, Slice

Logits = list[float | None]


def packaged(**settings: Any) -> CrossEncoder:
    """The reranker that comes with evalkit."""
    wanted: dict[str, Any] = {"model": "packaged", "max_length": 256, "truncation": "longest_first",
                              "batch_tokens": 2048, "device": "cpu", "precision": "fp32"} | settings  # fmt: skip
    return CrossEncoder(**wanted)


@dataclass
class Broken:
    """A reranker with a fault before it (in the texts) or behind it (in the logits); by default it has none."""

    inner: Any
    texts: Callable[[str, str], tuple[str, str]] | None = None
    logits: Callable[[list[Pair], Logits], Logits] | None = None
    computes: bool = False  # no clock is read in these tests
    memory: dict[tuple[int, str, str], float] = field(default_factory=dict)
    """Logits by model and texts: what is behind the model needs no model."""

    def check(self) -> None:
        self.inner.check()

    def load(self) -> None:
        if getattr(self.inner, "_built", True) is None:
            self.inner.load()

    def score(self, pairs: Any, queries: Any, docs: Any, on_progress: Any = lambda n: None) -> Scores:
        change = self.texts or (lambda query, doc: (query, doc))
        texts = [change(queries[pair.query_id], docs[pair.doc_id]) for pair in pairs]
        keys = [(id(self.inner), *both) for both in texts]
        scores = Scores((), 0, 0, 0)
        if any(key not in self.memory for key in keys):
            named = [Pair(f"q{i}", f"d{i}") for i in range(len(texts))]
            scores = self.inner.score(
                named, {p.query_id: t[0] for p, t in zip(named, texts)}, {p.doc_id: t[1] for p, t in zip(named, texts)}
            )
            self.memory.update(zip(keys, scores.logits, strict=True))
        found: Logits = [self.memory[key] for key in keys]
        return replace(scores, logits=tuple(self.logits(list(pairs), found) if self.logits else found))

    def describe(self) -> Mapping[str, Any]:
        return dict(self.inner.describe())


@dataclass
class FirstStage:
    """BM25 with a fault behind it."""

    change: Callable[[Run], Run] = lambda run: run
    analysis: str = "auto"

    def search(self, data: Slice, depth: int) -> Run:
        if (id(data), depth) not in self._found:
            self._found[id(data), depth] = data, self._bm25.search(data, depth)
        return self.change(self._found[id(data), depth][1])

    def describe(self) -> Mapping[str, Any]:
        return self._bm25.describe()

    def __post_init__(self) -> None:
        self._bm25 = BM25(analysis=self.analysis)
        self._found: dict[tuple[int, int], tuple[Slice, Run]] = {}  # what is behind BM25 needs no other search


@dataclass(frozen=True)
class Pipeline:
    """All that a trial takes; `replace` breaks a part of it."""

    data: Slice
    reranker: Any
    first_stage: Any
    depth: int = 10
    measures: tuple[str, ...] = ("nDCG@10", "RR@10", "AP@100", "R@depth")

    def run(self, folder: Path) -> Path:
        """Run the trial and leave in `folder` what the gate reads."""
        plan = Plan("gate", self.depth, self.measures, CostProtocol(0, 0, 0))
        done = trial.run(plan, self.data, self.first_stage, self.reranker, {}, {})
        folder.mkdir(parents=True, exist_ok=True)
        write_run(done.reranked, folder / "reranked.trec")
        lines = (json.dumps(entry) + "\n" for entry in queries.passages(done))
        (folder / "passages.jsonl").write_text("".join(lines), "utf-8")
        result.write_result(finished(done), folder)
        return folder

    def judge(self, standard: baseline.Baseline, folder: Path, limits: Limits | None = None) -> Verdict:
        return judge(standard, reading.read(self.run(folder)), limits or Limits())

    def standard(self, folder: Path) -> baseline.Baseline:
        return baseline.of(reading.read(self.run(folder)))


def cut(data: Slice, n: int, seed: int = 0) -> Slice:
    """Return `n` of the queries with the passages that are judged for them: enough to rank, quick to index."""
    from evalkit.slices.assemble import assemble

    chosen = random.Random(seed).sample(sorted(data.queries), n)
    docs = {doc_id for query_id in chosen for doc_id in data.qrels[query_id]}
    return part(data, {q: data.queries[q] for q in chosen}, {d: data.docs[d] for d in sorted(docs)}, assemble)


def part(data: Slice, queries: Any, docs: Any, assemble: Callable[..., Slice], qrels: Any = None) -> Slice:
    facts = {key: value for key, value in data.facts.items() if key not in ("queries", "docs", "fingerprints")}
    return assemble(data.name, data.lang, data.name, queries, docs, qrels or data.qrels, data.relevance_level, facts)


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))
