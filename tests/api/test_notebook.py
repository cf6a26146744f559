"""The notebook and the page in docs/ run as they stand."""

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

import evalkit
from tests.conftest import REPOSITORY

NOTEBOOK = REPOSITORY / "docs" / "notebooks" / "evaluate.ipynb"
README, PAGE = REPOSITORY / "README.md", REPOSITORY / "docs" / "python.md"


def test_the_notebook_runs_and_shows_tables_and_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    monkeypatch.setenv("PYTHONWARNINGS", "ignore")
    notebook = nbformat.read(NOTEBOOK, 4)
    saved = [cell.get("outputs") for cell in notebook.cells]
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": tmp_path}}).execute()
    kinds = {kind for cell in notebook.cells for one in cell.get("outputs", []) for kind in one.get("data", {})}
    assert kinds == {"text/plain", "text/html", "image/png"}
    for before, cell in zip(saved, notebook.cells):  # what readers see is what it gives
        for one in before or ():
            if "+0." in (shown := one.get("data", {}).get("text/plain", "")):
                assert shown in [now.get("data", {}).get("text/plain") for now in cell["outputs"]]


@pytest.mark.parametrize("page", [PAGE], ids=lambda page: page.name)
def test_the_code_of_a_page_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    assert blocks
    for block in blocks:
        exec(compile(block, str(page), "exec"), {})
    assert evalkit.load("out").result.name == "own data"
