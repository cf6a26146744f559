"""Which pairs go through the model together: the longest first, as many as a budget of tokens allows."""

from collections.abc import Iterator, Sequence


def batches(lengths: Sequence[int], budget: int, padded: bool = True) -> Iterator[list[int]]:
    """Yield rows, longest first, so that a batch stays within `budget` tokens.

    A padded batch counts rows x longest, a packed one the sum of its lengths. Longest first, so that a batch that does
    not fit fails at once, not at the end of an hour; equal lengths in the given order. Packed batches are about as
    long as each other, for several are computed at once, and none is to be waited for.
    """
    batch: list[int] = []
    tokens, left = 0, sum(lengths)
    share = _share(left, budget)
    for row in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        would_be = (len(batch) + 1) * lengths[batch[0]] if batch and padded else tokens + lengths[row]
        # A packed batch ends where half of the next row would be more than its share of what is left.
        if batch and (would_be > budget or (not padded and tokens + lengths[row] / 2 > share)):
            yield batch
            left -= tokens
            batch, tokens, share = [], 0, _share(left, budget)
        batch.append(row)
        tokens += lengths[row]
    if batch:
        yield batch


def _share(tokens: int, budget: int) -> float:
    """Return the tokens of each of the fewest batches that `budget` allows for."""
    return tokens / max(-(-tokens // budget), 1)


def windows(texts: Sequence[tuple[str, str]], first: int, size: int) -> Iterator[list[int]]:
    """Yield rows in windows, longest texts first, so that one is tokenized while another is scored.

    Characters stand for tokens here, which are not known yet: within a window `batches` sorts by tokens. The `first`
    window is small, for the model waits for it; the others have `size` pairs.
    """
    order = sorted(range(len(texts)), key=lambda i: -(len(texts[i][0]) + len(texts[i][1])))
    begin, end = 0, first
    while begin < len(order):
        yield order[begin:end]
        begin, end = end, end + size
