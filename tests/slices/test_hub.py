"""A dataset of the hub, from a hub in small on this machine, and the files that a README lists."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from evalkit.slices import beir
from tests.helpers.web import File, of_model, serving
from tests.slices.test_layout import write_parts

COMMIT = "c" * 40
README = """---
configs:
- config_name: corpus
  data_files: [{split: test, path: texts/passages-*}]
- config_name: queries
  data_files: [{split: test, path: texts/asked.jsonl}]
- config_name: default
  data_files: [{split: test, path: texts/judged.jsonl}, {split: dev, path: ../../secret.jsonl}]
---
A dataset.
"""


def readme_folder(folder: Path) -> Path:
    """Write a dataset whose files only its README names."""
    texts = folder / "texts"
    write_parts(texts / "asked.jsonl", texts / "passages-00000-of-00001.jsonl", texts / "judged.jsonl", key="id")
    (folder / "README.md").write_text(README, "utf-8")
    return folder


def test_the_files_that_a_readme_lists_are_read(tmp_path: Path) -> None:
    data = beir.load(str(readme_folder(tmp_path / "mine")))
    assert (data.name, len(data.docs), data.qrels) == ("mine/test", 3, {"q1": {"d1": 2}, "q2": {"d2": 1}})


SCRIPT = """
import json, sys
from evalkit.boundary.errors import EvalkitError
from evalkit.slices import hub
found = []
for name in sys.argv[1:]:
    try:
        data = hub.load(name)
        found.append([data.name, data.facts["source"], data.facts["revision"], len(data.docs), len(data.queries)])
    except EvalkitError as error:
        found.append(str(error))
print(json.dumps(found))
"""


def load(names: list[str], home: Path, address: str) -> Any:
    variables = {"HF_ENDPOINT": address, "HF_HOME": str(home), "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1",
                 "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *names], env=os.environ | variables, capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


def test_a_dataset_of_the_hub_is_fetched_with_the_commit_that_the_result_names(tmp_path: Path) -> None:
    folder = tmp_path / "there"
    write_parts(folder / "queries.jsonl", folder / "corpus.jsonl", folder / "qrels" / "test.tsv")
    (folder / "model.bin").write_bytes(b"not fetched")
    there = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    about = {
        "id": "acme/tides",
        "sha": COMMIT,
        "siblings": [{"rfilename": name} for name in there],
    }
    tree = [
        {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
        for name, content in there.items()
    ]
    files: dict[str, File] = {
        f"/datasets/acme/tides/resolve/{COMMIT}/{name}": of_model(COMMIT, content) for name, content in there.items()
    }
    for revision in ("main", COMMIT):
        files[f"/api/datasets/acme/tides/revision/{revision}"] = File(json.dumps(about).encode())
        files[f"/api/datasets/acme/tides/tree/{revision}"] = File(json.dumps(tree).encode())
    with serving(files) as (address, asked):
        found, refused = load(["acme/tides", "acme/none"], tmp_path / "home", address)
    assert found == ["acme/tides/test", "hub", COMMIT, 3, 2]
    assert not any("model.bin" in request for request in asked)
    assert refused.startswith("slice.dataset=acme/none: the Hugging Face hub did not give it (")
