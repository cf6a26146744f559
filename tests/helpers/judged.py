"""A finished result on the packaged collection, and the human's judgments, for simulated judges."""

import json
import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evalkit import trial
from evalkit.cost.protocol import CostProtocol
from evalkit.evaluation.trec import read_run, write_qrels, write_run
from evalkit.first_stage.bm25 import BM25
from evalkit.report import per_query
from evalkit.results import result
from evalkit.slices import packaged
from evalkit.trial import Plan
from evalkit.types import Pair, Scores

HUMAN = packaged.load("en")
MEASURE = "nDCG@10"


@dataclass
class Noisy:
    """A reranker that is `good` or draws lots, on top of the human's grades; it computes nothing that has a time."""

    good: float
    name: str = "noisy"
    computes: bool = False

    def load(self) -> None:
        pass

    def score(self, pairs: Any, queries: Any, docs: Any, on_progress: Any = lambda n: None) -> Scores:
        draw = random.Random(0)

        def logit(pair: Pair) -> float:
            return self.good * HUMAN.qrels[pair.query_id].get(pair.doc_id, 0) + draw.random()

        return Scores(tuple(map(logit, pairs)))

    def describe(self) -> Mapping[str, Any]:
        return {"model": f"models/{self.name}"}


def write_result(where: Path, good: float, name: str = "noisy") -> Path:
    """Write what ``judges`` reads of a trial: its result and both rankings."""
    where.mkdir()
    plan = Plan(name, 20, (MEASURE, "R@20"), CostProtocol(0, 2, 0))
    reranker: Any = Noisy(good, name)
    done = trial.run(plan, HUMAN, BM25(), reranker, {}, {})
    runs = {"first_stage": done.first_stage, "reranked": done.reranked}
    adjusted = {side: write_run(run, where / f"{side}.trec") for side, run in runs.items()}
    shown = per_query.with_adjusted_scores(per_query.passages(done), adjusted)
    (where / "passages.jsonl").write_text("".join(json.dumps(line) + "\n" for line in shown), "utf-8")
    write_qrels(HUMAN.qrels, where / "qrels.trec")
    (where / "result.json").write_text(result.to_json(result.to_plain(result.finished(done))), "utf-8")
    return where


def ranked(where: Path) -> dict[str, list[str]]:
    """Return the reranked passages of each query."""
    run = read_run(where / "reranked.trec").run
    return {query_id: [hit.doc_id for hit in hits] for query_id, hits in run.rankings.items()}
