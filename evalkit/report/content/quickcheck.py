"""Rows and sentences of quick checks, one by one and side by side."""

from collections.abc import Mapping
from typing import Any

from evalkit.evaluation.score_analysis import sigmoid
from evalkit.report.content.numbers import count, counted, number
from evalkit.rerankers.quickcheck import QuickCheck, RankedPassage, RankedQuery
from evalkit.rerankers.side_by_side import ComparedQuery, SideBySide

MOST_ROWS = 20
"""The best passages are shown, the file has all."""
_LONGEST_QUERY, _LONGEST_PASSAGE = 200, 160
"""Characters."""

SCORES_NOTE = (
    "A logit is unbounded and no probability: only the order within one query counts, and the sigmoid changes no order."
)
SIDE_BY_SIDE_NOTE = "Scores of different models are on different scales: compare ranks, not scores."


def described(facts: Mapping[str, Any]) -> str:
    """Return one line about a reranker, from what its `describe` returns."""
    parameters = facts.get("parameters")
    size = f"{parameters:,} parameters" if isinstance(parameters, int) else None
    model, device = facts.get("model"), facts.get("device")
    parts = (
        (f"model {model}" if model else f"reranker {facts['name']}", (facts.get("architecture"), size)),
        (device and f"device {device}", (facts.get("device_name"),)),
        (facts.get("precision") and f"precision {facts['precision']}", ()),
        ((runtime := facts.get("runtime")) and runtime != "torch" and f"runtime {runtime}", ()),
    )
    with_more = ((words, ", ".join(str(one) for one in more if one)) for words, more in parts if words)
    return ", ".join(f"{words} ({more})" if more else str(words) for words, more in with_more)


def title(lang: str | None, query: str) -> str:
    """Return the line above the passages of a query.

    Args:
        lang: language of the built-in pairs; None for passages of the user.
        query: its text; a long one is cut.
    """
    return f"{lang or 'query'}: {_short(query, _LONGEST_QUERY)}"


def columns(ranked: RankedQuery) -> list[str]:
    """Return the names of the columns of `rows`; the last one is the text."""
    return ["rank", "logit", "sigmoid", *(["tokens"] if _has_tokens(ranked) else []), *_name_column(ranked), "passage"]


def rows(ranked: RankedQuery) -> list[list[str]]:
    """Return a row for each of the best `MOST_ROWS` passages."""
    import numpy as np

    shown = ranked.passages[:MOST_ROWS]
    logits = np.array([np.nan if one.logit is None else one.logit for one in shown], dtype=np.float64)
    return [
        [
            str(passage.rank),
            number(passage.logit, ".4f"),
            "" if passage.logit is None else f"{value:.4f}",
            *([_tokens(passage)] if _has_tokens(ranked) else []),
            *([_name(passage.number, passage.id)] if _name_column(ranked) else []),
            _short(passage.text, _LONGEST_PASSAGE),
        ]
        for passage, value in zip(shown, sigmoid(logits).tolist(), strict=True)
    ]


def below(ranked: RankedQuery) -> list[str]:
    """Return the sentences below the passages of a query."""
    found = [_left_out(len(ranked.passages))] if len(ranked.passages) > MOST_ROWS else []
    if ranked.top_is_the_answer is not None:
        found.append(f"top passage: {ranked.top} ({'the answer' if ranked.top_is_the_answer else 'NOT the answer'})")
    return found


def truncation(check: QuickCheck) -> str:
    """Return how many pairs were too long; empty if none was."""
    if not check.truncated_pairs:
        return ""
    pairs = sum(len(ranked.passages) for ranked in check.checks)
    limit = check.reranker.get("max_length")
    most = f" of more than reranker.max_length={limit} tokens" if limit else ""
    was = "was" if check.truncated_pairs == 1 else "were"
    return f"{check.truncated_pairs:,} of {counted(pairs, 'pair')}{most} {was} truncated"


def agreement(check: QuickCheck) -> str:
    """Return whether the logits depend on the other pairs of a batch."""
    pairs = sum(len(ranked.passages) for ranked in check.checks)
    again = "" if check.scored_one_by_one == pairs else f" ({check.scored_one_by_one} of {pairs:,} pairs)"
    agree = "agree" if check.batch_and_single_agree else "DISAGREE"
    return (
        f"scored in one batch and one by one{again}, the logits {agree} (largest difference "
        f"{check.batch_and_single_differ_by:.1e})"
    )


def compared_columns(compared: SideBySide, query: ComparedQuery) -> list[str]:
    """Return the names of the columns of `compared_rows`; the last one is the text.

    Args:
        compared: the check of several rerankers, for their labels.
        query: one of its queries.
    """
    ranks = [f"{label}\nrank (score)" for label in compared.labels]
    return [*ranks, *(["no."] if query.lang is None else []), "passage"]


def compared_rows(query: ComparedQuery) -> list[list[str]]:
    """Return a row for each of the first reranker's best `MOST_ROWS` passages, with its rank for each reranker."""
    return [
        [
            *(f"{place.rank} ({number(place.logit, '.4f')})" for place in passage.places),
            *([_name(passage.number, passage.id)] if query.lang is None else []),
            _short(passage.text, _LONGEST_PASSAGE),
        ]
        for passage in query.passages[:MOST_ROWS]
    ]


def compared_below(compared: SideBySide, query: ComparedQuery) -> list[str]:
    """Return the sentences below the passages of a query: how far each order agrees with the first one's.

    Args:
        compared: the check of several rerankers, for their labels.
        query: one of its queries.
    """
    found = [_left_out(len(query.passages))] if len(query.passages) > MOST_ROWS else []
    for other in query.against_first:
        words = "one passage has one order only"
        if other.kendall_tau is not None:
            words = f"Kendall's tau {other.kendall_tau:.4f} over {len(query.passages):,} passages"
        if other.largest_logit_difference is not None:
            words += f"; the same model, whose logits differ by {other.largest_logit_difference:.1e} at most"
        found.append(f"{other.label} against {compared.labels[0]}: {words}")
    return found


def _left_out(passages: int) -> str:
    return f"the best {MOST_ROWS} of {passages:,} passages"


def _has_tokens(ranked: RankedQuery) -> bool:
    return any(passage.tokens is not None for passage in ranked.passages)


def _name_column(ranked: RankedQuery) -> list[str]:
    return ["no."] if ranked.lang is None else []


def _name(place: int, name: str | None) -> str:
    """Return the place of a passage as it was given, and its id."""
    return f"{place}" if name is None else f"{place}: {_short(name, 40)}"


def _tokens(passage: RankedPassage) -> str:
    return f"{count(passage.tokens)}{' (cut)' if passage.truncated else ''}"


def _short(text: str, most: int) -> str:
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[:most]}..."
