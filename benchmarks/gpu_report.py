"""What gpu.py found as Markdown: one line for each aim, then a table for each part. What was not measured is stated."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

Found = dict[str, Any]

LARGE = "xlmr-large"


@dataclass(frozen=True)
class Aim:
    """A figure to reach, and what was measured."""

    aim: str
    measured: str
    """The figure, or why there is none."""
    met: bool | None
    """None if it was not measured."""


def aims(parts: dict[str, Found]) -> list[Aim]:
    """Return each aim with its figure; a trial run on a CPU or with the small model measures none of them.

    Args:
        parts: name of the part -> its JSON.
    """

    def aim(text: str, part: str, judge: Callable[[Any], tuple[str, bool]]) -> Aim:
        why = missing(parts, part)
        if why is None and part != "tests":
            device, quick = parts[part]["asked"]["device"], parts[part]["asked"]["quick"]
            if quick or not device.startswith("cuda"):
                why = f"not measured: a trial run on {device}" + " with the small model" * quick
        if why is None:
            try:
                return Aim(text, *judge(parts[part]["found"]))
            except NotMeasuredError as error:
                why = f"not measured: {error}"
        return Aim(text, why, None)

    return [
        aim("no test marked gpu fails", "tests", _tests),
        aim("packed equals padded at fp32 within 1e-5", "correctness", _drift),
        aim("end to end at least 60 % of the measured matrix rate", "throughput", _mfu),
        aim("at least 2.5 x sentence-transformers at its best batch", "throughput",
            lambda found: _ratio(found, "sentence-transformers-best", 2.5)),
        aim("at least 4 x FlagReranker", "throughput", lambda found: _ratio(found, "flagembedding", 4.0)),
        aim("one query of 100 passages: p50 at most 20 ms, p99 at most 1.5 x p50", "latency", _latency),
        aim("fp16 saves 40 % of the GPU memory of fp32", "memory", _saving),
        aim("nDCG@10 at fp16 within 0.002 of fp32", "quality", _quality),
    ]  # fmt: skip


def markdown(parts: dict[str, Found]) -> str:
    """Return the aims and a table for each part.

    Args:
        parts: name of the part -> its JSON.
    """
    tables = {"tests": _tests_table, "correctness": _correctness_table, "throughput": _throughput_table,
              "latency": _latency_table, "memory": _memory_table, "quality": _quality_table,
              "onnxruntime": _onnxruntime_table}  # fmt: skip
    lines = [_where(parts), "", *_table(["aim", "measured", "met"], (
        [one.aim, one.measured, {True: "yes", False: "no", None: ""}[one.met]] for one in aims(parts)
    ))]  # fmt: skip
    for name, table in tables.items():
        lines += ["", f"### {name}", missing(parts, name) or ""]
        lines += [] if missing(parts, name) else table(parts[name]["found"])
    return "\n".join(lines).replace("\n\n\n", "\n\n") + "\n"


class NotMeasuredError(Exception):
    """A figure is not there; the message is why."""


def missing(parts: dict[str, Found], name: str) -> str | None:
    """Return why a part has no figures; None if it has."""
    if name not in parts:
        return "not measured: this part has not run"
    part = parts[name]
    return None if part["status"] == "measured" else f"{part['status']}: {part['why']}"


def _had(found: Found) -> Found:
    if "not_measured" in found:
        raise NotMeasuredError(found["not_measured"])
    return found


def _tests(found: Found) -> tuple[str, bool]:
    if not found["passed"] and not found["failed"]:
        raise NotMeasuredError(f"all {len(found['skipped'])} were skipped")
    return f"{found['passed']} passed, {len(found['failed'])} failed, {len(found['skipped'])} skipped", (
        not found["failed"]
    )


def _drift(found: Found) -> tuple[str, bool]:
    worst = {name: _had(of_model["fp32"])["to_padded"]["max_abs"] for name, of_model in found.items()}
    return ", ".join(f"{name} {value:.1e}" for name, value in worst.items()), max(worst.values()) <= 1e-5


def _mfu(found: Found) -> tuple[str, bool]:
    ours = found["engines"][found["end_to_end_ratio_of"]]
    share = ours["mfu"]["end_to_end"]
    return f"{share:.1%}, {ours['pairs_per_s']['end_to_end']:,.0f} pairs/s of {found['matrix_tflops']:.0f} TFLOP/s", (
        share >= 0.6
    )


def _ratio(found: Found, peer: str, least: float) -> tuple[str, bool]:
    if peer not in found["end_to_end_ratio"]:
        raise NotMeasuredError(f"{peer} is not installed")
    ratio = found["end_to_end_ratio"][peer]
    return f"{ratio:.2f} x", ratio >= least


def _latency(found: Found) -> tuple[str, bool]:
    ways = {way: one for way, one in found[LARGE].items() if "not_measured" not in one}
    way = min(ways, key=lambda name: ways[name]["p50_ms"])
    p50, p99 = ways[way]["p50_ms"], ways[way]["p99_ms"]
    return f"p50 {p50:.1f} ms, p99 {p99:.1f} ms ({p99 / p50:.2f} x), {way}", p50 <= 20 and p99 <= 1.5 * p50


def _saving(found: Found) -> tuple[str, bool]:
    savings = _savings(found, "cuda_allocated_peak_mb")
    return f"{min(savings):.0%} to {max(savings):.0%} of what is allocated", min(savings) >= 0.4


def _savings(found: Found, kind: str) -> list[float]:
    """Return the share that fp16 saves at each token budget."""
    full, half = _had(found["fp32"]), _had(found["fp16"])
    return [1 - half[budget][kind] / full[budget][kind] for budget in _budgets(full)]


def _quality(found: Found) -> tuple[str, bool]:
    full, half = (_had(found[precision])["ndcg@10"] for precision in ("fp32", "fp16"))
    return f"{half:.4f} and {full:.4f} ({half - full:+.4f})", abs(half - full) <= 0.002


def _where(parts: dict[str, Found]) -> str:
    here = next((part["environment"] for part in parts.values() if part.get("environment")), None)
    if here is None:
        return "Nothing was measured on a device."
    seconds = sum(part["seconds"] for part in parts.values())
    return (
        f"{here['device']}, torch {here['torch']}, transformers {here['transformers']}; {seconds:.0f} s for all parts."
    )


def _tests_table(found: Found) -> list[str]:
    rows = [[name, message.splitlines()[0] if message else ""] for name, message in found["failed"].items()]
    counts = f"{found['passed']} passed, {len(found['failed'])} failed, {len(found['skipped'])} skipped."
    return [counts, *(["", *_table(["failed", "message"], rows)] if rows else [])]


def _correctness_table(found: Found) -> list[str]:
    def rows() -> Iterator[list[str]]:
        for model, of_model in found.items():
            for precision, one in of_model.items():
                if precision == "pairs":
                    continue
                if "not_measured" in one:
                    yield [model, precision, f"not measured: {one['not_measured']}", "", "", ""]
                    continue
                same, exact = one["to_padded"], one["to_padded_fp32"]
                yield [model, precision, f"{same['max_abs']:.1e}", f"{exact['max_abs']:.1e}",
                       f"{exact['top10_overlap']:.4f}", f"{exact['kendall_tau']:.5f}"]  # fmt: skip

    return _table(["model", "precision", "packed to padded, largest difference", "to padded fp32", "same top 10",
                   "Kendall's tau"], rows())  # fmt: skip


def _throughput_table(found: Found) -> list[str]:
    ratios, ours = found["end_to_end_ratio"], found["end_to_end_ratio_of"]
    rows = [
        [name, one["batch"], f"{one['pairs_per_s']['end_to_end']:,.1f}", f"{one['pairs_per_s']['tokenization']:,.0f}",
         f"{one['mfu']['end_to_end']:.1%}", f"{ratios[name]:.2f} x" if name in ratios else ""]
        for name, one in found["engines"].items()
    ]  # fmt: skip
    lines = _table(["engine", "batch", "pairs/s end to end", "tokenization, pairs/s", "MFU", f"{ours} is"], rows)
    lengths, precision = found["token_lengths"], found["setting"]["precision"]
    lines += ["", f"{found['pairs']} pairs of {lengths['mean']:.1f} tokens at {precision}; MFU is the share of "
              f"{found['matrix_tflops']:.3g} TFLOP/s, measured in the same processes."]  # fmt: skip
    return [*lines, f"Not installed: {', '.join(found['missing'])}."] if found["missing"] else lines


def _latency_table(found: Found) -> list[str]:
    rows = [
        [model, way, f"not measured: {one['not_measured']}", "", ""] if "not_measured" in one else
        [model, way, f"{one['p50_ms']:.1f}", f"{one['p99_ms']:.1f}", str(one["repetitions"])]
        for model, ways in found.items() for way, one in ways.items()
    ]  # fmt: skip
    return _table(["model", "way", "p50 ms", "p99 ms", "samples"], rows)


def _memory_table(found: Found) -> list[str]:
    def size(value: float | None) -> str:
        return "not measured" if value is None else f"{value:,.0f}"

    rows = []
    for precision, one in found.items():
        if "not_measured" in one:
            rows.append([precision, f"not measured: {one['not_measured']}", "", "", "", "", ""])
            continue
        rows += [
            [precision, f"{int(budget):,}", *(size(one[budget][kind]) for kind in (
                "predicted_peak_mb", "cuda_allocated_peak_mb", "cuda_reserved_peak_mb", "cuda_device_mb", "rss_peak_mb"
            ))]
            for budget in _budgets(one)
        ]  # fmt: skip
    return _table(["precision", "tokens a batch", "predicted MiB", "allocated", "reserved", "whole device", "process"],
                  rows)  # fmt: skip


def _budgets(one: Found) -> list[str]:
    return [key for key in one if key.isdigit()]


def _quality_table(found: Found) -> list[str]:
    rows = [
        [name, f"not measured: {one['not_measured']}" if "not_measured" in one else f"{one['ndcg@10']:.4f}"]
        for name, one in found.items()
    ]
    return _table(["precision", "nDCG@10, judged passages of the packaged dev collection"], rows)


def _onnxruntime_table(found: Found) -> list[str]:
    rows = []
    for precision, one in found["at"].items():
        if "not_measured" in one:
            rows.append([precision, f"not measured: {one['not_measured']}", "", "", ""])
            continue
        theirs, ours = one["pairs_per_s"]["onnxruntime"], one["pairs_per_s"]["torch"]
        rows.append(
            [
                precision,
                f"{theirs:,.1f}",
                f"{ours:,.1f}",
                f"{ours / theirs:.2f} x",
                f"{one['max_logit_difference']:.1e}",
            ]
        )
    return _table(
        ["precision", f"{found['provider']}, pairs/s", "torch, pairs/s", "torch is", "logits differ by"], rows
    )


def _table(header: Sequence[str], rows: Any) -> list[str]:
    cells = [header, ["---"] * len(header), *rows]
    return [f"| {' | '.join(' '.join(cell.replace('|', '/').split()) for cell in row)} |" for row in cells]
