"""Search in sparse vectors finds what comparing every passage with every query finds."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csc_matrix

from evalkit.evaluation import ranking
from evalkit.first_stage import sparse_index
from evalkit.first_stage.sparse_index import pack_matrix, search_index, unpack_matrix
from evalkit.types import Hit


def by_brute_force(queries: Any, docs: Any, doc_ids: Any, depth: int) -> Any:
    return [
        ranking.order(Hit(doc_id, float(score)) for doc_id, score in zip(doc_ids, row, strict=True) if score > 0)[
            :depth
        ]
        for row in queries @ docs.T
    ]


def matrix(draw: Any, texts: int, tokens: int) -> Any:
    """A matrix of 0, 0.5, 1, 1.5 and 2, so that products are exact, and many of them are equal or 0."""
    values = draw(st.lists(st.integers(-6, 4), min_size=texts * tokens, max_size=texts * tokens))
    return np.maximum(np.array(values, np.float32).reshape(texts, tokens), 0) / 2


@settings(deadline=None, max_examples=60)
@given(data=st.data(), docs=st.integers(1, 9), depth=st.integers(1, 10), products=st.integers(1, 40))
def test_a_search_finds_what_comparing_all_passages_finds(data: Any, docs: int, depth: int, products: int) -> None:
    queries, passages = matrix(data.draw, 4, 6), matrix(data.draw, docs, 6)
    doc_ids = [f"d{(7 * i) % 10}" for i in range(docs)]  # ids in another order than the rows
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sparse_index, "PRODUCTS", products)  # blocks of one query and more
        found = list(search_index(csc_matrix(queries), csc_matrix(passages), doc_ids, depth))
    assert found == by_brute_force(queries, passages, doc_ids, depth)


def test_equal_scores_are_in_the_order_of_ids_and_a_score_of_0_is_no_hit() -> None:
    # By hand: q = (1, 2, 0). b and a: 1 * 1 + 2 * 0.5 = 2; c: 2 * 1.5 = 3; d has another token only.
    queries = csc_matrix(np.array([[1, 2, 0], [0, 0, 0]], np.float32))
    docs = csc_matrix(np.array([[1, 0.5, 0], [1, 0.5, 9], [0, 1.5, 0], [0, 0, 1]], np.float32))
    of_query, of_nothing = search_index(queries, docs, ["b", "a", "c", "d"], 2)
    assert of_query == (Hit("c", 3.0), Hit("a", 2.0))
    assert of_nothing == ()


def test_queries_may_lack_the_last_tokens_of_the_vocabulary() -> None:
    queries, docs = csc_matrix(np.array([[1, 1]], np.float32)), csc_matrix(np.array([[0, 2, 5]], np.float32))
    assert list(search_index(queries, docs, ["d"], 1)) == [(Hit("d", 2.0),)]


def test_a_matrix_comes_out_of_the_cache_as_it_went_in() -> None:
    docs = csc_matrix(np.array([[1, 0, 3], [0, 0, 2]], np.float32))
    assert (unpack_matrix(pack_matrix(docs), 2).toarray() == docs.toarray()).all()
    empty = csc_matrix((2, 3), dtype=np.float32)
    assert unpack_matrix(pack_matrix(empty), 2).nnz == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [("rows", [0, 2, 1]), ("rows", [-1, 0, 1]), ("columns", [0, 1, 1, 2]), ("columns", [0, 2, 1, 3]), ("weights", [1])],
)
def test_arrays_that_do_not_fit_together_are_damaged(name: str, value: Any) -> None:
    arrays = pack_matrix(csc_matrix(np.array([[1, 0, 3], [0, 0, 2]], np.float32)))
    with pytest.raises(ValueError, match="its arrays do not fit together"):
        unpack_matrix({**arrays, name: np.array(value)}, 2)
