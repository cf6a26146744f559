"""Faults that really happen, injected into a pipeline that works: the gate names each; harmless changes pass."""

import copy
import os
import random
import re
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from evalkit.boundary.errors import EvalkitError, NotFiniteError
from evalkit.results.gate.baseline import dump
from evalkit.results.gate.limits import Limits
from evalkit.slices import packaged as dev
from evalkit.slices.assemble import assemble
from evalkit.types import Run, Scores
from tests.helpers.gate_pipeline import Broken, FirstStage, Pipeline, cut, packaged, part, sigmoid

QUERIES, DEPTH = 24, 10


@pytest.fixture(scope="module")
def memory() -> Any:
    """What was scored once."""
    return {}


@pytest.fixture(scope="module")
def cross_encoder() -> Any:
    model = packaged()
    model.load()
    return model


@pytest.fixture(scope="module")
def english(cross_encoder: Any, memory: Any) -> Any:
    return Pipeline(dev.load("en", queries=QUERIES), Broken(cross_encoder, memory=memory), FirstStage(), DEPTH)


@pytest.fixture(scope="module")
def chinese(cross_encoder: Any, memory: Any) -> Any:
    return Pipeline(dev.load("zh", queries=8), Broken(cross_encoder, memory=memory), FirstStage(), DEPTH)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Any:
    where, number = tmp_path_factory.mktemp("gate"), count()
    return lambda: where / str(next(number))


@pytest.fixture(scope="module")
def standard(english: Any, folders: Any) -> Any:
    return english.standard(folders())


def names(verdict: Any) -> Any:
    return {check.name for check in verdict.failed}


def message(verdict: Any, name: Any) -> Any:
    return next(check.message for check in verdict.failed if check.name == name)


def test_the_working_pipeline_holds_against_itself(english: Any, standard: Any, folders: Any) -> None:
    verdict = english.judge(standard, folders())
    assert verdict.holds
    assert [quality.delta.mean for quality in verdict.qualities] == [0.0] * 4
    assert verdict.changed == ()


# --- faults behind the model: in the logits


def by_query(change: Any) -> Any:
    """Apply `change` to the logits of each query."""

    def changed(pairs: Any, logits: Any) -> Any:
        out = list(logits)
        for query_id in dict.fromkeys(pair.query_id for pair in pairs):
            rows = [row for row, pair in enumerate(pairs) if pair.query_id == query_id]
            for row, value in zip(rows, change([logits[row] for row in rows]), strict=True):
                out[row] = value
        return out

    return changed


def every(change: Any) -> Any:
    return lambda pairs, logits: [change(value) for value in logits]


def shuffled(one_in: Any) -> Any:
    """Shuffle one score in `one_in`."""

    def fault(pairs: Any, logits: Any) -> Any:
        rows = random.Random(1).sample(range(len(logits)), len(logits) // one_in)
        moved = rows[1:] + rows[:1]
        out = list(logits)
        for row, other in zip(rows, moved):
            out[row] = logits[other]
        return out

    return fault


def bf16_sigmoid(value: Any) -> Any:
    return float(torch.tensor(sigmoid(value)).to(torch.bfloat16))


def softmax(values: Any) -> Any:
    e = np.exp(np.array(values) - max(values))
    return [float(x) for x in np.log(e / e.sum())]


def without_five_queries(pairs: Any, logits: Any) -> Any:
    lost = sorted({pair.query_id for pair in pairs})[:5]
    return [None if pair.query_id in lost else value for pair, value in zip(pairs, logits)]


def cached_by_the_first_word(data: Any) -> Any:
    """A cache whose key holds the start of a passage only: others with the same start get the same score."""

    def cached(pairs: Any, logits: Any) -> Any:
        seen: dict[Any, Any] = {}
        return [
            seen.setdefault((pair.query_id, data.docs[pair.doc_id][:2].lower()), value)
            for pair, value in zip(pairs, logits)
        ]

    return cached


_DRIFTED = "drifted though the ranking did not"
IN_THE_LOGITS = {
    "the order is reversed": (every(lambda x: -x), {"nDCG@10", "RR@10", "AP@100", "above_first_stage"}, "fell"),
    "a quarter of the scores is shuffled": (shuffled(4), {"nDCG@10"}, "fell"),
    "ids are shifted by one": (lambda pairs, x: x[1:] + x[:1], {"nDCG@10", "RR@10", "above_first_stage"}, "fell"),
    "logits are cast to bf16 and squashed by a sigmoid": (every(bf16_sigmoid), {"score_drift"}, _DRIFTED),
    "scores are rounded to whole numbers": (every(lambda x: float(round(x))), {"scores_vary"}, "share their score"),
    "all scores are the same": (every(lambda x: 0.5), {"scores_vary", "order_changed"}, "same score for all"),
    "the reranker does nothing": (
        by_query(lambda x: [-float(rank) for rank in range(len(x))]), {"order_changed", "nDCG@10"}, "changed no order"
    ),
    "the reranker guesses": (
        lambda pairs, x: [random.Random(str(pair)).random() for pair in pairs], {"nDCG@10", "above_first_stage"}, "fell"
    ),
    "scores are softmaxed over the candidates": (by_query(softmax), {"score_drift"}, _DRIFTED),
    "logits are three times as large": (every(lambda x: 3 * x), {"score_drift"}, _DRIFTED),
    "five queries are lost on the way": (without_five_queries, {"unscored"}, "without a score"),
}  # fmt: skip


@pytest.mark.parametrize(("fault", "expected", "words"), IN_THE_LOGITS.values(), ids=IN_THE_LOGITS)
def test_a_fault_in_the_logits_is_caught(
    english: Any, standard: Any, folders: Any, fault: Any, expected: Any, words: Any
) -> None:
    verdict = replace(english, reranker=replace(english.reranker, logits=fault)).judge(standard, folders())
    assert expected <= names(verdict)
    assert any(words in check.message for check in verdict.failed)


def test_a_cache_with_too_short_a_key_is_caught(english: Any, standard: Any, folders: Any) -> None:
    fault = cached_by_the_first_word(english.data)
    verdict = replace(english, reranker=replace(english.reranker, logits=fault)).judge(standard, folders())
    assert "scores_vary" in names(verdict)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_logit_that_is_no_number_stops_the_trial_by_name(english: Any, folders: Any, value: Any) -> None:
    fault = replace(english.reranker, logits=lambda pairs, x: [value, *x[1:]])
    with pytest.raises(NotFiniteError, match=f"gave {value} as logit for query"):
        replace(english, reranker=fault).run(folders())


# --- faults before or in the model: these are scored anew

IN_THE_TEXTS = {
    "query and passage are swapped": (lambda query, doc: (doc, query), {"nDCG@10"}),
    "the query is lost": (lambda query, doc: (".", doc), {"nDCG@10", "above_first_stage"}),
    "every passage is its first three words": (lambda query, doc: (query, " ".join(doc.split()[:3])), {"nDCG@10"}),
}


@pytest.mark.parametrize(("fault", "expected"), IN_THE_TEXTS.values(), ids=IN_THE_TEXTS)
def test_a_fault_in_the_texts_is_caught(english: Any, standard: Any, folders: Any, fault: Any, expected: Any) -> None:
    verdict = replace(english, reranker=replace(english.reranker, texts=fault)).judge(standard, folders())
    assert expected <= names(verdict)
    assert verdict.losses
    assert verdict.losses[0].query in english.data.queries.values()


def test_truncation_at_16_tokens_is_caught_and_named(english: Any, standard: Any, folders: Any, memory: Any) -> None:
    short = Broken(packaged(max_length=16), memory={})
    verdict = replace(english, reranker=short).judge(standard, folders())
    assert {"nDCG@10", "truncated"} <= names(verdict)
    assert "of the pairs were cut to 16 tokens" in message(verdict, "truncated")
    assert "reranker max_length: 256 -> 16" in verdict.changed


def without_layers(cross_encoder: Any, number: int, folder: Path) -> Any:
    """Save the packaged model without its last layers, as a wrong number in its configuration leaves it."""
    pretrained = cross_encoder.scorer.pretrained
    model = copy.deepcopy(pretrained.model)
    model.bert.encoder.layer = model.bert.encoder.layer[:-number]
    model.config.num_hidden_layers -= number
    model.save_pretrained(folder)
    pretrained.tokenizer.save_pretrained(folder)
    return Broken(packaged(model=str(folder)))


def test_a_model_without_its_last_two_layers_is_caught(
    english: Any, standard: Any, folders: Any, cross_encoder: Any, tmp_path: Path
) -> None:
    verdict = replace(english, reranker=without_layers(cross_encoder, 2, tmp_path)).judge(standard, folders())
    assert "nDCG@10" in names(verdict)


@pytest.mark.parametrize("fault", ["a tenth of the scores is shuffled", "the last layer is missing"])
def test_a_fault_too_small_for_so_few_queries_is_a_warning_and_fails_under_a_stricter_requirement(
    english: Any, standard: Any, folders: Any, cross_encoder: Any, fault: Any, tmp_path: Path
) -> None:
    """They cost 0.01 and 0.02 of nDCG@10: as much as equal systems differ by chance on 24 queries."""
    broken = (
        replace(english.reranker, logits=shuffled(10))
        if "tenth" in fault
        else without_layers(cross_encoder, 1, tmp_path)
    )
    pipeline = replace(english, reranker=broken)
    verdict = pipeline.judge(standard, folders())
    warning = next(check.message for check in verdict.undecided if check.name == "nDCG@10")
    assert re.search(r"is not ruled out; about \d+ queries would decide it", warning)
    assert "nDCG@10" in names(pipeline.judge(standard, folders(), Limits(require="non_inferior")))


class BiEncoder:
    """The cross-encoder's own body, each text for itself: what a wrong class of model makes of the weights."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def score(self, pairs: Any, queries: Any, docs: Any, on_progress: Any = lambda n: None) -> Any:
        pretrained = self.inner.scorer.pretrained

        def vectors(texts: Any) -> Any:
            each = list(dict.fromkeys(texts))
            batch = pretrained.tokenizer(each, padding=True, truncation=True, max_length=256, return_tensors="pt")
            with torch.inference_mode():
                states = pretrained.model.bert(**batch).last_hidden_state[:, 0]
            return torch.nn.functional.normalize(states, dim=1)[[each.index(text) for text in texts]]

        q = vectors([queries[pair.query_id] for pair in pairs])
        return Scores(tuple((q * vectors([docs[pair.doc_id] for pair in pairs])).sum(1).tolist()))

    def describe(self) -> Any:
        return dict(self.inner.describe()) | {"name": "bi-encoder"}


def test_the_bi_encoder_in_the_cross_encoders_place_is_named_and_judged(
    english: Any, standard: Any, folders: Any, cross_encoder: Any
) -> None:
    verdict = replace(english, reranker=Broken(BiEncoder(cross_encoder))).judge(standard, folders())
    assert "reranker name: packaged -> bi-encoder" in verdict.changed
    assert "nDCG@10" in names(verdict)


def test_chinese_that_is_filtered_away_is_caught(chinese: Any, folders: Any) -> None:
    def ascii_only(query: Any, doc: Any) -> Any:
        return query.encode("ascii", "ignore").decode() or ".", doc.encode("ascii", "ignore").decode() or "."

    standard = chinese.standard(folders())
    fault = replace(chinese.reranker, texts=ascii_only)
    verdict = replace(chinese, reranker=fault).judge(standard, folders())
    assert "scores_vary" in names(verdict)


# --- faults of the first stage: the retriever is to blame, and the message says so


def without_hits(run: Any) -> Any:
    lost = set(sorted(run.rankings)[:5])
    return Run(run.name, {q: () if q in lost else hits for q, hits in run.rankings.items()})


IN_THE_FIRST_STAGE = {
    "five queries find nothing": FirstStage(without_hits),
    "the analyzer is the wrong one": FirstStage(analysis="whitespace"),
    "only three candidates arrive": FirstStage(lambda run: Run(run.name, {q: h[:3] for q, h in run.rankings.items()})),
}


@pytest.mark.parametrize("fault", IN_THE_FIRST_STAGE.values(), ids=IN_THE_FIRST_STAGE)
def test_a_fault_of_the_first_stage_is_attributed_to_it(english: Any, standard: Any, folders: Any, fault: Any) -> None:
    verdict = replace(english, first_stage=fault).judge(standard, folders())
    assert message(verdict, "first_stage").startswith("the retriever is at fault, not the reranker: R@10")


# --- what cannot be compared is refused: exit code 2, not 1


def changed_slice(data: Any, **changes: Any) -> Any:
    parts = {"queries": data.queries, "docs": data.docs, "qrels": data.qrels} | changes
    return part(data, parts["queries"], parts["docs"], assemble, parts["qrels"])


def without_five(data: Any) -> Any:
    return {q: data.queries[q] for q in sorted(data.queries)[5:]}


def regraded(data: Any) -> Any:
    query_id = min(data.qrels)
    return {**data.qrels, query_id: {d: 3 - grade for d, grade in data.qrels[query_id].items()}}


NOT_COMPARABLE = {
    "five queries are left out": (
        lambda p: replace(p, data=changed_slice(p.data, queries=without_five(p.data))),
        r"the baseline has 24 queries, and the result lacks 5 of them \(en-",
    ),
    "the split is another": (
        lambda p: replace(p, data=dev.load("en", queries=QUERIES, seed=5)), r"the result lacks \d+ of them .* others",
    ),
    "the language is another": (
        lambda p: replace(p, data=dev.load("zh", queries=8)),
        "the baseline is of slice dev/en, the result of dev/zh; only",
    ),
    "the judgments are others": (
        lambda p: replace(p, data=changed_slice(p.data, qrels=regraded(p.data))),
        r"the judgments of the result are not those of the baseline \(slice dev/en",
    ),
    "a passage is another": (
        lambda p: replace(p, data=changed_slice(p.data, docs={**p.data.docs, min(p.data.docs): "another text"})),
        r"the passages of the result are not those of the baseline \(slice dev/en",
    ),
    "the depth is another": (lambda p: replace(p, depth=5), "to depth 10, the result to 5; run it with depth=10"),
    "the measures are others": (
        lambda p: replace(p, measures=("nDCG@10", "RR@10")), "the baseline measures nDCG@10, RR@10, AP@100, R@10, the",
    ),
}  # fmt: skip


class ByLength:
    """A reranker that computes nothing: what cannot be compared is refused whatever the scores are."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def score(self, pairs: Any, queries: Any, docs: Any, on_progress: Any = lambda n: None) -> Any:
        return Scores(tuple(float(len(docs[pair.doc_id])) for pair in pairs), 0, 0, 0)

    def describe(self) -> Any:
        return self.inner.describe()


@pytest.mark.parametrize(("change", "words"), NOT_COMPARABLE.values(), ids=NOT_COMPARABLE)
def test_what_cannot_be_compared_is_refused_with_the_reason(
    english: Any, standard: Any, folders: Any, change: Any, words: Any
) -> None:
    free = replace(english, reranker=Broken(ByLength(english.reranker.inner)))
    with pytest.raises(EvalkitError, match=words):
        change(free).judge(standard, folders())


# --- what is harmless passes


@pytest.fixture(scope="module")
def small(bert_folder: Any, memory: Any) -> Any:
    return Pipeline(cut(dev.load("en"), 6), bert_folder, FirstStage(), depth=5)


def tiny(folder: Any, batch_tokens: Any) -> Any:
    return Broken(packaged(model=str(folder), batch_tokens=batch_tokens), memory={})


REPETITIONS = int(os.environ.get("EVALKIT_REPETITIONS", "20"))
"""200 before a release; each takes a third of a second."""


def test_harmless_repetitions_never_fail(small: Any, folders: Any) -> None:
    """Other batch sizes, thread counts, orders of queries and passages; the model is a tiny one with random weights."""
    start = replace(small, reranker=tiny(small.reranker, 2048))
    standard = start.standard(folders())
    limits = Limits(skip=["above_first_stage"])  # random weights rank no better than BM25
    threads, failures = torch.get_num_threads(), []
    rerankers = [tiny(small.reranker, batch_tokens) for batch_tokens in (256, 300, 512, 1000, 4096)]
    for seed in range(REPETITIONS):
        draw = random.Random(seed)
        torch.set_num_threads(draw.choice([1, 2, 3]))
        data = replace(
            small.data,
            queries=dict(draw.sample(list(small.data.queries.items()), len(small.data.queries))),
            docs=dict(draw.sample(list(small.data.docs.items()), len(small.data.docs))),
        )
        again = Pipeline(data, replace(draw.choice(rerankers), memory={}), FirstStage(), 5)
        verdict = again.judge(standard, folders(), limits)
        failures += [(seed, check) for check in verdict.failed]
    torch.set_num_threads(threads)
    assert failures == []


def test_the_same_inputs_write_the_same_baseline_byte_for_byte(small: Any, folders: Any) -> None:
    first, second = (
        replace(small, first_stage=FirstStage(), reranker=tiny(small.reranker, 512)).standard(folders())
        for _ in range(2)
    )
    assert dump(first) == dump(second)
