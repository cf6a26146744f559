"""Pages about the code name files, functions and classes that exist."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

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
