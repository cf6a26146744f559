"""A value with characters that have a meaning for Hydra or the shell: the message has the command line that works."""

import json
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from evalkit.cli import hydra_limits, quoting
from tests.cli.test_hostile_configs import Refused, refused  # noqa: F401 - a fixture
from tests.helpers.command_line import run_here

PATHS = ["/tmp/é=([&/x", "/a,b", "/it's", '/say "x"', "C:\\a b\\(x)", "/a{b}", "{a}", "[x]", "~/x", "/日本", "/a#b;c!d",
         "/a${b}", "/${x", "/a'b\"c", "/a<b>`c`", "/ a =b"]  # fmt: skip


def suggested(message: str) -> str:
    """Return the argument that a message recommends, as the shell passes it on."""
    found = re.search(r".*(?:some of its characters have a meaning: | write )(.*)$", message)
    assert found, message
    (argument,) = shlex.split(found[1])
    return argument


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("key", ["slice.path", "out_dir"])
def test_the_message_has_the_command_line_that_works(refused: Refused, key: Any, path: Any) -> None:  # noqa: F811
    error = refused("slice=beir", *(["slice.path=/x"] if key != "slice.path" else []), f"{key}={path}")
    if error.startswith(("there is no", "cannot read /")) or "cannot write" in error:
        pytest.skip("it is taken as it is")
    argument = suggested(error)
    assert argument.startswith(f"{key}=")
    assert hydra_limits.read_value(argument) == path


def test_the_argument_that_the_message_recommends_does_what_was_meant(beir_folder: Any, tmp_path: Path) -> None:
    """As a shell hands it on, into a folder of that name."""
    odd = tmp_path / "é=([&, it's ${x}"
    beir_folder.rename(odd)
    first = ["slice=beir", "first_stage=trec_run", "reranker=trec_run", "depth=3"]
    paths = [f"slice.path={odd}", f"first_stage.path={odd}/first.trec", f"reranker.path={odd}/reranked.trec",
             f"out_dir={tmp_path}/out é=([&, it's"]  # fmt: skip
    typed = [quoting.as_one_text(one, hydra_limits.read_value) or "" for one in paths]
    printed = run_here(*first, *paths, cwd=tmp_path).stderr
    assert typed[0] in printed
    assert all(typed)
    shell = ["sh", "-c", " ".join(["printf '%s\\0'", *typed])]
    handed_on = subprocess.run(shell, capture_output=True, text=True, check=True).stdout.split("\0")[:-1]
    done = run_here(*first, *handed_on, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    out = tmp_path / "out é=([&, it's"
    assert json.loads((out / "result.json").read_text("utf-8"))["asked"]["slice"]["path"] == str(odd)
    saved: Any = OmegaConf.to_container(OmegaConf.load(out / "config.yaml"), resolve=True)
    assert saved["slice"]["path"] == str(odd)


def test_a_folder_for_results_that_hydra_cannot_have_is_refused(refused: Refused) -> None:  # noqa: F811
    assert refused("out_dir='/tmp/\\${x}'").startswith("out_dir=/tmp/${x}: Hydra cannot write to a folder with ${")


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=30))
def test_any_text_can_be_written(value: Any) -> None:
    typed = quoting.as_one_text(f"slice.path={value}", hydra_limits.read_value)
    if typed is not None:
        (argument,) = shlex.split(typed)
        assert hydra_limits.read_value(argument) == value


@pytest.mark.parametrize("value", [*PATHS, "/a\\", "\\\\server\\share", ""])
def test_every_path_of_these_can_be_written(value: Any) -> None:
    assert quoting.as_one_text(f"slice.path={value}", hydra_limits.read_value) is not None


@pytest.mark.parametrize("argument", ["quickcheck", "depth 5", "=x", "a b=c"])
def test_what_is_no_setting_cannot_be_quoted(argument: Any) -> None:
    assert quoting.as_one_text(argument, hydra_limits.read_value) is None


def test_an_option_between_the_settings_is_refused_with_the_right_position(refused: Refused) -> None:  # noqa: F811
    assert refused("depth=1", "--multirun", "slice.lang=en,zh").startswith(
        "slice.lang=en,zh: options such as --multirun"
    )
