"""What the README tells people to type is what works."""

import re
import shlex
from typing import Any

import pytest
import yaml

from evalkit.results.gate.limits import CHECKS, Limits
from tests.conftest import REPOSITORY, compose

README = (REPOSITORY / "README.md").read_text("utf-8")


def commands() -> Any:
    """Every command line of the code blocks, continuation lines joined, comments cut off."""
    for block in re.findall(r"^```(?:sh|yaml)?\n(.*?)^```", README, re.MULTILINE | re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            found = re.search(r"python -m evalkit(.*)", line)
            if found:
                yield shlex.split(found[1], comments=True)


@pytest.mark.parametrize("arguments", [c for c in commands() if "=" in " ".join(c[:1])], ids=" ".join)
def test_a_command_of_the_readme_composes(arguments: Any) -> None:
    compose(*arguments)


def test_the_workflow_is_one_that_github_can_read() -> None:
    (text, *_) = re.findall(r"^```yaml\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    workflow = yaml.safe_load(text)
    steps = workflow["jobs"]["gate"]["steps"]
    assert any("python -m evalkit experiment=ci" in step.get("run", "") for step in steps)
    cached = next(step["with"]["path"] for step in steps if step.get("uses", "").startswith("actions/cache@"))
    assert cached.split() == ["~/.cache/huggingface", "~/.ir_datasets"]


def test_every_check_of_the_gate_is_explained() -> None:
    section = README.split("## In CI")[1].split("\n## ")[0]
    assert [name for name in CHECKS if name != "quality" and f"`{name}`" not in section] == []


def test_the_defaults_that_the_table_states_are_the_defaults() -> None:
    limits = Limits()
    stated = dict(re.findall(r"`gate\.(\w+(?:\.nDCG)?)` ([\d.]+)", README.split("## In CI")[1].split("\n## ")[0]))
    assert stated
    for name, value in stated.items():
        field, _, kind = name.partition(".")
        assert (getattr(limits, field)[kind] if kind else getattr(limits, field)) == float(value), name
