"""Finished runs are logged to MLflow and Trackio by their own clients; the suite needs neither."""

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from evalkit.boundary.errors import EvalkitError
from evalkit.results.history import tracking
from tests.helpers.history import entry


def test_names_are_those_that_mlflow_accepts() -> None:
    found = tracking.metrics(entry())
    assert found == {
        "nDCG_at_10": 0.7, "RR_rel_2__at_10": 0.6, "first_stage/nDCG_at_10": 0.5, "first_stage/RR_rel_2__at_10": 0.4,
        "delta/nDCG_at_10": 0.2, "p50_ms": 174.25, "peak_mib": 722.5,
    }  # fmt: skip
    assert tracking.facts(entry())["reranker.max_length"] == 256
    alone = entry(reranker=None, delta=None, p50_ms=None)
    assert not {"delta/nDCG_at_10", "p50_ms"} & tracking.metrics(alone).keys()
    assert "reranker" not in tracking.facts(alone)


def test_a_tracker_that_there_is_not_is_refused() -> None:
    tracking.check("none")
    with pytest.raises(EvalkitError, match="tracking=mlfow: there is no such tracker; did you mean mlflow"):
        tracking.check("mlfow")


@pytest.mark.parametrize("name", ["mlflow", "trackio"])
def test_a_package_that_is_not_installed_is_named_with_its_extra(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(EvalkitError, match=rf"tracking={name} needs .* pip install 'evalkit-rerank\[{name}\]'"):
        tracking.check(name)


@pytest.mark.filterwarnings("ignore")
def test_mlflow_has_the_figures_the_setting_and_the_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("mlflow", reason="mlflow is not installed: pip install 'evalkit-rerank[mlflow]'")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "runs").as_uri())
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME", raising=False)
    (tmp_path / "report.html").write_text("<p>")
    for after in (0.7, 0.8):
        tracking.log(entry(str(tmp_path), after=after), "mlflow")
    assert capsys.readouterr().out == ""
    (experiment,) = [one for one in (tmp_path / "runs").glob("*/meta.yaml") if "name: evalkit" in one.read_text()]
    runs = sorted(experiment.parent.glob("*/metrics/nDCG_at_10"), key=lambda one: one.stat().st_mtime_ns)
    assert [one.read_text().split()[1] for one in runs] == ["0.7", "0.8"]
    run = runs[0].parents[1]
    assert (run / "params" / "precision").read_text() == "fp32"
    assert (run / "tags" / "evalkit.commit").read_text() == entry().commit
    assert (run / "artifacts" / "report.html").exists()


@pytest.mark.filterwarnings("ignore")
def test_a_tracking_server_that_cannot_be_used_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mlflow", reason="mlflow is not installed: pip install 'evalkit-rerank[mlflow]'")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "gopher://nowhere")
    with pytest.raises(EvalkitError, match=r"tracking=mlflow: .*gopher"):
        tracking.log(entry(), "mlflow")


@pytest.mark.filterwarnings("ignore")
def test_trackio_has_the_figures_and_the_setting(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("trackio", reason="trackio is not installed: pip install 'evalkit-rerank[trackio]'")
    program = (
        "from tests.helpers.history import entry; from evalkit.results.history import tracking; "
        "[tracking.log(entry(after=after, ended=str(after)), 'trackio') for after in (0.7, 0.8)]"
    )
    environment = os.environ | {"TRACKIO_DIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout == ""
    with sqlite3.connect(tmp_path / "evalkit.db") as connection:
        rows = connection.execute("SELECT run_name, metrics FROM metrics ORDER BY run_name").fetchall()
    connection.close()
    assert [name for name, _ in rows] == ["dev 0.7", "dev 0.8"]
    assert '"nDCG_at_10":0.8' in str(rows[1][1]).replace(" ", "")
