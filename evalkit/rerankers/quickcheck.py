"""A quick check of a model: a query with three passages, in English and Chinese, scored in a batch and one by one."""

from dataclasses import dataclass
from typing import Any

from evalkit.evaluation import ranking
from evalkit.rerankers.adapter import adapt_reranker
from evalkit.rerankers.base import Reranker
from evalkit.types import Hit, Pair

AGREEMENT = {"float32": 1e-4, "bfloat16": 0.25, "float16": 0.03}
"""The largest difference of a logit between a padded batch and a single pair, by type of the weights: some 8 units in
the last place of a logit of 8, at 23, 7 and 10 bits of fraction, with room for accumulated rounding. For an unknown
type the largest one applies."""


@dataclass(frozen=True)
class Check:
    """One query and its passages; the first passage is the answer."""

    lang: str
    query: str
    passages: tuple[str, ...]


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


def run(reranker: Reranker) -> dict[str, Any]:
    """Load a reranker, and score every pair in one batch and again one by one.

    Args:
        reranker: one that has been checked and not loaded.

    Returns:
        JSON-ready: the reranker's description, ranks and logits of each query, the largest difference between batch and
        single pairs, and whether it is within `AGREEMENT`.

    Raises:
        EvalkitError: whatever the reranker refuses.
    """
    reranker = adapt_reranker(reranker)
    reranker.load()
    queries = {check.lang: check.query for check in CHECKS}
    docs = {f"{check.lang}{i}": text for check in CHECKS for i, text in enumerate(check.passages)}
    pairs = [Pair(check.lang, f"{check.lang}{i}") for check in CHECKS for i in range(len(check.passages))]
    together = [float(logit or 0.0) for logit in reranker.score(pairs, queries, docs).logits]
    alone = [float(reranker.score([pair], queries, docs).logits[0] or 0.0) for pair in pairs]
    facts = {"name": reranker.label, **reranker.describe()}
    dtype = reranker.engine.facts.dtype if reranker.engine else None
    largest = max(abs(a - b) for a, b in zip(together, alone, strict=True))
    logit = dict(zip((pair.doc_id for pair in pairs), together, strict=True))
    checks = []
    for check in CHECKS:
        ids = [f"{check.lang}{i}" for i in range(len(check.passages))]
        ranked = ranking.order((Hit(doc_id, logit[doc_id]) for doc_id in ids), {d: i for i, d in enumerate(ids)})
        checks.append(
            {
                "lang": check.lang,
                "query": check.query,
                "passages": [
                    {"rank": rank, "logit": hit.score, "text": docs[hit.doc_id]} for rank, hit in enumerate(ranked, 1)
                ],
                "top": docs[ranked[0].doc_id],
                "top_is_the_answer": ranked[0].doc_id == ids[0],
            }
        )
    return {
        "reranker": facts,
        "checks": checks,
        "batch_and_single_differ_by": largest,
        "batch_and_single_agree": largest <= AGREEMENT.get(str(dtype), max(AGREEMENT.values())),
    }
