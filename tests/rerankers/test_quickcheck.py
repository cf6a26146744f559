"""Is the model alive? One query with three passages in two languages, scored at once and one by one."""

import json
import math
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from evalkit.boundary.errors import EvalkitError, NotFiniteError
from evalkit.report import terminal
from evalkit.rerankers import quickcheck
from evalkit.rerankers.base import EngineFacts, Reranker
from evalkit.rerankers.cross_encoder import CrossEncoder
from evalkit.rerankers.local_engine import LocalEngine
from evalkit.rerankers.none import NoReranker
from evalkit.rerankers.quickcheck import CHECKS, Check
from evalkit.rerankers.trec_run import TrecRun
from evalkit.types import Scores

EN, ZH = CHECKS


class Words:
    """In place of a model: a text has as many tokens as words, and a pair of more than six is truncated."""

    def tokenize(self, texts: Any) -> Any:
        lengths = [len(f"{query} {passage}".split()) for query, passage in texts]
        return SimpleNamespace(lengths=[min(n, 6) for n in lengths], truncated=[n > 6 for n in lengths])


class Oracle(Reranker):
    """Gives each passage its logit, moved by `drift` where it is scored alone."""

    def __init__(self, logits: Any, drift: float = 0.0, dtype: str = "float32") -> None:
        self.logits, self.drift = logits, drift
        self.engine = LocalEngine(cast(Any, Words()), EngineFacts(dtype, 512, None, 1, "a processor", "none"))

    def score(self, pairs: Any, queries: Any, docs: Any, on_progress: Any = None) -> Any:
        drift = self.drift if len(pairs) == 1 else 0.0
        self.calls = [*getattr(self, "calls", []), len(pairs)]
        found = [self.logits[docs[pair.doc_id]] for pair in pairs]
        return Scores(tuple(None if logit is None else logit + drift for logit in found))

    def describe(self) -> Any:
        return {"name": "oracle", "model": "oracle", "architecture": "Oracle", "parameters": 12345, "device": "cpu",
                "device_name": "a processor", "precision": "fp32"}  # fmt: skip


def logits(en: Any = (3.0, 1.0, -2.0), zh: Any = (0.5, -800.0, 0.25)) -> dict[str, float]:
    return dict(zip((*EN.passages, *ZH.passages), (*en, *zh), strict=True))


def test_there_is_one_english_and_one_chinese_query_with_three_passages_each() -> None:
    assert [(check.lang, len(check.passages)) for check in CHECKS] == [("en", 3), ("zh", 3)]
    assert len({text for check in CHECKS for text in check.passages}) == 6


def test_passages_come_back_best_first_and_the_answer_is_recognised() -> None:
    found = quickcheck.run(Oracle(logits()))
    en, zh = found.checks
    assert [row.logit for row in en.passages] == [3.0, 1.0, -2.0]
    assert [row.rank for row in en.passages] == [1, 2, 3]
    assert [row.text for row in zh.passages] == [ZH.passages[0], ZH.passages[2], ZH.passages[1]]
    assert [row.number for row in zh.passages] == [1, 3, 2]
    assert (en.top, en.top_is_the_answer) == (EN.passages[0], True)
    assert (zh.top, zh.top_is_the_answer) == (ZH.passages[0], True)
    assert found.batch_and_single_differ_by == 0.0
    assert found.batch_and_single_agree is True


def test_the_file_keeps_the_names_that_it_has_always_had() -> None:
    found = json.loads(json.dumps(asdict(quickcheck.run(Oracle(logits())))))
    assert found.keys() >= {"reranker", "checks", "batch_and_single_differ_by", "batch_and_single_agree"}
    assert found["checks"][0].keys() == {"lang", "query", "passages", "top", "top_is_the_answer"}
    assert found["checks"][0]["passages"][0].keys() >= {"rank", "logit", "text"}


def test_a_wrong_answer_on_top_is_called_wrong() -> None:
    en, zh = quickcheck.run(Oracle(logits(en=(1.0, 2.0, 3.0)))).checks
    assert (en.top, en.top_is_the_answer, zh.top_is_the_answer) == (EN.passages[2], False, True)


def test_a_passage_is_ranked_among_those_of_its_own_query_only() -> None:
    en, zh = quickcheck.run(Oracle(logits(en=(-5.0, -6.0, -7.0), zh=(5.0, 6.0, 7.0)))).checks
    assert en.top_is_the_answer
    assert {row.text for row in en.passages} == set(EN.passages)
    assert {row.text for row in zh.passages} == set(ZH.passages)


@pytest.mark.parametrize(
    ("dtype", "drift", "agree"),
    [("float32", 5e-5, True), ("float32", 2e-4, False), ("float16", 0.02, True), ("float16", 0.05, False),
     ("bfloat16", 0.2, True), ("bfloat16", 0.3, False)],
)  # fmt: skip
def test_batch_and_single_may_differ_by_rounding_and_no_more(dtype: Any, drift: Any, agree: Any) -> None:
    found = quickcheck.run(Oracle(logits(zh=(0.5, -3.0, 0.25)), drift, dtype))
    assert found.batch_and_single_differ_by == pytest.approx(drift, rel=1e-6)
    assert found.batch_and_single_agree is agree


@pytest.mark.parametrize("folder", ["bert_folder", "xlmr_folder"])
def test_a_real_model_agrees_with_itself(request: pytest.FixtureRequest, folder: Any) -> None:
    model = str(request.getfixturevalue(folder))
    found = quickcheck.run(CrossEncoder(model, 256, truncation="longest_first", device="cpu"))
    assert found.batch_and_single_agree
    assert found.reranker["model"] == model
    for check in found.checks:
        values = [row.logit for row in check.passages if row.logit is not None]
        assert values == sorted(values, reverse=True)
        assert len(set(values)) == 3


# --- texts of a user's own


def own(*passages: str, ids: tuple[str | None, ...] = ()) -> tuple[Check]:
    return (Check(None, "one two three", passages, ids),)


def test_own_texts_have_a_ranking_and_no_answer() -> None:
    found = quickcheck.run(Oracle({"a": 1.0, "b": 3.0, "c": 1.0}), own("a", "b", "c", ids=("x", None, "y")))
    (check,) = found.checks
    assert [(row.rank, row.number, row.id) for row in check.passages] == [(1, 2, None), (2, 1, "x"), (3, 3, "y")]
    assert (check.lang, check.query, check.top, check.top_is_the_answer) == (None, "one two three", "b", None)


def test_equal_passages_keep_the_order_in_which_they_were_given() -> None:
    (check,) = quickcheck.run(Oracle({"a": 1.0, "b": 3.0}), own("a", "b", "a")).checks
    assert [row.number for row in check.passages] == [2, 1, 3]


def test_the_tokens_of_each_pair_and_its_truncation_are_recorded() -> None:
    short, long = "four", "four five six seven"  # with the query 4 words and 7 words, of which 6 remain
    (check,) = quickcheck.run(Oracle({short: 1.0, long: 0.0}), own(short, long)).checks
    assert [(row.tokens, row.truncated) for row in check.passages] == [(4, False), (6, True)]


def test_a_passage_without_a_score_follows_those_with_one() -> None:
    (check,) = quickcheck.run(Oracle({"a": None, "b": -9.0}), own("a", "b")).checks
    assert [(row.text, row.logit) for row in check.passages] == [("b", -9.0), ("a", None)]


def test_of_many_pairs_twenty_are_scored_one_by_one() -> None:
    texts = [f"passage {n}" for n in range(1000)]
    oracle = Oracle({text: float(n) for n, text in enumerate(texts)})
    found = quickcheck.run(oracle, own(*texts))
    assert oracle.calls == [1000] + [1] * 20
    assert found.scored_one_by_one == 20
    assert len(found.checks[0].passages) == 1000


def test_a_reranker_that_scores_nothing_has_nothing_to_check() -> None:
    with pytest.raises(EvalkitError, match="reranker=none scores nothing, so there is nothing to check; choose"):
        quickcheck.run(NoReranker())
    with pytest.raises(EvalkitError, match="gave none of the 1 passages a score"):
        quickcheck.run(Oracle({"a": None}), own("a"))


@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf])
def test_a_logit_that_is_no_number_is_refused(broken: Any) -> None:
    with pytest.raises(NotFiniteError, match="as the logit of a pair; a wider precision may help"):
        quickcheck.run(Oracle({"a": 1.0, "b": broken}), own("a", "b"))


def test_a_finished_run_has_nothing_to_check(tmp_path: Path) -> None:
    (tmp_path / "run.trec").write_text("q1 Q0 d1 1 1.0 tag\n", "utf-8")
    with pytest.raises(EvalkitError, match="the run ranks none of the 6 candidates"):
        quickcheck.run(TrecRun(str(tmp_path / "run.trec")))


def test_the_terminal_shows_model_ranks_logits_and_sigmoids(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.show_quickcheck(quickcheck.run(Oracle(logits())))
    shown = capsys.readouterr().out
    assert "model oracle (Oracle, 12,345 parameters), device cpu (a processor), precision fp32" in shown
    for logit in (3.0, 1.0, -2.0, 0.5, 0.25):
        assert f"{logit:.4f}" in shown
        assert f"{1 / (1 + math.exp(-logit)):.4f}" in shown
    assert "-800.0000" in shown  # whose sigmoid is 0, not an overflow
    assert f"top passage: {EN.passages[0]} (the answer)" in shown
    assert f"top passage: {ZH.passages[0]} (the answer)" in shown
    assert "the logits agree (largest difference 0.0e+00)" in shown


def test_the_terminal_shows_what_is_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.show_quickcheck(quickcheck.run(Oracle(logits(en=(1.0, 2.0, 0.0)), drift=1.0)))
    shown = capsys.readouterr().out
    assert f"top passage: {EN.passages[1]} (NOT the answer)" in shown
    assert "the logits DISAGREE (largest difference 1.0e+00)" in shown


def test_the_packaged_reranker_knows_the_capital_of_france() -> None:
    """English only: the packaged model has never seen Chinese."""
    found = quickcheck.run(CrossEncoder("packaged", 256, truncation="longest_first", device="cpu"))
    assert found.checks[0].top_is_the_answer
    assert found.batch_and_single_agree


def test_the_packaged_reranker_ranks_texts_of_a_user_and_reports_which_were_too_long() -> None:
    long = "Berlin has many museums. " * 100
    texts = Check(None, "What is the capital of France?", (long, EN.passages[0]))
    found = quickcheck.run(CrossEncoder("packaged", 256, truncation="longest_first", device="cpu"), (texts,))
    first, second = found.checks[0].passages
    assert (first.text, first.number, first.truncated) == (EN.passages[0], 2, False)
    assert (second.tokens, second.truncated) == (256, True)
    assert found.truncated_pairs == 1
