"""The benchmark of the first stages: what it grows, what it counts, and what it refuses."""

import json
import subprocess
import sys
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import DEV, REPOSITORY

sys.path.insert(0, str(REPOSITORY / "benchmarks"))

import first_stage as bench
from grown_texts import Heaps, grow, read

from evalkit.boundary.errors import EvalkitError
from evalkit.first_stage.analysis import select_analysis

SCRIPT = REPOSITORY / "benchmarks" / "first_stage.py"


@pytest.fixture(scope="module")
def passages() -> Any:
    return read(DEV / "en")[0]


def command_line(*arguments: Any) -> Any:
    return subprocess.run(
        [sys.executable, str(SCRIPT), *map(str, arguments)], capture_output=True, text=True, timeout=120, check=False
    )


def test_the_command_line_prints_a_table_and_writes_what_it_measured(tmp_path: Path) -> None:
    done = command_line("--stages", "bm25", "--sizes", 200, "--queries", 3, "--rounds", 1, "--depth", 20,
                        "--texts", DEV / "en", "--json", tmp_path / "out.json")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "bm25: index, s" in done.stdout
    assert "evalkit better, times" in done.stdout
    result = json.loads((tmp_path / "out.json").read_text("utf-8"))
    assert [(s["stage"], s["system"], s["passages"]) for s in result["samples"]] == [
        ("bm25", "evalkit", 200), ("bm25", "bm25s", 200),
    ]  # fmt: skip
    assert all(s["rss_libraries_mb"] <= s["rss_loaded_mb"] <= s["rss_peak_mb"] for s in result["samples"])
    for figure in result["figures"]:
        ours, theirs = (figure["medians"][system]["200"] for system in ("evalkit", "bm25s"))
        assert figure["times_better"]["200"] == pytest.approx(theirs / ours)
        assert figure["same_top_10"]["200"] > 0.8


def test_both_stages_at_two_sizes_have_growth_and_a_picture(tmp_path: Path) -> None:
    result = bench.run(DEV / "en", ("bm25", "dense"), [100, 300], 2, 1, 10, apart=bench.measure)
    assert len(result["samples"]) == 2 * 2 * 2
    assert all(isinstance(figure["exponent"]["evalkit"], float) for figure in result["figures"])
    dense = next(figure for figure in result["figures"] if figure["stage"] == "dense")
    assert dense["same_top_10"] == {100: 1.0, 300: 1.0}  # both searches are exact
    assert "n^" in bench.table(result)
    bench.plot(result, tmp_path / "growth.png")
    assert (tmp_path / "growth.png").read_bytes().startswith(b"\x89PNG")


# --- grown texts ------------------------------------------------------------------------------------------------------


def test_grown_texts_are_the_same_each_time_and_a_shorter_collection_is_the_start_of_a_longer_one(
    passages: Any,
) -> None:
    longer, shorter = (list(islice(grow(passages), size)) for size in (60, 20))
    assert longer[:20] == shorter
    assert longer[:20] != list(islice(grow(passages, seed=1), 20))
    assert not any("\n" in text for text in longer)  # a passage is a line of the file


def test_the_vocabulary_of_grown_texts_follows_heaps_law(passages: Any) -> None:
    law = Heaps.through(passages)
    tokens = select_analysis("words", "en").tokens
    grown = [token for text in islice(grow(passages), 3 * len(passages)) for token in tokens(text)]
    assert len(grown) > 2 * law.tokens
    assert len(set(grown)) == pytest.approx(law.vocabulary(len(grown)), rel=0.03)


def test_heaps_law_goes_through_the_texts_and_through_the_whole_of_ms_marco() -> None:
    law = Heaps.through(["red cats", "red dogs run"])  # 5 tokens, 4 of them distinct
    assert (law.tokens, law.distinct) == (5, 4)
    assert law.vocabulary(5) == 4
    assert law.vocabulary(352_316_036) == pytest.approx(2_660_824)


def test_a_few_words_are_enough_to_grow_from() -> None:
    texts = list(islice(grow(["Red cats ran.", "Two dogs slept."]), 200))
    words = {word for text in texts for word in text.split()}
    assert len(words) > 50


# --- figures ----------------------------------------------------------------------------------------------------------


def test_growth_is_the_slope_on_logarithmic_axes() -> None:
    assert bench.exponent({10: 3.0, 100: 30.0}) == pytest.approx(1)
    assert bench.exponent({10: 1.0, 100: 100.0, 1000: 10_000.0}) == pytest.approx(2)
    assert bench.exponent({10: 3.0}) is None


def test_figures_are_medians_over_the_rounds_and_the_ratio_is_theirs_over_ours() -> None:
    def sample(system: Any, index_s: Any, found: Any) -> Any:
        return bench.Sample(
            stage="bm25", system=system, passages=10, index_s=index_s, index_cpu_s=index_s / 2, search_ms=1.0,
            search_cpu_ms=1.0, rss_libraries_mb=100.0, rss_loaded_mb=120.0, rss_peak_mb=150.0, tokens_per_doc=None,
            vocabulary=None, found=(found,),
        )  # fmt: skip

    samples = [sample("evalkit", s, ("a", "b", "c", "d")) for s in (1.0, 9.0, 2.0)]
    samples += [sample("bm25s", s, ("a", "c", "d", "e")) for s in (6.0, 5.0, 7.0)]
    figures = {figure["measure"]: figure for figure in bench.figures(samples)}
    assert figures["index_s"]["medians"] == {"evalkit": {10: 2.0}, "bm25s": {10: 6.0}}
    assert figures["index_s"]["times_better"] == {10: 3.0}
    assert figures["index_s"]["same_top_10"] == {10: 0.75}  # a, c and d of four
    assert figures["index_cpu_s"]["medians"]["evalkit"] == {10: 1.0}
    assert figures["rss_used_mb"]["medians"]["evalkit"] == {10: 50.0}


# --- what is refused --------------------------------------------------------------------------------------------------


def test_a_size_that_cannot_fit_is_refused_before_any_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "available_mb", lambda: 3 * 1024.0)
    bench.check_memory(["dense"], [1_000_000], 10)
    # 1,000,000 vectors of 384 x 4 bytes are 1.43 GiB, 200 queries' products and places of 12 bytes 2.24 GiB.
    with pytest.raises(EvalkitError, match=r"^--sizes 1000000: dense by numpy needs about 4\.0 GiB, and 3\.0 GiB are"):
        bench.check_memory(["dense"], [1000, 1_000_000], 200)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--sizes", "1000000000000"], "--sizes 1000000000000: bm25 by evalkit needs about"),
        (["--sizes", "0"], "'0' is no whole number from 1 on"),
        (["--texts", "nowhere"], "--texts nowhere: cannot read corpus.jsonl"),
    ],
)
def test_a_wrong_option_is_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: Any, sentence: Any
) -> None:
    monkeypatch.setattr(sys, "argv", ["first_stage.py", "--sizes", "10", *arguments])
    with pytest.raises(SystemExit) as caught:
        bench.main()
    assert sentence in f"{caught.value} {capsys.readouterr().err}"
