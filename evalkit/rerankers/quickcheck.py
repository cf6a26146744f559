"""A quick check of a model: a query and its passages, scored in a batch and one by one, ranked by their logits."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evalkit.boundary.errors import EvalkitError, NotFiniteError
from evalkit.boundary.progress import stage
from evalkit.evaluation import ranking
from evalkit.rerankers.adapter import adapt_reranker
from evalkit.rerankers.base import Engine, Reranker
from evalkit.types import Hit, Pair, Settings

AGREEMENT = {"float32": 1e-4, "bfloat16": 0.25, "float16": 0.03}
"""The largest difference of a logit between a padded batch and a single pair, by type of the weights: some 8 units in
the last place of a logit of 8, at 23, 7 and 10 bits of fraction, with room for accumulated rounding. For an unknown
type the largest one applies."""

ONE_BY_ONE = 20
"""The most pairs that are scored again one by one; of more, so many at equal distances."""


@dataclass(frozen=True)
class Check:
    """One query and its passages."""

    lang: str | None
    """Language of a built-in check, whose first passage is the answer; None for a user's own texts."""
    query: str
    passages: tuple[str, ...]
    ids: tuple[str | None, ...] = ()
    """The id of each passage in its file, None where it has none; empty if no passage has one."""


CHECKS = (
    Check("en", "What is the capital of France?", (
        "Paris is the capital and largest city of France.",
        "Berlin is the capital and largest city of Germany.",
        "The Eiffel Tower is a landmark in Paris.",
    )),
    Check("zh", "法国的首都是哪里？", (
        "巴黎是法国的首都和最大的城市。",
        "柏林是德国的首都和最大的城市。",
        "埃菲尔铁塔是巴黎的地标。",
    )),
)  # fmt: skip
"""The built-in checks."""


@dataclass(frozen=True)
class RankedPassage:
    """One passage, and what the reranker made of it."""

    rank: int
    """From 1; passages with equal logits keep the order in which they were given."""
    logit: float | None
    """None for a passage to which the reranker gave no score; it follows those with one."""
    text: str
    number: int
    """Its place among the passages as they were given, from 1."""
    id: str | None
    """Its id in the file of passages."""
    tokens: int | None
    """Tokens of the pair after truncation, special tokens included; None where the reranker does not report them."""
    truncated: bool | None
    """Whether the pair was truncated; None where the reranker does not report it for each pair."""


@dataclass(frozen=True)
class RankedQuery:
    """One query with its passages, best first."""

    lang: str | None
    """As in `Check`."""
    query: str
    passages: tuple[RankedPassage, ...]
    top: str
    """The text of the first passage."""
    top_is_the_answer: bool | None
    """None for a user's own texts, whose answer is not known."""


@dataclass(frozen=True)
class QuickCheck:
    """What a quick check found, as quickcheck.json has it."""

    reranker: Settings
    """What the reranker says of itself."""
    checks: tuple[RankedQuery, ...]
    batch_and_single_differ_by: float
    """The largest difference of a logit between the batch and the single pair."""
    batch_and_single_agree: bool
    """Whether it is within `AGREEMENT`."""
    scored_one_by_one: int
    """How many pairs that was found out with."""
    truncated_pairs: int
    """Pairs longer than the reranker's maximum length, as far as it tells."""


def run(reranker: Reranker, checks: Sequence[Check] = CHECKS) -> QuickCheck:
    """Load a reranker, score every pair in one batch, and up to `ONE_BY_ONE` pairs again one by one.

    Args:
        reranker: one that has been checked and not loaded.
        checks: the queries and their passages.

    Raises:
        EvalkitError: whatever the reranker refuses, or it scores nothing.
        NotFiniteError: a logit is NaN or infinite.
    """
    reranker = adapt_reranker(reranker)
    if not reranker.reranks:
        raise EvalkitError(
            f"reranker={reranker.shown_name} scores nothing, so there is nothing to check; choose another one"
        )
    reranker.load()
    queries = {str(number): check.query for number, check in enumerate(checks)}
    docs: dict[str, str] = {}
    pairs: list[Pair] = []
    for query_id, check in zip(queries, checks, strict=True):
        for place, text in enumerate(check.passages):
            pairs.append(Pair(query_id, f"{query_id}-{place}"))
            docs[pairs[-1].doc_id] = text
    with stage("scoring", len(pairs), "pairs") as advance:
        scored = reranker.score(pairs, queries, docs, advance)
    _check_scores(scored.logits, reranker.shown_name)
    sample = _spread(len(pairs), ONE_BY_ONE)
    alone = [reranker.score([pairs[row]], queries, docs).logits[0] for row in sample]
    largest = max(abs((scored.logits[row] or 0.0) - (one or 0.0)) for row, one in zip(sample, alone, strict=True))
    engine = reranker.engine
    logits = dict(zip((pair.doc_id for pair in pairs), scored.logits, strict=True))
    return QuickCheck(
        reranker={"name": reranker.shown_name, **reranker.describe()},
        checks=tuple(_ranked(query_id, check, logits, engine) for query_id, check in zip(queries, checks, strict=True)),
        batch_and_single_differ_by=largest,
        batch_and_single_agree=largest <= AGREEMENT.get(str(engine and engine.facts.dtype), max(AGREEMENT.values())),
        scored_one_by_one=len(sample),
        truncated_pairs=scored.truncated_pairs,
    )


def _check_scores(logits: Sequence[float | None], label: str) -> None:
    if all(logit is None for logit in logits):
        raise EvalkitError(f"{label} gave none of the {len(logits)} passages a score, so there is nothing to check")
    if broken := next((logit for logit in logits if logit is not None and not math.isfinite(logit)), None):
        raise NotFiniteError(f"{label} gave {broken} as the logit of a pair; a wider precision may help")


def _spread(total: int, most: int) -> list[int]:
    """Return all rows from 0 to `total`, or `most` of them at equal distances, the first and the last included."""
    if total <= most:
        return list(range(total))
    return [round(number * (total - 1) / (most - 1)) for number in range(most)]


def _ranked(query_id: str, check: Check, logits: Mapping[str, float | None], engine: Engine | None) -> RankedQuery:
    texts = {f"{query_id}-{place}": text for place, text in enumerate(check.passages)}
    known = {doc_id: logit for doc_id in texts if (logit := logits[doc_id]) is not None}
    order = ranking.rerank([Hit(doc_id, 0.0) for doc_id in texts], known, len(texts))
    place = {doc_id: number for number, doc_id in enumerate(texts)}
    lengths, truncated = _tokens(check, engine)
    passages = tuple(
        RankedPassage(
            rank=rank,
            logit=known.get(hit.doc_id),
            text=texts[hit.doc_id],
            number=place[hit.doc_id] + 1,
            id=check.ids[place[hit.doc_id]] if check.ids else None,
            tokens=lengths[place[hit.doc_id]],
            truncated=truncated[place[hit.doc_id]],
        )
        for rank, hit in enumerate(order, 1)
    )
    built_in = check.lang is not None
    return RankedQuery(
        lang=check.lang,
        query=check.query,
        passages=passages,
        top=passages[0].text,
        top_is_the_answer=passages[0].number == 1 if built_in else None,
    )


def _tokens(check: Check, engine: Engine | None) -> tuple[list[int | None], list[bool | None]]:
    """Return the tokens of each pair, and whether it was truncated, as far as the engine tells."""
    unknown: list[Any] = [None] * len(check.passages)
    if engine is None:
        return unknown, unknown
    tokenized = engine.tokenize([(engine.facts.prompt + check.query, text) for text in check.passages])
    cut = getattr(tokenized, "truncated", None)  # an engine need not have it
    return [int(length) for length in tokenized.lengths], unknown if cut is None else [bool(one) for one in cut]
