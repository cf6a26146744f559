"""The cost in a report: every figure that was measured, none that was not, and what fp16 saves, by hand."""

import copy
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit.report import tex
from evalkit.report.content import comparison, savings, trial
from evalkit.report.content import cost as costs
from evalkit.results import summary
from evalkit.results.comparison_schema import CostFigures, MeasureEquivalence
from tests.helpers import comparisons
from tests.helpers.comparisons import agreement, cost, paired, system
from tests.helpers.results import complete

TIMES = [10.0, 12.0, 14.0, 20.0]
LATENCY = {
    "samples_ms": TIMES, "p50_ms": 12.0, "p90_ms": 20.0, "p95_ms": 20.0, "p99_ms": 20.0,
    "p50_ci95_ms": [10.0, 14.0], "p90_ci95_ms": [12.0, None], "p95_ci95_ms": [None, 20.0], "p99_ci95_ms": [None, None],
    "pairs_per_query": 100.0, "queries": 2, "repetitions": 4, "duration_s": 0.056,
}  # fmt: skip
CELLS = [
    {"depth": depth, "length": length, "tokens_per_pair": float(length),
     "latency": LATENCY | {"samples_ms": [2.0, 3.0, 4.0], "p50_ms": 3.0} if depth == 10 else
     LATENCY | {"samples_ms": [6000.0], "p50_ms": 6000.0}}
    for depth in (10, 100) for length in (64, 512)
]  # fmt: skip
LOAD: dict[str, Any] = {
    "at_once": False, "queries": 43, "pairs_per_query": 100.0, "saturates_at_clients": 4, "saturates_at_per_s": 50.0,
    "notes": ["4 clients: 3 of 400 queries failed, the first one because the server is tired"],
    "levels": [
        {"kind": "closed", "clients": 1, "answered": 99, "seconds": 10.0, "queries_per_s": 9.9, "p50_ms": 101.0,
         "p90_ms": 110.0, "p99_ms": 150.0, "p50_ci95_ms": [99.0, 102.0], "p99_ci95_ms": [130.0, None],
         "waiting_share": 0.004},
        {"kind": "closed", "clients": 4, "answered": 397, "failed": 3, "seconds": 10.0, "queries_per_s": 39.7,
         "p50_ms": 104.0, "p90_ms": 120.0, "p99_ms": 180.0, "waiting_share": 0.75},
        {"kind": "closed", "clients": 16, "answered": 410, "seconds": 10.0, "queries_per_s": 41.0,
         "p50_ms": 390.0, "p90_ms": 420.0, "p99_ms": 600.0, "waiting_share": 0.9},
        {"kind": "open", "rate_per_s": 20.0, "answered": 200, "seconds": 10.0, "queries_per_s": 20.0, "p50_ms": 103.0,
         "p90_ms": 130.0, "p99_ms": 190.0, "waiting_share": 0.1},
        {"kind": "open", "rate_per_s": 50.0, "answered": 300, "unanswered": 100, "seconds": 10.0,
         "queries_per_s": 41.0, "p50_ms": 2100.0, "p90_ms": None, "p99_ms": None, "waiting_share": 0.95},
    ],
}  # fmt: skip
COST: dict[str, Any] = {
    "first_stage_s": 0.5, "load_s": 4.0, "first_forward_ms": 900.0, "warmup_s": 1.5, "pairs": 4300,
    "computed_pairs": 4300, "scoring_s": 2.0, "pairs_per_s": 2150.0, "tokenize_s": 0.25, "forward_s": 1.6,
    "throughput": {
        "source": "scoring", "devices": 1, "pairs": 4300, "tokens": 400_000, "padding_share": 0.015, "wall_s": 2.0,
        "tokenize_s": 0.25, "forward_s": 1.6, "end_to_end_pairs_per_s": 2150.0, "model_pairs_per_s": 2687.5,
        "tokenize_pairs_per_s": 17200.0, "tokens_per_s": 200_000.0, "flops": 8e14, "model_flops_per_s": 5e14,
        "matrix_flops_per_s": 8e14, "model_mfu": 0.625, "end_to_end_mfu": 0.5,
    },
    "latency": LATENCY,
    "latency_grid": {"cells": CELLS, "notes": ["depth 100 at length 64 was timed once: it took more than 5 s"]},
    "load": LOAD,
    "memory": {
        "rss_before_load_mb": 400.0, "rss_after_load_mb": 900.0, "rss_peak_mb": 1200.0,
        "cuda_allocated_peak_mb": 1650.0, "cuda_reserved_peak_mb": 1800.0, "weights_mb": 1083.0,
        "own_pass": {
            "pairs": 40, "tokens": 20_000, "rss_before_mb": 1100.0, "rss_after_mb": 1110.0, "rss_peak_mb": 1120.0,
            "cuda_allocated_before_mb": 1090.0, "cuda_allocated_peak_mb": 1640.0, "cuda_reserved_peak_mb": 1700.0,
            "cuda_process_mb": 2200.0, "cuda_device_mb": 2300.0, "cuda_device_total_mb": 140_000.0,
            "predicted_peak_mb": 1600.0,
        },
    },
    "energy": {"joules": 900.0, "duration_s": 2.0, "mean_power_w": 450.0, "joules_per_1000_pairs": 209.3, "why": None},
    "estimate": {"price_per_gpu_hour": 3.6, "currency": "EUR", "depth": 100, "per_1000_queries": 0.0465,
                 "per_1000_queries_one_by_one": 0.14, "per_million_pairs": 0.465, "why": None},
    "calibration": None,
}  # fmt: skip
EFFECTIVE = {
    "reranker": {"name": "bge", "precision": "fp16", "device": "cuda:0", "device_name": "a GPU", "threads": None,
                 "attention": "packed", "batch_tokens": 65536, "batch_tokens_source": "what pays", "path_reason": None},
    "scoring": {"pairs": 4300, "pairs_from_store": 0, "budget_halvings": [], "padding_share": 0.015},
    "environment": {
        "device": "cuda:0", "device_name": "a GPU", "attention": "packed, varlen", "torch": "2.13", "cuda": "13.0",
        "transformers": "5.23", "compute_capability": "9.0", "driver": "580.1", "sm_clock_mhz": 1500,
        "sm_clock_max_mhz": 1980, "memory_clock_mhz": 3201, "memory_clock_max_mhz": 3201, "power_limit_w": 700.0,
        "temperature_c": 41, "clocks_held_back_by": ["power"], "nvml": None,
    },
}  # fmt: skip
FULL = {"cost": COST, "effective": EFFECTIVE}


def changed(**paths: Any) -> Any:
    """The full result with other values at some paths of its cost (``memory__own_pass=None``)."""
    found = copy.deepcopy(FULL)
    for path, value in paths.items():
        *parents, last = path.split("__")
        inner: Any = found["cost"]
        for parent in parents:
            inner = inner[parent]
        inner[last] = value
    return found


def tables(result: Any) -> Any:
    """Title -> a part's rows as a dictionary by their first cell, and its notes in one text."""
    return {
        part.title: ({row[0]: list(row[1:]) for row in part.rows}, " ".join(part.notes))
        for part in costs.parts(complete(result))
    }


def every_text(result: Any) -> Any:
    return [
        text
        for part in costs.parts(complete(result))
        for text in (*part.columns, *part.notes, *(cell for row in part.rows for cell in row))
    ]


# --- one trial


def test_the_three_throughputs_are_separate_and_mfu_has_the_rate_it_is_relative_to() -> None:
    rows, note = tables(FULL)["Throughput"]
    assert rows == {
        "pairs/s, end to end": ["2,150"],
        "pairs/s, the model alone": ["2,688"],
        "pairs/s, tokenization alone": ["17,200"],
        "useful tokens/s, end to end": ["200,000"],
        "padding, share of the tokens that were computed": ["1.5%"],
        "FLOPs of the useful tokens": ["800 TFLOP"],
        "FLOPs a second, the model alone": ["500 TFLOP/s"],
        "FLOPs a second, a matrix product in this run": ["800 TFLOP/s"],
        "MFU, the model alone": ["62.5%"],
        "MFU, end to end": ["50.0%"],
    }
    assert "Of the scoring of all pairs: 4,300 pairs, 400,000 tokens, 2.00 s." in note


def test_scores_from_a_store_and_halved_budgets_are_reported() -> None:
    found = changed(throughput__source="sample", throughput__pairs=256)
    found["effective"]["scoring"] |= {
        "pairs_from_store": 4000,
        "pairs_repeated": 3,
        "budget_halvings": ["65,536 tokens did not fit"],
    }
    _, note = tables(found)["Throughput"]
    assert "Of a timed pass of its own over a sample: 256 pairs" in note
    assert "4,000 of 4,300 scores came from a store and are in none of these times." in note
    assert "3 pairs repeated the texts of another pair and took its score." in note
    assert "65,536 tokens did not fit" in note
    assert "peaks to the end of scoring may be lower than without one" in tables(found)["Memory"][1]
    assert "4,300 pairs at 2,150 pairs/s (4,000 known from a store, none of them timed)" in line(found)


def test_an_end_of_an_interval_that_samples_do_not_determine_is_reported_as_such() -> None:
    rows, note = tables(FULL)["Latency of a query"]
    assert rows == {
        "p50": ["12.0", "10.0 to 14.0"],
        "p90": ["20.0", "from 12.0; upper end not determinable from 4 samples"],
        "p95": ["20.0", "to 20.0; lower end not determinable from 4 samples"],
        "p99": ["20.0", "not determinable from 4 samples"],
    }
    assert "4 samples of 2 queries, 0.056 s together" in note
    assert costs.ends((None, None), 1) == "not determinable from 1 sample"


def test_load_first_forward_and_steady_state_are_separate_figures() -> None:
    rows, _ = tables(FULL)["Load, first forward, steady state"]
    assert list(rows.items())[:4] == [
        ("loading the reranker", ["4.00 s"]),
        ("first forward: one query, cold", ["900 ms"]),
        ("warm-up, the first forward with it", ["1.50 s"]),
        ("steady state: one query, p50", ["12.0 ms"]),
    ]
    assert tables(changed(first_forward_ms=None))["Load, first forward, steady state"][0][
        "first forward: one query, cold"
    ] == ["not measured"]


def test_a_note_explains_what_is_cold_in_the_first_forward() -> None:
    _, note = tables(FULL)["Load, first forward, steady state"]
    assert note.startswith("Cold: the first query after loading, with all of its passages.")
    assert "which a service pays once after each start. Steady state is the same after warm-up" in note


def test_energy_that_was_not_measured_is_no_part_by_itself() -> None:
    nothing = dict.fromkeys(("joules", "mean_power_w", "joules_per_1000_pairs"))
    found = changed(energy=COST["energy"] | nothing | {"why": "there is no NVML"}, estimate=None)
    assert "Energy and price" not in tables(found)
    assert tables(found)["Measured on"][1] == "Energy was not measured: there is no NVML."
    assert tables(FULL)["Measured on"][1] == ""


def test_the_grid_has_a_row_a_depth_and_a_column_a_length_with_the_spread_and_the_notes() -> None:
    [part] = [part for part in costs.parts(complete(FULL)) if part.title == "Latency by depth and length"]
    assert part.columns == ("passages", "64 tokens a pair", "512 tokens a pair")
    assert part.rows == (
        ("10", "3.00 (2.00 to 4.00)", "3.00 (2.00 to 4.00)"),
        ("100", "6,000 (timed once)", "6,000 (timed once)"),
    )
    assert part.notes[1] == COST["latency_grid"]["notes"][0]


def test_a_load_has_a_row_for_each_number_of_clients_and_each_rate() -> None:
    [part] = [part for part in costs.parts(complete(FULL)) if part.title == "Under load"]
    assert part.columns == ("load", "queries/s", "p50, ms", "p90, ms", "p99, ms", "waiting", "answered", "failed",
                            "given up")  # fmt: skip
    assert part.rows == (
        ("1 client", "9.90", "101 (99.0 to 102)", "110", "150", "0%", "99", "", ""),
        ("4 clients", "39.7", "104", "120", "180", "75%", "397", "3", ""),
        ("16 clients", "41.0", "390", "420", "600", "90%", "410", "", ""),
        ("20 queries/s", "20.0", "103", "130", "190", "10%", "200", "", ""),
        ("50 queries/s", "41.0", "2,100", "not known", "not known", "95%", "300", "", "100"),
    )
    assert part.notes[-1] == LOAD["notes"][0] + "."


def test_the_notes_say_how_queries_met_and_where_throughput_stops_rising() -> None:
    _, note = tables(FULL)["Under load"]
    assert "one model on one device computes them in the order in which they come" in note
    assert "Saturated from 4 clients on: more clients, up to 16 clients, raise throughput by less than 5 %." in note
    assert "It does not keep up with 50 queries/s: fewer than 95 % were answered in time; it does with 20." in note
    assert "Fewer than 100 queries give no p99 but the slowest one" in note
    assert "may be off by more than 5 %: 1 client. protocol.load_s" in note
    rises = changed(load__saturates_at_clients=None, load__saturates_at_per_s=None, load__at_once=True)
    _, note = tables(rises)["Under load"]
    assert "queries are handed to the reranker as they come, several at once" in note
    assert "Not saturated before 16 clients: throughput rises by 5 % or more up to there." in note
    assert "It keeps up with 50 queries/s: at least 95 % of each rate were answered in time." in note
    _, note = tables(changed(load__levels=LOAD["levels"][:1], load__saturates_at_clients=None))["Under load"]
    assert "One number of clients does not show where throughput stops rising." in note
    assert "rate" not in note


def test_the_prediction_of_memory_is_shown_with_what_was_allocated() -> None:
    rows, note = tables(FULL)["Memory"]
    assert rows["memory pass: GPU allocated, peak"] == ["1,640", "1,600", "1.02"]  # 1640 / 1600 = 1.025
    assert rows["weights of the model"] == ["1,083", "", ""]
    assert rows["process, peak to the end of scoring"] == ["1,200", "", ""]
    assert "Memory pass: a separate pass over the longest 40 pairs (20,000 tokens)" in note


def test_on_a_cpu_the_prediction_is_shown_without_a_comparison() -> None:
    on_cpu = {key: None for key in COST["memory"]["own_pass"] if key.startswith("cuda")}
    found = changed(
        memory__cuda_allocated_peak_mb=None, memory__own_pass=COST["memory"]["own_pass"] | on_cpu
    )  # fmt: skip
    [part] = [part for part in costs.parts(complete(found)) if part.title == "Memory"]
    assert part.columns == ("MiB", "measured")
    assert any("1,600 MiB by arithmetic" in note for note in part.notes)


def test_energy_and_price_are_sentences_and_so_is_why_there_are_none() -> None:
    assert tables(FULL)["Energy and price"][1] == (
        "Energy of the whole GPU: 900 J in 2.00 s, 450 W on average; 1,000 pairs took 209 J. At 3.6 EUR an hour of a "
        "GPU that is always busy, 1,000 queries with 100 passages each cost 0.0465 EUR scored together, 0.14 EUR one "
        "by one; a million pairs 0.465 EUR."
    )
    nothing = dict.fromkeys(("joules", "mean_power_w", "joules_per_1000_pairs"))
    none = dict.fromkeys(("per_1000_queries", "per_1000_queries_one_by_one", "per_million_pairs"))
    found = changed(
        energy=COST["energy"] | nothing | {"why": "there is no NVML"},
        estimate=COST["estimate"] | none | {"why": "it ran on the CPU"},
    )
    assert tables(found)["Energy and price"][1] == (
        "Energy was not measured: there is no NVML. No estimate at 3.6 EUR an hour of a GPU: it ran on the CPU."
    )
    assert "1,000 queries for" not in line(found)


def test_the_conditions_of_the_measurement_are_listed() -> None:
    rows, _ = tables(FULL)["Measured on"]
    assert rows == {
        "device": ["a GPU (cuda:0)"],
        "precision": ["fp16"],
        "attention": ["packed, varlen"],
        "tokens a batch": ["65,536 (what pays)"],
        "torch": ["2.13"],
        "transformers": ["5.23"],
        "compute capability": ["9.0"],
        "CUDA": ["13.0"],
        "driver": ["580.1"],
        "clock of the multiprocessors": ["1,500 of 1,980 MHz"],
        "clock of the memory": ["3,201 of 3,201 MHz"],
        "clocks held back by": ["power"],
        "power limit": ["700 W"],
        "temperature": ["41.0 \u00b0C"],
    }


def line(result: Any) -> Any:
    return trial.cost_line(complete(result))


def test_one_line_answers_whether_it_is_worth_it() -> None:
    assert line(FULL) == (
        "Cost at fp16 on a GPU: 4,300 pairs at 2,150 pairs/s; one query with 100 passages takes 12.0 ms (p50), 20.0 "
        "(p90), 20.0 (p99) in 4 samples; peak GPU memory 1,650 MiB allocated, 1,800 reserved; peak process memory "
        "1,200 MiB; 1,000 queries for 0.0465 EUR."
    )


def test_memory_that_was_not_measured_in_a_separate_pass_is_marked() -> None:
    rows, note = tables(changed(memory__own_pass=None))["Memory"]
    assert "not measured in a pass of its own" in note
    assert not [name for name in rows if name.startswith("memory pass")]


STORING = {
    "vectors_per_passage": 4.5,
    "dimensions": 16,
    "bytes_per_passage": 144.0,
    "stored_mb": 0.5,
    "from_cache": False,
}


def stored(passages: int, preparation_s: float = 0.0) -> Any:
    found = changed(preparation_s=preparation_s)
    found["effective"]["reranker"] |= STORING | {"stored_passages": passages}
    return tables(
        found | {"effective": found["effective"] | {"slice": complete({}).effective.slice | {"docs": 14_581}}}
    )


def test_a_late_interaction_model_has_what_its_vectors_take_to_store() -> None:
    rows, note = stored(3641, preparation_s=2.0)["Storing the vectors of passages"]
    # 14,581 passages of 144 bytes are 2,099,664 bytes, 2.0 MiB.
    assert rows["size of the 14,581 passages of the slice"] == ["2.00 MiB"]
    assert rows["size of a passage"] == ["0.141 KiB"]
    assert note.startswith("The vectors of 3,641 passages, 0.5 MiB, were computed before anything was timed: no time")
    assert stored(3641, preparation_s=2.0)["Load, first forward, steady state"][0][
        "preparation, such as stored vectors"
    ]
    assert stored(0)["Storing the vectors of passages"][1].startswith(
        "No vectors were stored in this run: passages were"
    )
    assert "Storing the vectors of passages" not in tables(FULL)


def test_where_nothing_was_computed_there_is_no_cost() -> None:
    assert costs.parts(complete(FULL | {"cost": None})) == []
    assert summary.cost_figures(complete(FULL | {"cost": None})) is None


MAY_BE_NULL = [
    "first_forward_ms", "latency", "latency_grid", "load", "estimate",
    *(f"throughput__{key}" for key in ("model_pairs_per_s", "tokenize_pairs_per_s", "flops", "model_flops_per_s",
                                       "matrix_flops_per_s", "model_mfu", "end_to_end_mfu")),
    *(f"memory__own_pass__{key}" for key in COST["memory"]["own_pass"] if key.endswith("_mb")),
    *(f"memory__{key}" for key in COST["memory"]),
]  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(st.sets(st.sampled_from(MAY_BE_NULL)))
def test_what_was_not_measured_is_never_shown_as_a_number(missing: Any) -> None:
    # The inner ones first: a null has nothing inside.
    found = changed(**dict.fromkeys(sorted(missing, key=lambda path: -path.count("__"))))
    texts = every_text(found)
    assert not [text for text in texts if text in ("0", "0.0%", "None", "nan") or "None" in text]
    assert set(every_text(FULL)) >= {text for text in texts if text[:1].isdigit()}


# --- several side by side


def compared(*systems: Any) -> Any:
    test = paired(-0.001, low=-0.003, high=0.001)
    return comparisons.comparison(
        systems,
        {one.label: {"nDCG@10": test} for one in systems[1:]},
        parity={one.label: agreement(max_abs=0.0312, rms=0.0041) for one in systems[1:]},
    )


HALF = {"pairs_per_s": 4000.0, "p50_ms": 10.0, "p99_ms": 15.0, "peak_mb": 1500.0, "weights_mb": 1000.0}
FP32 = system("full", cost=cost())
FP16 = system("half", precision="fp16", cost=cost(**HALF))


def test_speed_memory_quality_and_drift_are_in_one_table_with_ratios_to_the_baseline() -> None:
    assert comparison.cost_rows(compared(FP32, FP16)) == [
        {"system": "full", "pairs/s": "1,000", "p50 ms": "40.0", "p99 ms": "50.0", "peak MiB": "3,000",
         "weights MiB": "2,000", "nDCG@10 change": "", "logits differ by": ""},
        {"system": "half", "pairs/s": "4,000 (\u00d74.00)", "p50 ms": "10.0 (\u00d70.25)",
         "p99 ms": "15.0 (\u00d70.30)", "peak MiB": "1,500 (\u00d70.50)", "weights MiB": "1,000 (\u00d70.50)",
         "nDCG@10 change": "-0.0010 \u00b1 0.0020", "logits differ by": "0.031 at most, 0.0041 rms"},
    ]  # fmt: skip


def test_there_are_no_ratios_to_a_baseline_that_computed_nothing() -> None:
    [row] = comparison.cost_rows(compared(system("bm25"), FP16))
    assert (row["system"], row["pairs/s"]) == ("half", "4,000")
    assert comparison.cost_rows(compared(system("bm25"), system("run"))) == []
    assert comparison.cost_notes(compared(system("bm25"), system("run"))) == []


@pytest.mark.parametrize(
    ("peak_mb", "verdict", "change"),
    [(1500.0, "it does", "-50.0%"), (1800.0, "it does", "-40.0%"), (1860.0, "it does not", "-38.0%"),
     (3300.0, "it does not", "+10.0%")],
)  # fmt: skip
def test_the_claim_that_fp16_saves_40_percent_is_answered_with_figures(peak_mb: Any, verdict: Any, change: Any) -> None:
    half = replace(FP16, cost=cost(**HALF | {"peak_mb": peak_mb}))
    assert savings.memory_claims(compared(FP32, half)) == [
        f"Does fp16 save 40% of memory? Here {verdict}: half against full, weights 2,000 -> 1,000 MiB (-50.0%), peak "
        f"of GPU memory 3,000 -> {peak_mb:,.0f} MiB ({change}), batches of 65,536 tokens."
    ]


def test_the_claim_is_answered_for_int8_of_the_same_runtime_too() -> None:
    eighth = replace(FP16, label="eighth", precision="int8", runtime="onnxruntime")
    full = replace(FP32, runtime="onnxruntime")
    [sentence] = savings.memory_claims(compared(full, eighth))
    assert sentence.startswith("Does int8 save 40% of memory? Here it does: eighth against full, weights 2,000")


def equivalent(to: bool) -> MeasureEquivalence:
    return MeasureEquivalence(measure="nDCG@10", margin=0.01, mean=0, low=0, high=0, p=0.01, equivalent=to)


def test_of_equivalent_systems_the_fastest_and_the_smallest_are_named() -> None:
    small = replace(FP16, label="small", cost=cost(**HALF | {"p50_ms": 30.0, "peak_mb": 900.0}))
    worse = replace(FP16, label="worse", cost=cost(**HALF | {"p50_ms": 1.0, "peak_mb": 1.0}))
    found = compared(FP32, FP16, small, worse)
    parity = {label: agreement(equivalence=equivalent(label != "worse")) for label in ("half", "small", "worse")}
    assert savings.cheapest(replace(found, parity=parity)) == [
        "Of the 3 systems that are equivalent within 0.01 nDCG@10, full included, half answers a query fastest (10.0 "
        "ms at p50, \u00d70.25) and small takes the least memory (900 MiB, \u00d70.30)."
    ]
    alone = {"half": agreement(equivalence=equivalent(False)), "small": None, "worse": None}
    assert savings.cheapest(replace(found, parity=alone)) == []


def test_batches_of_another_size_are_named() -> None:
    half = replace(FP16, cost=cost(**HALF, batch_tokens=131072))
    [sentence] = savings.memory_claims(compared(FP32, half))
    assert sentence.endswith("batches of 65,536 tokens at fp32 and of 131,072 at fp16.")


@pytest.mark.parametrize(
    "other",
    [{"precision": "bf16"}, {"runtime": "openvino"}, {"reranker": "minilm"}, {"depth": 50}, {"first_stage": "dense"},
     {"cost": cost(**HALF, device="another GPU")}, {"cost": cost(**HALF, peak_of="process")},
     {"cost": cost(**HALF | {"peak_mb": None})}, {"cost": None}],
)  # fmt: skip
def test_nothing_is_claimed_of_trials_that_differ_in_more_than_the_precision(other: Any) -> None:
    assert savings.memory_claims(compared(FP32, replace(FP16, **other))) == []


def test_notes_name_what_the_peak_is_and_what_is_not_alike() -> None:
    figures = cost(peak_of="process", device="a CPU", p99_ci95_ms=[45.0, None], latency_samples=20)
    one = system("cpu", cost=figures)
    notes = comparison.cost_notes(compared(FP32, one))
    assert notes == [
        "In brackets: ratios to full; peak is what torch allocated on the GPU; peak is the resident set of the "
        "process.",
        "The devices differ, so times and memory are not comparable: full on a GPU, cpu on a CPU.",
        "The upper end of p99's interval is not determinable for cpu: 20 samples at most.",
    ]


def test_figures_of_a_comparison_come_from_the_pass_of_its_own() -> None:
    assert summary.cost_figures(complete(FULL)) == CostFigures(
        pairs_per_s=2150.0, p50_ms=12.0, p50_ci95_ms=(10.0, 14.0), p99_ms=20.0, p99_ci95_ms=(None, None),
        latency_samples=4, peak_mb=1640.0, peak_of="GPU", weights_mb=1083.0, batch_tokens=65536, device="a GPU",
    )  # fmt: skip
    in_scoring = summary.cost_figures(complete(changed(memory__own_pass=None)))
    assert in_scoring is not None
    assert in_scoring.peak_mb == 1650.0
    no_gpu = changed(memory__own_pass__cuda_allocated_peak_mb=None, memory__cuda_allocated_peak_mb=None)
    of_process = summary.cost_figures(complete(no_gpu))
    assert of_process is not None
    assert (of_process.peak_mb, of_process.peak_of) == (1200.0, "process")


def test_the_paper_has_the_cost_too() -> None:
    table = tex.comparison(compared(FP32, FP16))
    assert r"System & nDCG@10 & pairs/s & p50 ms & p99 ms & peak MiB \\" in table
    assert r"half & 0.7000 & 4,000 & 10.0 & 15.0 & 1,500 \\" in table
