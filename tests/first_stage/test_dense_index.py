"""Search in chunks finds what a search at once finds."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit.first_stage.dense_index import search_index

CPU = torch.device("cpu")


@settings(deadline=None, max_examples=60)
@given(docs=st.integers(1, 12), chunk=st.integers(1, 14), depth=st.integers(1, 12), seed=st.integers(0, 10_000))
def test_comparing_in_chunks_finds_the_same_as_comparing_at_once(docs: int, chunk: int, depth: int, seed: int) -> None:
    # Queries are unit vectors, so that the products are the whole numbers drawn here: exact, and no two the same.
    random = torch.Generator().manual_seed(seed)
    products = torch.stack([torch.randperm(docs, generator=random) for _ in range(3)]).float()
    values, rows = search_index(torch.eye(3), products.T, depth, CPU, chunk)
    best = products.argsort(dim=1, descending=True)[:, :depth]
    assert rows == best.tolist()
    assert values == products.gather(1, best).tolist()
