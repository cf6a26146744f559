"""Where reranking helped and where it hurt: the same trial cut by depth, by kind of query, and by score.

Nothing is scored again: all of it is read off the two runs of a finished trial.
"""

import math
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import regex

from evalkit import measures, ranking
from evalkit.first_stage.analysis import BIGRAM_LANGS, words
from evalkit.significance import paired_delta
from evalkit.types import Run, Trial

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Flags = NDArray[np.bool_]

Row = dict[str, Any]

DEPTHS = (5, 10, 20, 50, 100, 200, 500, 1000)
LENGTHS = {"words": (3, 6, 9), "characters": (10, 15, 25)}
"""The longest query of each class but the last, which has no end."""
SMALL_CLASS = 3
"""Kinds of question with fewer queries than this share one row."""
HISTOGRAM_BINS, CALIBRATION_BINS, MOST_THRESHOLDS, MOST_EXAMPLES = 30, 10, 60, 10

_TIE = 1e-9
"""Differences below this are rounding, not ranking."""

QUESTION_WORDS = {
    "ar": {
        "how_many": r"(?<!\d ?)كم|بكم", "how": "كيف|[إا]زاي", "when": "مت[ىي]", "where": "[أا]ين",
        "why": "لماذا|ليش|ليه", "which": "[أا]ي|أى|[أا]ية", "who": "^من|من ه[وي]|لمن",
        "what": "^ما|ماهو|ماه[يى]|ب?ماذا|مم|إيه",
    },
    "de": {
        "how_many": "wie ?viele?n?", "how": "wie", "when": "wann", "where": "wo|woher|wohin",
        "why": "warum|weshalb|wieso|wozu", "which": "welche?[rsnm]?", "who": "we[rnm]|wessen",
        "what": "was|wo(?:mit|für|durch|raus|rin|von|rauf|rüber|ran)",
    },
    "en": {
        "how_many": "how (?:many|much)", "how": "how", "when": "^when|when (?:is|are|was|were|do|does|did|will|can)",
        "where": "^where|where (?:is|are|was|were|do|does|did|will|can)", "why": "why", "which": "which",
        "who": "^who(?:m|se)?", "what": "whats?",
    },
    "es": {
        "how_many": "cuánt[oa]s?", "how": "cómo", "when": "cuándo", "where": "a?dónde", "why": "por qué",
        "which": "cuál(?:es)?", "who": "quién(?:es)?", "what": "qué",
    },
    "hi": {
        "how_many": "कितन[ाेी]", "how": "कैस[ाेी]", "when": "कब", "where": "कहा[ँं]", "why": "क्यों",
        "which": "कौन ?स[ाीे]|किस", "who": "कौन|किस(?:ने|े|को|से|का|के|की)|किन(?:का|के|की|को|से)?|किन्होंने",
        "what": "(?<= )क्या",
    },
    "ja": {
        "how_many": "いくつ|いくら|何[人個回本歳枚冊台匹]|ど[のれ][くぐ]らい|どれほど",
        "how": "どう(?:やって|すれ|した|な[るっ])|どのよう", "when": "いつ(?!も)|何時", "where": "どこ|何処",
        "why": "なぜ|何故|どうして|なんで", "which": "どの|どれ|どちら|どっち", "who": "誰|だれ|どなた",
        "what": "何|なに|どういう|どんな",
    },
    "ru": {
        "how_many": "сколько|скольк[иу]х?", "how": "как", "when": "когда", "where": "где|куда|откуда",
        "why": "почему|зачем|отчего", "which": "как(?:ой|ая|ое|ие|ого|ому|им|ом|их|ими|ую)|каков[аоы]?",
        "who": "кто|кого|кому|к[ео]м", "what": "что|чего|чему|ч[её]м",
    },
    "sw": {
        "how_many": "(?:wa|ma|mi|vi)?ngapi", "how": "vipi|(?:jinsi|namna) gani", "when": "lini", "where": "wapi",
        "why": "kwa ?nini|mbona", "which": "gani|(?:[lkz]?i|y?u|ya)pi", "who": "nani", "what": "nini",
    },
    "zh": {
        "how_many": "多少|[几幾](?=[个個位名种種次年岁歲天月号號点點座条條只隻人任部届屆])",
        "how": "怎[么麼样樣]|如何|多[大长長远遠高久]", "when": "什[么麼][时時]|何[时時]",
        "where": "哪[里裡裏儿兒]|何[处處地]|什[么麼]地方", "why": "[为為](?:什[么麼]|何)", "which": "哪",
        "who": "[谁誰]", "what": "什[么麼]",
    },
}  # fmt: skip
"""language -> kind of question -> the words that ask it, as a regular expression over lower-case text; of words that
begin at the same place the upper kind is meant. Words that more often mean something else ("من" is "from" as well as
"who") count only where they hardly do."""


def analyse(trial: Trial) -> dict[str, Any]:
    """Return a trial's `analysis`: JSON-ready, and the same whatever the order of queries and passages.

    - ``depths``: means, had only the best `depth` candidates of each query been reranked. ``pairs`` is how many pairs
      that is; the cutoffs of measures, also that of ``R@depth``, stay those of the trial.
    - ``breakdown``: the first measure by classes of queries. Each query is in one class; a class without queries has
      no row, and ``question_word`` has none at all in a language whose question words are not known here.
    - ``scores``: what the logits say of relevance; None where no model computed them or no candidate is judged.
      ``grades`` and ``histogram`` are of all pairs, the rest is of judged ones: ``relevant_share`` is None without
      any, and recall is that of relevant candidates. Where judged candidates are all relevant (as where only answers
      were judged) or none is, there is nothing to tell apart: ``thresholds``, ``rules`` and ``calibration`` are empty,
      ``best_f1`` and ``expected_calibration_error`` None.
    - ``gains``, ``losses``: the queries whose first measure changed most.
    """
    return {
        "depths": _depths(trial),
        "breakdown": _breakdown(trial),
        "scores": _scores(trial),
        "gains": _examples(trial, 1),
        "losses": _examples(trial, -1),
    }


def _depths(trial: Trial) -> list[Row]:
    deepest, first, reranked = trial.effective["depth"], trial.first_stage.rankings, trial.reranked.rankings
    wanted = [measures.parse(name, deepest) for name in trial.effective["measures"]]
    rows = []
    for depth in [*(depth for depth in DEPTHS if depth < deepest), deepest]:
        found = trial.effectiveness["reranked"]
        if depth < deepest:
            # Ranks in the full list stand for the logits: the same order, also where some passages had no logit.
            run = Run(f"depth {depth}", {
                query_id: ranking.rerank(
                    hits, {hit.doc_id: -float(rank) for rank, hit in enumerate(reranked[query_id])}, depth
                )
                for query_id, hits in first.items()
            })  # fmt: skip
            found = measures.evaluate(run, trial.slice.qrels, wanted, trial.slice.relevance_level)
        rows.append({
            "depth": depth,
            "pairs": sum(min(depth, len(hits)) for hits in first.values()),
            "mean": {str(measure): _mean(found.per_query[str(measure)].values()) for measure in wanted},
        })  # fmt: skip
    return rows


def _mean(values: Iterable[float]) -> float:
    items = list(values)
    return math.fsum(items) / len(items)  # exact, so that the order of the queries changes no digit


def _first_measure(trial: Trial) -> tuple[Mapping[str, float], Mapping[str, float]]:
    name = trial.effective["measures"][0]
    return trial.effectiveness["first_stage"].per_query[name], trial.effectiveness["reranked"].per_query[name]


def _examples(trial: Trial, sign: int) -> list[Row]:
    """Return the queries that changed most in the direction of `sign`, largest change first, ties by query_id."""
    before, after = _first_measure(trial)
    gains = {query_id: sign * (after[query_id] - before[query_id]) for query_id in before}
    chosen = [query_id for query_id in gains if gains[query_id] > _TIE]
    chosen.sort(key=lambda query_id: (-round(gains[query_id] / _TIE), query_id))
    return [
        {"query_id": q, "query": trial.slice.queries[q], "before": before[q], "after": after[q]}
        for q in chosen[:MOST_EXAMPLES]
    ]


# --- by kind of query -------------------------------------------------------------------------------------------------


def _breakdown(trial: Trial) -> dict[str, list[Row]]:
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
        "query_length": _rows(trial, lengths, _length_labels(data.lang)),
        "question_word": _rows(trial, asked, [*by_size, "other", "none"]) if data.lang in QUESTION_WORDS else [],
        "relevant_passages": _rows(trial, counts, ("none", "1", "2-3", "4-9", "10 and more")),
        "answer_in_first_10": _rows(
            trial, answers, ("yes", "no, but among the candidates", "no candidate is relevant")
        ),
    }


def _rows(trial: Trial, labels: Mapping[str, str], order: Sequence[str]) -> list[Row]:
    """Return one row for each label of `order` that some query has."""
    before, after = _first_measure(trial)
    rows = []
    for label in order:
        members = [query_id for query_id in labels if labels[query_id] == label]
        if members:
            was, now = {q: before[q] for q in members}, {q: after[q] for q in members}
            delta = paired_delta(was, now)
            rows.append({
                "label": label, "queries": len(members), "before": _mean(was.values()), "after": _mean(now.values()),
                "delta": delta.mean, "ci95": [delta.low, delta.high],
            })  # fmt: skip
    return rows


def query_length(text: str, lang: str) -> str:
    """Return the class of a query's length: in words, or in characters for the languages of `BIGRAM_LANGS`."""
    length = len(words(text))
    if lang in BIGRAM_LANGS:
        # A grapheme cluster is one character: Thai vowel and tone signs belong to their consonant.
        length = sum(len(regex.findall(r"\X", word)) for word in words(text))
    return _length_labels(lang)[sum(length > limit for limit in LENGTHS[_unit(lang)])]


def _length_labels(lang: str) -> list[str]:
    unit, (short, middle, long) = _unit(lang), LENGTHS[_unit(lang)]
    return [
        f"up to {short} {unit}", f"{short + 1} to {middle} {unit}", f"{middle + 1} to {long} {unit}",
        f"more than {long} {unit}",
    ]  # fmt: skip


def _unit(lang: str) -> str:
    return "characters" if lang in BIGRAM_LANGS else "words"


def question_word(text: str, lang: str) -> str:
    """Return, in English, what the first question word of a query asks, such as "who" or "how many"; else "none"."""
    if lang not in QUESTION_WORDS:
        return "none"
    plain = unicodedata.normalize("NFC", " ".join(text.lower().split()))
    match = _question(lang).search(regex.sub(r"^\P{L}+", "", plain))
    return str(match.lastgroup).replace("_", " ") if match else "none"


@cache
def _question(lang: str) -> Any:
    kinds = "|".join(f"(?P<{kind}>{forms})" for kind, forms in QUESTION_WORDS[lang].items())
    if lang not in BIGRAM_LANGS:
        kinds = rf"(?<![\p{{L}}\p{{M}}\p{{N}}])(?:{kinds})(?![\p{{L}}\p{{M}}\p{{N}}])"
    return regex.compile(unicodedata.normalize("NFC", kinds))


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


# --- by score ---------------------------------------------------------------------------------------------------------


def _scores(trial: Trial) -> dict[str, Any] | None:
    # A run that was read from a file has scores of any kind, not logits. And where some pairs have no logit, the
    # reranked run continues its scores downwards: made up, and not to be told from the computed ones.
    if "precision" not in trial.effective["reranker"] or trial.effective["scoring"]["pairs_unscored"]:
        return None
    import numpy as np

    depth, qrels = trial.effective["depth"], trial.slice.qrels
    pairs = np.fromiter(
        (
            (hit.score, qrels[query_id].get(hit.doc_id, math.nan))
            for query_id, hits in trial.reranked.rankings.items()
            for hit in hits[:depth]
        ),
        dtype=[("logit", np.float64), ("grade", np.float64)],
    )
    pairs = pairs[np.argsort(pairs["logit"])]  # one order for all sums
    logits, grades = pairs["logit"] + 0.0, pairs["grade"]  # -0.0 becomes 0.0
    judged = ~np.isnan(grades)
    if not judged.any():
        return None
    found: dict[str, Any] = {
        "grades": _grades(logits, grades),
        "histogram": _histogram(logits, grades),
        "thresholds": [],
        "best_f1": None,
        "rules": [],
        "calibration": [],
        "expected_calibration_error": None,
    }
    logits, relevant = logits[judged], grades[judged] >= trial.slice.relevance_level
    if relevant.all() or not relevant.any():
        return found
    sigmoids = _sigmoid(logits)
    found["thresholds"], found["best_f1"] = _thresholds(logits, relevant)
    found["rules"] = [
        _rule("sigmoid >= 0.8", relevant[sigmoids >= 0.8]),
        _rule("sigmoid < 0.4", relevant[sigmoids < 0.4]),
    ]
    found["calibration"] = _calibration(sigmoids, relevant)
    found["expected_calibration_error"] = math.fsum(
        abs(row["mean_sigmoid"] - row["relevant_share"]) * row["pairs"] for row in found["calibration"]
    ) / len(relevant)
    return found


def _by_grade(logits: "Floats", grades: "Floats") -> dict[int | None, "Floats"]:
    """Return the logits of each grade that occurs, ascending, and last of all those of unjudged pairs, under None."""
    import numpy as np

    unjudged = np.isnan(grades)
    parts: dict[int | None, Floats] = {int(g): logits[grades == g] for g in np.unique(grades[~unjudged])}
    return parts | ({None: logits[unjudged]} if unjudged.any() else {})


def _grades(logits: "Floats", grades: "Floats") -> list[Row]:
    import numpy as np

    return [
        {"grade": grade, "pairs": len(part)}
        | {f"p{p}": float(np.percentile(part, p)) for p in (5, 25, 50, 75, 95)}
        for grade, part in _by_grade(logits, grades).items()
    ]  # fmt: skip


def _histogram(logits: "Floats", grades: "Floats") -> dict[str, Any]:
    import numpy as np

    low, high = float(logits[0]), float(logits[-1])
    if low == high:
        low, high = low - max(0.5, math.ulp(low)), high + max(0.5, math.ulp(high))
    edges = np.unique(np.linspace(low, high, HISTOGRAM_BINS + 1))  # fewer where floats do not lie as dense
    counts = {
        "unjudged" if grade is None else str(grade): np.histogram(part, edges)[0].tolist()
        for grade, part in _by_grade(logits, grades).items()
    }
    return {"edges": edges.tolist(), "counts": counts}


def _thresholds(logits: "Floats", relevant: "Flags") -> tuple[list[Row], Row]:
    """Return what it means to keep all pairs with at least some logit, and the logit that makes F1 highest.

    All distinct (ascending) logits are tried. The list holds those at quantiles: half of them over all pairs, half over
    the relevant ones, which are even steps of recall. Of equal F1 the highest logit is best.
    """
    import numpy as np

    distinct, start = np.unique(logits, return_index=True)
    kept = len(logits) - start
    right = np.cumsum(relevant[::-1])[::-1][start]  # relevant pairs among those that are kept
    everything = int(relevant.sum())
    f1, sigmoids = 2 * right / (kept + everything), _sigmoid(distinct)

    def row(i: int) -> Row:
        return {
            "logit": float(distinct[i]), "sigmoid": float(sigmoids[i]), "precision": float(right[i] / kept[i]),
            "recall": float(right[i] / everything), "f1": float(f1[i]),
        }  # fmt: skip

    chosen = np.arange(len(distinct))
    if len(chosen) > MOST_THRESHOLDS:
        steps = np.linspace(0, 1, MOST_THRESHOLDS // 2)
        marks = [np.quantile(part, steps, method="inverted_cdf") for part in (logits, logits[relevant])]  # real logits
        chosen = np.searchsorted(distinct, np.unique(marks))
    return [row(i) for i in chosen.tolist()], row(int(np.flatnonzero(f1 == f1.max())[-1]))


def _sigmoid(logits: "Floats") -> "Floats":
    import numpy as np

    small = np.exp(-np.abs(logits))  # at most 1: no overflow
    return np.where(logits < 0, small, 1.0) / (1.0 + small)


def _rule(text: str, relevant: "Flags") -> Row:
    share = float(relevant.mean()) if len(relevant) else None
    return {"rule": text, "pairs": len(relevant), "relevant_share": share}


def _calibration(sigmoids: "Floats", relevant: "Flags") -> list[Row]:
    """Return, for each tenth of [0, 1] that holds pairs, the mean sigmoid beside the share of relevant pairs."""
    import numpy as np

    edges = [i / CALIBRATION_BINS for i in range(CALIBRATION_BINS + 1)]
    places = np.digitize(sigmoids, edges[1:-1])  # a sigmoid on an edge belongs above it, and 1 into the last bin
    return [
        {
            "low": edges[i], "high": edges[i + 1], "pairs": int((places == i).sum()),
            "mean_sigmoid": float(sigmoids[places == i].mean()), "relevant_share": float(relevant[places == i].mean()),
        }
        for i in np.unique(places).tolist()
    ]  # fmt: skip
