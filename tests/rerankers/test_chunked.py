"""Any reranker over chunks: the score of a passage, what is counted, and what truncation loses against it."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from evalkit.boundary.errors import EvalkitError
from evalkit.cost.protocol import CostProtocol
from evalkit.rerankers import trec_run
from evalkit.rerankers.base import Reranker
from evalkit.rerankers.bi_encoder import BiEncoder
from evalkit.rerankers.chunked import Chunked, in_chunks
from evalkit.rerankers.chunking import ChunkSettings, aggregate
from evalkit.rerankers.cross_encoder import CrossEncoder
from evalkit.rerankers.decoder import Decoder
from evalkit.rerankers.late_interaction import LateInteraction
from evalkit.rerankers.none import NoReranker
from evalkit.results.result import finished, to_plain
from evalkit.slices import packaged as dev
from evalkit.slices.assemble import assemble
from evalkit.trial import Plan, run
from evalkit.types import Hit, Pair, Run, Scores, Slice, Trial
from tests.helpers import late_models
from tests.helpers.decoders import make_decoder
from tests.helpers.gate_pipeline import packaged

Made = Callable[..., Chunked]


class Words:
    """A reranker of somebody's own, of words: it reads `most` of a passage, and counts those that the query has."""

    def __init__(self, most: int = 4) -> None:
        self.most = most

    def token_offsets(self, texts: Any) -> Any:
        spans = []
        for text in texts:
            ends = [place for place, character in enumerate(f"{text} ") if character == " "]
            spans.append([[start and start + 1, end] for start, end in zip([0, *ends], ends, strict=False)])
        return spans

    def score(self, pairs: Any, queries: Any, docs: Any) -> Scores:
        read = [docs[doc_id].split()[: self.most] for _, doc_id in pairs]
        found = tuple(float(words.count(queries[pair[0]])) for pair, words in zip(pairs, read, strict=True))
        cut = sum(len(docs[doc_id].split()) > self.most for _, doc_id in pairs)
        return Scores(found, truncated_pairs=cut, tokens=sum(map(len, read)))

    def describe(self) -> Any:
        return {"name": "words", "max_length": self.most}


def over(reranker: object, by: str = "tokens", **settings: Any) -> Chunked:
    made = in_chunks(reranker, ChunkSettings(by=by, **settings))
    assert isinstance(made, Chunked)
    made.check()
    made.load()
    return made


QUERIES = {"q": "x"}
DOCS = {"late": "a b c d e x", "early": "x b", "often": "x a x b c d x e"}
PAIRS = [Pair("q", doc_id) for doc_id in DOCS]


# --- the score of a passage


def test_the_score_is_the_best_the_first_or_the_mean_of_the_best_few() -> None:
    logits = [1.0, 4.0, 2.0, None]
    assert aggregate(logits, ChunkSettings(aggregate="max")) == 4.0
    assert aggregate(logits, ChunkSettings(aggregate="first")) == 1.0
    assert aggregate(logits, ChunkSettings(aggregate="mean_top", top=2)) == 3.0
    assert aggregate(logits, ChunkSettings(aggregate="mean_top", top=9)) == 7 / 3  # of all that there are
    assert aggregate([None, None], ChunkSettings()) is None
    broken = aggregate([math.nan, 1.0], ChunkSettings())
    assert broken is not None
    assert math.isnan(broken)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        # Of 3 words, none shared: late is "a b c" and "d e x", early "x b", often "x a x", "b c d" and "x e".
        ({}, (1.0, 1.0, 2.0)),
        ({"aggregate": "first"}, (0.0, 1.0, 2.0)),
        ({"aggregate": "mean_top", "top": 2}, (0.5, 1.0, 1.5)),
    ],
)
def test_a_passage_has_the_score_of_its_chunks(settings: Any, expected: Any) -> None:
    found = over(Words(), size=3, overlap=0, **settings).score(PAIRS, QUERIES, DOCS)
    assert found.logits == expected


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.text("xab ", min_size=1, max_size=20), min_size=1, max_size=4), st.sampled_from(["max", "mean_top"]))
def test_where_no_passage_is_longer_than_a_chunk_nothing_changes(passages: list[str], how: str) -> None:
    docs = {str(number): text for number, text in enumerate(passages)}
    pairs = [Pair("q", doc_id) for doc_id in docs]
    reranker = over(Words(100), size=30, aggregate=how)
    alone = reranker.of.score(pairs, QUERIES, docs)
    assert reranker.score(pairs, QUERIES, docs) == replace(alone, chunk_pairs=len(pairs))


# --- what is counted


def test_tokens_are_those_of_all_chunks_and_pairs_those_of_passages() -> None:
    found = over(Words(), size=3, overlap=0).score(PAIRS, QUERIES, DOCS)
    assert (len(found.logits), found.chunk_pairs) == (3, 6)
    assert found.tokens == 6 + 2 + 8


def test_counts_of_pairs_are_of_passages_in_proportion() -> None:
    """Of 6 pairs with a chunk, 2 were cut, 4 are from a store and 2 were computed; 3 pairs have a passage."""

    class Stored(Words):
        def score_all(self, pairs: Any, queries: Any, docs: Any) -> Scores:
            return Scores((0.0,) * len(pairs), truncated_pairs=2, from_store=4, computed_pairs=2)

    found = over(Stored(), size=3, overlap=0).score_all(PAIRS, QUERIES, DOCS)
    assert (found.truncated_pairs, found.from_store, found.computed_pairs) == (1, 2, 1)


def test_progress_ends_with_all_pairs() -> None:
    seen: list[int] = []
    over(Words(), size=3).score(PAIRS, QUERIES, DOCS, seen.append)
    assert sum(seen) == len(PAIRS)


# --- real tokenizers


LONG = " ".join(f"sentence {number} of a text about giant pandas, bamboo and mountains." for number in range(40))


@pytest.mark.parametrize("kind", ["bert_folder", "xlmr_folder"])
def test_chunks_are_parts_of_the_text_that_fit_into_a_pair(kind: str, request: pytest.FixtureRequest) -> None:
    model = str(request.getfixturevalue(kind))
    reranker = over(CrossEncoder(model, max_length=64, device="cpu", batch_tokens=512))
    docs = {"en": LONG, "zh": "大熊猫生活在中国的山区，吃竹子。" * 20}
    pairs = [Pair("q", doc_id) for doc_id in docs]
    assert reranker.size == 48  # three quarters of 64
    for text in docs.values():
        chunks = reranker.chunks(text)
        assert len(chunks) > 3
        assert all(chunk in text for chunk in chunks)
        assert text.startswith(chunks[0])
        assert text.endswith(chunks[-1])
    queries = {"q": "What do pandas eat?"}
    reranker.prepare(pairs, queries, docs)
    found = reranker.score(pairs, queries, docs)
    assert found.truncated_pairs == 0
    of_chunks = {f"c{number}": chunk for number, chunk in enumerate(reranker.chunks(LONG))}
    alone = reranker.of.score([Pair("q", one) for one in of_chunks], queries, of_chunks).logits
    assert found.logits[0] == pytest.approx(max(one for one in alone if one is not None), abs=1e-5)
    engine = reranker.engine
    assert engine is not None
    assert sum(engine.tokenize([(queries["q"], text) for text in docs.values()]).lengths) == found.tokens


def make_bi_encoder(bert_folder: Path, where: Path) -> Reranker:
    return BiEncoder(str(bert_folder), pooling="mean", max_length=64, device="cpu")


def make_late_interaction(bert_folder: Path, where: Path) -> Reranker:
    pytest.importorskip("sentence_transformers.multi_vector_encoder", reason="needs sentence-transformers 6.2")
    folder = late_models.native(bert_folder, where / "late")
    return LateInteraction(str(folder), max_length=64, device="cpu", cache=str(where / "vectors"))


def make_decoding(bert_folder: Path, where: Path) -> Reranker:
    folder = make_decoder(where / "decoder", "qwen3")
    asked: Any = {"template": ["{query}", " {passage}", " Yes?"], "yes_word": "Yes"}
    return Decoder(str(folder), max_length=96, device="cpu", batch_tokens=400, **asked)


@pytest.mark.parametrize("make", [make_bi_encoder, make_late_interaction, make_decoding])
def test_every_kind_of_model_splits_by_its_own_tokens(make: Any, bert_folder: Path, tmp_path: Path) -> None:
    reranker = over(make(bert_folder, tmp_path), overlap=0)
    pairs, docs = [Pair("q", "d")], {"d": LONG[:600]}
    reranker.prepare(pairs, QUERIES, docs)
    found = reranker.score(pairs, QUERIES, docs)
    chunks = reranker.chunks(docs["d"])
    assert (found.truncated_pairs, found.chunk_pairs) == (0, len(chunks))
    assert len(chunks) > 2
    assert "".join(chunks).replace(" ", "") == docs["d"].replace(" ", "")
    assert reranker.score_whole(pairs, QUERIES, docs).truncated_pairs == 1


def test_scores_of_chunks_are_stored_and_found_again(bert_folder: Path, tmp_path: Path) -> None:
    store = str(tmp_path / "scores.sqlite")
    pairs, queries, docs = [Pair("q", "d"), Pair("q", "e")], {"q": "pandas"}, {"d": LONG, "e": "pandas"}

    def score(**settings: Any) -> Scores:
        reranker = over(CrossEncoder(str(bert_folder), max_length=64, device="cpu", store=store), **settings)
        return reranker.score_all(pairs, queries, docs)

    first, again = score(), score()
    assert (first.from_store, first.computed_pairs) == (0, 2)
    assert (again.from_store, again.computed_pairs) == (2, 0)
    assert again.logits == first.logits
    assert score(aggregate="mean_top").from_store == 2  # of the same chunks


def test_an_answer_after_token_512_is_found_with_chunks_and_not_without() -> None:
    """Real passages, joined to documents of the same length; the packaged reranker reads 256 tokens of a pair."""
    data = dev.load("en")
    query_id = "en-a-q03"
    answer = next(data.docs[doc_id] for doc_id, grade in data.qrels[query_id].items() if grade == 3)
    others = list(data.docs.values())[-33:]
    reranker = over(packaged(self_check=False), overlap=0)
    one, other, before = [" ".join(others[start : start + 11]) for start in range(0, 33, 11)]
    (offsets,) = reranker.token_offsets([before]) or [()]
    assert len(offsets) > 512
    docs = {"one": one, "other": other, "answer": f"{before} {answer}"}
    pairs = [Pair(query_id, doc_id) for doc_id in docs]
    assert best(pairs, reranker.score(pairs, data.queries, docs)) == "answer"
    whole = reranker.score_whole(pairs, data.queries, docs)
    without = reranker.of.score(pairs[-1:], data.queries, {"answer": before})
    assert whole.truncated_pairs == len(pairs)
    assert whole.logits[-1] == pytest.approx(without.logits[0], abs=1e-4)  # the answer has no part in its score
    assert best(pairs, whole) != "answer"


def best(pairs: list[Pair], found: Scores) -> str:
    return max(zip(found.logits, pairs, strict=True), key=lambda one: one[0] or 0.0)[1].doc_id


# --- a trial


class Given:
    """A first stage that finds all passages, in their order."""

    def search(self, data: Slice, depth: int) -> Run:
        hits = tuple(Hit(doc_id, -float(rank)) for rank, doc_id in enumerate(data.docs))
        return Run("given", dict.fromkeys(data.queries, hits[:depth]))


def trial(reranker: Reranker, docs: Any = DOCS, queries: Any = QUERIES, protocol: Any = None) -> Trial:
    grades = {query_id: {doc_id: int(doc_id == "late") for doc_id in docs} for query_id in queries}
    data = assemble("tiny", "en", "HERE", queries, docs, grades, 1, {"corpus": "full"})
    plan = Plan("test", 3, ["RR@10", "nDCG@10"], protocol or CostProtocol(0, 0, 0))
    first: Any = Given()
    return run(plan, data, first, reranker, {}, {"command": ["evalkit"]})


def test_a_trial_has_what_truncation_would_lose() -> None:
    # Whole, of 4 words each: late has no x, early one, often two, so that late is third. In chunks of 3: 1, 1 and 2,
    # and late is second, as the first stage has it before early.
    done = trial(in_chunks(Words(), ChunkSettings(by="tokens", size=3, overlap=0)))
    assert done.effectiveness["reranked"].mean()["RR@10"] == 1 / 2
    result = finished(done)
    assert result.chunks is not None
    counts, truncation = result.chunks.counts, result.chunks.truncation
    assert (counts.passages, counts.split_passages, counts.chunks, counts.most_chunks) == (3, 2, 6, 3)
    assert truncation is not None
    assert truncation.truncated_pairs == 2
    assert truncation.mean == pytest.approx({"RR@10": 1 / 3, "nDCG@10": 1 / 2})  # 1 / log2(4)
    assert truncation.change["RR@10"].mean == pytest.approx(1 / 6)
    assert truncation.change["RR@10"].wins == 1
    assert truncation.tests.keys() == {"RR@10", "nDCG@10"}
    assert result.effective.reranker["chunks"] == "max of 3 tokens, overlap 0"
    assert (result.effective.scoring["pairs"], result.effective.scoring["chunk_pairs"]) == (3, 6)
    assert result.cost is not None
    assert (result.cost.pairs, result.cost.computed_pairs) == (3, 3)


def test_the_comparison_can_be_left_out() -> None:
    done = trial(in_chunks(Words(), ChunkSettings(by="tokens", size=3, against_truncation=False)))
    result = to_plain(finished(done))
    assert result["chunks"]["truncation"] is None
    assert result["chunks"]["counts"]["split_passages"] == 2


def test_whole_passages_have_no_chunks_in_their_result() -> None:
    plain = to_plain(finished(trial(in_chunks(Words(), ChunkSettings()))))
    assert plain["chunks"] is None
    assert plain["effective"]["scoring"]["chunk_pairs"] is None
    assert "chunks" not in plain["effective"]["reranker"]


def test_every_pass_of_the_cost_is_made_over_chunks(bert_folder: Path) -> None:
    docs = {"late": LONG, "early": LONG[9:1500], "often": "A bear."}
    protocol = CostProtocol(
        warmup_queries=1, latency_queries=1, seed=0, memory_pass=True, clients=[1], load_s=0.05,
        grid_depths=[2], grid_lengths=[32, 200], grid_repetitions=1, grid_cell_s=1.0,
    )  # fmt: skip
    of = CrossEncoder(str(bert_folder), max_length=64, device="cpu", batch_tokens=512)
    done = trial(in_chunks(of, ChunkSettings(by="tokens", overlap=0)), docs, {"q": "pandas"}, protocol)
    cost = done.cost
    assert cost is not None
    assert cost.throughput is not None
    assert cost.throughput.pairs == 3
    assert cost.throughput.tokens > 600  # far more than 3 pairs of 64
    assert cost.latency is not None
    assert cost.latency.pairs_per_query == 3
    assert cost.latency_grid is not None
    assert cost.latency_grid.notes == ()
    assert [cell.tokens_per_pair >= cell.length for cell in cost.latency_grid.cells] == [True, True]
    assert cost.memory.own_pass is not None
    assert cost.memory.own_pass.tokens > 600
    assert cost.load is not None


# --- what is refused


@pytest.mark.parametrize("reranker", [NoReranker(), trec_run.TrecRun("some.trec")], ids=["none", "trec_run"])
def test_where_no_text_is_scored_there_is_nothing_to_split(reranker: Reranker) -> None:
    with pytest.raises(EvalkitError, match=r"computes no score of a text, so there is nothing to split; use chunks=no"):
        in_chunks(reranker, ChunkSettings(by="sentences"))


class Plain:
    """A reranker without a tokenizer."""

    def score(self, pairs: Any, queries: Any, docs: Any) -> Any:
        return [float(len(docs[doc_id])) for _, doc_id in pairs]


def test_a_reranker_without_a_tokenizer_takes_sentences() -> None:
    with pytest.raises(EvalkitError, match=r"chunks=tokens: this reranker \(Plain\) does not state where the tokens"):
        in_chunks(Plain(), ChunkSettings(by="tokens")).check()
    reranker = over(Plain(), "sentences", size=1, overlap=0)
    assert reranker.score([Pair("q", "d")], QUERIES, {"d": "One two. Three four five. Six."}).logits == (16.0,)
    assert over(Plain(), "sentences").size == 10


def test_a_chunk_has_to_be_shorter_than_a_pair_and_its_size_has_to_be_known() -> None:
    with pytest.raises(EvalkitError, match=r"chunks\.size=8: a pair of this reranker has 8 tokens at most"):
        over(Words(8), size=8)
    nameless = Words()
    nameless.describe = dict  # type: ignore[method-assign]
    with pytest.raises(EvalkitError, match=r"chunks\.size=null: this reranker \(Words\) states no max_length"):
        over(nameless)


@pytest.mark.parametrize(
    ("offsets", "message"),
    [
        ([], "returned 0 lists for 1 texts"),
        ([[[0, 99]]], "start, end"),
        ([[[3, 5], [0, 2]]], "start, end"),
        ("no", "list"),
    ],
)
def test_wrong_offsets_of_tokens_are_refused(offsets: Any, message: str) -> None:
    class Wrong(Words):
        def token_offsets(self, texts: Any) -> Any:
            return offsets if texts else []

    with pytest.raises(EvalkitError, match=message):
        over(Wrong()).score([Pair("q", "d")], QUERIES, {"d": "a b c"})
