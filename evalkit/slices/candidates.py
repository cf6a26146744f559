"""MS MARCO's official candidate files, which hold the passage texts that a reranking slice needs.

A candidate file has 27 MB, the corpus 1.06 GB. ir_datasets reads only the pairs of ids from these files and drops the
texts; here the texts are read, with ir_datasets' own download configuration and repair of the encoding. The files have
no scores and no order: they provide passages, not a first stage.
"""

from collections.abc import Container, Iterator

from evalkit.boundary.errors import EvalkitError

FILES = {
    "msmarco-passage/trec-dl-2019": ("trec-dl-2019/scoreddocs",),
    "msmarco-passage/trec-dl-2020": ("trec-dl-2020/scoreddocs",),
    "msmarco-passage/trec-dl-hard": ("trec-dl-2019/scoreddocs", "trec-dl-2020/scoreddocs"),
}
"""ir_datasets id -> keys of its download configuration."""


def has_candidates(dataset: str) -> bool:
    """Return whether an ir_datasets id, or an id that it is a subset of, has an official candidate file."""
    return keys(dataset) is not None


def keys(dataset: str) -> tuple[str, ...] | None:
    """Return the keys of the candidate files of an id in ir_datasets' download configuration; None if it has none."""
    return next((of_id for name, of_id in FILES.items() if f"{dataset}/".startswith(f"{name}/")), None)


def read(dataset: str, query_ids: Container[str]) -> Iterator[tuple[str, str]]:
    """Yield (doc_id, text) of each distinct candidate passage of the given queries.

    The repaired file is cached in ir_datasets' home folder as ``msmarco-passage/SUBSET/candidates.tsv``.

    Args:
        dataset: an ir_datasets id with a candidate file (see `has_candidates`); nothing is read for another one.
        query_ids: the queries whose candidates are wanted.

    Raises:
        EvalkitError: a line is not ``query_id, doc_id, query, passage``.
    """
    import ir_datasets
    from ir_datasets.datasets.msmarco_passage import DUA, NAME, FixEncoding
    from ir_datasets.util import Cache, DownloadConfig, GzipExtract

    base = ir_datasets.util.home_path() / NAME
    downloads = DownloadConfig.context(NAME, base, dua=DUA)
    seen: set[str] = set()
    for key in keys(dataset) or ():
        path = base / key.split("/")[0] / "candidates.tsv"
        with Cache(FixEncoding(GzipExtract(downloads[key])), path).stream() as lines:
            for number, line in enumerate(lines, 1):
                columns = line.decode("utf-8").rstrip("\r\n").split("\t")
                if len(columns) != 4:
                    raise EvalkitError(
                        f"{path}, line {number}: {len(columns)} columns where the candidate file has "
                        "four (query_id, doc_id, query, passage); delete it to download it again"
                    )
                query_id, doc_id, _, text = columns
                if query_id in query_ids and doc_id not in seen:
                    seen.add(doc_id)
                    yield doc_id, text.strip()
