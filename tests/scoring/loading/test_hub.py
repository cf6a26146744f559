"""Models from the Hugging Face hub: downloads that break or are other files, and the commit that a result names."""

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import close_session, constants, hf_api

from evalkit.boundary.errors import EvalkitError
from evalkit.scoring.device import PRECISIONS
from evalkit.scoring.loading import hub as hub_
from evalkit.scoring.loading.model_checks import check_classifier, check_encoder
from evalkit.scoring.loading.model_location import short_name
from evalkit.scoring.loading.pretrained import load_classifier
from tests.conftest import REPOSITORY
from tests.helpers.command_line import run_here
from tests.helpers.raw_server import accepting
from tests.helpers.web import File, of_model, serving

COMMIT, NEXT = "c" * 40, "d" * 40
SCRIPT = """
import json, sys
from tests.scoring.loading.test_hub import load
print(json.dumps(load(sys.argv[1:])))
"""


def model(name: str, folder: Path, commit: str = COMMIT, **odd: dict[str, Any]) -> dict[str, File]:
    """The files of a model as the hub sends them; `odd` has what is wrong with some of them, by stem."""
    return {
        f"/{name}/resolve/{revision}/{path.name}": of_model(commit, path.read_bytes(), **odd.get(path.stem, {}))
        for path in folder.iterdir()
        for revision in ("main", commit)
    }


def load(names: list[str]) -> dict[str, str | None]:
    """Load models; return the revision of each, or why it was refused."""
    outcomes = {}
    for name in names:
        try:
            outcomes[name] = loaded(None, name).revision
        except EvalkitError as error:
            outcomes[name] = str(error)
    return outcomes


@contextmanager
def hub_at(address: str, home: Path, offline: bool = False) -> Iterator[None]:
    """Have this process use the hub at `address`, as the variables of `load_in_own_process` have a new one do.

    What it remembers of a hub's failures is that of a new process too.
    """
    ours = {
        "ENDPOINT": address,
        "HUGGINGFACE_CO_URL_TEMPLATE": address + "/{repo_id}/resolve/{revision}/{filename}",
        "HF_HUB_CACHE": str(home / "hub"),
        "HF_HUB_OFFLINE": offline,
        "HF_HUB_DISABLE_XET": True,
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in ours.items():
            patch.setattr(constants, name, value)
        patch.setattr(hf_api.api, "endpoint", address)  # both libraries keep a client with the address of their start
        patch.setattr("transformers.utils.hub._hf_api", None, raising=False)
        patch.setattr(hub_, "_failures", {})
        patch.setattr(hub_, "_offline_notes", {})
        patch.setenv("NO_PROXY", "127.0.0.1")
        close_session()
        yield
        close_session()


def load_in_own_process(names: list[str], home: Path, address: str) -> Any:
    """Do as `load`, in a process whose environment names the hub."""
    hub = {"HF_ENDPOINT": address, "HF_HOME": str(home), "HF_HUB_OFFLINE": "0", "NO_PROXY": "127.0.0.1",
           "no_proxy": "127.0.0.1", "HF_HUB_DISABLE_XET": "1"}  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *names], env=os.environ | hub, cwd=REPOSITORY,
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return json.loads(done.stdout.splitlines()[-1])


def test_incomplete_and_corrupt_downloads_are_refused_and_a_complete_one_has_its_commit(
    bert_folder: Any, tmp_path: Path
) -> None:
    weights = (bert_folder / "model.safetensors").read_bytes()
    files = {
        **model("acme/whole", bert_folder),
        **model("acme/cut", bert_folder, model={"breaks_off": 1000}),
        **model("acme/garbage", bert_folder, model={"sent": b"x" * len(weights)}),
        **model("acme/flipped", bert_folder, model={"sent": weights[:-4] + bytes(4)}),  # one number of two million
    }
    names = ["acme/whole", "acme/cut", "acme/garbage", "acme/flipped", "acme/none"]
    with serving(files) as (address, _):
        outcomes = load_in_own_process(names, tmp_path, address)
        files |= model("acme/cut", bert_folder)
        assert outcomes.pop("acme/whole") == COMMIT
        assert "peer closed connection" in outcomes["acme/cut"]
        assert "404 Client Error" in outcomes["acme/none"]
        for name, at in (("acme/cut", f" at revision {COMMIT}"), ("acme/none", "")):
            start = f"reranker.model={name}: no such local folder, and the Hugging Face hub did not give it{at} ("
            assert outcomes[name].startswith(start)
            assert outcomes[name].endswith("model.safetensors: reranker.model=PATH")
        for name in ("acme/garbage", "acme/flipped"):
            start, _, rest = outcomes[name].partition("; delete ")
            assert start.startswith(
                f"reranker.model={name}: model.safetensors is not what the hub has: its checksum is"
            )
            Path(rest.removesuffix(" to have it downloaded again")).unlink()  # as it says
            files |= model(name, bert_folder)
        with hub_at(address, tmp_path):
            again = load(names[1:4])
    assert again == dict.fromkeys(names[1:4], COMMIT)


def test_scores_of_a_hub_model_are_stored_by_commit_and_used_offline(bert_folder: Any, tmp_path: Path) -> None:
    command = ("reranker.model=acme/small", "slice.queries=2", "depth=3", "protocol=none", f"store={tmp_path}/s.sqlite")

    def run(out: str, address: str, offline: bool = False) -> Any:
        with hub_at(address, tmp_path / "home", offline):
            done = run_here(*command, f"out_dir={tmp_path}/{out}", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return json.loads((tmp_path / out / "result.json").read_text("utf-8"))

    def from_store(result: dict[str, Any]) -> tuple[str, int]:
        return result["effective"]["reranker"]["revision"], result["effective"]["scoring"]["pairs_from_store"]

    files = model("acme/small", bert_folder)
    with serving(files) as (address, _):
        assert from_store(run("first", address)) == (COMMIT, 0)
        assert from_store(run("offline", address, offline=True)) == (COMMIT, 6)
        files |= model("acme/small", bert_folder, NEXT)  # the same files, pushed again
        assert from_store(run("next", address)) == (NEXT, 0)


@contextmanager
def hanging_up() -> Any:
    """A server that closes each connection: yield its address and what has come in so far."""
    came: list[socket.socket] = []
    with accepting(came.append) as url:
        yield url, came


def test_a_cached_model_loads_at_once_if_the_hub_does_not_answer(bert_folder: Any, tmp_path: Path) -> None:
    """Each optional file that it does not have was asked for again and again: 157 seconds."""
    with serving(model("acme/small", bert_folder)) as (address, _), hub_at(address, tmp_path):
        assert load(["acme/small"]) == {"acme/small": COMMIT}
    with hanging_up() as (address, came), hub_at(address, tmp_path):
        assert load(["acme/small"]) == {"acme/small": COMMIT}
    assert len(came) <= 2


def test_the_parts_of_an_embedding_model_are_fetched_from_the_hub(bert_folder: Any, tmp_path: Path) -> None:
    files = model("acme/parts", bert_folder)
    own = {
        "modules.json": [{"type": f"sentence_transformers.models.{kind}", "path": path}
                         for kind, path in (("Transformer", ""), ("Pooling", "how"), ("Normalize", "2"))],
        "how/config.json": {"pooling_mode": "cls"},
        "config_sentence_transformers.json": {"prompts": {"query": "query: "}},
    }  # fmt: skip
    for path, content in own.items():
        for revision in ("main", COMMIT):
            files[f"/acme/parts/resolve/{revision}/{path}"] = of_model(COMMIT, json.dumps(content).encode())
    with serving(files) as (address, _), hub_at(address, tmp_path):
        found = check_encoder("acme/parts", None, "first_stage.model")[1]
    assert (found.pooling, found.normalize, found.prompts["query"], found.notes) == ("cls", True, "query: ", ())


ODD_WEIGHTS = {
    "acme/onnx": ("onnx/model.onnx", "its weights are onnx/model.onnx alone (ONNX, an exported graph), and evalkit"),
    "acme/fp16": ("model.fp16.safetensors", "its weights are a variant (model.fp16.safetensors), and evalkit reads"),
    "acme/pickle": ("pytorch_model.bin", "the hub has its weights as a pickle (pytorch_model.bin) and no safetensors"),
}


def pull_requests(name: str, *made: tuple[str, str]) -> dict[str, File]:
    """What the hub answers about the pull requests of a model, from number 1 on: each has an author and one file."""
    facts = {"title": "weights", "status": "open", "isPullRequest": True, "createdAt": "2024-02-01T00:00:00.000Z",
             "repo": {"name": name, "type": "model"}}  # fmt: skip
    listed = [facts | {"num": number, "author": {"name": author}} for number, (author, _) in enumerate(made, 1)]
    answer = {"discussions": listed, "count": len(listed), "start": 0}
    files = {f"/api/models/{name}/discussions": File(json.dumps(answer).encode())}
    for number, (_, file) in enumerate(made, 1):
        info = {"id": name, "sha": NEXT, "siblings": [{"rfilename": file}]}
        files[f"/api/models/{name}/revision/refs%2Fpr%2F{number}"] = File(json.dumps(info).encode())
    return files


@pytest.fixture(scope="module")
def refusals_of_odd_weights(bert_folder: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The message about each model of `ODD_WEIGHTS`."""
    files: dict[str, File] = {}
    for name, (file, _) in ODD_WEIGHTS.items():
        files |= {p: f for p, f in model(name, bert_folder).items() if not p.endswith("model.safetensors")}
        listed = {"id": name, "sha": COMMIT, "siblings": [{"rfilename": "config.json"}, {"rfilename": file}]}
        files[f"/api/models/{name}/revision/{COMMIT}"] = File(json.dumps(listed).encode())
    files |= pull_requests("acme/pickle", ("somebody", "model.safetensors"), ("SFconvertbot", "model.safetensors"))
    with serving(files) as (address, _), hub_at(address, tmp_path_factory.mktemp("odd_weights")):
        return load(list(ODD_WEIGHTS))


@pytest.mark.parametrize("name", ODD_WEIGHTS)
def test_a_hub_model_with_weights_in_another_format_is_refused(refusals_of_odd_weights: Any, name: Any) -> None:
    assert refusals_of_odd_weights[name].startswith(f"reranker.model={name}: {ODD_WEIGHTS[name][1]}")


def test_weights_in_a_pickle_are_refused_with_the_revision_that_has_safetensors(refusals_of_odd_weights: Any) -> None:
    """Of the hub's own conversion service only: anybody can propose weights. Nothing but names has been fetched."""
    assert (
        "which you can look at on the hub and use: reranker.revision=refs/pr/2; or convert a model that you trust"
        in refusals_of_odd_weights["acme/pickle"]
    )


# --- a cache that was filled before, and no network


def loaded(revision: str | None, name: str = "acme/small") -> Any:
    return load_classifier(name, revision, torch.device("cpu"), PRECISIONS["fp32"], "reranker.model")


def refusal(revision: str | None = None, name: str = "acme/small") -> str:
    with pytest.raises(EvalkitError) as caught:
        check_classifier(name, revision, "reranker.model")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_without_a_network_a_branch_is_resolved_from_the_cache_with_a_note(cached: Any) -> None:
    cached(COMMIT, "main")
    found = loaded(None)
    assert found.revision == COMMIT
    (note,) = found.sbert_config.notes
    assert note.startswith(
        "the Hugging Face hub did not give acme/small (OfflineModeIsEnabled): commit cccccccccccc was"
    )
    assert note.endswith("which its cache has as main; there may be a newer one")


@pytest.mark.parametrize("revision", [COMMIT, COMMIT[:7]])
def test_a_cached_commit_needs_no_note_without_a_network(cached: Any, revision: Any) -> None:
    cached(COMMIT, "main")
    found = loaded(revision)
    assert (found.revision, found.sbert_config.notes) == (COMMIT, ())


def test_a_complete_cached_commit_sends_no_request(cached: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def ask(*_: object, **__: object) -> None:
        raise AssertionError("it asked")

    cached(COMMIT, "main")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    for name in ("get_hf_file_metadata", "hf_hub_download"):
        monkeypatch.setattr(hub_, name, ask)
    assert loaded(COMMIT).revision == COMMIT


def test_the_error_names_the_revisions_in_the_cache(cached: Any) -> None:
    cached(COMMIT, "v1.0")
    error = refusal()
    assert f"; its cache has v1.0 (commit {COMMIT}), which reranker.revision=... names; connect to the network" in error
    assert loaded("v1.0").commit == COMMIT


def test_an_ambiguous_prefix_of_a_commit_is_refused(cached: Any) -> None:
    cached(COMMIT)
    cached(COMMIT[:-1] + "d")
    assert f"its cache has commit {COMMIT}, commit {COMMIT[:-1]}d, which reranker.revision=" in refusal(COMMIT[:7])


def test_the_error_mentions_an_interrupted_download(cached: Any) -> None:
    place = cached(COMMIT, "main")
    (place / "snapshots" / COMMIT / "model.safetensors").unlink()
    (place / "blobs" / "abc.incomplete").write_bytes(b"x")
    error = refusal()
    assert (
        "the hub's cache has its config.json and not its weights (model.safetensors), since its download was" in error
    )
    assert error.endswith("model.safetensors: reranker.model=PATH")


def test_a_missing_record_of_an_optional_file_is_noted(cached: Any) -> None:
    place = cached(COMMIT, "main")
    (place / ".no_exist" / COMMIT / "modules.json").unlink()
    assert loaded(None).sbert_config.notes[1:] == (
        "it is not known whether acme/small has modules.json, since the hub's cache has no record of it and the hub "
        "did not answer: assumed not to exist",
    )


def test_optional_files_in_the_cache_are_read(cached: Any) -> None:
    place = cached(COMMIT, "main")
    (place / ".no_exist" / COMMIT / "adapter_config.json").unlink()
    (place / "snapshots" / COMMIT / "adapter_config.json").write_text('{"peft_type": "LORA"}', "utf-8")
    assert "an adapter is next to its full weights" in refusal()
    with pytest.raises(EvalkitError, match="an adapter is next to its full weights"):
        check_encoder("acme/small", None, "first_stage.model")


# --- weights of another format, and names


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["model.fp16.safetensors"], "its weights are a variant (model.fp16.safetensors), and evalkit reads"),
        (
            ["model.fp16-00001-of-00002.safetensors"],
            "its weights are a variant (model.fp16-00001-of-00002.safetensors)",
        ),
        (["model-00001-of-00002.safetensors"], "its weights are in parts (model-00001-of-00002.safetensors ...), and"),
        (["weights.safetensors"], "its weights are weights.safetensors, and evalkit reads model.safetensors"),
        (["model-q4.gguf"], "its weights are model-q4.gguf alone (GGUF, llama.cpp's format of quantised weights)"),
        (["onnx/model.onnx"], "its weights are onnx/model.onnx alone (ONNX, an exported graph)"),
        (["model.onnx", "model.onnx_data"], "its weights are model.onnx alone (ONNX, an exported graph)"),
        (["openvino_model.xml", "openvino_model.bin"], "openvino_model.bin alone (OpenVINO, an exported graph)"),
        (["tf_model.h5"], "its weights are tf_model.h5 alone (TensorFlow's)"),
        (["pytorch_model.bin"], "the folder has pytorch_model.bin and no safetensors, and a pickle can run code"),
    ],
)
def test_a_folder_with_weights_in_another_format_is_refused(
    bert_folder: Any, tmp_path: Path, files: Any, message: Any
) -> None:
    folder = Path(shutil.copytree(bert_folder, tmp_path / "model"))
    (folder / "model.safetensors").unlink()
    for file in files:
        (folder / file).parent.mkdir(exist_ok=True)
        (folder / file).write_bytes(b"x")
    assert message in refusal(name=str(folder))
    with pytest.raises(EvalkitError) as caught:
        check_encoder(str(folder), None, "first_stage.model")
    assert message in str(caught.value)


def test_a_folder_of_gguf_only_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model-q4.gguf").write_bytes(b"GGUF")
    error = refusal(name=str(tmp_path))
    assert "the folder has no config.json; its weights are model-q4.gguf alone (GGUF" in error


def test_a_folder_without_one_of_its_shards_is_refused(bert_folder: Any, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(bert_folder, tmp_path / "model"))
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), "utf-8")
    error = refusal(name=str(folder))
    assert "names 2 files of weights, and 1 are not there (e.g. model-00002-of-00002.safetensors)" in error


def test_weights_in_other_formats_are_ignored_if_there_are_safetensors(bert_folder: Any, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(bert_folder, tmp_path / "model"))
    for file in ("pytorch_model.bin", "model.fp16.safetensors", "model.onnx", "model.gguf"):
        (folder / file).write_bytes(b"x")
    check_classifier(str(folder), None, "reranker.model")


def test_short_names_of_hub_models_folders_and_cache_snapshots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    snapshot = tmp_path / "models--acme--small-v1" / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (tmp_path / "runs" / "best").mkdir(parents=True)
    (tmp_path / "current").symlink_to(tmp_path / "runs" / "best")
    monkeypatch.chdir(tmp_path / "runs" / "best")
    names = {
        "acme/small-v1": "small-v1", "small-v1": "small-v1", ".": "best", "./": "best", "..": "runs",
        str(tmp_path / "runs" / "best") + "/": "best", str(tmp_path / "current"): "current",
        str(snapshot): "small-v1", f"{snapshot}/": "small-v1", "/": "/",
    }  # fmt: skip
    assert {name: short_name(name) for name in names} == names


def test_a_folder_of_the_hubs_cache_is_refused_with_the_models_name(tmp_path: Path) -> None:
    (tmp_path / "models--acme--small" / "snapshots").mkdir(parents=True)
    error = refusal(name=str(tmp_path / "models--acme--small"))
    assert error.endswith("give the model's name: reranker.model=acme/small")
