"""Where reranking helped and where it hurt: the quality of a trial by depth, by class of query, and by score.

Nothing is scored again: everything follows from the two runs of a finished trial.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from evalkit.evaluation import measures, ranking
from evalkit.evaluation.measure_names import parse
from evalkit.evaluation.query_kinds import QUESTION_WORDS, length_labels, query_length, question_word
from evalkit.evaluation.score_analysis import ScoreAnalysis, analyse_scores
from evalkit.evaluation.significance import paired_delta
from evalkit.types import Interval, Run, Trial

DEPTHS = (5, 10, 20, 50, 100, 200, 500, 1000)
SMALL_CLASS = 3
"""Question words with fewer queries than this share one row."""
MOST_EXAMPLES = 10

_TIE = 1e-9
"""Smaller differences are rounding."""


@dataclass(frozen=True)
class DepthRow:
    """Quality, had only the best `depth` candidates of each query been reranked."""

    depth: int
    pairs: int
    """Pairs that would have been scored."""
    mean: Mapping[str, float]
    """measure -> mean over queries, at the cutoffs of the trial."""


@dataclass(frozen=True)
class ClassRow:
    """The first measure over one class of queries."""

    label: str
    queries: int
    before: float
    after: float
    delta: float
    ci95: Interval
    """Student's t interval of the mean difference."""


@dataclass(frozen=True)
class Example:
    """A query whose first measure changed."""

    query_id: str
    query: str
    before: float
    after: float


@dataclass(frozen=True)
class Breakdown:
    """Where reranking helped and where it hurt."""

    depths: tuple[DepthRow, ...]
    breakdown: Mapping[str, tuple[ClassRow, ...]]
    """Kind of class -> its rows."""
    scores: ScoreAnalysis | None
    gains: tuple[Example, ...]
    """Largest gain first."""
    losses: tuple[Example, ...]
    """Largest loss first."""


def analyse(trial: Trial) -> Breakdown:
    """Return where reranking helped and where it hurt, independent of the order of queries and passages.

    Args:
        trial: a finished trial.

    Returns:
        Quality by depth: the means that reranking only the best candidates would have given. Quality of the first
        measure by classes of queries: each query is in one class of each kind, a class without queries has no row, and
        ``question_word`` has none in a language whose question words are not listed here. What the scores mean
        (`analyse_scores`). The queries whose first measure changed most.
    """
    return Breakdown(
        depths=tuple(_depths(trial)),
        breakdown=_breakdown(trial),
        scores=analyse_scores(trial),
        gains=_examples(trial, 1),
        losses=_examples(trial, -1),
    )


def _depths(trial: Trial) -> list[DepthRow]:
    deepest, first, reranked = trial.effective["depth"], trial.first_stage.rankings, trial.reranked.rankings
    wanted = [parse(name, deepest) for name in trial.effective["measures"]]
    rows = []
    for depth in [*(depth for depth in DEPTHS if depth < deepest), deepest]:
        found = trial.effectiveness["reranked"]
        if depth < deepest:
            # Negative ranks in the full list replace the logits: the same order, also for passages without a logit.
            run = Run(f"depth {depth}", {
                query_id: ranking.rerank(
                    hits, {hit.doc_id: -float(rank) for rank, hit in enumerate(reranked[query_id])}, depth
                )
                for query_id, hits in first.items()
            })  # fmt: skip
            found = measures.evaluate(run, trial.slice.qrels, wanted, trial.slice.relevance_level)
        pairs = sum(min(depth, len(hits)) for hits in first.values())
        mean = {str(measure): fmean(found.per_query[str(measure)].values()) for measure in wanted}
        rows.append(DepthRow(depth, pairs, mean))
    return rows


def _first_measure(trial: Trial) -> tuple[Mapping[str, float], Mapping[str, float]]:
    name = trial.effective["measures"][0]
    return trial.effectiveness["first_stage"].per_query[name], trial.effectiveness["reranked"].per_query[name]


def _examples(trial: Trial, sign: int) -> tuple[Example, ...]:
    """Return the queries that changed most in the direction of `sign`, largest change first, ties by query_id."""
    before, after = _first_measure(trial)
    gains = {query_id: sign * (after[query_id] - before[query_id]) for query_id in before}
    chosen = [query_id for query_id in gains if gains[query_id] > _TIE]
    chosen.sort(key=lambda query_id: (-round(gains[query_id] / _TIE), query_id))
    return tuple(Example(q, trial.slice.queries[q], before[q], after[q]) for q in chosen[:MOST_EXAMPLES])


# --- by class of query ------------------------------------------------------------------------------------------------


def _breakdown(trial: Trial) -> dict[str, tuple[ClassRow, ...]]:
    data = trial.slice
    lengths = {query_id: query_length(text, data.lang) for query_id, text in data.queries.items()}
    asked = {query_id: question_word(text, data.lang) for query_id, text in data.queries.items()}
    sizes = Counter(asked.values())
    asked = {query_id: label if sizes[label] >= SMALL_CLASS else "other" for query_id, label in asked.items()}
    by_size = sorted(sizes.keys() - {"none"}, key=lambda label: (-sizes[label], label))
    relevant = {
        query_id: {doc_id for doc_id, grade in grades.items() if grade >= data.relevance_level}
        for query_id, grades in data.qrels.items()
    }
    counts = {query_id: _count_label(len(doc_ids)) for query_id, doc_ids in relevant.items()}
    answers = {query_id: _answer_label(trial, query_id, doc_ids) for query_id, doc_ids in relevant.items()}
    return {
        "query_length": _rows(trial, lengths, length_labels(data.lang)),
        "question_word": _rows(trial, asked, [*by_size, "other", "none"]) if data.lang in QUESTION_WORDS else (),
        "relevant_passages": _rows(trial, counts, ("none", "1", "2-3", "4-9", "10 and more")),
        "answer_in_first_10": _rows(
            trial, answers, ("yes", "no, but among the candidates", "no candidate is relevant")
        ),
    }


def _rows(trial: Trial, labels: Mapping[str, str], order: Sequence[str]) -> tuple[ClassRow, ...]:
    """Return one row for each label that some query has, in the order of `order`."""
    before, after = _first_measure(trial)
    rows = []
    for label in order:
        members = [query_id for query_id in labels if labels[query_id] == label]
        if members:
            was, now = {q: before[q] for q in members}, {q: after[q] for q in members}
            delta = paired_delta(was, now)
            before_mean, after_mean = fmean(was.values()), fmean(now.values())
            rows.append(ClassRow(label, len(members), before_mean, after_mean, delta.mean, (delta.low, delta.high)))
    return tuple(rows)


def _count_label(relevant: int) -> str:
    for most, label in ((0, "none"), (1, "1"), (3, "2-3"), (9, "4-9")):
        if relevant <= most:
            return label
    return "10 and more"


def _answer_label(trial: Trial, query_id: str, relevant: set[str]) -> str:
    found = [hit.doc_id in relevant for hit in trial.first_stage.rankings[query_id]]
    if any(found[:10]):
        return "yes"
    return "no, but among the candidates" if any(found[: trial.effective["depth"]]) else "no candidate is relevant"
