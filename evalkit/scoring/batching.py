"""Groups pairs of similar length into batches, longest first, within a budget of tokens."""

from collections.abc import Iterator, Sequence


def plan_batches(
    lengths: Sequence[int], budget_tokens: int, padded: bool = True, at_a_time: int = 1
) -> Iterator[list[int]]:
    """Yield the rows of each batch, longest first, so that a batch stays within the budget.

    Longest first, so that a batch that does not fit into memory fails at the start of a run and not at its end; rows of
    equal length keep their order. Packed batches are of about equal size, since several are computed at once.

    Args:
        lengths: Tokens of each row.
        budget_tokens: Tokens of a batch at most; a row that is longer gets a batch of its own.
        padded: Whether a batch counts as rows x longest row, else as the sum of its lengths.
        at_a_time: How many packed batches are computed at once. If possible their number is a multiple of it, so that
            no core is without work while the last ones are computed.
    """
    batch: list[int] = []
    tokens, remaining = 0, sum(lengths)
    planned = -(-remaining // budget_tokens)
    planned += -planned % at_a_time
    even = remaining / max(planned, 1)
    for row in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        size = (len(batch) + 1) * lengths[batch[0]] if batch and padded else tokens + lengths[row]
        # A packed batch ends if more than half of the next row would exceed an even share of what remains.
        if batch and (size > budget_tokens or (not padded and tokens + lengths[row] / 2 > even)):
            yield batch
            remaining -= tokens
            planned = max(planned - 1, -(-remaining // budget_tokens), 1)
            batch, tokens, even = [], 0, remaining / planned
        batch.append(row)
        tokens += lengths[row]
    if batch:
        yield batch


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
