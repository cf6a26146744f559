"""What reports and the gate read of the facts that somebody's component or slice gives; further ones are not checked.

Imported when such facts are there: pydantic takes a tenth of a second.
"""

from typing import NotRequired

from typing_extensions import TypedDict

from evalkit.boundary.typed import Boolean, Count, Integer, Line


class RerankerFacts(TypedDict, total=False):
    """Of a reranker's `describe`."""

    name: Line
    reranks: Boolean
    model: Line
    precision: Line
    device: Line
    device_name: Line
    devices: Integer | None
    batch_tokens: Integer | None
    max_length: Integer | None


class FirstStageFacts(TypedDict, total=False):
    """Of a first stage's `describe`."""

    name: Line
    from_cache: Boolean


class Fingerprints(TypedDict):
    """A hash of each part of a slice."""

    queries: Line
    docs: Line
    judgments: Line


class JudgedBy(TypedDict):
    """Whose judgments a slice has."""

    kind: Line
    judge: Line


class SliceFacts(TypedDict):
    """Of a `Slice`: what `evalkit.slices.assemble.assemble` counts, and whose judgments it has."""

    queries: Count
    docs: Count
    judged_docs_without_text: Count
    queries_without_relevant: Count
    corpus: Line
    fingerprints: Fingerprints
    judged_by: NotRequired[JudgedBy]
