"""Any ir_datasets id with documents, queries and judgments as a slice, read as a stream."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from evalkit.boundary import languages
from evalkit.boundary.errors import EvalkitError, nearest
from evalkit.boundary.progress import say, track
from evalkit.boundary.text import escape_id, user_path
from evalkit.slices import candidates, judgments, labels, official_measures
from evalkit.slices.assemble import assemble
from evalkit.slices.official_measures import Level
from evalkit.slices.settings import check_choice, check_level, check_settings
from evalkit.slices.subset import Docs, choose_queries, collect_docs, settings_without_effect
from evalkit.types import Slice


def load(
    dataset: str,
    lang: str | None = None,
    queries: int | None = None,
    corpus: str = "full",
    distractors: int = 0,
    source: str = "corpus",
    seed: int = 0,
    relevance_level: int | None = None,
    unjudged_queries: str = "error",
    empty_docs: str = "error",
    identical_ids: str = "auto",
    qrels: str | None = None,
    judge: str | None = None,
    judge_kind: str | None = None,
) -> Slice:
    """Load an ir_datasets id; missing files are downloaded by ir_datasets.

    The text of a passage is ir_datasets' `default_text`: title and text joined by a space. Passages whose judgment
    means "excluded from evaluation", as in BRIGHT, are excluded from retrieval.

    Args:
        dataset: id of ir_datasets with documents, queries and qrels.
        lang: language code of the queries; None for the dataset's own, or English.
        queries: size of a seeded sample of the queries; None for all.
        corpus: "full", or "judged" for the judged passages and the dataset's candidates (scoreddocs) of the chosen
            queries.
        distractors: with "judged", how many other passages are added.
        source: where passage texts are read: "corpus", MS MARCO's official "candidates" file, or "auto" for the corpus
            if ir_datasets has it already or `corpus` is "full", else the candidates.
        seed: of both samples.
        relevance_level: the lowest grade that binary measures count as relevant; None for the level in the dataset's
            official measures, such as RR(rel=2), else 1.
        unjudged_queries: "error" or "drop" for queries without a judged passage.
        empty_docs: "error" or "drop" for passages without text.
        identical_ids: "auto", "keep" or "drop" for passages with the id of a query (`evalkit.slices.exclusions`).
        qrels: judgments to use instead of the dataset's: a file, a folder or a pattern
            (`evalkit.slices.judgments.read`).
        judge: of labels of several judges the one, or "majority" or "median"; of other judgments the name of the judge.
        judge_kind: "human", "llm" or "clicks"; None for what the labels state, else "llm" where a judge is named.

    Raises:
        EvalkitError: the id is unknown or lacks something, there is no network, or `evalkit.slices.assemble` refuses
            something.
    """
    check_settings(corpus, unjudged_queries, empty_docs, identical_ids)
    check_choice("slice.source", source, ("auto", "corpus", "candidates"))
    if relevance_level is not None:
        check_level(relevance_level)
    own = labels.of_setting(qrels, judge, judge_kind)
    dataset = _in_canonical_language(dataset, lang)
    data = _dataset(dataset)
    where = f"ir_datasets id {dataset}"
    with _reading(dataset):
        say(f"  reading {dataset}")
        judged = read_judgments(where, data) if own is None else own.grades
        as_id = escape_id if own and own.is_trec else str
        texts = judgments.collect_queries(
            where, ((as_id(query.query_id), query.default_text()) for query in data.queries_iter())
        )
        chosen = choose_queries(where, texts, judged, queries, seed, unjudged_queries)
        source_used = _source(dataset, data, source, corpus)
        if source_used == "candidates":
            if distractors:
                raise EvalkitError(
                    "slice.distractors needs the corpus: the candidate file holds candidates only; "
                    "add slice.source=corpus"
                )
            stream: Docs = candidates.read(dataset, chosen)
            needed = None
        else:
            needed = _needed(data, chosen, judged) if corpus == "judged" else None
            stream = ((as_id(doc.doc_id), doc.default_text().strip()) for doc in data.docs_iter())
        docs, dropped = collect_docs(
            where, track(stream, "reading passages", unit="passages"), needed, distractors, seed, empty_docs
        )
        level = (
            official_measures.relevance_level(data) if relevance_level is None else Level(relevance_level, "setting")
        )
        facts = {
            "source": source_used,
            "corpus": "candidates" if source_used == "candidates" else corpus,
            "distractors": distractors,
            "seed": seed,
            "empty_docs_dropped": len(dropped),
            "unjudged_queries_dropped": sum(not judged.get(query_id) for query_id in texts),
            "relevance_level_from": level.source,
            **official_measures.facts(data, judged, level.level),
            **settings_without_effect(seed, queries, len(chosen), distractors, needed, docs),
        }
        if without_text := sum(query_id not in texts for query_id in judged):
            facts["judged_queries_without_text"] = without_text
        if qrels and own:
            facts |= {"qrels": user_path(qrels).name, **own.facts}
        own_lang = data.queries_lang()
        excluded = {as_id(query_id): set(map(as_id, ids)) for query_id, ids in read_excluded(data).items()}
    if lang and own_lang and are_two_languages(lang, own_lang):
        facts["lang_of_the_collection"] = own_lang
    return assemble(
        dataset, lang or own_lang or "en", where, chosen, docs, judged, level.level, facts,
        identical_ids=identical_ids, excluded_ids=excluded, empty_docs=dropped,
    )  # fmt: skip


def _in_canonical_language(dataset: str, lang: str | None) -> str:
    """Return the id with its language code as in ir_datasets: miracl/jpn/dev becomes miracl/ja/dev."""
    if lang is None:
        return dataset
    code = languages.canonical(lang)
    return "/".join(code if part == lang else part for part in dataset.split("/"))


def are_two_languages(lang: str, own: str) -> bool:
    """Return whether two codes name different languages; one that is no code, as in some datasets, differs from none.

    Args:
        lang: the code that was asked for.
        own: the code that ir_datasets has for the documents.
    """
    try:
        return languages.canonical(lang) != languages.canonical(own)
    except EvalkitError:
        return False  # ir_datasets has "dt" for mMARCO's Dutch, which slice.lang=nl corrects


def read_judgments(where: str, data: Any) -> judgments.Grades:
    """Return the judgments of a dataset, without those that mean exclusion.

    Args:
        where: names the dataset in messages.
        data: the dataset, as ir_datasets gives it.

    Raises:
        EvalkitError: a passage is judged twice for a query, with different grades.
    """
    out = _excluding_grades(data)
    rows = ((where, row.query_id, row.doc_id, row.relevance) for row in data.qrels_iter() if row.relevance not in out)
    way_out = "; give corrected judgments with slice.qrels=FILE (BEIR's .tsv, or trec_eval's format as .trec)"
    return judgments.collect_judgments(rows, way_out)


def read_excluded(data: Any) -> dict[str, set[str]]:
    """Return query_id -> doc_ids that the dataset excludes from evaluation, by a separate grade in its qrels.

    Args:
        data: the dataset, as ir_datasets gives it.
    """
    excluded: dict[str, set[str]] = {}
    if out := _excluding_grades(data):
        for row in data.qrels_iter():
            if row.relevance in out:
                excluded.setdefault(row.query_id, set()).add(row.doc_id)
    return excluded


def _excluding_grades(data: Any) -> set[int]:
    definitions = data.qrels_defs() or {}
    return {grade for grade, words in definitions.items() if str(words).lower().startswith("excluded from evaluation")}


def _dataset(dataset: str) -> Any:
    import ir_datasets

    try:
        data = ir_datasets.load(dataset)
    except KeyError:
        known = [name for name in ir_datasets.registry._registered if "/" in name]
        raise EvalkitError(f"slice.dataset={dataset}: ir_datasets has no such id{nearest(dataset, known)}") from None
    lacks = [part for part in ("docs", "queries", "qrels") if not getattr(data, f"has_{part}")()]
    if lacks:
        raise EvalkitError(
            f"slice.dataset={dataset}: the id has no {' and no '.join(lacks)}; a slice needs documents, "
            "queries and qrels, so take one of its subsets, such as .../dev"
        )
    return data


@contextmanager
def _reading(dataset: str) -> Iterator[None]:
    """Turn what ir_datasets raises for missing or broken files, or without a network, into one sentence."""
    import ir_datasets

    try:
        yield
    except ImportError as error:
        raise EvalkitError(
            f"{dataset} needs a package that is not installed ({error}); "
            "pip install 'evalkit-rerank[nano-beir]' brings pyarrow"
        ) from None
    except EvalkitError:
        raise
    except Exception as error:  # each file format raises exceptions of its own
        raise EvalkitError(
            f"cannot read {dataset} through ir_datasets ({type(error).__name__}: {_brief(error)}); files that are not "
            f"in {ir_datasets.util.home_path()} are downloaded, so connect to the network once, or set "
            "IR_DATASETS_HOME to a folder that has them"
        ) from None


def _brief(error: Exception) -> str:
    text = " ".join(str(error).split())
    if host := re.search(r"host=\\?'([\w.-]+)", text):
        return f"no connection to {host[1]}"
    return text if len(text) <= 200 else f"{text[:200]}..."


def _source(dataset: str, data: Any, source: str, corpus: str) -> str:
    if source == "candidates" and not candidates.has_candidates(dataset):
        raise EvalkitError(
            f"slice.source=candidates: {dataset} has no official candidate file; "
            f"there is one for {', '.join(candidates.FILES)}"
        )
    if source != "auto":
        return source
    path = getattr(data.docs_handler(), "docs_path", None)
    if corpus == "full" or not candidates.has_candidates(dataset) or (path is not None and path(force=False).exists()):
        return "corpus"
    return "candidates"


def _needed(data: Any, chosen: dict[str, str], qrels: dict[str, dict[str, int]]) -> set[str]:
    needed = {doc_id for query_id in chosen for doc_id in qrels[query_id]}
    if data.has_scoreddocs():
        needed.update(row.doc_id for row in data.scoreddocs_iter() if row.query_id in chosen)
    return needed
