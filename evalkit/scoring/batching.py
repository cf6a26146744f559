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


def query_windows(pairs: Sequence[tuple[str, str]], first: int, size: int) -> Iterator[list[int]]:
    """Yield rows in windows, pairs of a query together; a window ends where a query does.

    Args:
        pairs: (query, passage) texts.
        first: Pairs of the first window at least, unless there are fewer: few, since the model has to wait for it.
        size: Pairs of each other window at least.
    """
    by_query: dict[str, list[int]] = {}
    for row, (query, _) in enumerate(pairs):
        by_query.setdefault(query, []).append(row)
    window: list[int] = []
    wanted = first
    for rows in by_query.values():
        window += rows
        if len(window) >= wanted:
            yield window
            window, wanted = [], size
    if window:
        yield window


def plan_shared_batches(
    lengths: Sequence[int], prefix_lengths: Sequence[int], groups: Sequence[int], budget_tokens: int, at_a_time: int = 1
) -> Iterator[list[int]]:
    """Yield the rows of each batch, where rows of a group have a prefix in common that is computed once in a batch.

    A group is split where it does not fit into a batch; its prefix is then computed again. Batches are of about equal
    size, as in `plan_batches`.

    Args:
        lengths: Tokens of each row, prefix included.
        prefix_lengths: Tokens of each row's prefix.
        groups: The group of each row.
        budget_tokens: Tokens of a batch at most, each prefix counted once; a row that is longer gets its own batch.
        at_a_time: How many batches are computed at once; if possible their number is a multiple of it.
    """
    by_group: dict[int, list[int]] = {}
    for row, group in enumerate(groups):
        by_group.setdefault(group, []).append(row)
    total = sum(
        prefix_lengths[rows[0]] + sum(lengths[row] - prefix_lengths[row] for row in rows) for rows in by_group.values()
    )
    planned = -(-total // budget_tokens)
    planned += -planned % at_a_time
    even = total / max(planned, 1)
    batch: list[int] = []
    tokens, group_in_batch = 0, -1
    for group, rows in by_group.items():
        for row in sorted(rows, key=lambda i: -lengths[i]):
            own = lengths[row] - prefix_lengths[row]
            added = own + (prefix_lengths[row] if group != group_in_batch else 0)
            if batch and (tokens + added > budget_tokens or tokens + added / 2 > even):
                yield batch
                batch, tokens, added = [], 0, lengths[row]
            batch.append(row)
            tokens += added
            group_in_batch = group
    if batch:
        yield batch
