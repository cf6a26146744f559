"""Measures of a run for each query, most of them computed by ranx: the only file that uses ranx.

ranx pairs plain dicts by position, sorts with an unstable sort, and recompiles for each width of ids. It therefore gets
arrays: one row for each passage, in evalkit's order, with small integers as ids. Code compiled for arrays is cached on
disk; numba's typed lists, the other input of ranx, are compiled in each process.
"""

import functools
import importlib.util
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from evalkit.boundary.errors import EvalkitError
from evalkit.evaluation import incomplete
from evalkit.evaluation.measure_names import Measure
from evalkit.types import Effectiveness, Hit, Run

_RANX_NAMES = {"nDCG": "ndcg", "RR": "mrr", "AP": "map", "R": "recall", "P": "precision", "Success": "hit_rate"}


def evaluate(
    run: Run, qrels: Mapping[str, Mapping[str, int]], measures: Sequence[Measure], relevance_level: int
) -> Effectiveness:
    """Measure a run on every query of `qrels`, as trec_eval does.

    nDCG has linear gains, discount 1 / log2(rank + 1), and the ideal order of all judged passages as its denominator
    (Järvelin and Kekäläinen 2002, Cumulated gain-based evaluation of IR techniques, with trec_eval's discount).
    Unjudged passages count as not relevant, unless a measure is of judged passages only. RBP, bpref and Judged are
    those of `evalkit.evaluation.incomplete`.

    Args:
        run: rankings, best first; their order counts, not their scores.
        qrels: query_id -> doc_id -> grade.
        measures: what to measure.
        relevance_level: the lowest grade that binary measures (all but nDCG) count as relevant, unless their name
            states one.

    Returns:
        Values in [0, 1] for each query of `qrels`; a query that the run lacks, or has no hits for, has 0.

    Raises:
        EvalkitError: there are no judgments.
    """
    if not qrels:
        raise EvalkitError("there are no judgments (qrels) to measure against")
    found: dict[str, dict[str, float]] = {}
    for condensed in (False, True):
        chosen = [measure for measure in dict.fromkeys(measures) if measure.judged_only is condensed]
        ranked = incomplete.only_judged(run, qrels) if condensed and chosen else run
        found |= _by_ranx(ranked, qrels, [one for one in chosen if one.kind in _RANX_NAMES], relevance_level)
        for measure in (one for one in chosen if one.kind in incomplete.KINDS):
            found[str(measure)] = {
                query_id: incomplete.of_query(measure, ranked.rankings.get(query_id, ()), grades, relevance_level)
                for query_id, grades in qrels.items()
            }
    return Effectiveness({str(measure): found[str(measure)] for measure in measures})


def _by_ranx(
    run: Run, qrels: Mapping[str, Mapping[str, int]], measures: Sequence[Measure], relevance_level: int
) -> dict[str, dict[str, float]]:
    """Return measure -> query_id -> value."""
    if not measures:
        return {}
    values: dict[str, list[float]] = {str(measure): [] for measure in measures}
    with warnings.catch_warnings():
        import numba
        from numba.core.errors import NumbaWarning

        # numba warns of its own casts at each compilation, Python of ranx's sources at the first import.
        for kind in (NumbaWarning, SyntaxWarning, DeprecationWarning, FutureWarning):
            warnings.simplefilter("ignore", kind)
        ranx_metrics = import_ranx()
        for some in _batches(run, qrels):
            judged, ranked = _numbered(run, some)
            if len(some) < _FEW_QUERIES:
                numba.set_num_threads(1)
            for measure in measures:
                compute = ranx_metrics.metric_switch(_RANX_NAMES[measure.kind])
                level = _ranx_level(measure, relevance_level)
                values[str(measure)] += map(float, compute(judged, ranked, measure.cutoff, level))
    return {name: dict(zip(qrels, found, strict=True)) for name, found in values.items()}


@functools.cache
def import_ranx() -> Any:
    """Return ``ranx.metrics``, without the rest of ranx.

    The package itself imports ir_datasets, pandas, seaborn and pyplot for functions that evalkit does not call, which
    takes two seconds. An ``import ranx`` elsewhere still gets the whole package.
    """
    import numba

    is_imported = "ranx" in sys.modules
    if not is_imported:
        spec = importlib.util.find_spec("ranx")
        assert spec is not None, "ranx is a dependency of evalkit"
        sys.modules["ranx"] = importlib.util.module_from_spec(spec)  # not executed: a place to find its modules in
    try:
        from ranx import metrics
    finally:
        if not is_imported:
            del sys.modules["ranx"]
    numba.config.THREADING_LAYER = "workqueue"  # as ranx sets it; OpenMP would meet torch's
    return metrics


def _ranx_level(measure: Measure, relevance_level: int) -> int:
    if measure.kind == "nDCG":
        return 1  # a higher level would drop the gains of the grades below it
    return measure.relevance_level or relevance_level


_FEW_QUERIES = 10
"""Below so many, ranx computes in one thread."""

_MOST_CELLS = 1 << 22
"""Cells of the array of one batch of queries, padding included: 64 MiB."""


def _batches(run: Run, qrels: Mapping[str, Mapping[str, int]]) -> Iterator[dict[str, Mapping[str, int]]]:
    """Yield the queries of `qrels` in their order, in batches whose arrays stay small."""
    some: dict[str, Mapping[str, int]] = {}
    longest = 0
    for query_id, grades in qrels.items():
        size = max(len(grades), len(run.rankings.get(query_id, ())), 1)
        if some and (len(some) + 1) * max(longest, size) > _MOST_CELLS:
            yield some
            some, longest = {}, 0
        some[query_id] = grades
        longest = max(longest, size)
    yield some


def _numbered(run: Run, qrels: Mapping[str, Mapping[str, int]]) -> tuple[Any, Any]:
    """Return judgments (best grade first) and rankings as float64 arrays of shape (queries, n, 2): id, value.

    Rows beyond those of a query are padding: negative ids that do not occur otherwise, with value 0.
    """
    import numpy as np

    def padded(lists: Sequence[Sequence[tuple[int, float]]], padding: float) -> Any:
        array = np.zeros((len(lists), max([1, *map(len, lists)]), 2))
        array[:, :, 0] = padding
        for row, values in zip(array, lists, strict=True):
            if values:
                row[: len(values)] = values
        return array

    judged, ranked = [], []
    for query_id, grades in qrels.items():
        hits: Sequence[Hit] = run.rankings.get(query_id, ())
        number = {doc_id: i for i, doc_id in enumerate(dict.fromkeys([*grades, *(hit.doc_id for hit in hits)]))}
        best_first = sorted(grades.items(), key=lambda item: -item[1])  # an ideal gain vector, not a ranking
        judged.append([(number[doc_id], grade) for doc_id, grade in best_first])
        ranked.append([(number[hit.doc_id], -i) for i, hit in enumerate(hits)])
    return padded(judged, -1.0), padded(ranked, -2.0)


def unjudged_share(run: Run, qrels: Mapping[str, Mapping[str, int]], cutoff: int = 10) -> float:
    """Return the share of unjudged passages among the first `cutoff` of all queries of `qrels`, taken together.

    Args:
        run: the ranking of each query; a query that it lacks adds no passage.
        qrels: query_id -> doc_id -> grade.
        cutoff: how many passages of each query count.

    Returns:
        A value in [0, 1]; 0 where no query has a passage.
    """
    top = [hit.doc_id in grades for q, grades in qrels.items() for hit in run.rankings.get(q, ())[:cutoff]]
    return 1 - sum(top) / len(top) if top else 0.0


def needs_compilation() -> bool:
    """Return whether ranx still has to compile its kernels on this machine, which takes 10 to 40 s on two cores."""
    spec = importlib.util.find_spec("ranx")
    if spec is None or not spec.submodule_search_locations:
        return False
    cache = Path(spec.submodule_search_locations[0], "metrics", "__pycache__")
    return not any(cache.glob("ndcg._ndcg_parallel-*.nbi"))
