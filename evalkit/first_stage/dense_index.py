"""Exact search in embeddings of passages by dot product, in chunks that fit into memory."""

import torch

CHUNK = 100_000
"""Passages compared with the queries at a time."""
PRODUCTS = 1 << 26
"""The most products of queries and passages at a time (256 MiB): with many queries, chunks are smaller."""


def search_index(
    queries: torch.Tensor, docs: torch.Tensor, depth: int, device: torch.device, chunk: int = CHUNK
) -> tuple[list[list[float]], list[list[int]]]:
    """Return the largest products of each query with the passages, the largest first.

    Args:
        queries: embeddings of queries, shape (queries, dimensions).
        docs: embeddings of passages, shape (passages, dimensions), on the CPU.
        depth: number of products of each query; all where there are fewer passages.
        device: where products are computed.
        chunk: most passages at a time.

    Returns:
        Products and their rows in `docs`, both of shape (queries, depth).
    """
    on_device = queries.to(device)
    best = torch.empty((len(queries), 0), device=device)
    best_rows = torch.empty((len(queries), 0), dtype=torch.long, device=device)
    chunk = max(min(chunk, PRODUCTS // max(len(queries), 1)), 1)
    for start in range(0, len(docs), chunk):
        products = on_device @ docs[start : start + chunk].to(device).T
        values, rows = products.topk(min(depth, products.shape[1]), dim=1)
        merged, merged_rows = torch.cat([best, values], 1), torch.cat([best_rows, rows + start], 1)
        best, places = merged.topk(min(depth, merged.shape[1]), dim=1)
        best_rows = merged_rows.gather(1, places)
    return best.tolist(), best_rows.tolist()
