"""What a slice holds: queries, passages, judgments; and the pairs and facts that are made of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

Settings = Mapping[str, Any]
"""Facts to be written into a result: JSON-ready values under names that carry their unit."""


class Pair(NamedTuple):
    """One query and one passage to be scored against it."""

    query_id: str
    doc_id: str


@dataclass(frozen=True)
class Slice:
    """Queries, passages and judgments that are evaluated together; made by `evalkit.slices.assemble.assemble`."""

    name: str
    lang: str
    """ISO 639-1 code, or a three-letter code where there is none; the first stage selects its text analysis by it."""
    queries: Mapping[str, str]
    """query_id -> text."""
    docs: Mapping[str, str]
    """doc_id -> text, with the title joined in front of it."""
    qrels: Mapping[str, Mapping[str, int]]
    """query_id -> doc_id -> grade, for exactly the queries above."""
    fingerprint: str
    """SHA-256 over ids, texts and judgments, and over excluded passages where there are any."""
    relevance_level: int = 1
    """The lowest grade that binary measures (RR, AP, R, P) count as relevant."""
    facts: Settings = field(default_factory=dict)
    """Source, sampling and counts, which the result records."""
    excluded: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """query_id -> doc_ids that are excluded from retrieval for it; `qrels` judges none of them."""
    empty_docs: frozenset[str] = frozenset()
    """Passages of the collection without text, which `docs` lacks; a finished run may still rank them."""
