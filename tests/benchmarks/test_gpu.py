"""benchmarks/gpu.py: parts run once, what was not measured is stated, and aims are judged by what was found."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.conftest import REPOSITORY

sys.path.insert(0, str(REPOSITORY / "benchmarks"))

import gpu
import gpu_parts
import gpu_report
import gpu_tests
from msmarco_pairs import DEPTH

JUNIT = """<testsuites><testsuite>
<testcase classname="tests.scoring.test_packed" name="test_a[fp16]"/>
<testcase classname="tests.scoring.test_packed" name="test_a[bf16]">
<failure message="off by 0.5">where</failure></testcase>
<testcase classname="" name="tests.cost.test_gpu"><error message="collection failure">no pynvml</error></testcase>
<testcase classname="tests.cost.test_latency" name="test_b"><skipped message="there is no CUDA device"/></testcase>
</testsuite></testsuites>"""


def run(folder: Path, *arguments: str) -> int:
    return gpu.main(["--out", str(folder), "--device", "cpu", "--quick", *arguments])


def measured(found: Any, device: str = "cuda", quick: bool = False) -> dict[str, Any]:
    return {"status": "measured", "asked": {"device": device, "quick": quick}, "found": found, "seconds": 1.0}


def on_a_gpu(**changed: Any) -> dict[str, Any]:
    """Figures as a GPU would give them: 60 % of the matrix rate, p99 at 1.5 times p50, half of the memory."""
    peaks = {"predicted_peak_mb": 900.0, "cuda_reserved_peak_mb": 1100.0, "cuda_device_mb": 1500.0, "rss_peak_mb": 1.0}
    fp32, fp16 = ({"4096": peaks | {"cuda_allocated_peak_mb": mb}, "weights_mb": 1.0} for mb in (2000.0, 1000.0))
    engine = {"batch": "b", "pairs_per_s": {"end_to_end": 8000.0, "tokenization": 9e4}, "mfu": {"end_to_end": 0.6}}
    parts: dict[str, Any] = {
        "tests": {"passed": 31, "failed": {}, "skipped": {}},
        "correctness": {"xlmr-large": {"pairs": 4300, "fp32": {"to_padded": {"max_abs": 1e-5}}}},
        "throughput": {
            "engines": {"evalkit-packed": engine}, "end_to_end_ratio_of": "evalkit-packed", "matrix_tflops": 790.0,
            "end_to_end_ratio": {"sentence-transformers-best": 2.4}, "missing": ["flagembedding"],
        },
        "latency": {"xlmr-large": {"evalkit-packed": {"p50_ms": 30.0, "p99_ms": 31.0},
                                   "evalkit-graphs": {"p50_ms": 20.0, "p99_ms": 30.0}}},
        "memory": {"fp32": fp32, "fp16": fp16},
        "quality": {"fp32": {"ndcg@10": 0.8}, "fp16": {"ndcg@10": 0.797}},
    }  # fmt: skip
    return {name: measured(found) for name, found in (parts | changed).items()}


def test_an_aim_is_met_at_its_limit_and_missed_beyond_it() -> None:
    met = [one.met for one in gpu_report.aims(on_a_gpu())]
    assert met == [True, True, True, False, None, True, True, False]
    slower = {"xlmr-large": {"evalkit-packed": {"p50_ms": 20.1, "p99_ms": 21.0}}}
    assert gpu_report.aims(on_a_gpu(latency=slower))[5].met is False
    jumpy = {"xlmr-large": {"evalkit-packed": {"p50_ms": 10.0, "p99_ms": 15.1}}}
    assert gpu_report.aims(on_a_gpu(latency=jumpy))[5].met is False
    broken = {"passed": 30, "failed": {"test_a": "off"}, "skipped": {}}
    assert gpu_report.aims(on_a_gpu(tests=broken))[0].met is False


def test_what_was_not_measured_meets_and_misses_nothing() -> None:
    parts = on_a_gpu(
        memory={"fp32": {"not_measured": "no memory"}}, tests={"passed": 0, "failed": {}, "skipped": {"a": ""}}
    )
    parts["latency"] = measured(parts["latency"]["found"], device="cpu", quick=True)
    parts["throughput"] = {"status": "failed", "why": "ValueError: x", "asked": {}, "seconds": 1.0}
    del parts["quality"]
    found = {one.aim: (one.measured, one.met) for one in gpu_report.aims(parts)}
    assert {met for aim, (_, met) in found.items() if "padded" not in aim} == {None}
    sentences = [sentence for sentence, met in found.values() if met is None]
    assert sentences == [
        "not measured: all 1 were skipped",
        "failed: ValueError: x",
        "failed: ValueError: x",
        "failed: ValueError: x",
        "not measured: a trial run on cpu with the small model",
        "not measured: no memory",
        "not measured: this part has not run",
    ]
    assert "flagembedding is not installed" in gpu_report.aims(on_a_gpu())[4].measured


def test_failed_tests_are_recorded_with_their_messages() -> None:
    found = gpu_tests.counted(JUNIT)
    assert found["passed"] == 1
    assert found["failed"] == {
        "tests.scoring.test_packed.test_a[bf16]": "off by 0.5\nwhere",
        "tests.cost.test_gpu": "collection failure\nno pynvml",
    }
    assert found["skipped"] == {"tests.cost.test_latency.test_b": "there is no CUDA device"}


def test_a_part_runs_once_and_is_tried_again_only_if_it_was_not_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls: list[str] = []

    def broken(plan: Any) -> Any:
        calls.append("broken")
        raise ValueError("no such kernel")

    def fine(plan: Any) -> Any:
        calls.append("fine")
        return {"xlmr-large": {}}

    monkeypatch.setattr(gpu, "PARTS", {"tests": broken, "latency": fine, "quality": None})
    assert run(tmp_path) == 1
    assert run(tmp_path) == 1
    assert calls == ["broken", "fine", "broken"]
    recorded = json.loads((tmp_path / "gpu.json").read_text("utf-8"))["parts"]
    assert {name: part["status"] for name, part in recorded.items()} == {
        "tests": "failed", "latency": "measured", "quality": "not measured",
    }  # fmt: skip
    assert "no such kernel" in recorded["tests"]["traceback"]
    assert recorded["latency"]["environment"]["torch"]
    assert "failed: ValueError: no such kernel" in (tmp_path / "gpu.md").read_text("utf-8")
    capsys.readouterr()
    assert gpu.main(["--out", str(tmp_path), "--device", "cpu"]) == 2
    assert capsys.readouterr().err == (
        f"error: --out={tmp_path}: latency.json is of device=cpu and --quick, and device=cpu is asked; "
        "name another folder\n"
    )


def test_a_part_that_may_end_after_the_limit_is_left_for_another_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu, "resolve_device", lambda name: torch.device("cuda", 0))
    monkeypatch.setattr(gpu, "environment", lambda device: {"device": "H", "torch": "2", "transformers": "5"})
    memory = on_a_gpu()["memory"]["found"]
    monkeypatch.setattr(gpu, "PARTS", {"throughput": lambda plan: {}, "memory": lambda plan: memory})
    assert gpu.main(["--out", str(tmp_path), "--limit-s", "100"]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["gpu.json", "gpu.md", "memory.json"]
    assert "### throughput\nnot measured: this part has not run" in (tmp_path / "gpu.md").read_text("utf-8")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--parts", "latncy"], "--parts: there is no latncy; did you mean latency"),
        (["--device", "cuda:99"], "device=cuda:99: "),
        (["--texts", "nowhere"], "--texts=nowhere has no corpus.jsonl"),
    ],
)
def test_what_cannot_be_had_is_one_sentence(
    arguments: list[str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert gpu.main(["--out", str(tmp_path), "--device", "cpu", *arguments]) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("error: ")
    assert sentence in shown
    assert len(shown.splitlines()) == 1


def test_on_a_cpu_every_figure_is_there_or_stated_as_not_measured(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, bert_folder: Path
) -> None:
    monkeypatch.setattr(gpu_parts, "in_own_process", lambda work, job: work(job))
    monkeypatch.setattr(gpu_parts, "PACKAGED", bert_folder)
    monkeypatch.setattr(gpu_parts, "PRECISIONS", ("fp32", "tf32"))
    monkeypatch.setattr(gpu_parts, "LATENCY_TURNS", 1)
    monkeypatch.setattr(gpu_parts, "MEMORY_BUDGETS", {"cpu": (512, 1024)})
    plan = gpu_parts.Plan("cpu", tmp_path, quick=True, pairs=DEPTH)
    correctness = gpu_parts.correctness(plan)
    assert correctness["packaged"]["pairs"] == DEPTH
    assert correctness["packaged"]["fp32"]["to_padded"]["max_abs"] < 1e-5
    assert correctness["packaged"]["fp32"]["to_padded"]["top10_overlap"] == 1.0
    assert "tf32 is a mode of CUDA" in correctness["packaged"]["tf32"]["not_measured"]
    memory = gpu_parts.memory(plan)
    of_fp32 = memory["fp32"]
    assert of_fp32["1024"]["predicted_peak_mb"] > of_fp32["512"]["predicted_peak_mb"] > of_fp32["weights_mb"] > 0
    assert of_fp32["512"]["cuda_allocated_peak_mb"] is None
    latency = gpu_parts.latency(plan)
    assert latency["packaged"]["evalkit-packed"]["pairs_per_query"] == DEPTH
    assert latency["packaged"]["evalkit-graphs"] == {"not_measured": "CUDA graphs need a CUDA device"}
    logits = gpu_parts.quality_logits(plan)
    quality = gpu_parts.quality(logits, quick=True)
    assert quality["fp32"]["queries"] == 5
    assert 0 < quality["fp32"]["ndcg@10"] < 1
    assert quality["tf32"] == logits["tf32"]
    runtimes = {"fp32": {"pairs_per_s": {"torch": 150.0, "onnxruntime": 100.0}, "max_logit_difference": 1e-6}}
    onnx = {"provider": "CPUExecutionProvider", "at": runtimes}
    parts = {"correctness": correctness, "memory": memory, "latency": latency, "quality": quality, "onnxruntime": onnx}
    table = gpu_report.markdown({name: measured(found, "cpu", quick=True) for name, found in parts.items()})
    assert "| packaged | tf32 | not measured: precision=tf32 is a mode of CUDA" in table
    assert table.count("not measured: a trial run on cpu with the small model") == 4
    assert table.count("not measured: this part has not run") == 6  # four aims and two tables
    assert "| fp32 | 100.0 | 150.0 | 1.50 x | 1.0e-06 |" in table
