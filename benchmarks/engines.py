"""evalkit compared with the engines people use: same model folder, same pairs, same token ids, same precision, in turn.

    python benchmarks/engines.py [--model xlmr-large|minilm-l6|packaged|FOLDER] [--pairs 4300] [--rounds 5]
                                 [--device cpu] [--precision fp32] [--engines NAME,NAME,...] [--json FILE]

Engines: evalkit-packed, evalkit-padded, sentence-transformers (CrossEncoder, its default batch of 32),
sentence-transformers-best (the batch size that a short search before the rounds found fastest), flagembedding
(FlagReranker, its defaults) and rerankers (its defaults); if named, evalkit-compiled and evalkit-graphs too. Each round
is a fresh process in which every engine is loaded and warmed up, and then takes its turn; figures are medians over the
rounds. Three throughputs, none of them derived from another:

    end to end      texts in, logits on the host, in the order given
    model           of the same run, the time between the model's entry and its exit: CUDA events, or the wall clock on
                    the CPU; so tokenization, padding, sorting and copies are taken out
    tokenization    apart: each engine's own step from texts to ids, the model left out; evalkit and FlagReranker to
                    ids, sentence-transformers and rerankers to padded tensors, as their step makes them

The ids that each engine gives its model are compared with evalkit's under the same truncation rule. Pairs of which one
engine makes other ids are left out and counted; more than 1 % of them end the run. Largest differences of logits are to
evalkit's padded path in fp32. Where the texts of TREC DL 2019 are not at hand, pairs of the same lengths are drawn
(msmarco_pairs.py).

On CUDA, and on the CPU with --apart, each engine is also run in a process of its own: latency of a query with its 100
passages (at least 10 repetitions and 10 seconds), and peak memory.
"""

import argparse
import json
import shlex
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from engine_jobs import (
    SEARCH_PAIRS,
    SEARCH_TURNS,
    Apart,
    Compared,
    Job,
    Round,
    compare_ids,
    environment,
    in_own_process,
    reference_logits,
    run_apart,
    run_round,
    search_batch,
)
from model_folder import model_folder, training_texts
from msmarco_pairs import drawn_pairs, find_texts, real_pairs
from peers import PEERS, Logits, Setting, choose
from tokenizers import Tokenizer

from evalkit.boundary.errors import EvalkitError
from evalkit.cost.latency import percentile
from evalkit.scoring.device import resolve_device, resolve_precision
from evalkit.scoring.pair_tokenizer import TRUNCATIONS

MAY_DIFFER = 0.01
"""Share of the pairs of which an engine may make other ids: FlagReranker decodes and encodes again on transformers 5,
which a text with unknown characters does not always survive."""


@dataclass(frozen=True)
class Measured:
    """Everything the table and the JSON are made of."""

    setting: dict[str, Any]
    environment: dict[str, Any]
    missing: tuple[str, ...]
    asked_pairs: int
    compared: Compared
    rounds: tuple[Round, ...]
    reference: Logits
    apart: dict[str, Apart] = field(default_factory=dict)
    search: dict[int, list[float]] = field(default_factory=dict)
    """Seconds of each turn, by batch size of sentence-transformers."""

    @property
    def pairs(self) -> int:
        """The pairs that were scored."""
        return len(self.compared.same)

    @property
    def names(self) -> tuple[str, ...]:
        """The engines."""
        return tuple(self.compared.ids)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and write the JSON; return the exit code."""
    options = parse(arguments)
    try:
        measured = measure(options)
    except EvalkitError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(table(measured))
    if options.json:
        options.json.write_text(json.dumps(as_json(measured), indent=1) + "\n", encoding="utf-8")
    return 0


def measure(options: argparse.Namespace) -> Measured:
    """Run everything that the command line asks for.

    Raises:
        EvalkitError: a setting that cannot be had, or token ids that differ.
    """
    names, missing = choose(options.engines)
    for name, value in (("--pairs", options.pairs), ("--rounds", options.rounds)):
        if value < 1:
            raise EvalkitError(f"{name}={value}: at least 1 is needed")
    if options.batch_tokens is not None and options.batch_tokens < options.max_length:
        raise EvalkitError(
            f"--batch-tokens={options.batch_tokens} is smaller than one pair of --max-length={options.max_length} "
            "tokens"
        )
    if options.json and not options.json.parent.is_dir():
        raise EvalkitError(f"--json={options.json}: there is no folder {options.json.parent}")
    device = resolve_device(options.device)
    precision = resolve_precision(options.precision, device)
    texts = find_texts(options.texts)
    with tempfile.TemporaryDirectory() as temporary:
        folder = model_folder(options.model, training_texts(texts), options.keep or Path(temporary))
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        tokenizer.no_padding()
        tokenizer.no_truncation()
        pairs = real_pairs(texts, options.pairs) if texts else drawn_pairs(options.pairs, tokenizer)
        setting = Setting(str(folder), str(device), precision.name, options.max_length, options.batch_tokens)
        job = Job(tuple(names), setting, pairs)
        search: dict[int, list[float]] = {}
        if "sentence-transformers-best" in names:
            _say("searching for the best batch size of sentence-transformers")
            search = in_own_process(search_batch, job)
            best = min(search, key=lambda size: min(search[size]))
            job = replace(job, setting=replace(setting, best_batch=best))
        _say("comparing token ids")
        compared: Compared = in_own_process(compare_ids, job)
        if len(compared.same) < len(pairs) * (1 - MAY_DIFFER):
            raise EvalkitError(
                "the engines do not get the same token ids, so their speeds do not compare: "
                + "; ".join(
                    f"{name} differs in {found.differing_pairs} of {len(pairs)} pairs"
                    for name, found in compared.ids.items()
                    if found.differing_pairs
                )
                + "; choose others with --engines"
            )
        job = replace(job, pairs=[pairs[row] for row in compared.same])
        rounds = []
        for number in range(options.rounds):
            _say(f"round {number + 1} of {options.rounds}")
            rounds.append(in_own_process(run_round, job))
        if precision.name == "fp32" and "evalkit-padded" in names:
            reference = rounds[0].logits["evalkit-padded"]
        else:
            _say("scoring with the padded path in fp32, to compare logits with")
            reference = in_own_process(reference_logits, replace(job, setting=replace(job.setting, precision="fp32")))
        apart = {}
        for name in names if (device.type == "cuda" if options.apart is None else options.apart) else ():
            _say(f"latency and memory of {name}")
            apart[name] = in_own_process(run_apart, replace(job, names=(name,)))
    asked = {
        "model": options.model,
        "model_folder": _built(options.model, tokenizer),
        "device": str(device),
        "precision": precision.name,
        "max_length": options.max_length,
        "rounds": options.rounds,
        "texts": "TREC DL 2019, BM25 top 100" if texts else "drawn from MS MARCO's lengths (msmarco_pairs.py)",
        "command": shlex.join(["python", *sys.argv]),
    }
    return Measured(
        asked, environment(device), tuple(missing), len(pairs), compared, tuple(rounds), reference, apart, search,
    )  # fmt: skip


def as_json(measured: Measured) -> dict[str, Any]:
    """Return everything measured, medians with their samples."""
    ours, ratios = end_to_end_ratio(measured)
    matrix = statistics.median(one.matrix_flops for one in measured.rounds)
    return {
        "schema_version": 1,
        "setting": measured.setting,
        "environment": measured.environment,
        "pairs": measured.pairs,
        "left_out_pairs": measured.asked_pairs - measured.pairs,
        "token_lengths": {
            "mean": float(np.mean(measured.compared.token_lengths)),
            **{f"p{p}": int(percentile(measured.compared.token_lengths, p)) for p in (1, 10, 50, 90, 99, 100)},
        },
        "missing": list(measured.missing),
        "matrix_tflops": matrix / 1e12,
        "useful_tflop": measured.compared.useful_flops / 1e12,
        "search_s": {str(size): taken for size, taken in measured.search.items()},
        "logit_range": [float(measured.reference.min()), float(measured.reference.max())],
        "end_to_end_ratio_of": ours,
        "end_to_end_ratio": ratios,
        "engines": {name: _engine_json(measured, name, matrix) for name in measured.names},
    }


def end_to_end_ratio(measured: Measured) -> tuple[str, dict[str, float]]:
    """Return which of evalkit's engines is meant, and its pairs a second over those of each peer."""
    ours = next(name for name in measured.names if name.startswith("evalkit"))
    rate = {name: _rate(measured, name, "end_to_end_s") for name in measured.names}
    return ours, {name: rate[ours] / rate[name] for name in measured.names if name in PEERS}


def table(measured: Measured) -> str:
    """Return the report as text."""
    found = as_json(measured)
    rows = [["engine", "batch", "end to end", "range", "model", "tokenization", "MFU", "evalkit is",
             "logits differ by"]]  # fmt: skip
    for name, engine in found["engines"].items():
        samples = sorted(measured.pairs / s for s in engine["end_to_end_s"])
        rows.append(
            [
                name,
                engine["batch"],
                _figure(engine["pairs_per_s"]["end_to_end"]),
                f"{_figure(samples[0])} to {_figure(samples[-1])}",
                _figure(engine["pairs_per_s"]["model"]),
                _figure(engine["pairs_per_s"]["tokenization"]),
                f"{engine['mfu']['end_to_end']:.1%}",
                f"{found['end_to_end_ratio'][name]:.2f} x" if name in found["end_to_end_ratio"] else "",
                f"{engine['max_logit_difference']:.1e}",
            ]
        )
    low, high = found["logit_range"]
    lengths = found["token_lengths"]
    lines = [
        f"{found['pairs']} pairs ({measured.setting['texts']}), {lengths['mean']:.1f} tokens each on average "
        f"(p10 {lengths['p10']}, p50 {lengths['p50']}, p90 {lengths['p90']}, longest {lengths['p100']})",
        f"{measured.setting['model']} ({measured.setting['model_folder']}), {measured.setting['precision']} on "
        f"{measured.environment['device']}, at most {measured.setting['max_length']} tokens a pair",
        "pairs a second, " + (f"median of {len(measured.rounds)} rounds" if len(measured.rounds) > 1 else "one round"),
        "",
        *_aligned(rows),
        "",
        f"'evalkit is': {found['end_to_end_ratio_of']} end to end over the peer's. Logits: largest difference to the "
        f"padded path in fp32; they lie from {low:.3f} to {high:.3f}.",
        *_notes(measured, found),
    ]
    if measured.apart:
        lines += ["", *_aligned(_apart_rows(found))]
    return "\n".join(lines)


def _engine_json(measured: Measured, name: str, matrix: float) -> dict[str, Any]:
    samples = [one.samples[name] for one in measured.rounds]
    differences = [float(np.abs(one.logits[name] - measured.reference).max()) for one in measured.rounds]
    found: dict[str, Any] = {
        **measured.rounds[0].engines[name],
        "pairs_per_s": {
            "end_to_end": _rate(measured, name, "end_to_end_s"),
            "model": _rate(measured, name, "model_s"),
            "tokenization": _rate(measured, name, "tokenize_s"),
        },
        "mfu": {
            "end_to_end": measured.compared.useful_flops
            * _rate(measured, name, "end_to_end_s")
            / measured.pairs
            / matrix,
            "model": measured.compared.useful_flops * _rate(measured, name, "model_s") / measured.pairs / matrix,
        },
        "end_to_end_s": [sample.end_to_end_s for sample in samples],
        "model_s": [sample.model_s for sample in samples],
        "tokenize_s": [sample.tokenize_s for sample in samples],
        "max_logit_difference": max(differences),
        "ids": asdict(measured.compared.ids[name]),
    }
    if name in measured.apart:
        found["apart"] = asdict(measured.apart[name])
    return found


def _notes(measured: Measured, found: dict[str, Any]) -> list[str]:
    notes = []
    rules = {rule: [n for n, ids in measured.compared.ids.items() if ids.truncation == rule] for rule in TRUNCATIONS}
    cut = {ids.truncation: ids.truncated_pairs for ids in measured.compared.ids.values()}
    if left_out := found["left_out_pairs"]:
        whose = {name: ids.differing_pairs for name, ids in measured.compared.ids.items() if ids.differing_pairs}
        notes.append(f"Left out: {left_out} pairs of which an engine makes other ids than evalkit ({whose}).")
    notes.append(
        "Token ids: equal to evalkit's, "
        + " and ".join(f"under {rule} for {', '.join(names)}" for rule, names in rules.items() if names)
        + "; "
        + (f"pairs cut: {cut}." if any(cut.values()) else "no pair is long enough to be cut, so the rules agree.")
    )
    flag, ours = (found["engines"].get(name) for name in ("flagembedding", found["end_to_end_ratio_of"]))
    if flag and ours:
        ratio = ours["pairs_per_s"]["tokenization"] / flag["pairs_per_s"]["tokenization"]
        notes.append(f"Tokenization: evalkit's is {ratio:.1f} x FlagReranker's.")
    if measured.search:
        tried = ", ".join(f"{size}: {min(taken):.2f} s" for size, taken in measured.search.items())
        notes.append(
            f"Best batch of sentence-transformers: {min(measured.search, key=lambda s: min(measured.search[s]))}, of "
            f"the better of {SEARCH_TURNS} turns over {min(measured.pairs, SEARCH_PAIRS)} pairs ({tried})."
        )
    notes.append(
        f"MFU: useful FLOPs, end to end, of the {found['matrix_tflops']:.3g} TFLOP/s that matrix products reach in the "
        f"same processes; {ours['mfu']['model']:.1%} in evalkit's model. Every layer counts whole for all, though "
        "evalkit spares itself most of the last one."
    )
    if "flagembedding" in measured.names and measured.setting["precision"] in {"bf16", "tf32"}:
        notes.append(f"FlagReranker has no setting for {measured.setting['precision']}: its model was put into it.")
    if measured.missing:
        notes.append(
            f"Not installed, so left out: {', '.join(measured.missing)}; pip install 'evalkit-rerank[benchmark]' "
            "brings them."
        )
    return notes


def _apart_rows(found: dict[str, Any]) -> list[list[str]]:
    rows = [["in a process of its own", "passages", "p50 ms", "p99 ms", "runs", "allocated MiB", "reserved MiB",
             "predicted MiB", "resident MiB"]]  # fmt: skip
    for name, engine in found["engines"].items():
        latency, memory = engine["apart"]["latency"], engine["apart"]["memory"]
        sizes = (memory[f"{kind}_peak_mb"] for kind in ("cuda_allocated", "cuda_reserved", "predicted", "rss"))
        rows.append(
            [
                name,
                f"{latency['pairs_per_query']:.0f}",
                f"{latency['p50_ms']:.1f}",
                f"{latency['p99_ms']:.1f}",
                str(latency["repetitions"]),
                *("" if value is None else f"{value:,.0f}" for value in sizes),
            ]
        )
    return rows


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="minilm-l6", help="xlmr-large, minilm-l6, packaged or a folder")
    parser.add_argument("--pairs", type=int, default=4300, help="whole queries of 100 passages, in order")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--precision", default="fp32", help="fp32, tf32, bf16 or fp16")
    parser.add_argument("--engines", help="names, separated by commas; all that are installed if left out")
    parser.add_argument("--max-length", type=int, default=512, help="tokens of a pair")
    parser.add_argument("--batch-tokens", type=int, help="evalkit's token budget; its own choice if left out")
    parser.add_argument(
        "--texts", type=Path, help="folder of TREC DL 2019's texts; ../shared/data/msmarco-dl19 if there"
    )
    parser.add_argument("--keep", type=Path, help="build the model here and keep it, or use the one that is there")
    parser.add_argument(
        "--apart",
        action=argparse.BooleanOptionalAction,
        help="latency and memory of each engine; on CUDA unless --no-apart, on the CPU if asked",
    )
    parser.add_argument("--json", type=Path, help="write samples, environment and end_to_end_ratio to this file")
    return parser.parse_args(arguments)


def _built(model: str, tokenizer: Tokenizer) -> str:
    made = "random weights" if model in {"xlmr-large", "minilm-l6"} else "weights as they are"
    return f"{made}, a tokenizer of {tokenizer.get_vocab_size():,} pieces"


def _rate(measured: Measured, name: str, seconds: str) -> float:
    return measured.pairs / statistics.median(getattr(one.samples[name], seconds) for one in measured.rounds)


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _aligned(rows: list[list[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width) for i, (cell, width) in enumerate(zip(row, widths))
        )
        for row in rows
    ]


def _say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
