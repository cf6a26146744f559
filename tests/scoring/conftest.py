"""Model folders that a test may change, a cache of the hub, and sentence-transformers to compare with."""

import shutil
import warnings
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

from evalkit.scoring.loading import hub


@pytest.fixture
def bert(bert_folder: Any, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bert_folder, tmp_path / "bert"))


@pytest.fixture
def xlmr(xlmr_folder: Any, tmp_path: Path) -> Path:
    return Path(shutil.copytree(xlmr_folder, tmp_path / "xlmr"))


@pytest.fixture
def cached(bert_folder: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Fill a cache with a model: its folder in it, known by no branch or tag yet."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(hub, "_failures", {})
    monkeypatch.setattr(hub, "_offline_notes", {})

    def fill(commit: str, *references: str) -> Path:
        place = tmp_path / "cache" / "models--acme--small"
        shutil.copytree(bert_folder, place / "snapshots" / commit)
        (place / "blobs").mkdir(exist_ok=True)
        for reference in references:
            (place / "refs" / reference).parent.mkdir(parents=True, exist_ok=True)
            (place / "refs" / reference).write_text(commit, "utf-8")
        for absent in ("modules.json", "config_sentence_transformers.json", "adapter_config.json"):
            (place / ".no_exist" / commit).mkdir(parents=True, exist_ok=True)
            (place / ".no_exist" / commit / absent).touch()
        return place

    return fill


@pytest.fixture
def sentence_transformers() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("sentence_transformers", reason="the benchmark extra brings sentence-transformers")
