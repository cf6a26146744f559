"""LaTeX tables: what they say, which figures are bold or marked, and that no text breaks them."""

import os
import re
import shutil
import subprocess
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.report import tex
from evalkit.results.comparison_schema import ComparedSlice
from evalkit.results.schema import Result
from tests.conftest import REPOSITORY
from tests.helpers.comparisons import comparison, paired, system
from tests.helpers.results import complete

GOLDEN = REPOSITORY / "tests" / "golden"
SPECIAL = "\\{}$&#%_~^"
NASTY = [*SPECIAL, "[", "*", "--", "<", "|", "`", "\n\n", "\r", "\x00", "\ud83d", "é", "巴黎", "\\input{x}", "% \\end"]
any_text = st.lists(st.characters() | st.sampled_from(NASTY)).map("".join)

TRIAL: dict[str, Any] = {
    "name": "tiny_run",
    "effective": {
        "slice": {"name": "my_slice/en"},
        "first_stage": {"name": "bm25"},
        "reranker": {"name": "m3_50%", "precision": "fp16"},
        "depth": 20,
    },
    "provenance": {"command": ["python -m evalkit", "name=tiny_run", "out_dir=a b"]},
    "effectiveness": {
        "queries": 43,
        "first_stage": {"mean": {"nDCG@10": 0.5, "RR@10": 0.75, "AP@100": 0.25, "R@20": 0.625}},
        "reranked": {"mean": {"nDCG@10": 0.75, "RR@10": 0.5, "AP@100": 0.375, "R@20": 0.625}},
        "ceiling": {"mean": {"nDCG@10": 0.875, "RR@10": 1.0, "AP@100": 0.5, "R@20": 0.625}},
        "delta": {"nDCG@10": 0.25, "RR@10": -0.25, "AP@100": 0.125, "R@20": -0.00001},
        "delta_ci95": {"nDCG@10": [0.125, 0.375], "RR@10": [-0.5, 0.0], "AP@100": [None, None], "R@20": [0.0, 0.0]},
        "tests": {
            "nDCG@10": {"holm_p": 0.0004},
            "RR@10": {"holm_p": 0.0499},
            "AP@100": {"holm_p": 0.05},
            "R@20": {"holm_p": None},
        },
    },
}


def with_p(mean: Any, holm_p: Any) -> Any:
    return paired(mean, holm_p=holm_p)


COMPARED = comparison(
    [
        system("bm25", where="runs/bm25", mean={"nDCG@10": 0.5, "RR@10": 0.75}),
        system("bm25 + bge at fp16", where="runs/a b", mean={"nDCG@10": 0.75, "RR@10": None}),
        system("bm25 + bge at bf16", where="runs/bf16", mean={"nDCG@10": 0.74999, "RR@10": float("nan")}),
        system("bm25 + vicuna_13b", where="runs/v", mean={"nDCG@10": 0.375, "RR@10": 0.875}),
    ],
    {
        "bm25 + bge at fp16": {"nDCG@10": with_p(0.25, 0.001), "RR@10": with_p(None, None)},
        "bm25 + bge at bf16": {"nDCG@10": with_p(0.24999, 0.2), "RR@10": with_p(None, None)},
        "bm25 + vicuna_13b": {"nDCG@10": with_p(-0.125, 0.01), "RR@10": with_p(0.125, 0.05)},
    },
    slice=ComparedSlice("my_slice/en", 43, 501, "en", 1, "f"),
)
TABLES = [("table_trial.tex", tex.trial, complete(TRIAL)), ("table_comparison.tex", tex.comparison, COMPARED)]
DAGGER, DOUBLE = r"\rlap{$^{\dagger}$}", r"\rlap{$^{\ddagger}$}"


def cells(table: str) -> dict[str, list[str]]:
    """The rows of a table by their first cell."""
    rows = [line.removesuffix(r" \\").split(" & ") for line in table.splitlines() if line.endswith(r" \\")]
    return {first.strip(): others for first, *others in rows}


def without_tests(result: Any) -> Any:
    result = deepcopy(result)
    del result["effectiveness"]["tests"]
    return result


def code(table: str) -> str:
    """A table without its comments."""
    return "\n".join(line for line in table.splitlines() if not line.startswith("%"))


def depths(latex: str) -> list[int]:
    """How deep each brace leaves us; backslash-escaped ones do not count."""
    found, depth = [0], 0
    for brace in re.findall(r"[{}]", re.sub(r"\\.", "", latex, flags=re.DOTALL)):
        depth += 1 if brace == "{" else -1
        found.append(depth)
    return found


@pytest.mark.parametrize(("name", "render", "what"), TABLES)
def test_a_table_reads_as_promised(name: Any, render: Any, what: Any) -> None:
    """EVALKIT_WRITE_GOLDEN=1 renews tests/golden/table_trial.tex and table_comparison.tex."""
    if os.environ.get("EVALKIT_WRITE_GOLDEN") == "1":
        (GOLDEN / name).write_text(render(what), "utf-8")
    assert render(what) == (GOLDEN / name).read_text("utf-8")


@pytest.mark.parametrize(("name", "render", "what"), TABLES)
def test_a_table_names_its_slice_its_queries_and_its_test(name: Any, render: Any, what: Any) -> None:
    (caption,) = re.findall(r"\\caption\{(.*)\}", render(what))
    for words in (r"my\_slice/en, 43 queries", "paired randomisation test", "Holm's correction"):
        assert words in caption


def test_a_table_names_the_command_that_made_it_and_the_package_that_it_needs() -> None:
    assert tex.trial(complete(TRIAL)).startswith(
        "% Made by: python -m evalkit name=tiny_run 'out_dir=a b'\n% Needs \\usepackage{"
    )
    assert "\n% Needs \\usepackage{booktabs} and no other package" in tex.comparison(COMPARED)
    assert tex.comparison(COMPARED).startswith(
        "% Made by: python -m evalkit compare runs/bm25 'runs/a b' runs/bf16 runs/v\n"
    )


def test_the_best_is_bold_and_what_is_significant_is_marked() -> None:
    rows = cells(tex.trial(complete(TRIAL)))
    assert rows["bm25"] == ["0.5000", r"\textbf{0.7500}", "0.2500", "0.6250"]
    assert rows[r"+ m3\_50\%"] == [rf"\textbf{{0.7500}}{DAGGER}", f"0.5000{DOUBLE}", r"\textbf{0.3750}", "0.6250"]
    assert rows["best possible order"] == ["0.8750", "1.0000", "0.5000", "0.6250"]


def test_differences_have_a_sign_of_mathematics_and_nothing_is_minus_zero() -> None:
    rows = cells(tex.trial(complete(TRIAL)))
    assert rows["difference"] == ["$+0.2500$", "$-0.2500$", "$+0.1250$", "$+0.0000$"]
    assert rows[r"95\,\% interval"] == [r"$\pm 0.1250$", r"$\pm 0.2500$", "--", r"$\pm 0.0000$"]


def test_a_comparison_has_its_baseline_first_and_a_row_for_each_system() -> None:
    rows = cells(tex.comparison(COMPARED))
    assert list(rows) == ["System", "bm25", "+ bge at fp16", "+ bge at bf16", r"+ vicuna\_13b"]
    assert rows["bm25"] == ["0.5000", "0.7500"]
    assert rows["+ bge at fp16"] == [rf"\textbf{{0.7500}}{DAGGER}", "--"]
    assert rows["+ bge at bf16"] == [r"\textbf{0.7500}", "--"]  # looks equal, so it is set alike
    assert rows[r"+ vicuna\_13b"] == [f"0.3750{DOUBLE}", r"\textbf{0.8750}"]


def test_labels_are_whole_where_not_all_systems_build_on_the_baseline() -> None:
    compared = replace(COMPARED, systems=[*COMPARED.systems, system("bge-m3", mean={"nDCG@10": 0.1, "RR@10": 0.1})])
    assert {"bm25", "bm25 + bge at fp16", "bge-m3"} <= cells(tex.comparison(compared)).keys()


@pytest.mark.parametrize(("name", "render", "what"), TABLES)
def test_what_is_missing_is_a_dash(name: Any, render: Any, what: Any) -> None:
    assert re.search("none|nan|null", render(what), re.IGNORECASE) is None


def test_without_a_test_no_test_is_spoken_of() -> None:
    untested = {
        label: {measure: replace(test, holm_p=None) for measure, test in tests.items()}
        for label, tests in COMPARED.against_baseline.items()
    }
    compared = replace(COMPARED, against_baseline=untested)
    for table in (tex.trial(complete(without_tests(TRIAL))), tex.comparison(compared)):
        assert re.search("dagger|randomization|Holm", table) is None
        assert r"\textbf{0.7500}" in table


def test_without_a_reranker_there_is_one_system() -> None:
    result: Any = deepcopy(TRIAL)
    result["effective"]["reranker"] = {"name": "none", "reranks": False}
    table = tex.trial(complete(result))
    assert list(cells(table)) == ["System", "bm25", "best possible order"]
    assert re.search("dagger|textbf|Holm|Bold", table) is None


@pytest.mark.parametrize(
    ("text", "latex"),
    [
        ("a_b 50% & $5 #1", r"a\_b 50\% \& \$5 \#1"),
        (r"\x{y}", r"\textbackslash{}x\{y\}"),
        ("~^<|>", r"\textasciitilde{}\textasciicircum{}\textless{}\textbar{}\textgreater{}"),
        ("[2pt]*", "{[}2pt{]}{*}"),
        ("a--b---c", "a-{}-b-{}-{}-c"),
        ("``x''", "{`}{`}x'{}'"),
        ("é 巴黎 हिन्दी", "é 巴黎 हिन्दी"),
        ("a\n\n b\t\x00c\ud83d", "a b c"),
    ],
)
def test_a_text_is_escaped(text: Any, latex: Any) -> None:
    assert tex.escape(text) == latex


@given(any_text)
def test_no_text_breaks_a_table(text: Any) -> None:
    latex = tex.escape(text)
    assert min(depths(latex)) == depths(latex)[-1] == 0
    assert len(latex.splitlines()) <= 1
    latex.encode("utf-8")
    commands = r"\\[{}$&#%_]|\\text[a-z]+\{\}|\{[\[\]*`]\}|[-',]\{\}"
    assert not set(SPECIAL) & set(re.sub(commands, "", latex))


def renamed(result: Result, name: str, first: str, second: str, slice_name: str, argument: str) -> Result:
    """The same with other names: none is checked as those of a file are."""
    effective = replace(
        result.effective,
        slice={**result.effective.slice, "name": slice_name},
        first_stage={**result.effective.first_stage, "name": first},
        reranker={**result.effective.reranker, "name": second},
    )
    command = [*result.provenance["command"]]
    command[1] = argument
    return replace(result, name=name, effective=effective, provenance={"command": command})


@given(any_text, any_text)
def test_no_name_and_no_command_leave_their_place(name: Any, other: Any) -> None:
    table = tex.trial(renamed(complete(TRIAL), name, first=name, second=other, slice_name=other, argument=name))
    assert len(table.splitlines()) == len(tex.trial(complete(TRIAL)).splitlines())
    assert depths(code(table))[-1] == 0
    assert sum(line.startswith("%") for line in table.splitlines()) == 3
    assert re.search(r"\\label\{tab:[a-z0-9-]*\}", table)


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="there is no pdflatex")
def test_latex_takes_the_tables(tmp_path: Path) -> None:
    first = "[2pt] \\x{ % & $ # _ ~ ^ < | > `` -- é \x00\n\n" + SPECIAL
    found = complete(TRIAL)
    ugly = renamed(found, "ugly", first, "*\\end{table}", found.effective.slice["name"], "name=tiny_run")
    inputs = {"a": tex.trial(complete(TRIAL)), "b": tex.comparison(COMPARED), "c": tex.trial(ugly)}
    for name, table in inputs.items():
        (tmp_path / f"{name}.tex").write_text(table, "utf-8")
    document = r"\documentclass{article}\usepackage{booktabs}\begin{document}\input{a}\input{b}\input{c}\end{document}"
    (tmp_path / "paper.tex").write_text(document, "utf-8")
    done = subprocess.run(
        ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "-draftmode", "paper"],
        cwd=tmp_path, capture_output=True, check=False, timeout=120,
    )  # fmt: skip
    log = (tmp_path / "paper.log").read_text("latin-1")
    assert done.returncode == 0, log
    assert "multiply defined" not in log
