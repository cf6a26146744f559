"""Builds a slice from queries, passages and judgments of any source: checks, counts, fingerprint."""

from collections.abc import Collection, Mapping
from typing import Any

from evalkit.boundary import languages
from evalkit.boundary.errors import EvalkitError
from evalkit.boundary.text import escape_id, quoted, replace_surrogates
from evalkit.slices import exclusions
from evalkit.slices.escaping import Qrels, escaped
from evalkit.slices.fingerprints import combined, fingerprints
from evalkit.slices.settings import check_level
from evalkit.types import Slice


def join_title(title: str, text: str) -> str:
    """Join title and text with a single space, without surrounding white space.

    ir_datasets' `default_text`, Pyserini's BEIR indexes and MIRACL's baselines join them in the same way.

    Args:
        title: the title; may be empty.
        text: the text of the passage.
    """
    return f"{title.strip()} {text.strip()}".strip()


def assemble(
    name: str,
    lang: str,
    where: str,
    queries: Mapping[str, str],
    docs: Mapping[str, str],
    qrels: Qrels,
    relevance_level: int,
    facts: Mapping[str, Any],
    *,
    identical_ids: str = "auto",
    excluded_ids: Mapping[str, Collection[str]] | None = None,
    empty_docs: Collection[str] = (),
) -> Slice:
    """Return a `Slice`: checked, with its fingerprint, and with counts in its facts.

    Ids are escaped by `evalkit.boundary.text.escape_id`, and lone surrogates in texts replaced by U+FFFD; both are
    counted. Judgments of excluded passages are removed, so that no measure counts a passage that cannot be retrieved.

    Args:
        name: of the slice, which results and reports show.
        lang: language code of the queries, in any standard that `evalkit.boundary.languages.canonical` knows.
        where: the source, for messages, such as a folder.
        queries: query_id -> text.
        docs: doc_id -> text, with the title joined in front.
        qrels: query_id -> doc_id -> grade, a 32-bit integer; it has all of `queries`, and others are ignored.
        relevance_level: the lowest grade that binary measures count as relevant, 1 or more.
        facts: what the result records of the source, JSON-ready; ``corpus`` is "full", or how the corpus was reduced.
        identical_ids: "auto", "keep" or "drop" for passages that have the id of a query, see
            `evalkit.slices.exclusions.find`.
        excluded_ids: query_id -> doc_ids that are excluded from retrieval for it.
        empty_docs: ids of passages that were left out because they have no text.

    Raises:
        EvalkitError: there are no passages, an id is empty, two ids become equal by escaping, a grade is not an
            integer, no judged passage has a text, `lang` is not a language code, the relevance level is below 1, or all
            judged passages of a query are excluded.
    """
    code = languages.canonical(lang)
    check_level(relevance_level)
    if not docs:
        raise EvalkitError(f"{where} has no passages")
    kept: Qrels = {q: qrels[q] for q in queries}
    _check_grades(where, kept)
    out = exclusions.find(identical_ids, excluded_ids or {}, queries, docs, kept)
    kept = _without_excluded(where, kept, out)
    queries, docs, kept, changes = escaped(where, queries, docs, kept)
    excluded = {escape_id(q): frozenset(escape_id(doc_id) for doc_id in ids) for q, ids in out.excluded.items()}
    judged = {doc_id for grades in kept.values() for doc_id in grades}
    absent = judged - docs.keys()
    if len(absent) == len(judged):
        raise EvalkitError(
            f"{where}: none of the {len(judged)} judged passages is in the corpus (e.g. {quoted(min(judged))}); "
            "qrels and corpus belong to different collections"
        )
    counts = {
        "queries": len(queries),
        "docs": len(docs),
        "judgments": sum(map(len, kept.values())),
        "judged_docs_without_text": len(absent),
        "queries_without_relevant": sum(max(g.values()) < relevance_level for g in kept.values()),
    }
    parts = fingerprints(queries, docs, kept, excluded)
    return Slice(
        replace_surrogates(name),
        code,
        dict(queries),
        docs,
        {query_id: dict(grades) for query_id, grades in kept.items()},
        combined(parts),
        relevance_level,
        {**facts, **_optional_facts(lang, code, queries, docs, kept, relevance_level, out.facts, excluded),
         **counts, **changes, "fingerprints": parts},
        excluded,
        frozenset(map(escape_id, empty_docs)),
    )  # fmt: skip


def _optional_facts(
    lang: str,
    code: str,
    queries: Mapping[str, str],
    docs: Mapping[str, str],
    qrels: Qrels,
    level: int,
    about_excluded: Mapping[str, object],
    excluded: Mapping[str, Collection[str]],
) -> dict[str, Any]:
    """Return the facts that only some slices have."""
    found: dict[str, Any] = {}
    if lang != code:
        found["lang_asked"] = lang
    if about_excluded:
        found["exclusions"] = dict(about_excluded)
    if repeated := exclusions.count_repeated(queries, docs, qrels, excluded):
        found["queries_that_are_another_passage"] = repeated
    grades = {grade for of_query in qrels.values() for grade in of_query.values()}
    if len(grades) > 1 and min(grades) >= level:
        found["lowest_grade"] = min(grades)
    return found


def _without_excluded(where: str, qrels: Qrels, out: exclusions.Exclusions) -> Qrels:
    if not out.facts.get("judgments_left_out"):
        return qrels
    kept = {
        query_id: {d: grade for d, grade in grades.items() if d not in out.excluded.get(query_id, ())}
        for query_id, grades in qrels.items()
    }
    if nothing := next((query_id for query_id, grades in kept.items() if not grades), None):
        raise EvalkitError(
            f"{where}: every judged passage of query {quoted(nothing)} is excluded from retrieval, so the query cannot "
            "be measured; leave the query out, change its excluded_ids, or set slice.identical_ids=keep"
        )
    return kept


def _check_grades(where: str, qrels: Qrels) -> None:
    for query_id, grades in qrels.items():
        for doc_id, grade in grades.items():
            if not isinstance(grade, int) or abs(grade) >= 2**31:
                raise EvalkitError(
                    f"{where}: passage {quoted(doc_id)} has grade {quoted(grade)} for query {quoted(query_id)}; a "
                    "grade is an integer of 32 bits"
                )
