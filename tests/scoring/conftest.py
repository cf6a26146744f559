"""Model folders that a test may change."""

import shutil
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def bert(bert_folder: Any, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bert_folder, tmp_path / "bert"))


@pytest.fixture
def xlmr(xlmr_folder: Any, tmp_path: Path) -> Path:
    return Path(shutil.copytree(xlmr_folder, tmp_path / "xlmr"))
