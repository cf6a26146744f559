"""Models from the Hugging Face hub: downloads that break or are other files, and the commit that a result names."""

import json
import os
import subprocess
import sys
from pathlib import Path

from conftest import run_evalkit
from web import File, of_model, serving

COMMIT, NEXT = "c" * 40, "d" * 40
SCRIPT = """
import json, sys, torch
from evalkit.errors import EvalkitError
from evalkit.scoring.device import PRECISIONS
from evalkit.scoring.pretrained import load_classifier
told = {}
for name in sys.argv[1:]:
    try:
        told[name] = load_classifier(name, None, torch.device("cpu"), PRECISIONS["fp32"], "reranker.model").revision
    except EvalkitError as error:
        told[name] = str(error)
print(json.dumps(told))
"""


def model(name: str, folder: Path, commit: str = COMMIT, **odd: dict) -> dict[str, File]:
    """The files of a model as the hub sends them; `odd` says of some (by stem) what is wrong with them."""
    return {
        f"/{name}/resolve/{revision}/{path.name}": of_model(commit, path.read_bytes(), **odd.get(path.stem, {}))
        for path in folder.iterdir()
        for revision in ("main", commit)
    }


def load(names: list[str], home: Path, address: str) -> dict[str, str]:
    """Load models in a process whose hub is at `address`; return the revision of each, or why it was refused."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *names], env=os.environ | hub(home, address),
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return json.loads(done.stdout)


def hub(home: Path, address: str) -> dict[str, str]:
    return {"HF_ENDPOINT": address, "HF_HOME": str(home), "HF_HUB_OFFLINE": "0", "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1", "HF_HUB_DISABLE_XET": "1"}  # fmt: skip


def test_a_download_that_breaks_or_is_another_file_is_refused_and_a_whole_one_is_known_by_its_commit(
    bert_folder, tmp_path
):
    weights = (bert_folder / "model.safetensors").read_bytes()
    files = {
        **model("acme/whole", bert_folder),
        **model("acme/cut", bert_folder, model={"breaks_off": 1000}),
        **model("acme/garbage", bert_folder, model={"sent": b"x" * len(weights)}),
        **model("acme/flipped", bert_folder, model={"sent": weights[:-4] + bytes(4)}),  # one number of two million
    }
    names = ["acme/whole", "acme/cut", "acme/garbage", "acme/flipped", "acme/none"]
    with serving(files) as (address, _):
        told = load(names, tmp_path, address)
        files |= model("acme/cut", bert_folder)
        assert told.pop("acme/whole") == COMMIT
        assert "peer closed connection" in told["acme/cut"]
        assert "404 Client Error" in told["acme/none"]
        for name, at in (("acme/cut", f" at revision {COMMIT}"), ("acme/none", "")):
            start = f"reranker.model={name}: no such local folder, and the Hugging Face hub did not give it{at} ("
            assert told[name].startswith(start)
            assert told[name].endswith("model.safetensors: reranker.model=PATH")
        for name in ("acme/garbage", "acme/flipped"):
            start, _, rest = told[name].partition("; delete ")
            assert start.startswith(
                f"reranker.model={name}: model.safetensors is not what the hub has: its checksum is"
            )
            Path(rest.removesuffix(" to have it downloaded anew")).unlink()  # as it says
            files |= model(name, bert_folder)
        again = load(names[1:4], tmp_path, address)
    assert again == dict.fromkeys(names[1:4], COMMIT)


def test_a_hub_models_scores_are_kept_by_its_commit_and_serve_without_a_network(bert_folder, tmp_path):
    command = ("reranker.model=acme/small", "slice.queries=2", "depth=3", "protocol=none", f"store={tmp_path}/s.sqlite")

    def run(out: str, **environment: str) -> dict:
        done = run_evalkit(*command, f"out_dir={tmp_path}/{out}", cwd=tmp_path, **environment)
        assert done.returncode == 0, done.stderr
        return json.loads((tmp_path / out / "result.json").read_text("utf-8"))

    def from_store(result: dict) -> tuple[str, int]:
        return result["effective"]["reranker"]["revision"], result["effective"]["scoring"]["pairs_from_store"]

    files = model("acme/small", bert_folder)
    with serving(files) as (address, _):
        there = hub(tmp_path / "home", address)
        assert from_store(run("first", **there)) == (COMMIT, 0)
        assert from_store(run("offline", **there | {"HF_HUB_OFFLINE": "1"})) == (COMMIT, 6)
        files |= model("acme/small", bert_folder, NEXT)  # the same files, pushed again
        assert from_store(run("next", **there)) == (NEXT, 0)
