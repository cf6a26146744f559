"""An engine of the benchmark of runtimes, in its process."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np

from tests.conftest import REPOSITORY


def test_evalkits_engine_scores_all_pairs_once_for_each_line(bert_folder: Path, tmp_path: Path) -> None:
    pairs, logits = tmp_path / "pairs.json", tmp_path / "logits.npy"
    pairs.write_text(json.dumps([["how far", "two miles"], ["how far", "a longer passage"]]), "utf-8")
    script = REPOSITORY / "benchmarks" / "runtime_engines.py"
    done = subprocess.run(
        [sys.executable, script, "evalkit torch fp32", bert_folder, pairs, logits],
        input="go\ngo\n", capture_output=True, text=True, check=True, cwd=tmp_path,
    )  # fmt: skip
    loaded, first, second = map(json.loads, done.stdout.splitlines())
    assert loaded["loaded_mb"] > loaded["before_mb"] > 0
    assert min(first["s"], second["s"]) > 0
    assert np.load(logits).shape == (2,)
