"""evalkit.write_baseline and evalkit.gate: a fresh baseline of any collection passes its own gate at once."""

from collections.abc import Sequence
from pathlib import Path

import pytest

import evalkit

SMALL = ["slice.queries=12", "protocol=none", "blend=none"]


def words_in_common(query: str, texts: Sequence[str]) -> list[float]:
    asked = set(query.lower().split())
    return [len(asked & set(text.lower().split())) / (1 + len(text)) for text in texts]


@pytest.mark.shared
@pytest.mark.parametrize(("name", "split"), [("nfcorpus", "test"), ("miracl-sw", "dev"), ("msmarco-dl19", "test")])
def test_a_fresh_baseline_of_a_real_collection_passes_its_own_gate_at_once(
    name: str, split: str, shared: Path, tmp_path: Path
) -> None:
    found = evalkit.evaluate(
        shared / "data" / name, reranker=words_in_common, depth=10, overrides=[*SMALL, f"slice.split={split}"]
    )
    file = evalkit.write_baseline(found, tmp_path / "baseline.json", accept_limits=True)
    verdict = evalkit.gate(found, file)
    assert verdict.holds, verdict.verdict
    assert verdict.baseline == file
    assert verdict.details.queries == 12
