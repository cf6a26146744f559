"""What every slice goes through, wherever it came from: cuts, checks, counts and the fingerprint."""

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
    """Join title and text by the one rule: a single space between them, no white space around.

    It is the rule of ir_datasets' `default_text` and of Pyserini's BEIR indexes, and what MIRACL's baselines used.
    """
    return f"{title.strip()} {text.strip()}".strip()


def sample_ids(ids: Iterable[str], n: int, seed: int) -> list[str]:
    """Return `n` of `ids`, drawn by hash: the same on every machine, and a larger `n` contains a smaller one."""
    return sorted(ids, key=lambda item: _lot(seed, item))[:n]


def _lot(seed: int, item: str) -> str:
    return hashlib.sha256(f"{seed}:{item}".encode("utf-8", "surrogatepass")).hexdigest()


class Distractors:
    """Keeps the `n` passages with the lowest lot of a stream, in memory for `n` passages."""

    def __init__(self, n: int, seed: int) -> None:
        self.n, self.seed = n, seed
        self._heap: list[tuple[int, str, str]] = []

    def offer(self, doc_id: str, text: str) -> None:
        """Consider one passage."""
        import heapq

        if self.n < 1:
            return
        entry = (-int(_lot(self.seed, doc_id), 16), doc_id, text)
        if len(self._heap) < self.n:
            heapq.heappush(self._heap, entry)
        elif entry > self._heap[0]:
            heapq.heapreplace(self._heap, entry)

    def docs(self) -> dict[str, str]:
        """Return what was kept."""
        return {doc_id: text for _, doc_id, text in self._heap}


def choose_queries(
    where: str, queries: Mapping[str, str], qrels: Qrels, n: int | None, seed: int, unjudged: str
) -> dict[str, str]:
    """Return the judged queries, cut to `n` by `seed`, in the order of their source.

    Raises:
        EvalkitError: no judgments, an empty query text, queries without any judged passage while `unjudged` is
            "error", or an `n` that is out of range.
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
    """Read a stream of passages and keep `needed` plus seeded distractors, or all where `needed` is None.

    Returns the passages and the ids of the empty ones, which were dropped.

    Raises:
        EvalkitError: a doc_id that is kept occurs twice, a text is empty while `empty` is "error", or `distractors`
            is negative or asked for where all passages are kept anyway.
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
                    f"{where}: passage {quoted(doc_id)} is empty; mend the corpus, "
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
    """Return the `Slice`, with its fingerprint and its counts (judged ids without text among them) in the facts.

    Ids go through `evalkit.boundary.text.escape_id`, lone surrogates in texts become U+FFFD, and both are counted.
    `lang` goes through `evalkit.boundary.languages.canonical`. `identical_ids` and `excluded_ids`, a list for each
    query that has one, are what `evalkit.slices.exclusions.find` takes; judgments of what is excluded are left out, so
    that no measure counts a passage that cannot be retrieved. `empty_docs` are ids of passages without a text.

    Raises:
        EvalkitError: there are no passages, an id is empty, two ids become one, a grade is none, no judged passage has
            a text, `lang` is no code of a language, the relevance level is below 1, or nothing that is judged for a
            query may be retrieved for it.
    """
    code = languages.canonical(lang)
    check_level(relevance_level)
    if not docs:
        raise EvalkitError(f"{where} has no passages")
    kept: Qrels = {q: qrels[q] for q in queries}
    _check_grades(where, kept)
    out = exclusions.find(identical_ids, excluded_ids or {}, queries, docs, kept)
    kept = _without_excluded(where, kept, out)
    queries, docs, kept, changes = _storable(where, queries, docs, kept)
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
    """Return the facts that only some slices have: what a reader has to know of this one."""
    told: dict[str, Any] = {}
    if lang != code:
        told["lang_asked"] = lang
    if about_excluded:
        told["exclusions"] = dict(about_excluded)
    if repeated := exclusions.repeated(queries, docs, qrels, excluded):
        told["queries_that_are_another_passage"] = repeated
    grades = {grade for of_query in qrels.values() for grade in of_query.values()}
    if len(grades) > 1 and min(grades) >= level:
        told["lowest_grade"] = min(grades)
    return told


def _without_excluded(where: str, qrels: Qrels, out: "exclusions.Exclusions") -> Qrels:
    if not out.facts.get("judgments_left_out"):
        return qrels
    kept = {
        query_id: {d: grade for d, grade in grades.items() if d not in out.excluded.get(query_id, ())}
        for query_id, grades in qrels.items()
    }
    if nothing := next((query_id for query_id, grades in kept.items() if not grades), None):
        raise EvalkitError(
            f"{where}: all that is judged for query {quoted(nothing)} may not be retrieved for it, so it cannot be "
            "measured; leave the query out, change its excluded_ids, or set slice.identical_ids=keep"
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


def _storable(
    where: str, queries: Mapping[str, str], docs: Mapping[str, str], qrels: Qrels
) -> tuple[Mapping[str, str], Mapping[str, str], Qrels, dict[str, int]]:
    """Return all three with ids that a TREC file can hold and texts that are Unicode, and how many were changed."""
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
    """Return the new name of each id that needs one; `more` are ids that only judgments name."""
    names: dict[str, str] = {}
    for item in chain(ids, more):
        name = escape_id(item)
        if not name:
            raise EvalkitError(f"{where}: there is a {kind} whose id is empty; give it one, in the qrels too")
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


def fingerprint(queries: Mapping[str, str], docs: Mapping[str, str], qrels: Qrels) -> str:
    """Return the SHA-256 over ids, texts and judgments; the order in which they were read does not matter."""
    return _combined(fingerprints(queries, docs, qrels))


def fingerprints(
    queries: Mapping[str, str],
    docs: Mapping[str, str],
    qrels: Qrels,
    excluded: Mapping[str, Collection[str]] | None = None,
) -> dict[str, str]:
    """Return a SHA-256 for each of queries, docs and judgments, so that it can be said which of them differ.

    Where something is excluded that has one too; where nothing is, all of them are as if there were no such thing.
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
        # A length before each field: no two different slices can write the same bytes.
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
    """Return, as facts, the cuts that were asked for and changed nothing; no fact where there are none."""
    idle = []
    if seed and queries is None and not distractors:
        idle.append(f"slice.seed={seed}: nothing is drawn without slice.queries or slice.distractors")
    if queries is not None and chosen < queries:
        idle.append(f"slice.queries={queries}: there are {chosen}, and all of them are used")
    if distractors and needed is not None:
        others = len(docs.keys() - set(needed))
        if others < distractors:
            idle.append(f"slice.distractors={distractors}: the corpus has {others} others, and all of them are kept")
    return {"without_effect": idle} if idle else {}


def check_settings(corpus: str, unjudged_queries: str, empty_docs: str, identical_ids: str = "auto") -> None:
    """Check the settings that every slice shares, before anything is read.

    Raises:
        EvalkitError: one of them is none of its valid values.
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
            "grade 0 says 'not relevant'"
        )


def check_choice(setting: str, value: str, valid: Iterable[str]) -> str:
    """Return `value` if it is valid.

    Raises:
        EvalkitError: it is not; the message names the setting and the valid values.
    """
    names = list(valid)
    if value not in names:
        raise EvalkitError(f"{setting}={value!r}: there is {', '.join(names)}")
    return value
