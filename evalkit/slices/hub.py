"""A retrieval collection on the Hugging Face hub as a slice, in the layout of MTEB or BEIR."""

from pathlib import Path
from typing import Any

from evalkit.boundary.errors import EvalkitError
from evalkit.boundary.progress import say
from evalkit.slices import beir, collection, labels
from evalkit.types import Slice

PARTS = ("README.md", "*corpus*", "*quer*", "*qrels*", "default/*", "data/*")
"""What is downloaded of a collection; a subset's alone if one is named."""


def load(
    dataset: str,
    revision: str | None = None,
    split: str = "test",
    subset: str | None = None,
    lang: str = "en",
    queries: int | None = None,
    corpus: str = "full",
    distractors: int = 0,
    seed: int = 0,
    relevance_level: int = 1,
    unjudged_queries: str = "error",
    empty_docs: str = "error",
    identical_ids: str = "auto",
    qrels: str | None = None,
    judge: str | None = None,
    judge_kind: str | None = None,
    name: str | None = None,
    columns: Any = None,
) -> Slice:
    """Load a dataset of the hub; its files are kept in the hub's cache, and the result names the commit.

    Args:
        dataset: its name on the hub, such as ``mteb/scifact``.
        revision: a branch, a tag or a commit; None for the main branch.
        split: which judgments, and so which queries.
        subset: of a collection in several parts, such as ``de`` for de-corpus, de-queries and de-qrels.
        lang: language code of the queries.
        queries: as for `evalkit.slices.beir.load`.
        corpus: as for `evalkit.slices.beir.load`.
        distractors: as for `evalkit.slices.beir.load`.
        seed: as for `evalkit.slices.beir.load`.
        relevance_level: as for `evalkit.slices.beir.load`.
        unjudged_queries: as for `evalkit.slices.beir.load`.
        empty_docs: as for `evalkit.slices.beir.load`.
        identical_ids: as for `evalkit.slices.beir.load`.
        qrels: as for `evalkit.slices.beir.load`.
        judge: as for `evalkit.slices.beir.load`.
        judge_kind: as for `evalkit.slices.beir.load`.
        name: of the slice; None for DATASET/SPLIT.
        columns: as for `evalkit.slices.beir.load`.

    Raises:
        EvalkitError: the hub does not have it or does not answer, or as for `evalkit.slices.beir.load`.
    """
    cut = collection.Cut(
        lang, queries, corpus, distractors, seed, relevance_level, unjudged_queries, empty_docs, identical_ids,
        judge, judge_kind,
    )  # fmt: skip
    labels.check_setting(qrels, judge, judge_kind)
    cut.check()
    folder = _download(dataset, revision, subset)
    facts = {"source": "hub", "dataset": dataset, "revision": folder.name}
    return beir.load_folder(folder, dataset, facts, split, subset, qrels, cut, name, columns)


def _download(dataset: str, revision: str | None, subset: str | None) -> Path:
    """Return the folder of a dataset's commit in the hub's cache."""
    from huggingface_hub import snapshot_download

    say(f"  fetching {dataset}")
    wanted = ["README.md", f"{subset}-*"] if subset else list(PARTS)
    try:
        return Path(snapshot_download(dataset, repo_type="dataset", revision=revision, allow_patterns=wanted))
    except Exception as error:  # huggingface_hub's, and those of its HTTP client, depending on the version
        why = " ".join(str(error).split())
        raise EvalkitError(
            f"slice.dataset={dataset}: the Hugging Face hub did not give it ({type(error).__name__}: {why[:200]}); "
            "check the name and the revision, and the connection, or download it and name the folder with slice=beir"
        ) from None
