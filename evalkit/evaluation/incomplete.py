"""Measures that take missing judgments into account: Judged@k, bpref and RBP.

They are computed here and not by ranx: its bpref counts the padding of arrays as judged passages, and its RBP weighs
passages by their grades, where RBP is defined over relevant and not relevant ones.
"""

from collections.abc import Mapping, Sequence

from evalkit.evaluation.measure_names import Measure
from evalkit.types import Hit, Run

KINDS = ("RBP", "bpref", "Judged")


def of_query(measure: Measure, hits: Sequence[Hit], grades: Mapping[str, int], relevance_level: int) -> float:
    """Measure the ranking of one query.

    Args:
        measure: of one of `KINDS`.
        hits: the ranking, best first.
        grades: doc_id -> grade.
        relevance_level: the lowest grade that counts as relevant, unless the measure states one.

    Returns:
        A value in [0, 1]; 0 without hits.
    """
    top = [grades.get(hit.doc_id) for hit in hits[: measure.cutoff]]
    level = measure.relevance_level or relevance_level
    if measure.kind == "Judged":
        return judged(top)
    if measure.kind == "RBP":
        assert measure.persistence is not None
        return rbp([grade is not None and grade >= level for grade in top], measure.persistence)
    relevant = sum(grade >= level for grade in grades.values())
    return bpref([grade >= level for grade in top if grade is not None], relevant, len(grades) - relevant)


def judged(top: Sequence[int | None]) -> float:
    """Return the share of judged passages in a ranking; of all passages that it has, as in ir_measures.

    Args:
        top: the grade of each passage, None for an unjudged one.
    """
    return sum(grade is not None for grade in top) / len(top) if top else 0.0


def rbp(top: Sequence[bool], persistence: float) -> float:
    """Return rank-biased precision: (1 - p) times the sum of p^(rank - 1) over the ranks of relevant passages.

    Source: Moffat and Zobel 2008, Rank-biased precision for measurement of retrieval effectiveness.

    Args:
        top: whether each passage is relevant; unjudged ones are not.
        persistence: p, in (0, 1).
    """
    return (1 - persistence) * sum(persistence**i for i, is_relevant in enumerate(top) if is_relevant)


def bpref(judged_top: Sequence[bool], relevant: int, not_relevant: int) -> float:
    """Return how seldom passages judged not relevant stand above relevant ones; unjudged passages are ignored.

    The mean over the R relevant passages of 1 - min(n, R) / min(N, R), n passages judged not relevant being ranked
    above it, of N in the judgments; a relevant passage that was not retrieved counts 0. Source: Buckley and Voorhees
    2004, Retrieval evaluation with incomplete information, with trec_eval's min(N, R) as the denominator.

    Args:
        judged_top: whether each judged passage of the ranking is relevant, best first.
        relevant: R, of all judged passages of the query.
        not_relevant: N, of all judged passages of the query.
    """
    total, above = 0.0, 0
    for is_relevant in judged_top:
        if is_relevant:
            total += credit(above, relevant, not_relevant)
        else:
            above += 1
    return total / relevant if relevant else 0.0


def credit(above: int, relevant: int, not_relevant: int) -> float:
    """Return what a relevant passage adds to `bpref` with `above` passages judged not relevant ranked above it.

    Args:
        above: passages judged not relevant that are ranked above it.
        relevant: R, as for `bpref`; 1 or more.
        not_relevant: N, as for `bpref`.

    Returns:
        A value in [0, 1].
    """
    return 1 - min(above, relevant) / min(not_relevant, relevant) if above else 1.0


def only_judged(run: Run, qrels: Mapping[str, Mapping[str, int]]) -> Run:
    """Return the run without unjudged passages, and without queries that have no judgments (condensed lists).

    Source: Sakai 2007, Alternatives to bpref.

    Args:
        run: rankings, best first.
        qrels: query_id -> doc_id -> grade.
    """
    return Run(run.name, {
        query_id: tuple(hit for hit in run.rankings.get(query_id, ()) if hit.doc_id in grades)
        for query_id, grades in qrels.items()
    })  # fmt: skip
