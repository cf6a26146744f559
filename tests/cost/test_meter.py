"""The passes of a measurement: each times what it says, and no score out of a store enters a clock."""

import time
from dataclasses import replace
from types import MappingProxyType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from evalkit.boundary.errors import EvalkitError
from evalkit.cost import matrix_rate, memory, meter
from evalkit.cost.protocol import CostProtocol
from evalkit.evaluation.ranking import candidates
from evalkit.rerankers import base
from evalkit.rerankers.cross_encoder import CrossEncoder
from evalkit.slices.assemble import assemble
from evalkit.trial import Plan
from evalkit.types import Hit, Memory, Run, Scores

DOCS = {f"d{i}": " ".join(["word"] * (i + 1)) for i in range(8)}
PAIRS = 5 * 8
MAX_LENGTH = 16


class Clock:
    """A clock that goes on only when the model works: a tenth of a second a pair, half of it the model's."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 0.0
        monkeypatch.setattr(time, "perf_counter", lambda: self.now_s)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Any:
    return Clock(monkeypatch)


class Engine:
    """Two special tokens, and one for each word; a token takes a quarter of a MiB of activations."""

    def __init__(self, clock: Any, batch_tokens: Any, devices: Any) -> None:
        self.clock = clock
        self.facts = base.EngineFacts("float32", MAX_LENGTH, batch_tokens, devices, "a clock", "none")

    def weights_mb(self) -> Any:
        return 1.0

    def predicted_peak_mb(self, batch_tokens: Any) -> Any:
        return 1 + batch_tokens / 4

    def tokenize(self, texts: Any) -> Any:
        lengths = [min(2 + len(query.split()) + len(text.split()), MAX_LENGTH) for query, text in texts]

        def batch(rows: Any) -> None:
            self.clock.now_s += 0.01 * len(rows)

        return SimpleNamespace(lengths=np.array(lengths), batch=batch)


class Reranker(base.Reranker):
    """Computes on the clock; `known` of all pairs come from a store, and `devices` share the others."""

    def __init__(
        self,
        clock: Any,
        known: Any = 0,
        engine: Any = True,
        leaks: Any = False,
        batch_tokens: Any = 8,
        devices: Any = 1,
    ) -> None:
        self.clock, self.known, self.leaks, self.batch_tokens, self.devices = clock, known, leaks, batch_tokens, devices
        self.calls: list[Any] = []
        if engine:
            self.engine = Engine(clock, batch_tokens, devices)

    def load(self) -> None:
        self.clock.now_s += 7

    def score_all(self, pairs: Any, queries: Any, docs: Any, on_progress: Any = lambda n: None) -> Any:
        return self.scored(pairs, queries, docs, self.known, self.devices)

    def score(self, pairs: Any, queries: Any, docs: Any, on_progress: Any = lambda n: None) -> Any:
        return self.scored(pairs, queries, docs, self.known if self.leaks else 0, 1)

    def scored(self, pairs: Any, queries: Any, docs: Any, stored: Any, devices: Any) -> Any:
        self.calls.append(list(pairs))
        computed = len(pairs) - stored
        self.clock.now_s += 0.1 * computed / devices
        lengths = [
            min(2 + len(queries[pair.query_id].split()) + len(docs[pair.doc_id].split()), MAX_LENGTH) for pair in pairs
        ]
        tokens = sum(lengths[stored:])
        return Scores(
            (0.5,) * len(pairs), 0, tokens, 2 * tokens, 0.02 * computed, 0.05 * computed,
            from_store=stored, flops=1000.0 * computed,
        )  # fmt: skip

    def describe(self) -> Any:
        return {"name": "slow"}


def measured(reranker: Any, clock: Any, **settings: Any) -> Any:
    """Measure over five queries with eight candidates each; return the cost and the environment."""
    passes = metered(reranker, **settings)
    passes.score()
    return passes.cost(0.5), passes.environment()


def metered(reranker: Any, **settings: Any) -> Any:
    """Return the passes over five queries with eight candidates each."""
    data = assemble("tiny", "en", "HERE", {f"q{i}": f"query {i}" for i in range(5)}, DOCS,
                    {f"q{i}": {"d0": 1} for i in range(5)}, 1, {"corpus": "full"})  # fmt: skip
    first = Run("all", {query_id: tuple(Hit(doc_id, 1.0) for doc_id in DOCS) for query_id in data.queries})
    plan = Plan("test", 8, ["nDCG@10"], CostProtocol(**{"warmup_queries": 0, "latency_queries": 0} | settings))
    plan.check()
    return meter.Meter(plan.protocol, plan.depth, reranker, data, candidates(first, 8))


def cost_of(clock: Any, *, known: Any = 0, engine: Any = True, **settings: Any) -> Any:
    return measured(Reranker(clock, known, engine), clock, **settings)[0]


# --- another machine --------------------------------------------------------------------------------------------------


class Remote(Reranker):
    """As one that a server computes, which charges for calls."""

    remote = True
    price: base.CallPrice | None = base.CallPrice(per_1000_calls=3.0, per_million_tokens=None)
    billed: Any = MappingProxyType({"billed_calls": 10.0})

    def scored(self, *asked: Any) -> Any:
        return replace(super().scored(*asked), **self.billed)


def test_memory_and_energy_of_another_machine_are_not_those_of_this_process(clock: Any) -> None:
    found, environment = measured(
        Remote(clock, engine=False), clock, memory_pass=True, latency_queries=2, calibrate=True
    )
    why = "another machine computed, which this process cannot measure"
    assert found.memory == Memory(None, None, None, why=why)
    assert (found.energy.joules, found.energy.why, found.calibration) == (None, why, None)
    assert environment == {"nvml": why}
    assert found.latency.p50_ms == pytest.approx(800)  # eight pairs of a tenth of a second: what a client sees
    assert found.pairs_per_s == pytest.approx(10)


def test_what_a_server_charges_is_the_price_of_a_query(clock: Any) -> None:
    of_calls = measured(Remote(clock, engine=False), clock)[0].estimate
    # 10 calls for 5 queries: 2 calls a query, 2,000 for a thousand, at 3 for each 1,000 calls. 40 pairs cost 0.03.
    assert (of_calls.per_1000_queries, of_calls.per_million_pairs) == pytest.approx((6, 750))
    by_tokens = Remote(clock, engine=False)
    by_tokens.price, by_tokens.billed = base.CallPrice(None, 2.0), {"billed_tokens": 4000}
    # 4,000 tokens for 40 pairs: 100 a pair, 800 a query of 8 passages, 800,000 for a thousand, at 2 for each million.
    assert measured(by_tokens, clock)[0].estimate.per_1000_queries == pytest.approx(1.6)
    by_tokens.billed = {"billed_tokens": None}
    assert measured(by_tokens, clock)[0].estimate.why == (
        "the price is that of tokens, and the server does not state how many it counts"
    )


def test_the_price_of_a_gpu_is_not_that_of_another_machine(clock: Any) -> None:
    reranker = Remote(clock, engine=False)
    reranker.price = None
    found = measured(reranker, clock, price_per_gpu_hour=2.0)[0].estimate
    assert (found.per_1000_queries, found.why) == (None, "another machine computed, which this process cannot measure")


# --- throughput -------------------------------------------------------------------------------------------------------


def test_three_figures_come_from_the_scoring_of_all_pairs(clock: Any) -> None:
    found = cost_of(clock, throughput_pairs=20)
    assert (found.pairs, found.computed_pairs) == (40, 40)
    rates = found.throughput
    assert (rates.source, rates.pairs) == ("scoring", 40)
    # 40 pairs took 4 s, of which the model worked 2; tokenization alone takes 0.01 s a pair.
    assert (rates.wall_s, rates.forward_s, rates.tokenize_s) == pytest.approx((4, 2, 0.8))
    assert rates.end_to_end_pairs_per_s == found.pairs_per_s == pytest.approx(10)
    assert rates.model_pairs_per_s == pytest.approx(20)
    assert rates.tokenize_pairs_per_s == pytest.approx(100)
    # Two special tokens, two of the query, and 1 to 8 of the passage: 5 x (8 x 4 + 36) = 340; as much padding again.
    assert (rates.tokens, rates.padding_share) == (340, 0.5)
    assert rates.tokens_per_s == pytest.approx(85)


@pytest.mark.parametrize("known", [PAIRS, 1])
def test_where_a_store_knew_scores_throughput_is_measured_on_a_sample_that_is_computed(clock: Any, known: Any) -> None:
    reranker = Reranker(clock, known)
    found, _ = measured(reranker, clock, throughput_pairs=12)
    scoring, sample = reranker.calls
    assert (len(scoring), len(sample)) == (40, 12)
    assert found.computed_pairs == 40 - known
    assert found.scoring_s == pytest.approx(0.1 * (40 - known))  # what this run took; no rate is made of it
    assert (found.throughput.source, found.throughput.pairs) == ("sample", 12)
    assert found.pairs_per_s == found.throughput.end_to_end_pairs_per_s == pytest.approx(10)
    assert found.throughput.tokens == sum(2 + 2 + len(DOCS[pair.doc_id].split()) for pair in sample)


@pytest.mark.parametrize("known", [0, PAIRS])
def test_peak_memory_is_that_of_pairs_that_were_computed(
    clock: Any, monkeypatch: pytest.MonkeyPatch, known: Any
) -> None:
    reranker = Reranker(clock, known)
    peaks = iter([300.0, 500.0])  # after the scoring of all pairs, and after the sample
    monkeypatch.setattr(memory, "peak_resident_mb", lambda: next(peaks))
    found, _ = measured(reranker, clock)
    assert found.memory.rss_peak_mb == (500.0 if known else 300.0)


@pytest.mark.parametrize("first", [True, False])
def test_a_sample_is_computed_before_this_process_evaluates_or_after_another_has(clock: Any, first: bool) -> None:
    reranker = Reranker(clock, PAIRS)
    passes = metered(reranker, throughput_pairs=12)
    passes.score()
    if first:
        passes.make_memory_passes()
    assert len(reranker.calls) == 1 + first
    found = passes.cost(0.5)
    assert [len(pairs) for pairs in reranker.calls] == [40, 12]
    assert found.throughput.source == "sample"


def test_a_sample_is_of_whole_queries_and_the_seed_decides_which(clock: Any) -> None:
    def sample(seed: Any) -> Any:
        reranker = Reranker(clock, PAIRS)
        measured(reranker, clock, throughput_pairs=12, seed=seed)
        return [(pair.query_id, pair.doc_id) for pair in reranker.calls[1]]

    first, second = sample(1)[:8], sample(1)[8:]
    assert [doc_id for _, doc_id in first] == list(DOCS)
    assert (len({query_id for query_id, _ in first}), len({query_id for query_id, _ in second})) == (1, 1)
    assert sample(1) == sample(1)
    assert len({sample(seed)[0] for seed in range(10)}) > 1


def test_a_store_in_a_timed_pass_is_an_error_and_no_figure(clock: Any) -> None:
    with pytest.raises(AssertionError, match="a timed pass was given scores from a store"):
        measured(Reranker(clock, known=1, leaks=True), clock, latency_queries=2)


def test_the_models_rate_is_compared_with_matrices_of_the_same_run(clock: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def rate(device: Any, dtype: Any, seconds: Any) -> Any:
        asked.append((device, dtype, seconds))
        return 40_000.0

    monkeypatch.setattr(matrix_rate, "matrix_flops_per_s", rate)
    rates = cost_of(clock, matrix_rate_s=0.5).throughput
    assert asked == [("cpu", "float32", 0.5)]
    # 40 pairs of 1,000 FLOP: in the model's 2 s half of 40,000 FLOP/s, in the 4 s on the wall a quarter.
    assert (rates.flops, rates.model_flops_per_s, rates.matrix_flops_per_s) == pytest.approx((40_000, 20_000, 40_000))
    assert (rates.model_mfu, rates.end_to_end_mfu) == pytest.approx((0.5, 0.25))
    rates = cost_of(clock).throughput
    assert (len(asked), rates.matrix_flops_per_s, rates.model_mfu, rates.end_to_end_mfu) == (1, None, None, None)


def test_the_rates_of_several_devices_are_those_of_all_of_them_together(
    clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(matrix_rate, "matrix_flops_per_s", lambda *asked: 40_000.0)
    rates = measured(Reranker(clock, devices=4), clock, matrix_rate_s=0.5)[0].throughput
    # 40 pairs take 1 s on four devices, whose models worked 2 s in sum: half a second each.
    assert (rates.devices, rates.wall_s, rates.forward_s) == (4, pytest.approx(1), pytest.approx(2))
    assert (rates.end_to_end_pairs_per_s, rates.model_pairs_per_s) == pytest.approx((40, 80))
    # 40,000 FLOP in half a second, where four devices could do 80,000; in the second on the wall 160,000.
    assert (rates.model_mfu, rates.end_to_end_mfu) == pytest.approx((0.5, 0.25))
    sample = measured(Reranker(clock, PAIRS, devices=4), clock, throughput_pairs=12)[0].throughput
    assert (sample.devices, sample.end_to_end_pairs_per_s) == (1, pytest.approx(10))


def test_what_is_unknown_of_a_reranker_without_an_engine_is_none(clock: Any) -> None:
    found = cost_of(clock, engine=False, memory_pass=True, grid_depths=[2], grid_lengths=[8])
    assert (found.throughput.tokenize_pairs_per_s, found.memory.weights_mb) == (None, None)
    assert found.memory.own_pass.predicted_peak_mb is None
    assert (found.latency_grid.cells, found.latency_grid.notes) == (
        (), ("the reranker does not report how many tokens a pair has",)
    )  # fmt: skip


# --- start and steady state -------------------------------------------------------------------------------------------


def test_loading_the_first_forward_and_the_steady_state_are_timed_separately(clock: Any) -> None:
    found = cost_of(clock, warmup_queries=2, latency_queries=3)
    assert found.first_stage_s == 0.5
    assert found.load_s == pytest.approx(7)
    assert found.first_forward_ms == pytest.approx(800)
    assert found.warmup_s == pytest.approx(1.6)
    assert found.latency.samples_ms == pytest.approx((800,) * 3)


class Preparing(Reranker):
    """Prepares for three seconds, once, after loading and before any pair is scored."""

    def prepare(self, pairs: Any, queries: Any, docs: Any) -> None:
        assert (self.clock.now_s >= 7, self.calls, len(pairs)) == (True, [], 40)
        self.clock.now_s += 3


def test_what_is_prepared_is_in_a_time_of_its_own(clock: Any) -> None:
    found, _ = measured(Preparing(clock), clock, warmup_queries=1, latency_queries=3)
    assert (found.load_s, found.preparation_s) == (pytest.approx(7), pytest.approx(3))
    assert (found.warmup_s, found.scoring_s) == (pytest.approx(0.8), pytest.approx(4))
    assert found.latency.samples_ms == pytest.approx((800,) * 3)
    assert cost_of(clock).preparation_s == 0


def test_without_warm_up_there_is_no_first_forward(clock: Any) -> None:
    found = cost_of(clock)
    assert (found.first_forward_ms, found.warmup_s) == (None, 0)


def test_single_queries_are_timed_until_there_are_enough_and_it_took_long_enough(clock: Any) -> None:
    latency = cost_of(clock, latency_queries=3, latency_min_repetitions=4, latency_min_s=5).latency
    # A query takes 0.8 s; three rounds are 9 samples and 7.2 s, two are 6 and 4.8 s.
    assert (latency.queries, latency.repetitions, latency.duration_s) == (3, 9, pytest.approx(7.2))
    assert len({*latency.samples_ms}) == 1


# --- memory -----------------------------------------------------------------------------------------------------------


def test_memory_is_measured_on_the_longest_pairs_two_batches_of_them(clock: Any) -> None:
    reranker = Reranker(clock, batch_tokens=30)
    found, _ = measured(reranker, clock, memory_pass=True)
    own, longest = found.memory.own_pass, reranker.calls[-1]
    left = [pair for pair in reranker.calls[0] if pair not in longest]
    assert min(len(DOCS[pair.doc_id]) for pair in longest) >= max(len(DOCS[pair.doc_id]) for pair in left)
    assert (own.pairs, own.tokens) == (len(longest), sum(4 + len(DOCS[pair.doc_id].split()) for pair in longest))
    assert own.tokens == pytest.approx(60, abs=12)  # to a pair: the longest have 12 tokens
    assert found.memory.weights_mb == 1.0
    assert (own.cuda_allocated_peak_mb, own.cuda_process_mb, own.cuda_device_mb) == (None, None, None)


@pytest.mark.parametrize(("batch_tokens", "largest"), [(30, 30), (10_000, 340)])  # all 40 pairs are 340 tokens
def test_the_prediction_is_for_no_larger_a_batch_than_there_was(clock: Any, batch_tokens: Any, largest: Any) -> None:
    found, _ = measured(Reranker(clock, batch_tokens=batch_tokens), clock, memory_pass=True)
    assert found.memory.own_pass.predicted_peak_mb == 1 + largest / 4


def test_no_pass_is_made_that_is_not_asked_for(clock: Any) -> None:
    reranker = Reranker(clock)
    found, _ = measured(reranker, clock)
    assert len(reranker.calls) == 1
    assert (found.memory.own_pass, found.latency, found.latency_grid, found.estimate) == (None,) * 4


# --- grid -------------------------------------------------------------------------------------------------------------


def test_the_grid_is_of_texts_of_the_slice_at_the_lengths_that_were_asked(clock: Any) -> None:
    reranker = Reranker(clock)
    found, _ = measured(reranker, clock, grid_depths=[2, 4], grid_lengths=[6, 10, 99], grid_repetitions=3)
    cells = found.latency_grid.cells
    assert [(cell.depth, cell.length, cell.tokens_per_pair) for cell in cells] == [
        (2, 6, 6), (2, 10, 10), (2, 16, 16), (4, 6, 6), (4, 10, 10), (4, 16, 16)
    ]  # fmt: skip
    assert [cell.latency.p50_ms for cell in cells] == pytest.approx([200] * 3 + [400] * 3)
    assert {cell.latency.repetitions for cell in cells} == {3}
    assert found.latency_grid.notes == ("length 99 is above reranker.max_length=16, where pairs are truncated",)


# --- energy, price, environment ---------------------------------------------------------------------------------------


class Counter:
    """A GPU that draws 300 W."""

    unavailable = None

    def __init__(self, clock: Any, reports: Any = True) -> None:
        self.clock, self.reports = clock, reports

    def energy_j(self) -> Any:
        return 1000 + 300 * self.clock.now_s if self.reports else None

    def facts(self) -> Any:
        return {"driver": "570.1"}


def drawn(clock: Any, monkeypatch: pytest.MonkeyPatch, reports: Any = True, **reranker: Any) -> Any:
    monkeypatch.setattr(meter, "Gpu", lambda uuid, unavailable: Counter(clock, reports))
    return measured(Reranker(clock, **reranker), clock, throughput_pairs=9)


def test_energy_is_that_of_the_pass_that_throughput_is_of(clock: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    found, environment = drawn(clock, monkeypatch)
    # 300 W over 4 s, for 40 pairs.
    assert (found.energy.joules, found.energy.duration_s, found.energy.mean_power_w) == pytest.approx((1200, 4, 300))
    assert (found.energy.joules_per_1000_pairs, found.energy.why) == (pytest.approx(30_000), None)
    assert environment["driver"] == "570.1"


def test_energy_of_too_short_a_pass_is_not_made_up(clock: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    found, _ = drawn(clock, monkeypatch, known=PAIRS)  # a sample of 9 pairs takes 0.9 s
    assert found.energy.joules is None
    assert found.energy.why == "the pass took 0.90 s, too short for a counter that advances every 0.1 s or so"


def test_energy_of_one_gpu_of_several_is_not_shown_as_that_of_all(clock: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    found, _ = drawn(clock, monkeypatch, devices=2)
    assert (found.energy.joules, found.energy.why) == (None, "energy is read of one GPU, and 2 shared the work")


def test_the_reason_for_missing_energy_is_given(clock: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cost_of(clock).energy.why == "the reranker ran on the CPU, and only GPUs have NVML"
    assert drawn(clock, monkeypatch, reports=False)[0].energy.why.startswith("NVML reports no energy for this GPU")


def test_a_price_gives_an_estimate_and_no_price_gives_none(clock: Any) -> None:
    found = cost_of(clock, price_per_gpu_hour=2.5, currency="CHF").estimate
    assert (found.price_per_gpu_hour, found.currency, found.depth) == (2.5, "CHF", 8)
    assert found.why == "the reranker ran on the CPU, and the price is that of a GPU hour"
    assert cost_of(clock).estimate is None


def test_the_environment_names_what_the_figures_depend_on(clock: Any) -> None:
    _, found = measured(Reranker(clock), clock)
    assert (found["device"], found["device_name"], found["attention"]) == ("cpu", "a clock", "none")
    assert found["torch"] == torch.__version__
    assert (found["driver"], found["sm_clock_mhz"], found["cuda"]) == (None, None, None)
    assert found["nvml"] == "the reranker ran on the CPU, and only GPUs have NVML"


def test_a_reranker_that_computes_nothing_is_not_measured(clock: Any) -> None:
    reranker = Reranker(clock)
    reranker.computes = False
    found, environment = measured(reranker, clock, warmup_queries=2, latency_queries=2, memory_pass=True)
    assert (found, environment, len(reranker.calls)) == (None, None, 1)


@pytest.mark.gpu
def test_on_a_gpu_everything_is_measured() -> None:
    if not torch.cuda.is_available():
        pytest.skip("there is no CUDA device")
    reranker = CrossEncoder(
        model="packaged", max_length=256, truncation="longest_first", batch_tokens=4096, device="cuda", precision="fp16"
    )
    reranker.check()
    found, environment = measured(
        reranker, None, warmup_queries=1, latency_queries=3, latency_min_repetitions=10, matrix_rate_s=0.2,
        memory_pass=True, grid_depths=[2, 8], grid_lengths=[64, 999], price_per_gpu_hour=3.6,
    )  # fmt: skip
    rates, own = found.throughput, found.memory.own_pass
    assert 0 < rates.end_to_end_mfu <= rates.model_mfu < 1
    assert rates.end_to_end_pairs_per_s <= rates.model_pairs_per_s
    assert found.first_forward_ms > found.latency.p50_ms
    # 23 million parameters of two bytes lie there before the pass begins.
    assert 40 < found.memory.weights_mb <= own.cuda_allocated_before_mb < own.cuda_allocated_peak_mb
    assert own.cuda_allocated_peak_mb <= own.cuda_reserved_peak_mb < own.cuda_device_mb < own.cuda_device_total_mb
    assert own.predicted_peak_mb > found.memory.weights_mb
    assert [(cell.depth, cell.length) for cell in found.latency_grid.cells] == [(2, 64), (2, 256), (8, 64), (8, 256)]
    assert found.estimate.per_million_pairs == pytest.approx(1000 / rates.end_to_end_pairs_per_s)
    assert environment["device"] == "cuda:0"
    assert environment["compute_capability"]
    assert environment["nvml"] or environment["driver"]
    assert found.energy.why  # 40 pairs are too short for the counter


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"latency_min_s": -1}, "protocol.latency_min_s=-1: give a number of seconds"),
        ({"latency_min_s": float("inf")}, "protocol.latency_min_s=inf: give a number of seconds"),
        ({"throughput_pairs": 0}, "protocol.throughput_pairs=0: give a number of pairs, 1 or more"),
        ({"grid_repetitions": 0}, "protocol.grid_repetitions=0: give a number of samples, 1 or more"),
        ({"grid_depths": [10, 0]}, "protocol.grid_depths has 0: give numbers of 1 or more, or [] for no grid"),
        ({"grid_lengths": [-5]}, "protocol.grid_lengths has -5: give numbers of 1 or more, or [] for no grid"),
        ({"price_per_gpu_hour": -2.0}, "protocol.price_per_gpu_hour=-2.0: give a price, or null for none"),
        ({"price_per_gpu_hour": float("nan")}, "protocol.price_per_gpu_hour=nan: give a price, or null for none"),
    ],
)
def test_a_setting_that_cannot_be_is_refused(setting: Any, message: Any) -> None:
    with pytest.raises(EvalkitError) as caught:
        CostProtocol(0, 0, **setting).check()
    assert message in str(caught.value)


# --- under load


def test_queries_under_load_are_all_computed_and_none_is_read_from_a_store(clock: Any) -> None:
    found = cost_of(clock, known=PAIRS, clients=[1], load_s=3.5).load
    [level] = found.levels
    # Eight pairs of a tenth of a second: the fifth query begins after 3.2 seconds, and no sixth after 4.
    assert (level.answered, level.p50_ms, level.queries_per_s) == (5, pytest.approx(800), pytest.approx(5 / 4))
    assert (found.at_once, found.queries, found.pairs_per_query) == (False, 5, 8.0)
    with pytest.raises(AssertionError, match="scores from a store"):
        measured(Reranker(clock, known=1, leaks=True), clock, clients=[1])


def test_without_clients_or_rates_there_is_no_load(clock: Any) -> None:
    assert cost_of(clock).load is None
