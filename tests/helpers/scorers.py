"""Scorers of tiny models on the CPU, pairs for them, and the logits of transformers itself."""

import json
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from evalkit.scoring.device import PRECISIONS
from evalkit.scoring.loading.pretrained import load_classifier
from evalkit.scoring.scorer import Scorer
from tests.conftest import DEV

CPU = torch.device("cpu")
MAX_LENGTH = 96


def dev_pairs(n: int) -> list[tuple[str, str]]:
    """Random but fixed pairs of real queries and passages in two languages, and unusual ones that collections have."""
    draw = random.Random(3)
    pairs = []
    for lang in ("en", "zh"):
        queries, docs = (
            [json.loads(line)["text"] for line in (DEV / lang / f"{name}.jsonl").read_text("utf-8").splitlines()]
            for name in ("queries", "corpus")
        )
        pairs += [(draw.choice(queries), draw.choice(docs)) for _ in range(n // 2)]
    unusual = [("", "a passage"), ("a query", " "), ("q " * 120, "long query"), ("short", "long passage " * 200)]
    return pairs + unusual


PAIRS = dev_pairs(36)


def load_scorer(
    folder: Path, max_length: int = MAX_LENGTH, rule: str = "longest_first", batch_tokens: int | None = 400, **more: Any
) -> Scorer:
    pretrained = load_classifier(str(folder), None, CPU, PRECISIONS["fp32"], "reranker.model")
    return Scorer(pretrained, CPU, max_length, rule, batch_tokens, **more)


def transformers_logits(
    folder: Path, pairs: list[tuple[str, str]], rule: str, max_length: int = MAX_LENGTH, token_types: bool = True
) -> np.ndarray:
    """Return the logits of `pairs` by transformers alone, padded into one batch."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()
    queries, passages = map(list, zip(*pairs, strict=True))
    inputs = tokenizer(
        queries, passages, truncation=rule, max_length=max_length, padding=True, return_tensors="pt", verbose=False
    )
    if not token_types:
        inputs.pop("token_type_ids")
    with torch.no_grad():
        found: np.ndarray = model(**inputs).logits.flatten().numpy()
    return found


def copy_folder(folder: Path, to: Path) -> Path:
    return Path(shutil.copytree(folder, to))
