"""The pytest plugin: a test fails where a trial is worse than its baseline, and nothing changes for other tests."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

import evalkit
from evalkit.api import pytest_plugin
from evalkit.api.pytest_plugin import ACCEPT, UPDATE
from evalkit.slices import packaged
from tests.conftest import REPOSITORY, slow

pytest_plugins = ["pytester"]

INSTALLED = any(point.name == "evalkit" for point in entry_points(group="pytest11"))
"""Whether pytest loads the plugin by itself, which an installation from before there was one does not make it do."""
NAME = "evalkit" if INSTALLED else pytest_plugin.__name__
PLAIN = ("-p", "no:cacheprovider", "-p", "no:hypothesispytest")
"""Without what imports hypothesis anew in each run."""
DATA = packaged.load(queries=12)
Run = Callable[..., pytest.RunResult]


def trial(folder: Path, sign: float) -> Path:
    """Leave a trial in `folder` whose reranker orders by the judgments (`sign` 1), or the other way round (-1)."""
    query_ids = {text: query_id for query_id, text in DATA.queries.items()}
    doc_ids = {text: doc_id for doc_id, text in DATA.docs.items()}

    def judged(query: str, texts: Sequence[str]) -> list[float]:
        grades = DATA.qrels[query_ids[query]]
        return [sign * grades.get(doc_ids[text], 0) + 0.001 * number for number, text in enumerate(texts)]

    found = evalkit.evaluate(
        DATA.queries, DATA.docs, DATA.qrels,
        reranker=judged, depth=10, overrides=["protocol=quick", "protocol.latency_queries=2", "blend=none"],
    )  # fmt: skip
    found.folder.rename(folder)
    return folder


@pytest.fixture(scope="module")
def trials(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A trial that is good, and one that is bad and below its own first stage."""
    place = tmp_path_factory.mktemp("trials")
    return {"good": trial(place / "good", 1.0), "bad": trial(place / "bad", -1.0)}


@pytest.fixture(scope="module")
def trusted(trials: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The baseline of the good trial."""
    return evalkit.write_baseline(trials["good"], tmp_path_factory.mktemp("baselines") / "good.json")


@pytest.fixture
def run(pytester: pytest.Pytester, trials: dict[str, Path], trusted: Path) -> Run:
    """Runs pytest in a folder of its own, where `test_bge` judges the named trial by the baseline of the good one."""
    plugins = [] if INSTALLED else [pytest_plugin]
    (pytester.path / BASELINE.parent).mkdir(parents=True)
    shutil.copy(trusted, pytester.path / BASELINE)

    def with_pytest(which: str, *arguments: str, body: str = "evalkit_gate.assert_not_worse(trial)") -> Any:
        source = f"import evalkit\n\ndef test_bge(evalkit_gate):\n    trial = evalkit.load({str(trials[which])!r})\n"
        pytester.makepyfile(test_ranking=f"{source}    {body}\n")
        return pytester.runpytest_inprocess(*PLAIN, "--strict-markers", *arguments, plugins=plugins)

    return with_pytest


BASELINE = Path("baselines", "test_ranking", "test_bge.json")


def test_a_trial_as_good_as_its_baseline_passes_and_has_a_line_at_the_end(run: Run) -> None:
    judged = run("good")
    judged.assert_outcomes(passed=1)
    judged.stdout.fnmatch_lines(["=* evalkit *=", "test_ranking.py::test_bge: The gate holds: nDCG@10 *(+0.0000); *"])


def test_a_worse_trial_fails_the_test_with_its_checks_and_losses_and_no_code_of_evalkit(run: Run) -> None:
    failed = run("bad")
    failed.assert_outcomes(failed=1)
    failed.stdout.fnmatch_lines([
        ">       evalkit_gate.assert_not_worse(trial)",
        "E       AssertionError: The gate fails: 4 of 17 checks: above_first_stage, nDCG@10, RR@10, AP@100.",
        "E       FAILED nDCG@10: fell 0.*: a drop is shown (p 0.*",
        "E       queries that lost most:",
        "E         en-*-q*: '*', nDCG@10 * -> 0.*",
        "E             rank 1 -> *, grade 3, en-*",
        f"E       against {BASELINE}; to accept this, write it anew: pytest {UPDATE} test_ranking.py::test_bge",
        "=* evalkit *=",
        "test_ranking.py::test_bge: The gate fails: *",
    ])  # fmt: skip
    assert "evalkit/api/" not in failed.stdout.str()


def test_a_missing_baseline_fails_the_test_and_is_written_on_request_only(run: Run, pytester: pytest.Pytester) -> None:
    trusted = (pytester.path / BASELINE).read_bytes()
    (pytester.path / BASELINE).unlink()
    failed = run("good")
    failed.assert_outcomes(failed=1)
    failed.stdout.fnmatch_lines([
        f"E       evalkit.EvalkitError: there is no baseline at {BASELINE}; if you trust this trial, pytest "
        f"{UPDATE} writes it, and then commit it"
    ])  # fmt: skip
    assert "judging.py" not in failed.stdout.str()
    assert not (pytester.path / BASELINE).exists()
    written = run("good", UPDATE)
    written.assert_outcomes(passed=1)
    written.stdout.fnmatch_lines([f"test_ranking.py::test_bge: wrote {BASELINE}: own data, 12 queries, nDCG@10 0.*"])
    assert (pytester.path / BASELINE).read_bytes() == trusted


def test_a_trial_that_fails_its_own_gate_replaces_a_baseline_with_the_limits_it_needs_on_request_only(
    run: Run, pytester: pytest.Pytester
) -> None:
    refused = run("bad", UPDATE)
    refused.assert_outcomes(failed=1)
    refused.stdout.fnmatch_lines([f"*fails its own gate with nothing changed*; {ACCEPT} writes the limits *"])
    assert "limits" not in json.loads((pytester.path / BASELINE).read_text("utf-8"))
    written = run("bad", UPDATE, ACCEPT)
    written.assert_outcomes(passed=1)
    written.stdout.fnmatch_lines([f"*::test_bge: updated {BASELINE}: nDCG@10 0.* -> 0.*, 12 of 12 queries changed"])
    assert json.loads((pytester.path / BASELINE).read_text("utf-8"))["limits"]["max_below_first_stage"] > 0
    alone = run("bad", ACCEPT)
    assert alone.ret == pytest.ExitCode.USAGE_ERROR
    alone.stderr.fnmatch_lines([f"ERROR: {ACCEPT} has no effect without {UPDATE}"])


def test_a_baseline_that_is_named_lies_relative_to_the_folder_of_the_test(run: Run, pytester: pytest.Pytester) -> None:
    (pytester.path / BASELINE).rename(pytester.path / "mine.json")
    named = 'evalkit_gate.assert_not_worse(trial, baseline="mine.json", overrides=["gate.tolerance.nDCG=0.5"])'
    run("good", f"--rootdir={pytester.path.parent}", body=named).assert_outcomes(passed=1)


def test_a_limit_that_makes_no_sense_is_one_sentence(run: Run) -> None:
    failed = run("good", body='evalkit_gate.assert_not_worse(trial, overrides=["gate.tolerance.nDCG=-1"])')
    failed.stdout.fnmatch_lines(["E *EvalkitError: gate.tolerance.nDCG=-1.0: a limit is a number from 0 up*"])


def test_a_gate_can_be_asked_without_failing_the_test(run: Run) -> None:
    run("bad", body="assert not evalkit_gate(trial).holds").assert_outcomes(passed=1)


def test_two_gates_do_not_write_one_file(run: Run) -> None:
    refused = run("good", UPDATE, body="evalkit_gate(trial); evalkit_gate(trial)")
    refused.stdout.fnmatch_lines([f"E *{BASELINE} was written by test_ranking.py::test_bge already; give each *"])


def test_the_name_of_a_baseline_has_the_class_and_the_parameters_of_the_test(
    run: Run, trials: dict[str, Path], pytester: pytest.Pytester
) -> None:
    pytester.makepyfile(
        test_more=f"""
        import pytest

        class TestFirst:
            @pytest.mark.parametrize("model", ["BAAI/bge m3"])
            def test_one(self, model, evalkit_gate):
                evalkit_gate.assert_not_worse({str(trials["good"])!r})
    """
    )
    named = "baselines/test_more/TestFirst.test_one-BAAI-bge-m3.json"
    run("good", "test_more.py").stdout.fnmatch_lines([f"E *there is no baseline at {named}; *"])


def test_tests_with_the_fixture_are_marked_and_others_are_left_alone(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_other="def test_other(request):\n    assert not list(request.node.iter_markers())\n")
    unmarked = run("good", "-m", "not evalkit")
    unmarked.assert_outcomes(passed=1, deselected=1)
    assert " evalkit " not in unmarked.stdout.str().replace("not evalkit", "")
    run("good", "--markers").stdout.fnmatch_lines(["@pytest.mark.evalkit: compares a trial with a baseline*"])


def test_without_the_plugin_other_tests_run_as_before(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_other="def test_other():\n    pass\n")
    off = run("good", "-p", f"no:{NAME}")
    off.assert_outcomes(passed=1, errors=1)
    off.stdout.fnmatch_lines(["E       fixture 'evalkit_gate' not found"])


def test_junit_has_the_measures_before_and_after_and_the_time_of_a_query(run: Run, trials: dict[str, Path]) -> None:
    run("bad", "--junitxml=junit.xml")
    found = [(one.get("name"), one.get("value")) for one in ElementTree.parse("junit.xml").iter("property")]
    facts = dict(found)
    assert len(facts) == len(found)
    mean = {which: evalkit.load(folder).result.effectiveness.reranked.mean for which, folder in trials.items()}
    before, after = mean["good"]["nDCG@10"], mean["bad"]["nDCG@10"]
    assert facts["evalkit_nDCG@10_before"] == f"{before:.6f}"
    assert facts["evalkit_nDCG@10_after"] == f"{after:.6f}"
    assert float(facts["evalkit_nDCG@10_delta"] or 0) == pytest.approx(after - before, abs=2e-6)
    assert float(facts["evalkit_p50_ms"] or 0) > 0
    assert (facts["evalkit_outcome"], facts["evalkit_baseline"]) == ("fails", str(BASELINE))
    assert str(facts["evalkit_verdict"]).startswith("The gate fails: ")


def test_the_test_suite_of_the_page_writes_its_baseline_and_passes(run: Run, pytester: pytest.Pytester) -> None:
    page = (REPOSITORY / "docs" / "ci.md").read_text("utf-8")
    source = page.split("```python\n")[1].split("```")[0]
    large = 'reranker="packaged", depth=20'
    small = 'reranker=None, depth=2, protocol="none", overrides=["slice.queries=2", "blend=none"]'
    assert large in source
    pytester.makepyfile(test_page=source.replace(large, small))  # no torch: it cannot be imported twice
    written = run("good", "test_page.py", UPDATE, ACCEPT)
    written.assert_outcomes(passed=1)
    assert (pytester.path / "baselines/test_page/test_reranking_is_not_worse.json").exists()


@slow
def test_a_line_for_each_gate_comes_back_from_the_workers_of_xdist(
    run: Run, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("good")
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    plugin = () if INSTALLED else ("-p", pytest_plugin.__name__)
    found = pytester.runpytest_subprocess(*plugin, *PLAIN, "-n", "1")
    found.stdout.fnmatch_lines(["test_ranking.py::test_bge: The gate holds: nDCG@10 *"])


def test_the_plugin_is_an_entry_point_and_brings_in_nothing_that_takes_time() -> None:
    import tomllib

    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["entry-points"]["pytest11"] == {"evalkit": pytest_plugin.__name__}
    program = (
        "import json, sys, pytest; before = set(sys.modules); import evalkit.api.pytest_plugin\n"
        "print(json.dumps(sorted(set(sys.modules) - before - set(sys.stdlib_module_names))))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=REPOSITORY)
    assert json.loads(done.stdout) == [
        "evalkit", "evalkit.api", "evalkit.api.pytest_plugin", "evalkit.boundary", "evalkit.boundary.errors"
    ]  # fmt: skip
