"""Everything that only a GPU can show, in one command of under nine minutes on an H100.

    python benchmarks/gpu.py --out FOLDER [--parts tests,throughput] [--keep FOLDER] [--texts FOLDER]
    python benchmarks/gpu.py --out FOLDER --device cpu --quick        to see every part run where there is no GPU

    tests           the tests marked gpu; the messages of those that fail
    correctness     packed logits compared with padded ones at fp32, tf32, fp16 and bf16, over pairs of real lengths
    throughput      pairs a second and MFU compared with the engines that are installed (engines.py), at fp16
    latency         one query of 100 passages, with and without CUDA graphs, at fp16
    memory          peaks and their prediction, and what fp16 saves
    logits          the packaged reranker on the packaged dev collection, at each precision
    quality         nDCG@10 from these logits; needs ranx and no GPU
    onnxruntime     runtime=onnxruntime on its CUDA provider compared with torch, at fp32 and fp16

Each part writes FOLDER/PART.json when it is done and is skipped from then on, so that a run that was cut off goes on
with the same command. A part that could not be measured is tried again, and one that may end after --limit-s is not
begun. All parts together are in FOLDER/gpu.json, and FOLDER/gpu.md has their tables and one line for each aim.

Needs torch, transformers and numpy; what else a part needs is named where it is missing. The large model is XLM-RoBERTa
large with random weights (2.1 GiB; --keep saves building it again), the small one evalkit's packaged reranker.

Exit code: 0; 1 if a part failed or a test marked gpu did; 2 for a setting that cannot be had.
"""

import argparse
import json
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from engine_jobs import environment
from gpu_onnx import onnxruntime
from gpu_parts import Found, Plan, correctness, latency, memory, quality, quality_logits, throughput
from gpu_report import markdown
from gpu_tests import tests
from msmarco_pairs import find_texts

from evalkit.boundary.errors import EvalkitError, nearest
from evalkit.scoring.device import resolve_device

PARTS: dict[str, Callable[[Plan], Found] | None] = {
    "tests": tests, "correctness": correctness, "throughput": throughput, "latency": latency, "memory": memory,
    "logits": quality_logits, "quality": None, "onnxruntime": onnxruntime,
}  # fmt: skip
"""In the order in which they run. quality takes no plan: it reads what logits has written."""

ESTIMATED_S = {
    "tests": 90, "correctness": 80, "throughput": 150, "latency": 70, "memory": 30, "logits": 15, "quality": 10,
    "onnxruntime": 60,
}  # fmt: skip
"""Seconds on an H100, by arithmetic: nobody has measured them."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the parts that are not done, write everything, and return the exit code."""
    options, began = parse(arguments), time.perf_counter()
    try:
        parts = chosen(options.parts)
        options.out.mkdir(parents=True, exist_ok=True)
        found = finished(options.out, {"device": options.device, "quick": options.quick})
        with tempfile.TemporaryDirectory() as temporary:
            plan = plan_of(options, Path(temporary), [name for name in parts if not is_done(found.get(name))])
            for name in parts:
                if is_done(found.get(name)):
                    print(f"{name}: done before", file=sys.stderr)
                    continue
                left_s = options.limit_s - (time.perf_counter() - began)
                if plan and plan.cuda and left_s < ESTIMATED_S[name]:
                    print(f"{name}: left for another run, as {left_s:.0f} s of --limit-s are left", file=sys.stderr)
                    continue
                found[name] = run(name, plan, found, options)
                write(options.out / f"{name}.json", found[name])
    except EvalkitError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    write(options.out / "gpu.json", {"schema_version": 1, "parts": {
        name: part for name, part in found.items() if name != "logits"  # thousands of numbers, of which quality is made
    }})  # fmt: skip
    (options.out / "gpu.md").write_text(table := markdown(found), encoding="utf-8")
    print(table)
    broken = any(part["status"] == "failed" for part in found.values())
    return 1 if broken or found.get("tests", {}).get("found", {}).get("failed") else 0


def run(name: str, plan: Plan | None, found: dict[str, Found], options: argparse.Namespace) -> Found:
    """Return what a part measured, or why it did not, with the environment and the seconds."""
    print(f"{name}: measuring", file=sys.stderr, flush=True)
    started = time.perf_counter()
    part: Found = {"status": "measured", "asked": {"device": options.device, "quick": options.quick}}
    work = PARTS[name]
    try:
        if work is None:
            if not is_done(found.get("logits")):
                raise EvalkitError("the part logits has not been measured")
            part |= {
                "environment": found["logits"]["environment"],
                "found": quality(found["logits"]["found"], options.quick),
            }
        else:
            assert plan is not None
            part |= {"environment": environment(resolve_device(plan.device)), "pairs_asked": plan.pairs}
            part["found"] = work(plan)
    except EvalkitError as error:
        part |= {"status": "not measured", "why": str(error)}
    except Exception as error:  # another part may still show something
        part |= {"status": "failed", "why": f"{type(error).__name__}: {error}", "traceback": traceback.format_exc()}
    return part | {"seconds": round(time.perf_counter() - started, 1)}


def finished(out: Path, asked: dict[str, Any]) -> dict[str, Found]:
    """Return the parts in a folder.

    Raises:
        EvalkitError: they are of another device, or one of --quick and the other not.
    """
    found = {name: json.loads(path.read_text("utf-8")) for name in PARTS if (path := out / f"{name}.json").exists()}
    for name, part in found.items():
        if part["asked"] != asked and is_done(part):
            before, now = (f"device={one['device']}" + " and --quick" * one["quick"] for one in (part["asked"], asked))
            raise EvalkitError(f"--out={out}: {name}.json is of {before}, and {now} is asked; name another folder")
    return found


def is_done(part: Found | None) -> bool:
    """Return whether a part need not run again."""
    return part is not None and part["status"] == "measured"


def plan_of(options: argparse.Namespace, temporary: Path, remaining: Sequence[str]) -> Plan | None:
    """Return the plan; None where no remaining part needs the device.

    Raises:
        EvalkitError: the device or the texts are not there.
    """
    if not any(PARTS[name] for name in remaining):
        return None
    device, quick = resolve_device(options.device), options.quick
    return Plan(
        device=str(device),
        folder=options.keep or temporary,
        quick=quick,
        texts=find_texts(options.texts),
        pairs=options.pairs or (200 if quick else 4300),
        rounds=1 if quick else 3,
    )


def chosen(asked: str | None) -> list[str]:
    """Return the parts of ``--parts`` (all if None), in the order in which they run.

    Raises:
        EvalkitError: there is no such part.
    """
    names = [name.strip() for name in asked.split(",")] if asked else list(PARTS)
    for name in names:
        if name not in PARTS:
            raise EvalkitError(f"--parts: there is no {name}{nearest(name, list(PARTS))}")
    return [name for name in PARTS if name in names]


def write(path: Path, value: object) -> None:
    """Write JSON, whole or not at all."""
    half = path.with_suffix(".part")
    half.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
    half.replace(path)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of the JSON files and the tables")
    parser.add_argument("--parts", help="names, separated by commas; all if left out")
    parser.add_argument("--device", default="cuda", help="cuda, cuda:N, or cpu to try the command")
    parser.add_argument("--quick", action="store_true", help="the packaged model alone, few pairs, one round")
    parser.add_argument("--pairs", type=int, help="pairs of each part; 4300, or 200 with --quick")
    parser.add_argument("--keep", type=Path, help="build the large model here and keep it, or use the one there")
    parser.add_argument(
        "--texts", type=Path, help="folder of TREC DL 2019's texts; ../shared/data/msmarco-dl19 if there"
    )
    parser.add_argument("--limit-s", type=float, default=540, help="begin no part that may end after so many seconds")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
