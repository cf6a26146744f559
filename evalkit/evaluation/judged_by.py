"""Who judged a slice, in words: people, an LLM, or the clicks of users, and what a reader has to know about it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

KINDS = ("human", "llm", "clicks")
"""What labels may come from."""


@dataclass(frozen=True)
class Judge:
    """The judgments of one judge."""

    name: str
    kind: str
    """One of `KINDS`."""
    grades: Mapping[str, Mapping[str, int]]
    """query_id -> doc_id -> grade."""
    source: str = ""
    """How the grades were made, such as a prompt's version, or the numbers of a click model."""


def judged_by(facts: Mapping[str, Any]) -> str | None:
    """Return who judged a slice, such as "LLM judge gpt-4o"; None where nothing is stated.

    Args:
        facts: of the slice, as a result records them; ``judged_by`` has the `kind`, one of `KINDS`, and the `judge`.
    """
    about = facts.get("judged_by")
    if not about:
        return None
    return f"{_WORDS.get(about['kind'], about['kind'])} {about['judge']}"


_WORDS = {"human": "human assessor", "llm": "LLM judge", "clicks": "click model"}


def is_its_own_judge(judge: str, reranker: Mapping[str, Any]) -> bool:
    """Return whether a judge has the name of a reranker or of its model, without case, owner and punctuation.

    Args:
        judge: its name.
        reranker: what the reranker describes of itself; `name` and `model` are compared, also where one of the two
            names is part of the other, as of two versions.
    """

    def short(name: object) -> str:
        return re.sub("[^a-z0-9]", "", str(name or "").lower().rsplit("/", 1)[-1])

    names = [sorted((short(judge), short(reranker.get(key))), key=len) for key in ("name", "model")]
    return any(len(one) > 3 and one in other for one, other in names)


def caveat(facts: Mapping[str, Any]) -> str | None:
    """Return what figures by such judgments cannot show; None for human judgments, and where nothing is stated.

    Args:
        facts: as for `judged_by`.
    """
    about = facts.get("judged_by")
    if not about or about["kind"] not in _LIMITS:
        return None
    return f"judged by {judged_by(facts)}, not by people: {_LIMITS[about['kind']]}"


_LIMITS = {
    "llm": (
        "published figures are of other judgments; python -m evalkit judges HUMAN_QRELS LABELS --results RESULT shows "
        "how far the labels agree with a human sample, and whether the verdict is the same"
    ),
    "clicks": (
        "published figures are of other judgments; passages that users were not shown are unjudged, so a new ranking "
        "is measured on what the old one showed, and position is corrected for as far as the stated examination holds"
    ),
}
