"""What looks like a secret is in no file that a run writes, and what looks like none stays as it is."""

import json
import string
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from evalkit.boundary import redaction
from evalkit.results.provenance import command_line
from tests.helpers.command_line import run_evalkit, run_here

LETTERS = string.ascii_letters + string.digits
SECRETS = {
    "hf": "hf_" + "aB3dE6gH9" * 3,
    "openai": "sk-proj-" + "aB3dE6gH9" * 4,
    "aws": "AKIA" + "ABCDEFGH12345678",
    "github": "ghp_" + "aB3dE6gH9" * 4,
    "jwt": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJl",
    "url": "user:pass-w0rd@",
}


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redaction, "known_secrets", set())


@pytest.mark.parametrize("secret", SECRETS.values(), ids=SECRETS)
def test_a_secret_is_known_by_its_form_wherever_it_stands(secret: Any) -> None:
    text = f"cannot read https://{secret}host/x" if secret.endswith("@") else f"no model '{secret}', nor {secret}."
    found = redaction.settings({"a": [{"model": text}], text: 1})
    assert secret not in json.dumps(found)
    assert "REDACTED" in found["a"][0]["model"]
    assert secret not in redaction.text(text)
    assert secret not in redaction.command([f"reranker.model={text}"])[0]


@pytest.mark.parametrize(
    "name",
    ["token", "hf_token", "apiKey", "api_key", "api-key", "password", "db_password", "secret", "client_secret",
     "authorization", "Authorization", "credentials", "aws_secret_access_key", "AWS_ACCESS_KEY_ID", "+reranker.token"],
)  # fmt: skip
@given(value=st.text(LETTERS + "/+=-_.", min_size=8, max_size=40).filter(lambda value: value not in "REDACTED"))
def test_a_secret_is_known_by_its_name_and_then_wherever_it_is_repeated(name: Any, value: Any) -> None:
    assume(value not in name)
    settings = {"reranker": {name: value, "nested": [{name: [value]}]}, "echo": f"no such key: {value}!"}
    redaction.add_secrets(settings)
    written = json.dumps(redaction.settings(settings))
    assert value not in written
    assert value not in redaction.text(f"ValueError: {value} is not valid")
    assert value not in " ".join(redaction.command([f"{name}={value}", f"x={{{name}:{value.replace('=', '')}}}"]))
    redaction.known_secrets.clear()


@pytest.mark.parametrize(
    "name", ["batch_tokens", "tokenizer", "max_tokens", "tokens_per_doc", "key", "monkey", "author", "passage", "keys"]
)
def test_a_name_that_only_resembles_that_of_a_secret_is_not_redacted(name: Any) -> None:
    assert redaction.settings({name: "value"}) == {name: "value"}
    assert redaction.command([f"{name}=value"]) == [f"{name}=value"]


@pytest.mark.parametrize(
    "value",
    ["BAAI/bge-reranker-v2-m3", "msmarco-passage/trec-dl-2019/judged", "/home/me/hf_models/sk-cache", "ray://head:10001",
     "https://host:8080/path", "a@b", "disk-image-with-a-long-name-1", "sk", "eyJ", "nDCG@10", "basic", "C:\\Users\\me",
     "cross-encoder/ms-marco-MiniLM-L6-v2", "0123456789abcdef0123456789abcdef01234567", 17, None, True, 0.5],
)  # fmt: skip
def test_what_is_no_secret_stays_as_it_is(value: Any) -> None:
    assert redaction.settings({"model": value, "list": [value]}) == {"model": value, "list": [value]}


def test_the_secrets_of_the_environment_are_known() -> None:
    redaction.add_secrets_of_environment(
        {"HF_TOKEN": "planted-in-env", "TOKEN_PATH": "/x", "PWD": "/home/here", "A_TOKEN": "x"}
    )
    assert redaction.text("name=planted-in-env in /home/here x") == "name=REDACTED in /home/here x"


def test_the_variable_that_key_env_names_has_a_secret_whatever_its_own_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_ENTRY", "kestrel-9f2c")
    redaction.add_secrets({"reranker": {"key_env": "MY_ENTRY", "model": "m"}})
    assert redaction.text("Bearer: kestrel-9f2c of MY_ENTRY") == "Bearer: REDACTED of MY_ENTRY"


@pytest.mark.parametrize("key", ["jina_0123456789abcdef", "kestrel-9f2c", SECRETS["aws"]])
def test_a_key_in_place_of_the_name_of_its_variable_is_a_secret(key: str) -> None:
    assert not redaction.is_variable(key)
    redaction.add_secrets({"key_env": key})
    assert key not in json.dumps(redaction.settings({"key_env": key, "command": [f"reranker.key_env={key}"]}))


def test_the_recorded_command_has_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["evalkit", "+reranker.token='abc def'", "depth=5", "slice={a:1,password:hunter2}"])
    assert redaction.command(command_line()) == [
        "evalkit", "+reranker.token=REDACTED", "depth=5", "slice={a:1,password:REDACTED}"
    ]  # fmt: skip


def runs(folder: Path) -> list[str]:
    return ["slice=beir", f"slice.path={folder}", "first_stage=trec_run", "reranker=trec_run", "depth=3",
            f"first_stage.path={folder}/first.trec", f"reranker.path={folder}/reranked.trec"]  # fmt: skip


PLANTED = [
    "plantedByName77",
    *(value for name, value in SECRETS.items() if name != "url"),
    "pass-w0rd",
    "plantedInEnv88",
]


def planted_in(folder: Path) -> dict[str, list[str]]:
    found = {}
    for path in folder.rglob("*"):
        if path.is_file() and (there := [one for one in PLANTED if one.encode() in path.read_bytes()]):
            found[str(path.relative_to(folder))] = there
    return found


@pytest.mark.parametrize("sweep", [[], ["--multirun", "protocol.seed=1,2"]], ids=["trial", "sweep"])
def test_no_file_of_a_run_has_a_secret_of_its_settings(beir_folder: Any, tmp_path: Path, sweep: Any) -> None:
    where = tmp_path / "cwd"
    where.mkdir()
    names = ["first_stage.name=" + SECRETS["hf"], "reranker.name=" + SECRETS["openai"], f"slice.name={SECRETS['jwt']}",
             f"reranker.path={beir_folder}/reranked.trec", "+slice.reference=[]", "+measures.token=plantedByName77",
             f"gate.baseline={SECRETS['aws']}", "executor.name=plantedInEnv88",
             "first_stage_cache='https://user:pass-w0rd@host/x'", f"reranker.name={SECRETS['github']}"]  # fmt: skip
    run = run_here if sweep else run_evalkit
    done = run(*sweep, *runs(beir_folder), *names[:3], *names[5:], "out_dir=out", cwd=where,
               MY_TOKEN="plantedInEnv88")  # fmt: skip
    assert planted_in(where) == {}
    assert not [one for one in PLANTED if one in done.stdout + done.stderr]
    assert list(where.rglob("config.yaml"))
    assert list(where.rglob("result.json"))


def test_the_result_of_a_run_that_failed_has_no_secret_either(beir_folder: Any, tmp_path: Path) -> None:
    where = tmp_path / "cwd"
    where.mkdir()
    done = run_here(
        *runs(beir_folder),
        "+reranker.api_key=plantedByName77",
        f"slice.split={SECRETS['hf']}",
        "out_dir=out",
        cwd=where,
    )
    assert done.returncode == 2
    assert json.loads((where / "out" / "result.json").read_text("utf-8"))["status"] == "failed"
    assert planted_in(where) == {}
    assert not [one for one in PLANTED if one in done.stdout + done.stderr]
