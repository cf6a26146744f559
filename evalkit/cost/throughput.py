"""What reranking costs in money, from its throughput and the price of an hour."""

from evalkit.types import CostEstimate, Latency, Throughput


def estimate(
    price_per_gpu_hour: float, currency: str, depth: int, throughput: Throughput, latency: Latency | None, device: str
) -> CostEstimate:
    """Return what reranking costs on GPUs that are paid by the hour and always busy; single queries run on one."""
    if not device.startswith("cuda"):
        why = "the reranker ran on the CPU, and the price is that of a GPU hour"
        return CostEstimate(price_per_gpu_hour, currency, depth, None, None, None, why)
    per_gpu_s = price_per_gpu_hour / 3600
    per_pair = per_gpu_s * throughput.devices / throughput.end_to_end_pairs_per_s
    return CostEstimate(
        price_per_gpu_hour,
        currency,
        depth,
        per_1000_queries=per_pair * 1000 * depth,
        per_1000_queries_one_by_one=per_gpu_s * 1000 * latency.duration_s / latency.repetitions if latency else None,
        per_million_pairs=per_pair * 1e6,
    )
