"""The part of gpu.py that runs the tests marked gpu: how many passed, and which failed with what message."""

import importlib.util
import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from gpu_parts import Found, Plan

from evalkit.boundary.errors import EvalkitError

CHECKOUT = Path(__file__).parents[1]
LIMIT_S = 180
_MESSAGE_CHARACTERS = 2000


def tests(plan: Plan) -> Found:
    """Run the tests marked gpu in a fresh process; where there is no GPU they skip themselves.

    Raises:
        EvalkitError: pytest is not installed, or did not finish in time.
    """
    if importlib.util.find_spec("pytest") is None:
        raise EvalkitError("pytest is not installed; pip install 'evalkit-rerank[test]' brings it")
    marked = [path for path in sorted((CHECKOUT / "tests").rglob("test_*.py")) if "mark.gpu" in path.read_text("utf-8")]
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-m", "gpu", "-q", "-p", "no:cacheprovider", f"--junitxml={report}",
                   "--continue-on-collection-errors", *map(str, marked)]  # fmt: skip
        alone = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}  # the machine's plugins may lack what they import
        try:
            done = subprocess.run(
                command, cwd=CHECKOUT, env=alone, capture_output=True, text=True, timeout=LIMIT_S, check=False
            )
        except subprocess.TimeoutExpired:
            raise EvalkitError(f"the tests marked gpu did not finish in {LIMIT_S} s") from None
        if not report.exists():
            raise EvalkitError(
                f"pytest ended with code {done.returncode}: {(done.stdout + done.stderr).strip()[-500:]}"
            )
        return counted(report.read_text("utf-8"))


def counted(junit: str) -> Found:
    """Return from JUnit XML how many tests passed, and name -> message of those that failed or were skipped."""
    found: Found = {"passed": 0, "failed": {}, "skipped": {}}
    for case in ElementTree.fromstring(junit).iter("testcase"):
        name = f"{case.get('classname') or ''}.{case.get('name')}".strip(".")
        outcome = next((child for child in case if child.tag in {"failure", "error", "skipped"}), None)
        if outcome is None:
            found["passed"] += 1
        elif outcome.tag == "skipped":
            found["skipped"][name] = outcome.get("message", "")
        else:
            whole = f"{outcome.get('message', '')}\n{outcome.text or ''}".strip()
            found["failed"][name] = whole[:_MESSAGE_CHARACTERS]
    return found
