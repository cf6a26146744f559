"""Latency and throughput while several queries are under way, for each number of clients and each rate."""

from collections.abc import Sequence

from evalkit.boundary.errors import EvalkitError
from evalkit.boundary.progress import stage
from evalkit.cost.load_figures import closed_level, most_under_way, open_level, saturating_clients, saturating_rate
from evalkit.cost.load_loops import MOST_THREADS, Ask, Asked, arrivals_s, closed_loop, open_loop
from evalkit.cost.protocol import CostProtocol
from evalkit.types import Load, LoadLevel


def measure(protocol: CostProtocol, ask: Ask, queries: int, pairs_per_query: float, at_once: bool) -> Load:
    """Measure every number of clients and every rate of a protocol.

    Args:
        protocol: gives `clients`, `rates`, `load_s` and `seed`.
        ask: as for `closed_loop`.
        queries: as for `closed_loop`.
        pairs_per_query: mean number of candidates, for the result.
        at_once: as for `closed_loop`.

    Returns:
        The levels, and where throughput stops rising.

    Raises:
        EvalkitError: no query at all was answered.
    """
    levels: list[LoadLevel] = []
    notes: list[str] = []
    errors: list[str] = []

    def add(name: str, level: LoadLevel, asked: Sequence[Asked]) -> None:
        levels.append(level)
        if failed := [one.error for one in asked if one.error is not None]:
            errors.append(failed[0])
            notes.append(f"{name}: {len(failed):,} of {len(asked):,} queries failed, the first one because {failed[0]}")

    for clients in sorted(protocol.clients):
        name = "1 client" if clients == 1 else f"{clients} clients"
        with stage(f"load: {name}", unit="queries") as advance:
            asked = closed_loop(ask, queries, clients, protocol.load_s, at_once, advance)
        add(name, closed_level(clients, asked), asked)
    for rate in sorted(protocol.rates):
        name = f"{rate:g} queries/s"
        arrivals = arrivals_s(rate, protocol.load_s, protocol.seed)
        with stage(f"load: {name}", len(arrivals), "queries") as advance:
            asked = open_loop(ask, queries, arrivals, protocol.load_s, at_once, advance)
        if len(asked) < len(arrivals):
            notes.append(
                f"{name}: stopped after {asked[-1].arrived_s:.1f} s, as more than half of the queries were waiting"
            )
        if at_once and most_under_way(asked) >= MOST_THREADS:
            notes.append(f"{name}: {MOST_THREADS} queries were under way at once, and further ones waited here")
        add(name, open_level(rate, asked), asked)
    if not any(level.answered for level in levels):
        raise EvalkitError(f"no query was answered under load (protocol.clients, protocol.rates): {errors[0]}")
    return Load(
        at_once=at_once,
        queries=queries,
        pairs_per_query=pairs_per_query,
        levels=tuple(levels),
        saturates_at_clients=saturating_clients(levels),
        saturates_at_per_s=saturating_rate(levels),
        notes=tuple(notes),
    )
