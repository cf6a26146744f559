"""Linear layers on a CPU in fp32: torch's own product compared with oneDNN's, by which evalkit computes them.

    python benchmarks/linear.py [--hidden 384] [--tokens 512,2048,8192] [--rounds 30]

One thread, as in a core of evalkit's engine; the four products of a layer, in turn; medians of the milliseconds of all
four. "Own order" has the weights in memory twice.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch.nn import functional

from evalkit.scoring.linear import is_faster, linear


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--hidden", type=int, default=384)
    parser.add_argument("--tokens", default="512,2048,8192")
    parser.add_argument("--rounds", type=int, default=30)
    parsed = parser.parse_args()
    torch.set_num_threads(1)
    used = is_faster(torch.device("cpu"), torch.float32)
    print(f"oneDNN is used here: {used}; {torch.backends.cpu.get_cpu_capability()}")
    print("| tokens | torch, ms | oneDNN, ms | ratio | oneDNN with weights in its own order, ms | ratio | differ by |")
    print("| ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for tokens in map(int, parsed.tokens.split(",")):
        print(row(tokens, parsed.hidden, parsed.rounds))


def row(tokens: int, hidden: int, rounds: int) -> str:
    """Return a line of the table."""
    rng = torch.Generator().manual_seed(0)
    shapes = ((hidden, 3 * hidden), (hidden, hidden), (hidden, 4 * hidden), (4 * hidden, hidden))
    products = []
    for width, out in shapes:
        x, weight = torch.randn(tokens, width, generator=rng), torch.randn(out, width, generator=rng) / width**0.5
        own = torch.ops.mkldnn._reorder_linear_weight(weight, tokens)
        products.append((x, weight, own, torch.randn(out, generator=rng)))
    ways: dict[str, Callable[[], list[torch.Tensor]]] = {
        "torch": lambda: [functional.linear(x, weight, bias) for x, weight, _, bias in products],
        "oneDNN": lambda: [linear(x, weight, bias) for x, weight, _, bias in products],
        "own order": lambda: [linear(x, own, bias) for x, _, own, bias in products],
    }
    taken: dict[str, list[float]] = {name: [] for name in ways}
    with torch.inference_mode():
        apart = max(
            (one - other).abs().max().item() for one, other in zip(ways["torch"](), ways["oneDNN"](), strict=True)
        )
        for number in range(rounds + 1):
            for name, way in ways.items():
                started = time.perf_counter()
                way()
                if number:
                    taken[name].append(time.perf_counter() - started)
    ms = {name: statistics.median(seconds) * 1000 for name, seconds in taken.items()}
    return (
        f"| {tokens} | {ms['torch']:.1f} | {ms['oneDNN']:.1f} | {ms['torch'] / ms['oneDNN']:.2f} | "
        f"{ms['own order']:.1f} | {ms['torch'] / ms['own order']:.2f} | {apart:.1e} |"
    )


if __name__ == "__main__":
    main()
