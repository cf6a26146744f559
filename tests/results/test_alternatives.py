"""A comparison with blends: systems of their own, held against the best that needs no reranker."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evalkit.results import reading
from evalkit.results.compare import side_by_side
from evalkit.results.schema import Blend
from evalkit.slices import packaged as dev
from tests.helpers.gate_pipeline import FirstStage, Pipeline, cut, packaged


@pytest.fixture(scope="module")
def blended(bert_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A tiny reranker over eight queries, and a blend that is 0.01 above the first stage in every query."""
    tiny = packaged(model=str(bert_folder), name="tiny")
    where = Pipeline(cut(dev.load("en"), 8), tiny, FirstStage(), 6).run(tmp_path_factory.mktemp("blended") / "tiny")
    read = reading.read(where)
    first = read.result.effectiveness.per_query.first_stage
    values = {name: {q: min(value + 0.01, 1.0) for q, value in of.items()} for name, of in first.items()}
    means = {name: sum(of.values()) / len(of) for name, of in values.items()}
    blend = Blend(method="min_max", measure="nDCG@10", points=(), weight=0.5, given=True, mean=means, per_query=values)
    return replace(read, result=replace(read.result, blend=blend))


def test_a_blend_is_a_system_of_its_own_where_asked_for(blended: Any) -> None:
    other = replace(blended, where="other", result=replace(blended.result, blend=None))
    labels = [system.label for system in side_by_side([blended, other], resamples=99).systems]
    assert not any("blended" in label for label in labels)
    found = side_by_side([blended, other], resamples=99, blended=True)
    (system,) = [system for system in found.systems if system.side == "blended"]
    assert "(blended)" in system.label
    assert system.own_first_stage == "bm25"
    assert system.mean == pytest.approx(dict(blended.result.blend.mean))
    assert (system.depth, system.reranker, system.cost) == (6, "tiny", None)
    assert system.time == next(one.time for one in found.systems if one.side == "reranked")


def test_the_blend_may_be_the_best_system_with_a_reranker(blended: Any) -> None:
    worse = {name: dict.fromkeys(of, 0.0) for name, of in blended.result.blend.per_query.items()}
    effect = blended.result.effectiveness
    effect = replace(
        effect,
        reranked=replace(effect.reranked, mean=dict.fromkeys(worse, 0.0)),
        per_query=replace(effect.per_query, reranked=worse),
    )
    bad = replace(blended, result=replace(blended.result, effectiveness=effect))
    found = side_by_side([bad, replace(blended, where="other")], resamples=999, blended=True)
    assert found.best is not None
    assert found.best.without_reranker == "bm25"
    assert "(blended)" in found.best.with_reranker
    assert found.against_best_without[found.best.with_reranker] == found.best.test
    assert found.best.test.mean == pytest.approx(0.01, abs=2e-3)
    assert found.against_best_without.keys() == {one.label for one in found.systems if one.side != "first_stage"}


def test_every_gain_over_the_best_without_has_the_p_of_the_matrix(blended: Any) -> None:
    found = side_by_side([blended, replace(blended, where="other")], resamples=999, blended=True)
    matrix = found.matrix["nDCG@10"]
    for label, test in found.against_best_without.items():
        assert test.holm_p == matrix.holm_p[matrix.labels.index("bm25")][matrix.labels.index(label)]


def test_a_blend_has_neither_condensed_lists_nor_parity_and_the_others_keep_theirs(blended: Any) -> None:
    found = side_by_side([blended, replace(blended, where="other")], resamples=99, blended=True)
    without = side_by_side([blended, replace(blended, where="other")], resamples=99)
    names = {system.label for system in found.systems if system.side == "blended"}
    assert all(found.parity[name] is None for name in names if name in found.parity)
    if without.judged_only is not None:
        assert found.judged_only is not None
        assert found.judged_only.mean == without.judged_only.mean
