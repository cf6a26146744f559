"""Sparse vectors of passages as an inverted index, and exact search in it by dot product."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from evalkit.boundary.index_cache import Arrays
from evalkit.first_stage.top_hits import top_hits
from evalkit.types import Hit

if TYPE_CHECKING:
    from evalkit.scoring.sparse_embedding import SparseVectors

Matrix = Any
"""A matrix of scipy.sparse, one row for each text and one column for each token, in fp32."""

PRODUCTS = 1 << 24
"""Scores of passages at a time (128 to 192 MiB); where there are more passages, queries are searched one by one."""


def to_matrix(vectors: "SparseVectors") -> Matrix:
    """Return sparse vectors as a matrix in columns, which is an inverted index: the texts of each token.

    Args:
        vectors: of texts.
    """
    from scipy.sparse import csc_matrix

    return csc_matrix((vectors.weights, (vectors.rows, vectors.token_ids)), shape=vectors.shape)


def search_index(queries: Matrix, docs: Matrix, doc_ids: Sequence[str], depth: int) -> Iterator[tuple[Hit, ...]]:
    """Yield the best `depth` passages of each query by dot product, those that score 0 left out.

    Every passage that has a token of the query is scored, so the search is exact. The tokens of a query are added in
    the order of their ids, so that a score does not depend on the other queries.

    Args:
        queries: vectors of queries, shape (queries, tokens).
        docs: vectors of passages, shape (passages, tokens); tokens that `queries` lacks come last.
        doc_ids: the ids of the passages.
        depth: the largest number of hits of a query.
    """
    postings, of_query = docs.tocsc().T, queries.tocsr()  # each row of postings has the passages of one token
    of_query.sort_indices()
    of_query.resize((of_query.shape[0], docs.shape[1]))
    at_a_time = max(PRODUCTS // max(docs.shape[0], 1), 1)
    for start in range(0, of_query.shape[0], at_a_time):
        products = (of_query[start : start + at_a_time] @ postings).tocsr()
        for begin, end in zip(products.indptr[:-1], products.indptr[1:], strict=True):
            yield top_hits(doc_ids, products.data[begin:end], depth, products.indices[begin:end])


def pack_matrix(docs: Matrix) -> dict[str, Any]:
    """Return a matrix in columns as arrays for the cache.

    Args:
        docs: as `to_matrix` returns it.
    """
    return {"weights": docs.data, "rows": docs.indices, "columns": docs.indptr}


def unpack_matrix(arrays: Arrays, passages: int) -> Matrix:
    """Return what `pack_matrix` packed.

    Args:
        arrays: name -> array.
        passages: number of rows.

    Raises:
        ValueError: the arrays do not fit together.
    """
    from scipy.sparse import csc_matrix

    weights, rows, columns = (arrays[name] for name in ("weights", "rows", "columns"))
    fit = columns[-1] == len(weights) == len(rows) and (not len(rows) or 0 <= rows.min() <= rows.max() < passages)
    if not fit or (columns[1:] < columns[:-1]).any():
        raise ValueError("its arrays do not fit together")
    return csc_matrix((weights, rows, columns), shape=(passages, len(columns) - 1))
