import dataclasses
import json
import math
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit.cost.protocol import CostProtocol
from evalkit.evaluation.breakdown import Example, analyse
from evalkit.evaluation.query_kinds import query_length, question_word
from evalkit.evaluation.score_analysis import Rule, ScoreAnalysis
from evalkit.slices.assemble import assemble
from evalkit.trial import Plan, run
from evalkit.types import Effectiveness, Hit, Run, Scores

DOCS = [f"d{i}" for i in range(12)]
LN3 = math.log(3)  # the logit of sigmoid 3/4


class Known:
    """A first stage and a reranker with given scores: query_id -> doc_id -> logit, in the first stage's order."""

    computes = False

    def __init__(self, logits: Any, facts: Any) -> None:
        self.logits, self.facts = logits, facts

    def check(self) -> None:
        pass

    def load(self) -> None:
        pass

    def search(self, data: Any, depth: Any) -> Any:
        return Run("first", {
            q: tuple(Hit(d, -float(rank)) for rank, d in enumerate([*self.logits[q]][:depth])) for q in data.queries
        })  # fmt: skip

    def score(self, pairs: Any, queries: Any, docs: Any, on_progress: Any = None) -> Any:
        return Scores(tuple(self.logits[pair.query_id][pair.doc_id] for pair in pairs))

    def describe(self) -> Any:
        return self.facts


def make(
    logits: Any,
    qrels: Any,
    texts: Any = None,
    lang: Any = "en",
    level: Any = 1,
    depth: Any = 100,
    measures: Any = ("RR@10",),
    facts: Any = None,
) -> Any:
    """A trial; `logits` and `qrels` are query_id -> doc_id -> value. The order of logits is the first stage's."""
    texts = texts or {query_id: f"text of {query_id}" for query_id in logits}
    docs = {d: d for of_query in [*logits.values(), *qrels.values()] for d in of_query}
    data = assemble("test", lang, "HERE", texts, docs, qrels, level, {"corpus": "full"})
    first_stage: Any = Known(logits, {"name": "known"})
    reranker: Any = Known(logits, facts or {"name": "known", "precision": "fp32"})
    return run(Plan("test", depth, list(measures), CostProtocol(0, 0, 0)), data, first_stage, reranker, {}, {})


def down(*doc_ids: Any) -> Any:
    """Logits that keep the order."""
    return {doc_id: -float(rank) for rank, doc_id in enumerate(doc_ids)}


def up(*doc_ids: Any) -> Any:
    """Logits that turn the order round."""
    return {doc_id: float(rank) for rank, doc_id in enumerate(doc_ids)}


def scores_of(trial: Any) -> ScoreAnalysis:
    scores = analyse(trial).scores
    assert scores is not None
    return scores


def labels(found: Any, by: Any) -> Any:
    return {row.label: row.queries for row in found.breakdown[by]}


# --- depth ------------------------------------------------------------------------------------------------------------


def test_a_deeper_answer_is_found_only_from_its_depth_on() -> None:
    # d6 stands at rank 7 and has the highest logit; d1 to d3 have higher ones than the rest.
    logits = {"q": {d: 5.0 if d == "d6" else 1.0 if d in ("d1", "d2", "d3") else 0.0 for d in DOCS}}
    found = analyse(make(logits, {"q": {"d6": 1}}, depth=12, measures=["RR@10", "R@depth", "nDCG@10"])).depths
    assert [(row.depth, row.pairs) for row in found] == [(5, 5), (10, 10), (12, 12)]
    assert [row.mean["RR@10"] for row in found] == pytest.approx([1 / 7, 1, 1])
    assert [row.mean["R@12"] for row in found] == [1, 1, 1]
    assert [row.mean["nDCG@10"] for row in found] == pytest.approx([1 / 3, 1, 1])  # 1 / log2(8)


def test_queries_with_few_candidates_have_few_pairs_at_every_depth() -> None:
    trial = make({"a": down(*DOCS), "b": down("d0", "d1"), "c": {}}, {q: {"d0": 1} for q in "abc"}, depth=10)
    assert [(row.depth, row.pairs) for row in analyse(trial).depths] == [(5, 7), (10, 12)]


def test_the_depths_of_a_shallow_trial_are_its_own() -> None:
    found = analyse(make({"q": down(*DOCS)}, {"q": {"d0": 1}}, depth=3)).depths
    assert [row.depth for row in found] == [3]


some_logits = st.fixed_dictionaries({d: st.sampled_from([-1.5, 0.0, 0.25, 2.0, None]) for d in DOCS})


@settings(deadline=None, max_examples=25)
@given(logits=some_logits, relevant=st.sets(st.sampled_from(DOCS), min_size=1))
def test_what_a_depth_would_give_is_what_a_trial_of_that_depth_gives(logits: Any, relevant: Any) -> None:
    names = ["nDCG@10", "AP@12", "RR@10"]
    deep, shallow = (
        make({"q": logits}, {"q": dict.fromkeys(relevant, 2)}, depth=depth, measures=names) for depth in (12, 5)
    )
    assert analyse(deep).depths[0].mean == pytest.approx(shallow.effectiveness["reranked"].mean())
    assert analyse(deep).depths[-1].mean == pytest.approx(deep.effectiveness["reranked"].mean())


# --- kinds of queries -------------------------------------------------------------------------------------------------


def test_a_row_has_mean_before_and_after_and_the_interval_of_the_difference() -> None:
    # RR goes from 1/2 to 1 and from 1/3 to 1: differences 1/2 and 2/3, mean 7/12, standard deviation 1/6 / sqrt(2),
    # standard error 1/12, times t(0.975, 1) = 12.7062; a change is at most 1.
    trial = make({"a": up("d1", "d0"), "b": up("d2", "d1", "d0")}, {q: {"d0": 1} for q in "ab"})
    [row] = analyse(trial).breakdown["query_length"]
    assert (row.label, row.queries) == ("up to 3 words", 2)
    assert (row.before, row.after, row.delta) == pytest.approx((5 / 12, 1, 7 / 12))
    assert row.ci95 == pytest.approx([7 / 12 - 12.7062 / 12, 1.0], abs=1e-5)


def test_one_query_has_no_interval() -> None:
    found = analyse(make({"q": up("d1", "d0")}, {"q": {"d0": 1}}))
    for rows in found.breakdown.values():
        [row] = rows
        assert row.ci95 == (None, None)
        assert row.delta == 0.5


def test_the_breakdown_is_of_the_first_measure() -> None:
    trial = make({"q": up("d1", "d0")}, {"q": {"d0": 1}}, measures=["P@1", "RR@10"])
    [row] = analyse(trial).breakdown["answer_in_first_10"]
    assert (row.before, row.after) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("text", "lang", "label"),
    [
        ("", "en", "up to 3 words"),
        ("one, two -- three!", "en", "up to 3 words"),
        ("one two three four", "en", "4 to 6 words"),
        ("1 2 3 4 5 6", "en", "4 to 6 words"),
        ("1 2 3 4 5 6 7", "en", "7 to 9 words"),
        ("1 2 3 4 5 6 7 8 9 10", "en", "more than 9 words"),
        ("किताब में क्या है", "hi", "4 to 6 words"),  # vowel signs do not break a word
        ("黄河在哪座城市入海呢？", "zh", "up to 10 characters"),  # ten, and a question mark
        ("黄河在哪座城市入海了呢", "zh", "11 to 15 characters"),
        ("電車 忘れ物 受け取り 持ち物", "ja", "11 to 15 characters"),  # twelve, and three spaces
        ("대한민국의 수도는 어디입니까", "ko", "11 to 15 characters"),
        ("ที่ที่ที่ที่ที่", "th", "up to 10 characters"),  # five times a consonant with a vowel and a tone sign
        ("字" * 25, "zh", "16 to 25 characters"),
        ("字" * 26, "zh", "more than 25 characters"),
    ],
)
def test_a_query_is_as_long_as_its_words_or_characters(text: Any, lang: Any, label: Any) -> None:
    assert query_length(text, lang) == label


@pytest.mark.parametrize(
    ("lang", "kind", "text"),
    [
        ("ar", "who", "من هو مؤلف الكتاب"),
        ("ar", "none", "عاصمة اليمن من المدن"),  # "from"
        ("ar", "what", "ما هي الذرة؟"),
        ("ar", "when", "متى ولد عبد الرحمن"),
        ("ar", "which", "في أي عام تأسست"),
        ("ar", "how many", "كم عدد السور"),
        ("ar", "none", "مسافة 100 كم بالسيارة"),  # kilometres
        ("de", "how many", "Um wie viel Uhr beginnt die Fasnacht?"),
        ("de", "how many", "wieviele Planeten"),
        ("de", "how", "wie entferne ich eine Zecke"),
        ("de", "when", "Seit wann dürfen Frauen abstimmen?"),
        ("de", "none", "Wanne undicht"),
        ("en", "how many", "How many moons does Mars have?"),
        ("en", "how", "marathon taper how long"),
        ("en", "what", '"what" is what'),
        ("en", "what", "what's a motte"),
        ("en", "when", "since when is there tea"),
        ("en", "none", "chain jumps when i pedal"),
        ("en", "where", "where do swallows go"),
        ("en", "none", "somewhere over the rainbow"),
        ("en", "why", "so why is that"),
        ("en", "which", "in which year was it"),
        ("en", "who", "who wrote what"),
        ("en", "none", "git merge vs rebase"),
        ("es", "why", "¿Por qué se me lava el mate?"),
        ("es", "what", "calefón o termotanque qué conviene"),
        ("es", "none", "el perro que ladra"),
        ("es", "how many", "cada cuánto"),
        ("es", "where", "¿Adónde van?"),
        ("es", "who", "quie\u0301n metió el gol"),  # an accent that is a character of its own
        ("hi", "which", "यह किस गाँव में है"),
        ("hi", "which", "सूर्य मंदिर कौन सा है"),
        ("hi", "who", "विद्रोह की कमान किसने संभाली"),
        ("hi", "who", "लेखक कौन है"),
        ("hi", "what", "छठ पूजा में खरना क्या है"),
        ("hi", "none", "क्या डेंगू फैलता है"),  # at the start it asks for yes or no
        ("hi", "how many", "कितने सेकंड"),
        ("ja", "when", "神戸港が開港したのはいつ"),
        ("ja", "where", "フロリダ州の州都はどこ"),
        ("ja", "how many", "どれくらい残っていれば"),
        ("ja", "which", "安いのはどっち"),
        ("ja", "how", "ぬか床はどうすればいい"),
        ("ja", "why", "ツバメはどうして人の家に巣を作るの"),
        ("ja", "who", "千円札の肖像は誰"),
        ("ja", "none", "ぶどうの剪定"),
        ("ru", "which", "в каком году"),
        ("ru", "how", "как подать апелляцию"),
        ("ru", "what", "за что его приговорили"),
        ("ru", "how many", "Сколько соли"),
        ("ru", "none", "можно ли вернуть сапоги"),
        ("sw", "why", "Kwa nini maharage hujaza gesi?"),
        ("sw", "what", "Fuliza ya Safaricom ni nini?"),
        ("sw", "how many", "huchukua miaka mingapi?"),
        ("sw", "which", "Mti gani huhifadhi maji"),
        ("sw", "who", "ni nani?"),
        ("zh", "why", "大熊猫为什么吃竹子"),
        ("zh", "when", "什么时候过年"),
        ("zh", "where", "意大利首都是哪里？"),
        ("zh", "which", "在哪座城市入海"),
        ("zh", "what", "茶叶的杀青是什么意思"),
        ("zh", "how many", "有多少只"),
        ("zh", "how", "怎么改签"),
        ("zh", "who", "苏轼写给谁的"),
        ("zh", "none", "离职后公积金能取出来吗"),
        ("fr", "none", "qui a peint la chapelle"),
    ],
)
def test_the_first_question_word_is_the_kind_of_the_query(lang: Any, kind: Any, text: Any) -> None:
    assert question_word(text, lang) == kind


def test_rare_question_words_share_a_row_and_queries_without_one_come_last() -> None:
    words = ["why"] * 3 + ["who"] * 4 + ["how"] * 2 + ["which"] + ["plain"] * 5
    texts = {f"q{i}": f"{word} tea" for i, word in enumerate(words)}
    trial = make(dict.fromkeys(texts, down("d0")), {q: {"d0": 1} for q in texts}, texts)
    assert list(labels(analyse(trial), "question_word").items()) == [("who", 4), ("why", 3), ("other", 3), ("none", 5)]


def test_a_language_whose_question_words_are_unknown_has_no_such_rows() -> None:
    found = analyse(make({"q": down("d0")}, {"q": {"d0": 1}}, lang="fi"))
    assert found.breakdown["question_word"] == ()
    assert labels(found, "query_length") == {"up to 3 words": 1}


def test_relevant_passages_are_counted_from_the_level_of_the_slice() -> None:
    sizes = [0, 1, 2, 3, 4, 9, 10, 12]
    qrels = {f"q{n}": {d: 2 if i < n else 1 for i, d in enumerate(DOCS)} for n in sizes}
    found = analyse(make(dict.fromkeys(qrels, down("d0")), qrels, level=2))
    assert list(labels(found, "relevant_passages").items()) == [
        ("none", 1), ("1", 1), ("2-3", 2), ("4-9", 2), ("10 and more", 2)
    ]  # fmt: skip


def test_where_the_first_stage_had_the_answer_decides_what_reranking_can_do() -> None:
    logits = {f"q{rank}": down(*DOCS[:rank], "answer", *DOCS[rank:]) for rank in (0, 9, 10, 11)}  # one below the depth
    logits |= {"without": down(*DOCS), "empty": {}}
    trial = make(logits, {q: {"answer": 2, "d0": 1} for q in logits}, level=2, depth=11, measures=["R@20"])
    assert list(labels(analyse(trial), "answer_in_first_10").items()) == [
        ("yes", 2), ("no, but among the candidates", 1), ("no candidate is relevant", 3)
    ]  # fmt: skip


# --- scores -----------------------------------------------------------------------------------------------------------


def six_pairs() -> Any:
    """Judged, by logit: 2 (grade 2), 1 (grade 0), LN3 and -LN3 (grade 1), -3 (grade 0); and 0 is not judged."""
    logits = {"a": {"d0": 2.0, "d1": 1.0, "d2": 0.0}, "b": {"d0": LN3, "d1": -LN3, "d2": -3.0}}
    return make(logits, {"a": {"d0": 2, "d1": 0}, "b": {"d0": 1, "d1": 1, "d2": 0}})


def test_score_statistics_are_separate_for_each_grade() -> None:
    grades = scores_of(six_pairs()).grades
    assert [(row.grade, row.pairs) for row in grades] == [(0, 2), (1, 2), (2, 1), (None, 1)]
    zero, one, two, unjudged = ([row.p5, row.p25, row.p50, row.p75, row.p95] for row in grades)
    assert zero == pytest.approx([-2.8, -2.0, -1.0, 0.0, 0.8])
    assert one == pytest.approx([-0.9 * LN3, -0.5 * LN3, 0.0, 0.5 * LN3, 0.9 * LN3])
    assert two == [2.0] * 5
    assert unjudged == [0.0] * 5


def test_the_histogram_holds_every_pair_once() -> None:
    histogram = scores_of(six_pairs()).histogram
    assert histogram.edges == pytest.approx([-3 + i / 6 for i in range(31)])
    bins = {grade: [i for i, n in enumerate(ns) for _ in range(n)] for grade, ns in histogram.counts.items()}
    # (1 - -3) * 6 = 24, LN3 = 1.0986: 24.6, -LN3: 11.4; the highest logit belongs to the last bin.
    assert bins == {"0": [0, 24], "1": [11, 24], "2": [29], "unjudged": [18]}


def test_a_threshold_keeps_what_is_at_least_as_high() -> None:
    # From the top, judged pairs only: relevant, relevant, not, relevant, not.
    scores = scores_of(six_pairs())
    found = [(row.logit, row.precision, row.recall, row.f1) for row in scores.thresholds]
    assert found == [
        pytest.approx(row)
        for row in [(-3, 3 / 5, 1, 3 / 4), (-LN3, 3 / 4, 1, 6 / 7), (1, 2 / 3, 2 / 3, 2 / 3), (LN3, 1, 2 / 3, 4 / 5),
                    (2, 1, 1 / 3, 1 / 2)]
    ]  # fmt: skip
    assert scores.thresholds[1].sigmoid == pytest.approx(1 / 4)
    assert scores.best_f1 == scores.thresholds[1]


def test_of_equal_f1_the_highest_threshold_is_best() -> None:
    # Relevant at the top and at the bottom of four.
    # F1: 2*1/(1+2) = 2/3 at the top; 2*2/(4+2) = 2/3 with all.
    trial = make({"q": down("d0", "d1", "d2", "d3")}, {"q": {"d0": 1, "d1": 0, "d2": 0, "d3": 1}})
    best = scores_of(trial).best_f1
    assert best is not None
    assert (best.logit, best.precision, best.recall) == (0.0, 1.0, 0.5)


def test_what_tutorials_claim_is_looked_up_and_only_judged_pairs_count() -> None:
    # Sigmoids: 0.88 (relevant), 0.75 (relevant), 0.73 (not), 0.25 (relevant), 0.047 (not).
    assert scores_of(six_pairs()).rules == (Rule("sigmoid >= 0.8", 1, 1.0), Rule("sigmoid < 0.4", 2, 0.5))
    unsure = make({"q": {"d0": 0.5, "d1": 0.0}}, {"q": {"d0": 1, "d1": 0}})
    assert [row.relevant_share for row in scores_of(unsure).rules] == [None, None]


def test_calibration_compares_sigmoids_with_the_share_of_relevant_pairs() -> None:
    scores = scores_of(six_pairs())
    one, two, three = (1 / (1 + math.exp(-x)) for x in (1, 2, 3))
    assert [dataclasses.astuple(row) for row in scores.calibration] == [
        pytest.approx(row)
        for row in [(0, 0.1, 1, 1 - three, 0), (0.2, 0.3, 1, 1 / 4, 1), (0.7, 0.8, 2, (one + 3 / 4) / 2, 1 / 2),
                    (0.8, 0.9, 1, two, 1)]
    ]  # fmt: skip
    error = ((1 - three) + 3 / 4 + 2 * ((one + 3 / 4) / 2 - 1 / 2) + (1 - two)) / 5
    assert scores.expected_calibration_error == pytest.approx(error)


def test_a_sigmoid_of_one_half_belongs_to_the_bin_above_and_of_one_to_the_last() -> None:
    trial = make({"q": {"d0": 0.0, "d1": 1000.0, "d2": -1000.0}}, {"q": {"d0": 0, "d1": 1, "d2": 0}})
    scores = scores_of(trial)
    assert [(row.low, row.pairs) for row in scores.calibration] == [(0.0, 1), (0.5, 1), (0.9, 1)]
    assert [row.sigmoid for row in scores.thresholds] == [0.0, 0.5, 1.0]


def many(n: Any, seed: Any = 0) -> Any:
    """`n` pairs a query, with relevant ones among the higher logits."""
    random_ = random.Random(seed)
    logits = {q: {f"d{i}": random_.gauss(0, 3) for i in range(n)} for q in "abc"}
    return logits, {q: {d: int(x + random_.gauss(0, 3) > 2) for d, x in of.items()} for q, of in logits.items()}


def test_many_logits_give_sixty_thresholds_at_most_and_the_best_f1_of_all() -> None:
    logits, qrels = many(100)
    scores = scores_of(make(logits, qrels))
    thresholds = [row.logit for row in scores.thresholds]
    values = [(x, qrels[q][d]) for q, of in logits.items() for d, x in of.items()]
    assert 50 <= len(thresholds) <= 60
    assert thresholds == sorted(set(thresholds))
    assert set(thresholds) <= {x for x, _ in values}
    assert (thresholds[0], thresholds[-1]) == (min(values)[0], max(values)[0])

    def f1(threshold: Any) -> Any:
        above = [grade for x, grade in values if x >= threshold]
        return 2 * sum(above) / (len(above) + sum(grade for _, grade in values))

    assert scores.best_f1 is not None
    assert scores.best_f1.f1 == pytest.approx(max(f1(x) for x, _ in values))
    for row in [*scores.thresholds, scores.best_f1]:
        assert row.f1 == pytest.approx(f1(row.logit))
        assert row.f1 == pytest.approx(2 / (1 / row.precision + 1 / row.recall))


def test_half_of_the_thresholds_are_where_the_relevant_passages_are() -> None:
    # Ten relevant pairs at the top of 3,000: quantiles of all pairs alone would meet none of them but the highest.
    logits = {"q": {f"d{i}": float(i) for i in range(3000)}}
    trial = make(logits, {"q": {f"d{i}": int(i >= 2990) for i in range(3000)}}, depth=3000)
    assert {row.logit for row in scores_of(trial).thresholds} >= set(map(float, range(2990, 3000)))


def test_passages_below_the_depth_have_no_score() -> None:
    trial = make({"q": {"d0": 1.0, "d1": 0.0, "d2": 7.0}}, {"q": {"d0": 1, "d1": 0, "d2": 1}}, depth=2)
    assert [(row.grade, row.pairs) for row in scores_of(trial).grades] == [(0, 1), (1, 1)]


def test_there_are_no_scores_where_no_model_computed_them() -> None:
    assert analyse(make({"q": down("d0", "d1")}, {"q": {"d0": 1, "d1": 0}}, facts={"name": "file"})).scores is None


def test_made_up_scores_of_passages_that_got_none_are_no_scores() -> None:
    trial = make({"q": {"d0": 1.0, "d1": None, "d2": 0.0}}, {"q": {"d0": 1, "d1": 0, "d2": 0}})
    assert analyse(trial).scores is None


def test_there_are_no_scores_where_no_candidate_is_judged() -> None:
    assert analyse(make({"q": down("d0", "d1")}, {"q": {"elsewhere": 1}})).scores is None


@pytest.mark.parametrize("grade", [0, 1])
def test_where_all_judged_candidates_are_alike_no_threshold_is_named(grade: Any) -> None:
    # Collections with answers only, such as MS MARCO's: precision would be 1 at any threshold.
    scores = scores_of(make({"q": down("d0", "d1", "d2")}, {"q": {"d0": grade, "d1": grade, "elsewhere": 1}}))
    assert [(row.grade, row.pairs) for row in scores.grades] == [(grade, 2), (None, 1)]
    assert scores.histogram.counts.keys() == {str(grade), "unjudged"}
    assert (scores.thresholds, scores.rules, scores.calibration) == ((), (), ())
    assert (scores.best_f1, scores.expected_calibration_error) == (None, None)


@pytest.mark.parametrize("logit", [0.0, -7.25, 65504.0, 1e20, -3.4e38])
def test_equal_logits_are_one_threshold_and_fit_a_histogram(logit: Any) -> None:
    trial = make({"q": dict.fromkeys(DOCS, logit)}, {"q": {"d0": 1, "d1": 0, "d2": 0}})
    found = analyse(trial)
    scores = scores_of(trial)
    [threshold] = scores.thresholds
    assert threshold == scores.best_f1
    assert (threshold.logit, threshold.precision, threshold.recall) == pytest.approx((logit, 1 / 3, 1))
    assert {grade: sum(ns) for grade, ns in scores.histogram.counts.items()} == {
        "0": 2, "1": 1, "unjudged": 9
    }  # fmt: skip
    assert (found.gains, found.losses) == ((), ())


def test_zero_has_no_sign() -> None:
    trial = make({"q": {"d0": -0.0, "d1": 0.0}}, {"q": {"d0": 0, "d1": 1}})
    assert "-0.0" not in repr(scores_of(trial).thresholds)
    assert "-0.0" not in repr(scores_of(trial).grades)


# --- gains and losses -------------------------------------------------------------------------------------------------


def test_the_largest_changes_come_first_and_ties_by_id() -> None:
    # RR: a, c 1/2 -> 1; b 1/3 -> 1; d 1 -> 1/2; e 1 -> 1/3; f stays.
    logits = {"c": up("d1", "d0"), "a": up("d1", "d0"), "b": up("d1", "d2", "d0"), "d": up("d0", "d1"),
              "e": up("d0", "d1", "d2"), "f": down("d0", "d1")}  # fmt: skip
    found = analyse(make(logits, {q: {"d0": 1} for q in logits}, {q: f"why {q}" for q in logits}))
    assert [row.query_id for row in found.gains] == ["b", "a", "c"]
    assert [row.query_id for row in found.losses] == ["e", "d"]
    assert found.gains[1] == Example("a", "why a", 0.5, 1.0)
    assert found.losses[0] == Example("e", "why e", 1.0, found.losses[0].after)
    assert found.losses[0].after == pytest.approx(1 / 3)


def test_ten_of_each_are_shown_at_most() -> None:
    queries = [f"q{i:02}" for i in range(24)]
    logits = {q: up("d1", "d0") if i < 12 else up("d0", "d1") for i, q in enumerate(queries)}
    found = analyse(make(logits, {q: {"d0": 1} for q in logits}))
    assert [row.query_id for row in found.gains] == queries[:10]
    assert [row.query_id for row in found.losses] == queries[12:22]


def test_rounding_is_no_change() -> None:
    trial = make({"a": down("d0"), "b": down("d0")}, {q: {"d0": 1} for q in "ab"})
    nearly = Effectiveness({"RR@10": {"a": 1.0 - 1e-12, "b": 1.0 - 1e-6}})
    trial = dataclasses.replace(trial, effectiveness={**trial.effectiveness, "reranked": nearly})
    assert [row.query_id for row in analyse(trial).losses] == ["b"]


def test_a_tie_but_for_rounding_is_a_tie() -> None:
    before, after = {"a": 0.2, "b": 0.0}, {"a": 0.3, "b": 0.1}
    assert after["a"] - before["a"] < after["b"] - before["b"]  # 0.09999999999999998
    trial = make({"a": down("d0"), "b": down("d0")}, {q: {"d0": 1} for q in "ab"})
    changed = {"first_stage": Effectiveness({"RR@10": before}), "reranked": Effectiveness({"RR@10": after})}
    trial = dataclasses.replace(trial, effectiveness=trial.effectiveness | changed)
    assert [row.query_id for row in analyse(trial).gains] == ["a", "b"]


# --- all of it --------------------------------------------------------------------------------------------------------


def test_a_collection_without_a_relevant_passage_gives_zeros() -> None:
    trial = make({"a": up(*DOCS), "b": {}}, {q: {"d0": 0, "d1": 1} for q in "ab"}, level=2)
    found = analyse(trial)
    assert all(row.mean == {"RR@10": 0.0} for row in found.depths)
    assert labels(found, "relevant_passages") == {"none": 2}
    assert labels(found, "answer_in_first_10") == {"no candidate is relevant": 2}
    assert (scores_of(trial).best_f1, found.gains, found.losses) == (None, (), ())


def plain(value: Any) -> Any:
    """Whether `value` is made of what JSON has words for, by type: numpy's floats are floats, and not meant."""
    if type(value) is dict:
        return all(type(key) is str and plain(item) for key, item in value.items())
    if type(value) in (list, tuple):
        return all(map(plain, value))
    return value is None or type(value) in (str, int, float)


grades = st.dictionaries(st.sampled_from(DOCS[:8]), st.integers(0, 3), min_size=1)
logits = st.one_of(
    st.sampled_from([-2.0, -0.0, 0.0, 1.5]),
    st.floats(-1e3, 1e3),
    st.floats(width=32, allow_nan=False, allow_infinity=False),
)
rankings = st.lists(st.sampled_from(DOCS[:8]), unique=True).flatmap(
    lambda ids: st.fixed_dictionaries(dict.fromkeys(ids, logits))
)
words = st.sampled_from(["why", "who is", "how many", "tea", "so it is", "这是什么"])
queries = st.lists(st.tuples(rankings, grades, words), min_size=1, max_size=9)


@st.composite
def trials(draw: Any) -> Any:
    found = {f"q{i}": part for i, part in enumerate(draw(queries))}
    if not any(ranking for ranking, _, _ in found.values()):
        found["q0"] = ({"d0": 0.5}, *found["q0"][1:])
    ranked, judged, texts = ({q: part[i] for q, part in found.items()} for i in range(3))
    lang = draw(st.sampled_from(["en", "zh", "fi"]))
    return make(ranked, judged, texts, lang, level=draw(st.integers(1, 3)), depth=7, measures=["nDCG@10", "R@depth"])


def moved(trial: Any, name: Any, order: Any) -> Any:
    """The same trial with `name` for each id, and with all that is a mapping put in another order."""

    def shuffled(mapping: Any) -> Any:
        items = list(mapping.items())
        order.shuffle(items)
        return dict(items)

    def by_query(mapping: Any, change: Any) -> Any:
        return shuffled({name(q): change(value) for q, value in mapping.items()})

    def named(hits: Any) -> Any:
        return tuple(Hit(name(hit.doc_id), hit.score) for hit in hits)

    data = dataclasses.replace(
        trial.slice,
        queries=by_query(trial.slice.queries, str),
        docs=by_query(trial.slice.docs, str),
        qrels=by_query(trial.slice.qrels, lambda of: by_query(of, int)),
    )
    return dataclasses.replace(
        trial,
        slice=data,
        first_stage=Run("first", by_query(trial.first_stage.rankings, named)),
        reranked=Run("second", by_query(trial.reranked.rankings, named)),
        effectiveness={
            label: Effectiveness({m: by_query(of, float) for m, of in values.per_query.items()})
            for label, values in trial.effectiveness.items()
        },
    )


@settings(deadline=None, max_examples=40)
@given(trial=trials(), order=st.randoms(use_true_random=False))
def test_the_order_of_queries_and_passages_changes_no_digit(trial: Any, order: Any) -> None:
    assert repr(analyse(moved(trial, str, order))) == repr(analyse(trial))


@settings(deadline=None, max_examples=40)
@given(trial=trials(), order=st.randoms(use_true_random=False))
def test_other_ids_change_no_figure(trial: Any, order: Any) -> None:
    def figures(found: Any) -> Any:
        changes = [sorted((row.query, row.before, row.after) for row in rows) for rows in (found.gains, found.losses)]
        return dataclasses.replace(found, gains=(), losses=()), changes

    # Reversed, so that ties between ids fall the other way.
    renamed = moved(trial, lambda item: f"{100 - int(item[1:]):03} of <{item}>", order)
    assert figures(analyse(renamed)) == figures(analyse(trial))


@settings(deadline=None, max_examples=40)
@given(trial=trials())
def test_any_analysis_is_plain_complete_and_adds_up(trial: Any) -> None:
    found = analyse(trial)
    assert plain(dataclasses.asdict(found))
    json.dumps(dataclasses.asdict(found), allow_nan=False)
    assert list(found.breakdown) == ["query_length", "question_word", "relevant_passages", "answer_in_first_10"]
    total, name = len(trial.slice.queries), trial.effective["measures"][0]
    for by, rows in found.breakdown.items():
        if rows or by != "question_word":
            assert sum(row.queries for row in rows) == total
            whole = trial.effectiveness["reranked"].mean()[name]
            assert sum(row.after * row.queries for row in rows) / total == pytest.approx(whole)
            assert all(row.delta == pytest.approx(row.after - row.before) for row in rows)
    scores = found.scores
    if scores:
        pairs = sum(row.pairs for row in scores.grades)
        judged = sum(row.pairs for row in scores.grades if row.grade is not None)
        assert pairs == found.depths[-1].pairs == sum(map(sum, scores.histogram.counts.values()))
        assert all(len(ns) == len(scores.histogram.edges) - 1 for ns in scores.histogram.counts.values())
        assert sum(row.pairs for row in scores.calibration) == (judged if scores.best_f1 else 0)
        assert all(row.low <= row.mean_sigmoid <= row.high for row in scores.calibration)
        assert all(scores.best_f1 and scores.best_f1.f1 >= row.f1 for row in scores.thresholds)
