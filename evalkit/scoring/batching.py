"""Groups pairs of similar length into batches, longest first, within a budget of tokens."""

from collections.abc import Iterator, Sequence


def plan_batches(lengths: Sequence[int], budget_tokens: int, padded: bool = True) -> Iterator[list[int]]:
    """Yield the rows of each batch, longest first, so that a batch stays within the budget.

    Longest first, so that a batch that does not fit into memory fails at the start of a run and not at its end; rows of
    equal length keep their order. Packed batches are of about equal size, since several are computed at once.

    Args:
        lengths: Tokens of each row.
        budget_tokens: Tokens of a batch at most; a row that is longer gets a batch of its own.
        padded: Whether a batch counts as rows x longest row, else as the sum of its lengths.
    """
    batch: list[int] = []
    tokens, remaining = 0, sum(lengths)
    even = _even_batch_tokens(remaining, budget_tokens)
    for row in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        size = (len(batch) + 1) * lengths[batch[0]] if batch and padded else tokens + lengths[row]
        # A packed batch ends if more than half of the next row would exceed an even share of what remains.
        if batch and (size > budget_tokens or (not padded and tokens + lengths[row] / 2 > even)):
            yield batch
            remaining -= tokens
            batch, tokens, even = [], 0, _even_batch_tokens(remaining, budget_tokens)
        batch.append(row)
        tokens += lengths[row]
    if batch:
        yield batch


def _even_batch_tokens(tokens: int, budget_tokens: int) -> float:
    """Return the tokens of each batch if `tokens` are divided evenly among as few batches as the budget allows."""
    return tokens / max(-(-tokens // budget_tokens), 1)


def length_sorted_windows(pairs: Sequence[tuple[str, str]], first: int, size: int) -> Iterator[list[int]]:
    """Yield rows in windows, longest texts first, so that one window is tokenized while another one is scored.

    Length is in characters, since tokens are not known before tokenization; `plan_batches` sorts by tokens within a
    window.

    Args:
        pairs: (query, passage) texts.
        first: Pairs of the first window: few, since the model has to wait for it.
        size: Pairs of each other window.
    """
    order = sorted(range(len(pairs)), key=lambda i: -(len(pairs[i][0]) + len(pairs[i][1])))
    begin, end = 0, first
    while begin < len(order):
        yield order[begin:end]
        begin, end = end, end + size
