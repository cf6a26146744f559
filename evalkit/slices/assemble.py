"""Builds a slice from queries, passages and judgments of any source: sampling, checks, counts, fingerprint."""

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import chain
from typing import Any, TypeVar

from evalkit.boundary import languages
from evalkit.boundary.progress import say
from evalkit.boundary.text import escape_id, is_unicode, quoted, replace_surrogates
from evalkit.errors import EvalkitError
from evalkit.slices import exclusions
from evalkit.types import Slice

T = TypeVar("T")
Docs = Iterable[tuple[str, str]]
Qrels = Mapping[str, Mapping[str, int]]


def join_title(title: str, text: str) -> str:
    """Join title and text with a single space, without surrounding white space.

    ir_datasets' `default_text`, Pyserini's BEIR indexes and MIRACL's baselines join them in the same way.
    """
    return f"{title.strip()} {text.strip()}".strip()


def sample_ids(ids: Iterable[str], n: int, seed: int) -> list[str]:
    """Return `n` of `ids`, drawn by a seeded hash: equal on every machine, and a larger sample contains a smaller."""
    return sorted(ids, key=lambda item: _draw_key(seed, item))[:n]


def _draw_key(seed: int, item: str) -> str:
    return hashlib.sha256(f"{seed}:{item}".encode("utf-8", "surrogatepass")).hexdigest()


class Distractors:
    """A seeded sample of `n` passages of a stream, in memory for `n` passages."""

    def __init__(self, n: int, seed: int) -> None:
        self.n, self.seed = n, seed
        self._heap: list[tuple[int, str, str]] = []

    def offer(self, doc_id: str, text: str) -> None:
        """Consider one passage of the stream for the sample."""
        import heapq

        if self.n < 1:
            return
        entry = (-int(_draw_key(self.seed, doc_id), 16), doc_id, text)
        if len(self._heap) < self.n:
            heapq.heappush(self._heap, entry)
        elif entry > self._heap[0]:
            heapq.heapreplace(self._heap, entry)

    def docs(self) -> dict[str, str]:
        """Return the sample, doc_id -> text."""
        return {doc_id: text for _, doc_id, text in self._heap}


def choose_queries(
    where: str, queries: Mapping[str, str], qrels: Qrels, n: int | None, seed: int, unjudged: str
) -> dict[str, str]:
    """Return the judged queries, or a sample of them, in the order of their source.

    Args:
        where: the source, for messages.
        queries: query_id -> text.
        qrels: query_id -> doc_id -> grade.
        n: the size of the sample; None for all.
        seed: of the sample.
        unjudged: what to do with queries without a judged passage, "error" or "drop".

    Raises:
        EvalkitError: there are no judgments, a query has an empty text, a query has no judged passage and `unjudged` is
            "error", or `n` is out of range.
    """
    if not any(qrels.values()):
        raise EvalkitError(f"{where} has no judgments (qrels), and without them there is nothing to measure")
    without = [query_id for query_id in queries if not qrels.get(query_id)]
    if without and unjudged == "error":
        raise EvalkitError(
            f"{where}: {len(without)} of {len(queries)} queries have no judged passage (e.g. {quoted(without[0])}); "
            "use a judged subset where there is one, or leave them out with slice.unjudged_queries=drop"
        )
    judged = {query_id: text for query_id, text in queries.items() if qrels.get(query_id)}
    if not judged:
        raise EvalkitError(f"{where}: no query has a judgment; queries and qrels do not share a single id")
    if n is not None:
        if n < 1:
            raise EvalkitError(f"slice.queries={n}: give the number of queries to keep, 1 or more, or null for all")
        keep = set(sample_ids(judged, n, seed))
        judged = {query_id: text for query_id, text in judged.items() if query_id in keep}
    empty = next((query_id for query_id, text in judged.items() if not text.strip()), None)
    if empty is not None:
        raise EvalkitError(f"{where}: query {quoted(empty)} has an empty text")
    return judged


def collect_docs(
    where: str, docs: Docs, needed: set[str] | None, distractors: int, seed: int, empty: str
) -> tuple[dict[str, str], frozenset[str]]:
    """Read a stream of passages and select those of the slice.

    Args:
        where: the source, for messages.
        docs: (doc_id, text) of each passage.
        needed: doc_ids to select; None for all passages.
        distractors: how many other passages to add, drawn by `seed`.
        seed: of the distractors.
        empty: what to do with passages without text, "error" or "drop".

    Returns:
        doc_id -> text, and the doc_ids of dropped empty passages.

    Raises:
        EvalkitError: a selected doc_id occurs twice, a text is empty and `empty` is "error", or `distractors` is
            negative, or above 0 where all passages are selected anyway.
    """
    if distractors < 0 or (distractors and needed is None):
        raise EvalkitError(
            f"slice.distractors={distractors}: give how many passages to add to a cut corpus, with "
            "slice.corpus=judged, or 0"
        )
    kept: dict[str, str] = {}
    reserve = Distractors(distractors, seed)
    dropped: set[str] = set()
    for doc_id, text in docs:
        wanted = needed is None or doc_id in needed
        if not wanted and not distractors:
            continue
        if doc_id in kept:
            raise EvalkitError(f"{where}: passage id {quoted(doc_id)} occurs twice; ids must be unique")
        if not text.strip():
            if empty == "error":
                raise EvalkitError(
                    f"{where}: passage {quoted(doc_id)} is empty; correct the corpus, "
                    "or leave empty passages out with slice.empty_docs=drop"
                )
            dropped.add(doc_id)
        elif wanted:
            kept[doc_id] = text
        else:
            reserve.offer(doc_id, text)
    kept.update(reserve.docs())
    return kept, frozenset(dropped)


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
    queries, docs, kept, changes = _escaped(where, queries, docs, kept)
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
        _combined(parts),
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


def _without_excluded(where: str, qrels: Qrels, out: "exclusions.Exclusions") -> Qrels:
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


def _escaped(
    where: str, queries: Mapping[str, str], docs: Mapping[str, str], qrels: Qrels
) -> tuple[Mapping[str, str], Mapping[str, str], Qrels, dict[str, int]]:
    """Return all three with escaped ids and without lone surrogates, and the numbers of changes."""
    query_names = _renamed(where, "query", queries)
    textless = {doc_id for grades in qrels.values() for doc_id in grades} - docs.keys()
    doc_names = _renamed(where, "passage", docs, textless)
    if renamed := query_names | doc_names:
        queries, docs = _under(query_names, queries), _under(doc_names, docs)
        qrels = {name: _under(doc_names, grades) for name, grades in _under(query_names, qrels).items()}
        example = next(iter(renamed))
        say(
            "  note: ids with white space or control characters are written percent-encoded, such as "
            f"{quoted(renamed[example])} for {quoted(example)} ({len(query_names) + len(doc_names)} ids)"
        )
    queries, queries_mended = _mended(queries)
    docs, docs_mended = _mended(docs)
    if broken := queries_mended + docs_mended:
        say(f"  note: lone surrogates, which UTF-8 cannot write, were replaced by U+FFFD ({broken} texts)")
    return queries, docs, qrels, {"ids_escaped": len(query_names) + len(doc_names), "texts_mended": broken}


def _renamed(where: str, kind: str, ids: Collection[str], more: Collection[str] = ()) -> dict[str, str]:
    """Return id -> escaped id for those that change; `more` are ids that only judgments have."""
    names: dict[str, str] = {}
    for item in chain(ids, more):
        name = escape_id(item)
        if not name:
            raise EvalkitError(f"{where}: a {kind} has an empty id; give it one, in the qrels too")
        if name != item:
            names[item] = name
    taken = set(more)
    for item, name in names.items():
        if name in ids or name in taken:
            raise EvalkitError(
                f"{where}: the {kind} ids {quoted(item)} and {quoted(name)} are the same one once white space is "
                "percent-encoded, which a TREC run file needs; rename one in the collection and its qrels"
            )
    return names


def _under(names: Mapping[str, str], values: Mapping[str, T]) -> dict[str, T]:
    return {names.get(key, key): value for key, value in values.items()}


def _mended(texts: Mapping[str, str]) -> tuple[Mapping[str, str], int]:
    broken = {key: replace_surrogates(text) for key, text in texts.items() if not is_unicode(text)}
    return ({**texts, **broken} if broken else texts), len(broken)


def fingerprints(
    queries: Mapping[str, str],
    docs: Mapping[str, str],
    qrels: Qrels,
    excluded: Mapping[str, Collection[str]] | None = None,
) -> dict[str, str]:
    """Return a SHA-256 for each of ``queries``, ``docs`` and ``judgments``, so that a difference can be located.

    The order of reading does not matter. Only a slice with exclusions has ``excluded`` as well, so the fingerprint of a
    slice without them does not depend on this feature.
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


def _combined(parts: Mapping[str, str]) -> str:
    return _sha256(parts[name] for name in ("queries", "docs", "judgments", "excluded") if name in parts)


def _sha256(fields: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for field in fields:
        # Each field is preceded by its length, so that different slices cannot give the same bytes.
        data = field.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()


def settings_without_effect(
    seed: int,
    queries: int | None,
    chosen: int,
    distractors: int,
    needed: Collection[str] | None,
    docs: Mapping[str, str],
) -> dict[str, list[str]]:
    """Return the sampling settings that had no effect, as a fact ``without_effect``; empty where there are none."""
    idle = []
    if seed and queries is None and not distractors:
        idle.append(f"slice.seed={seed}: nothing is drawn without slice.queries or slice.distractors")
    if queries is not None and chosen < queries:
        idle.append(f"slice.queries={queries}: there are only {chosen}, and all of them are used")
    if distractors and needed is not None:
        others = len(docs.keys() - set(needed))
        if others < distractors:
            idle.append(
                f"slice.distractors={distractors}: the corpus has only {others} others, and all of them are used"
            )
    return {"without_effect": idle} if idle else {}


def check_settings(corpus: str, unjudged_queries: str, empty_docs: str, identical_ids: str = "auto") -> None:
    """Check the settings that all slices share, before anything is read.

    Raises:
        EvalkitError: a setting has an invalid value.
    """
    check_choice("slice.corpus", corpus, ("full", "judged"))
    check_choice("slice.unjudged_queries", unjudged_queries, ("error", "drop"))
    check_choice("slice.empty_docs", empty_docs, ("error", "drop"))
    check_choice("slice.identical_ids", identical_ids, exclusions.MODES)


def check_level(relevance_level: int) -> None:
    """Check a relevance level.

    Raises:
        EvalkitError: it is below 1.
    """
    if relevance_level < 1:
        raise EvalkitError(
            f"slice.relevance_level={relevance_level}: give the lowest grade that counts as relevant, 1 or more; "
            "grade 0 means 'not relevant'"
        )


def check_choice(setting: str, value: str, valid: Iterable[str]) -> str:
    """Return `value` if it is valid.

    Raises:
        EvalkitError: it is not; the message names the setting and the valid values.
    """
    names = list(valid)
    if value not in names:
        raise EvalkitError(f"{setting}={value!r}: choose from {', '.join(names)}")
    return value
