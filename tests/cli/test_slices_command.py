"""``python -m evalkit slices``: what there is by name, how large it is, and what a first run takes."""

import re
from pathlib import Path
from typing import Any

import pytest

from evalkit.boundary.errors import EvalkitError
from evalkit.cli import direct, slices_command
from tests.helpers.command_line import run_evalkit


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    """Run the command in this process, with an empty ir_datasets folder; return what it prints."""
    monkeypatch.setenv("IR_DATASETS_HOME", str(tmp_path / "irds"))

    def run(*arguments: str) -> str:
        assert direct.run(["slices", *arguments]) == 0
        return capsys.readouterr().out

    return run


def cells(text: str, name: str) -> list[str]:
    (line,) = [line for line in text.splitlines() if line.startswith(f"  {name} ")]
    return line.split()


def test_every_slice_with_a_name_has_a_line_and_every_other_choice_is_named(shown: Any) -> None:
    text = shown()
    # (5,183 passages / 32,000 + 5,183 / 12,000 + 300 queries * 20 / 122 pairs) seconds are less than a minute.
    assert " ".join(cells(text, "beir_scifact")) == "beir_scifact beir/scifact/test en 300 5,183 2.8 MB 1 min"
    # (523 thousand / 32,000 + 523 thousand / 12,000 + 10,000 * 20 / 122) s = 16 + 44 + 1,639 s.
    assert cells(text, "beir_quora")[-2:] == ["28", "min"]
    # 138.4 million read: 4,324 s; 10,828 judged and 5,300 candidates indexed: 1 s; 53 * 20 pairs: 9 s.
    assert cells(text, "msmarco_dl21")[-4:] == ["21.8", "GB", "72", "min"]
    assert "slice=beir      Your own data as a BEIR or MTEB folder: slice.path=FOLDER" in text
    assert "Microsoft: non-commercial research: https://microsoft.github.io/msmarco/" in text
    assert max(map(len, text.splitlines())) <= 124


def test_a_filter_is_part_of_a_name_or_a_language_and_shows_each_language(shown: Any) -> None:
    assert "beir_scifact" not in shown("miracl")
    assert cells(shown("miracl"), "miracl slice.lang=yo")[3:5] == ["yo", "119"]
    names = [line.split()[0] for line in shown("ja").splitlines() if "slice.lang=ja" in line]
    assert names == ["miracl", "mmarco"]


def test_a_filter_shows_published_figures_with_their_sources(shown: Any) -> None:
    assert "      nDCG@10 0.6789  bm25 (Pyserini 2CR)\n" in shown("beir_scifact")
    sw = shown("miracl/sw")
    assert "      nDCG@10 0.3830  bm25 (Pyserini)\n" in sw
    assert "0.4810" not in sw  # of Arabic
    assert "Pyserini" not in shown()


def test_what_is_on_this_machine_is_marked(shown: Any, tmp_path: Path) -> None:
    downloaded = tmp_path / "irds" / "beir" / "scifact" / "source.zip"
    downloaded.parent.mkdir(parents=True)
    downloaded.touch()
    assert cells(shown("scifact"), "beir_scifact")[-3] == "yes"
    assert "yes" not in cells(shown("scifact"), "nano_beir_scifact")


def test_a_slice_of_ones_own_is_listed(shown: Any, tmp_path: Path) -> None:
    (tmp_path / "slice").mkdir()
    (tmp_path / "slice" / "mine.yaml").write_text(
        "# Mine\ndefaults: [schema_irds, _self_]\ndataset: vaswani\n", "utf-8"
    )
    text = shown("vaswani", "--config-dir", str(tmp_path))
    assert cells(text, "mine")[:4] == ["mine", "vaswani", "en", "93"]
    assert "Terms: see the collection's own page" in text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dataset: [vaswani", "mine.yaml, line 1: not valid YAML: "),
        ("dataset: vaswani\nreference: [{of: bm25}]", "slice.reference[0]: measure is missing"),
    ],
)
def test_a_broken_slice_of_ones_own_is_one_sentence(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "slice").mkdir()
    (tmp_path / "slice" / "mine.yaml").write_text(text, "utf-8")
    with pytest.raises(EvalkitError, match=re.escape(message)):
        slices_command.rows(None, tmp_path)


def test_a_filter_that_fits_nothing_is_answered_with_names_like_it() -> None:
    with pytest.raises(EvalkitError, match="slices scifct: no slice has this in its name; did you mean beir_scifact"):
        slices_command.rows("scifct")


def test_the_command_needs_neither_hydra_nor_ir_datasets(tmp_path: Path) -> None:
    done = run_evalkit("slices", "scifact", cwd=tmp_path, PYTHONPROFILEIMPORTTIME="1")
    assert done.returncode == 0
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert not imported & {"hydra", "ir_datasets", "torch", "transformers"}
