"""What ``--help`` shows: commands, options, groups and choices, each with a description, on one page of plain text."""

import re
from functools import cache
from pathlib import Path

import pytest

from evalkit.boundary.errors import EvalkitError
from evalkit.cli import commands, help_text
from evalkit.cli.config import Config, conf_dir
from evalkit.cli.describe import GROUPS
from tests.conftest import compose


@cache
def page(config_dir: Path | None = None) -> list[str]:
    return list(help_text.lines(config_dir))


def test_every_choice_and_command_has_a_line_of_its_own() -> None:
    starts = {line.split()[0] for line in page() if line.startswith("  ")}
    assert starts >= {path.stem for path in conf_dir().glob("*/*.yaml")} - set(SIBLINGS)
    assert starts >= set(commands.COMMANDS)
    assert set(commands.COMMANDS) == {
        "compare", "history", "plan", "pick", "judges", "clicks", "gate", "baseline", "store", "slices", "convert",
        "info",
    }  # fmt: skip
    assert [line.split(":")[0] for line in page() if line.partition(":")[0] in GROUPS] == list(GROUPS)


SIBLINGS = {
    path.stem: family
    for family in ("beir_", "nano_beir_", "bright_")
    for path in (conf_dir() / "slice").glob(f"{family}*.yaml")
}
"""Slices that share a line with the others of their family -> the family."""


def test_slices_of_a_family_share_a_line() -> None:
    text = " ".join(" ".join(page()).split())
    assert "beir_... 14: arguana, climate_fever, cqadupstack, " in text
    for name, family in SIBLINGS.items():
        (line,) = re.findall(rf" {family}\.\.\. \d+: ([\w, ]+)", text)
        assert name.removeprefix(family) in re.split("[, ]+", line)


@pytest.mark.parametrize(
    "path",
    sorted(p for p in conf_dir().glob("*/*.yaml") if p.stem not in SIBLINGS),
    ids=lambda path: f"{path.parent.name}-{path.stem}",
)
def test_the_first_comment_of_a_choice_describes_it_in_one_line(path: Path) -> None:
    (line,) = [line for line in page() if line.split()[:1] == [path.stem] and comment(path) in line]
    assert len(line) > len(f"  {path.stem}  ") + 10
    assert not line.endswith("...")


def comment(path: Path) -> str:
    return next(line[2:] for line in path.read_text("utf-8").splitlines() if not line.startswith("# @package"))


def test_the_page_is_plain_text_of_100_columns_without_schemas() -> None:
    text = "\n".join(page())
    assert max(map(len, page())) <= 100
    assert text.isascii()
    assert "schema_" not in text


def test_the_default_of_a_group_is_named() -> None:
    assert "slice: queries, passages and relevance judgments (default: dev)" in page()
    assert "protocol: what is measured of time and memory, and for how long (default: quick)" in page()


def test_every_setting_on_the_page_exists() -> None:
    cfg = compose()
    for key in help_text.SETTINGS:
        group, _, name = key.rpartition(".")
        assert name in (cfg[group] if group and group != "slice" else compose("slice=irds").slice if group else cfg), (
            key
        )
    assert {key for key in help_text.SETTINGS if "." not in key} <= set(Config.__dataclass_fields__)


def test_choices_of_ones_own_are_listed_and_cannot_command_the_terminal(tmp_path: Path) -> None:
    (tmp_path / "slice").mkdir()
    (tmp_path / "slice" / "mine.yaml").write_text("# Support tickets\x1b[2J of 2025\ndefaults: [dev]\n", "utf-8")
    (line,) = [line for line in page(tmp_path) if line.startswith("  mine ")]
    assert line.endswith("Support tickets\ufffd[2J of 2025")
    with pytest.raises(EvalkitError, match=r"--config-dir .*nowhere: there is no such folder"):
        page(tmp_path / "nowhere")
