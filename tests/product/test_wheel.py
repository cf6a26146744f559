"""What is built is what was tested: the wheel holds code, configuration and data, and runs without the checkout."""

import importlib.util
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

import evalkit
from evalkit.cli.config import conf_dir
from tests.conftest import REPOSITORY

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not all(map(importlib.util.find_spec, ("build", "hatchling", "pip"))),
        reason="building a wheel without a network needs build, hatchling and pip in the environment",
    ),
]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(REPOSITORY)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--quiet", "--target", str(folder)]
    subprocess.run([*command, str(wheel)], check=True, capture_output=True, timeout=300)
    return folder


def run(installed: Path, cwd: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a command with the wheel's code before everything else, as an installation would."""
    environment = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"}
    environment["PYTHONPATH"] = str(installed)
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment, timeout=600)


def test_a_wheel_holds_all_of_the_package_its_configuration_and_its_data(wheel: Any) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert wheel.name == f"evalkit_rerank-{evalkit.__version__}-py3-none-any.whl"
    package = REPOSITORY / "evalkit"
    code = {f"evalkit/{path.relative_to(package)}" for path in package.rglob("*.py")}
    conf = {f"evalkit/conf/{path.relative_to(conf_dir())}" for path in conf_dir().rglob("*.yaml")}
    assert len(code) > 30
    assert len(conf) > 30
    assert code | conf | {"evalkit/py.typed"} <= names
    for lang in ("en", "zh"):
        assert {
            f"evalkit/slices/dev/{lang}/{name}" for name in ("corpus.jsonl", "queries.jsonl", "qrels/dev.tsv")
        } <= names
    reranker = {f"evalkit/rerankers/packaged/{name}" for name in ("config.json", "tokenizer.json", "model.safetensors")}
    assert reranker <= names


def test_a_wheel_holds_nothing_else(wheel: Any) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names} == {"evalkit", f"evalkit_rerank-{evalkit.__version__}.dist-info"}
    assert not [name for name in names if "__pycache__" in name or "/tests/" in name]


def test_the_code_in_use_is_the_wheels(installed: Any, tmp_path: Path) -> None:
    program = "import evalkit.cli.config; print(evalkit.__file__, evalkit.cli.config.conf_dir(), sep='\\n')"
    done = run(installed, tmp_path, sys.executable, "-c", program)
    assert done.stdout.splitlines() == [str(installed / "evalkit" / name) for name in ("__init__.py", "conf")]


def test_the_installed_default_runs_from_anywhere(installed: Any, tmp_path: Path) -> None:
    quick = ("slice.queries=3", "depth=5", "protocol=none")
    done = run(installed, tmp_path, sys.executable, "-m", "evalkit", *quick, "out_dir=out")
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "out" / "result.json").read_text("utf-8"))
    assert result["status"] == "finished"
    assert result["effective"]["reranker"]["model"] == "packaged"
    assert result["effective"]["slice"]["queries"] == 3
    assert result["provenance"]["evalkit"] == {"version": evalkit.__version__, "commit": None, "dirty": None}


def test_the_console_script_is_the_module(installed: Any, tmp_path: Path) -> None:
    script = run(installed, tmp_path, str(installed / "bin" / "evalkit"), "--cfg", "job", "name=x", "out_dir=y")
    module = run(installed, tmp_path, sys.executable, "-m", "evalkit", "--cfg", "job", "name=x", "out_dir=y")
    assert script.returncode == module.returncode == 0
    assert script.stdout == module.stdout
    assert "depth: 20" in script.stdout


def test_a_users_own_choices_are_found_as_well_as_the_packaged_ones(installed: Any, tmp_path: Path) -> None:
    (tmp_path / "mine" / "experiment").mkdir(parents=True)
    (tmp_path / "mine" / "experiment" / "mine.yaml").write_text("# @package _global_\nname: mine\ndepth: 7\n", "utf-8")
    arguments = ["--config-dir", "mine", "experiment=mine", "--cfg", "job"]
    done = run(installed, tmp_path, sys.executable, "-m", "evalkit", *arguments)
    assert done.returncode == 0, done.stderr
    assert "depth: 7" in done.stdout
    assert "_target_: evalkit.first_stage.bm25.BM25" in done.stdout
