"""Fingerprints of a slice: hashes by which two results are known to be of the same data."""

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping


def fingerprints(
    queries: Mapping[str, str],
    docs: Mapping[str, str],
    qrels: Mapping[str, Mapping[str, int]],
    excluded: Mapping[str, Collection[str]] | None = None,
) -> dict[str, str]:
    """Return a SHA-256 for each of ``queries``, ``docs`` and ``judgments``, so that a difference can be located.

    The order of reading does not matter. Only a slice with exclusions has ``excluded`` as well, so the fingerprint of a
    slice without them does not depend on this feature.

    Args:
        queries: query_id -> text.
        docs: doc_id -> text.
        qrels: query_id -> doc_id -> grade.
        excluded: query_id -> doc_ids that are excluded from retrieval for it.

    Returns:
        Name of the part -> hash in hexadecimal digits.
    """
    parts = {
        "queries": _sha256(field for key in sorted(queries) for field in (key, queries[key])),
        "docs": _sha256(field for key in sorted(docs) for field in (key, docs[key])),
        "judgments": _sha256(
            field
            for query_id in sorted(qrels)
            for field in (query_id, str(len(qrels[query_id])), *_judgments(qrels[query_id]))
        ),
    }
    if excluded:
        parts["excluded"] = _sha256(
            field for key in sorted(excluded) for field in (key, str(len(excluded[key])), *sorted(excluded[key]))
        )
    return parts


def _judgments(grades: Mapping[str, int]) -> Iterator[str]:
    for doc_id in sorted(grades):
        yield doc_id
        yield str(grades[doc_id])


def combined(parts: Mapping[str, str]) -> str:
    """Return the one fingerprint of a slice with these `fingerprints`."""
    return _sha256(parts[name] for name in ("queries", "docs", "judgments", "excluded") if name in parts)


def _sha256(fields: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for field in fields:
        # Each field is preceded by its length, so that different slices cannot give the same bytes.
        data = field.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()
