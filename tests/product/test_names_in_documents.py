"""Pages about the code name files, functions and classes that exist, and figures that are measured."""

import ast
import json
import re
from functools import cache
from pathlib import Path

import pytest

from evalkit.first_stage.bm25 import BM25
from evalkit.slices import packaged
from tests.conftest import REPOSITORY

PAGES = ("docs/walkthrough.md", "docs/architecture.md", "CONTRIBUTING.md")
ROOTS = ("evalkit", "conf", "docs", "tests", "tools", "benchmarks", "reports", ".ci", ".github")
CODE = re.compile(r"`([^`\n]+)`")
FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


def sections(page: str) -> list[str]:
    """Return the text below each heading of a page, without blocks of code."""
    text = FENCED.sub("", (REPOSITORY / page).read_text("utf-8"))
    return re.split(r"^#+ .*$", text, flags=re.MULTILINE)


def files_named(text: str) -> set[str]:
    """Return the paths below one of `ROOTS` in the code of a text; those with a NAME to fill in are left out."""
    words = {word.rstrip(".,:") for code in CODE.findall(text) for word in code.split()}
    return {word for word in words if word.startswith(tuple(f"{root}/" for root in ROOTS)) and word == word.lower()}


@cache
def definitions(path: Path) -> set[str]:
    """Return the functions and classes of a file, and the methods of each class as ``Class.method``."""
    found = set()
    for node in ast.parse(path.read_text("utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        if isinstance(node, ast.ClassDef):
            found |= {f"{node.name}.{inner.name}" for inner in node.body if isinstance(inner, ast.FunctionDef)}
            found |= {inner.name for inner in node.body if isinstance(inner, ast.FunctionDef)}
    return found


def all_classes() -> set[str]:
    names = set().union(*map(definitions, (REPOSITORY / "evalkit").rglob("*.py")))
    return {name for name in names if name[0].isupper() and "." not in name}


@pytest.mark.parametrize("page", PAGES)
def test_every_file_that_is_named_exists(page: str) -> None:
    found = set().union(*map(files_named, sections(page)))
    assert len(found) > 10
    assert sorted(name for name in found if not (REPOSITORY / name).exists()) == []


@pytest.mark.parametrize("page", PAGES)
def test_every_function_is_defined_in_a_file_that_its_section_names(page: str) -> None:
    unknown = []
    for text in sections(page):
        paths = [
            REPOSITORY / name for name in files_named(text) if name.startswith("evalkit/") and name.endswith(".py")
        ]
        known = set().union(*(definitions(path) for path in paths if path.exists()))
        functions = {code.removesuffix("()") for code in CODE.findall(text) if re.fullmatch(r"[\w.]+\(\)", code)}
        unknown += sorted(functions - known)
    assert unknown == []


@pytest.mark.parametrize("page", PAGES)
def test_every_class_that_is_named_exists(page: str) -> None:
    text = " ".join(sections(page))
    named = {code for code in CODE.findall(text) if re.fullmatch(r"[A-Z][a-z]+[A-Za-z]*|BM25", code)}
    assert sorted(named - all_classes() - {"Makefile"}) == []


def test_the_pages_name_enough_that_a_renaming_shows() -> None:
    text = " ".join(sections("docs/walkthrough.md"))
    assert len(files_named(text)) > 50
    assert len(re.findall(r"`[\w.]+\(\)`", text)) > 20


def test_the_figures_of_the_walkthrough_are_those_of_the_run_that_it_follows() -> None:
    text = " ".join((REPOSITORY / "docs/walkthrough.md").read_text("utf-8").split())
    data = packaged.load()
    (query_id,) = [query_id for query_id, query in data.queries.items() if f'"{query}"' in text]
    assert data.qrels[query_id]["en-a-0138"] == 3
    other, ours = BM25().search(data, 20).rankings[query_id][:2]
    assert ours.doc_id == "en-a-0138"
    assert f"second, with {ours.score:.2f}; first, with {other.score:.2f}" in text
    baseline = json.loads((REPOSITORY / "reports/baselines/ci.json").read_text("utf-8"))["per_query"][query_id]
    (first, logit), (second, other_logit) = baseline["top"][:2]
    assert (first, second) == (ours.doc_id, other.doc_id)
    assert f"has {logit:.2f}, the one about photographs {other_logit:.2f}" in text
    before, after = baseline["first_stage"], baseline["reranked"]
    assert f"RR@10 rises from {before['RR@10']:g} to {after['RR@10']:g}" in text
    assert f"nDCG@10 from {before['nDCG@10']:.4f} to {after['nDCG@10']:.4f}" in text
    assert f"R@20 stays at {after['R@20']:.4f}" in text
    assert before["R@20"] == after["R@20"]
