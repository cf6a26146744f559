"""Any ir_datasets id with documents, queries and judgments as a slice, read as a stream."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from evalkit.errors import EvalkitError, nearest
from evalkit.progress import say, track
from evalkit.slices import candidates
from evalkit.slices.assemble import Docs, assemble, check_cuts, choose_queries, collect_docs, one_of
from evalkit.types import Slice


def load(
    dataset: str,
    lang: str | None = None,
    queries: int | None = None,
    corpus: str = "full",
    distractors: int = 0,
    source: str = "corpus",
    seed: int = 0,
    relevance_level: int = 1,
    unjudged_queries: str = "error",
    empty_docs: str = "error",
) -> Slice:
    """Load an ir_datasets id, downloading through ir_datasets what is not there yet.

    `corpus` is "full", or "judged": the judged passages and the dataset's own candidates (scoreddocs) of the chosen
    queries, plus `distractors` others drawn by `seed`. `source` says where passage texts come from: "corpus", MS
    MARCO's official "candidates" file, or "auto": the corpus if ir_datasets has it already, else the candidates.
    A passage's text is ir_datasets' `default_text`: title and text joined by a space.

    Raises:
        EvalkitError: unknown id, something that the id lacks, no network, or what `evalkit.slices.assemble` refuses.
    """
    check_cuts(corpus, unjudged_queries, empty_docs)
    one_of("slice.source", source, ("auto", "corpus", "candidates"))
    data = _dataset(dataset)
    where = f"ir_datasets id {dataset}"
    with _reading(dataset):
        say(f"  reading {dataset}")
        qrels: dict[str, dict[str, int]] = {}
        for judgment in data.qrels_iter():
            qrels.setdefault(judgment.query_id, {})[judgment.doc_id] = judgment.relevance
        texts = {query.query_id: query.default_text() for query in data.queries_iter()}
        chosen = choose_queries(where, texts, qrels, queries, seed, unjudged_queries)
        source_used = _source(dataset, data, source)
        if source_used == "candidates":
            if distractors:
                raise EvalkitError(
                    "slice.distractors needs the corpus: the candidate file holds candidates only; "
                    "add slice.source=corpus"
                )
            stream: Docs = candidates.read(dataset, chosen)
            needed = None
        else:
            needed = _needed(data, chosen, qrels) if corpus == "judged" else None
            stream = ((doc.doc_id, doc.default_text().strip()) for doc in data.docs_iter())
        docs, dropped = collect_docs(
            where, track(stream, "reading passages", unit="passages"), needed, distractors, seed, empty_docs
        )
    facts = {
        "source": source_used,
        "corpus": "candidates" if source_used == "candidates" else corpus,
        "distractors": distractors,
        "seed": seed,
        "empty_docs_dropped": dropped,
        "unjudged_queries_dropped": sum(not qrels.get(query_id) for query_id in texts),
    }
    return assemble(dataset, lang or data.queries_lang() or "en", where, chosen, docs, qrels, relevance_level, facts)


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
    """Turn what ir_datasets raises for want of files or of a network, or of broken files, into one sentence."""
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
    except Exception as error:  # a broken file ends in any of a dozen types, as many as there are formats
        raise EvalkitError(
            f"cannot read {dataset} through ir_datasets ({type(error).__name__}: {_brief(error)}); what is not under "
            f"{ir_datasets.util.home_path()} is downloaded, so connect once, or set IR_DATASETS_HOME to a folder "
            "that has the files"
        ) from None


def _brief(error: Exception) -> str:
    text = " ".join(str(error).split())
    if host := re.search(r"host=\\?'([\w.-]+)", text):
        return f"no connection to {host[1]}"
    return text if len(text) <= 200 else f"{text[:200]}..."


def _source(dataset: str, data: Any, source: str) -> str:
    if source == "candidates" and not candidates.known(dataset):
        raise EvalkitError(
            f"slice.source=candidates: {dataset} has no official candidate file; "
            f"there is one for {', '.join(candidates.FILES)}"
        )
    if source != "auto":
        return source
    path = getattr(data.docs_handler(), "docs_path", None)
    if not candidates.known(dataset) or (path is not None and path(force=False).exists()):
        return "corpus"
    return "candidates"


def _needed(data: Any, chosen: dict[str, str], qrels: dict[str, dict[str, int]]) -> set[str]:
    needed = {doc_id for query_id in chosen for doc_id in qrels[query_id]}
    if data.has_scoreddocs():
        needed.update(row.doc_id for row in data.scoreddocs_iter() if row.query_id in chosen)
    return needed
