"""``python -m evalkit plan``: the answer on the terminal, and as JSON."""

import json
import shutil
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.helpers.command_line import Finished, run_here, sentence


@pytest.fixture
def example(tmp_path: Path) -> Path:
    """The result.json of the packaged collection's example, without its folder."""
    return Path(shutil.copy(REPOSITORY / "reports/examples/dev/result.json", tmp_path / "result.json"))


def planned(example: Path, *arguments: str) -> Finished:
    return run_here("plan", example, *arguments, cwd=example.parent)


def test_the_answer_comes_first_with_its_interval(example: Path) -> None:
    found = planned(example, "--gain", "0.02")
    assert (found.returncode, found.stderr) == (0, "")
    assert found.stdout.startswith(
        "To see a gain of 0.02 nDCG@10 with 80 % power, it takes 391 queries (95 % interval 286 to 562).\n"
        "From 74 queries of dev/en: bm25 + packaged at fp32 against bm25"
    )
    rows = {line.split()[1]: line for line in found.stdout.splitlines() if line.startswith("│")}
    assert rows["msmarco_dl19"].split()[-2] == "no"
    assert rows["msmarco_dev_small"].split()[-2] == "yes"
    assert "slice.lang=ar,bn,en," in rows["miracl,"]
    assert "two-sided paired t test at 0.05" in found.stdout


def test_the_correction_is_named_where_there_are_several_comparisons(example: Path) -> None:
    found = planned(example, "--gain", "0.02", "--comparisons", "5")
    assert "in each of 5 comparisons, it takes 581 queries" in found.stdout
    assert "For 5 comparisons each is tested at 0.05 / 5: the Bonferroni bound. Holm's correction" in found.stdout
    assert "Bonferroni" not in planned(example, "--gain", "0.02").stdout


def test_judgments_at_the_rate_of_the_slice(example: Path) -> None:
    # 3,024 judgments of 74 queries; 3024 / 74 * 391 = 15,978.2.
    assert "40.9 judgments a query: 15,978 judgments at that rate" in planned(example, "--gain", "0.02").stdout


def test_as_json_it_is_the_whole_plan(example: Path) -> None:
    found = json.loads(planned(example, "--gain", "0.02", "--comparisons", "5", "--json").stdout)
    assert (found["one"]["queries"], found["corrected"]["queries"]) == (391, 581)
    assert found["target"] == {"gain": 0.02, "power": 0.8, "alpha": 0.05, "comparisons": 5}
    assert {one["choice"] for one in found["slices"]} >= {"dev", "miracl", "msmarco_dl19"}


def test_few_queries_are_noted(example: Path) -> None:
    assert "fewer than 20 queries" in planned(example, "--gain", "0.2").stdout
    assert "fewer than 20 queries" not in planned(example, "--gain", "0.05").stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "the following arguments are required: --gain"),
        (("--gain", "much"), "argument --gain: invalid float value"),
        (("--gain", "-0.1"), "--gain -0.1: give a difference above 0"),
        (("--gain", "0.02", "--measure", "R@20"), "no spread to plan from"),
    ],
)
def test_what_cannot_be_planned_is_one_sentence(example: Path, arguments: tuple[str, ...], message: str) -> None:
    found = planned(example, *arguments)
    assert found.returncode == 2
    assert message in sentence(found.stderr)
