"""baseline --check: a committed baseline is whole and as evalkit wrote it, or a sentence says what is wrong."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from evalkit.boundary.errors import EvalkitError
from evalkit.cli import direct
from evalkit.results.gate import baseline
from tests.conftest import REPOSITORY
from tests.results.gate.test_judge import result

WHOLE = baseline.dump(baseline.of(result()))


def check(*files: Path) -> int:
    assert direct.takes(["baseline", "--check", *map(str, files)])
    return direct.run(["baseline", "--check", *map(str, files)])


def test_the_baselines_of_this_repository_are_whole(capsys: pytest.CaptureFixture[str]) -> None:
    assert check(*REPOSITORY.glob("reports/baselines/*.json")) == 0
    assert capsys.readouterr().err == f"{REPOSITORY}/reports/baselines/ci.json: whole; dev/en, 74 queries\n"


DAMAGE: dict[str, tuple[Callable[[str], str], str]] = {
    "a value edited by hand": (
        lambda text: text.replace('"depth": 10', '"depth": 20'), "was changed since it was written: its checksum does"
    ),
    "cut short": (lambda text: text[: len(text) // 2], "is not whole, or no JSON"),
    "a merge that was not finished": (
        lambda text: f"<<<<<<< HEAD\n{text}=======\n{text}>>>>>>> main\n", "is not whole, or no JSON"
    ),
    "of another version": (
        lambda text: text.replace('"schema_version": 1', '"schema_version": 0'), "has schema version 0, and this"
    ),
    "formatted by another program": (
        lambda text: json.dumps(json.loads(text), indent=2), "was formatted by another program: its values are as"
    ),
    "empty": (lambda text: "", "is empty; it should be a baseline"),
}  # fmt: skip


@pytest.mark.parametrize(("damage", "words"), DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_baseline_is_named_with_one_sentence_and_exit_code_1(
    damage: Callable[[str], str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, damaged = tmp_path / "whole.json", tmp_path / "damaged.json"
    whole.write_text(WHOLE, "utf-8")
    damaged.write_text(damage(WHOLE), "utf-8")
    assert damaged.read_text("utf-8") != WHOLE
    assert check(damaged, whole) == 1
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("evalkit: ")
    assert str(damaged) in first
    assert words in first
    assert second.startswith(f"{whole}: whole; ")


def test_line_ends_that_git_has_changed_are_no_damage(tmp_path: Path) -> None:
    (tmp_path / "windows.json").write_bytes(WHOLE.replace("\n", "\r\n").encode())
    assert check(tmp_path / "windows.json") == 0


def test_a_check_writes_no_baseline() -> None:
    from evalkit.cli import commands

    with pytest.raises(EvalkitError, match="--check takes baselines and nothing else"):
        commands.run(["baseline", "RESULT", "--check", "ci.json"], lambda overrides: {})


def test_a_check_imports_neither_torch_nor_hydra(tmp_path: Path) -> None:
    (tmp_path / "whole.json").write_text(WHOLE, "utf-8")
    program = (
        "import sys; from evalkit.cli import direct; code = direct.run(['baseline', '--check', sys.argv[1]])\n"
        "print(code, sorted({'torch', 'hydra', 'pandas', 'ranx', 'transformers'} & sys.modules.keys()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "whole.json")],
        capture_output=True, text=True, check=False, cwd=REPOSITORY,
    )  # fmt: skip
    assert done.stdout == "0 []\n", done.stderr
