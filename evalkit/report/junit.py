"""The gate's verdict as JUnit XML, which every CI server reads: one test case a check."""

import re
from pathlib import Path
from xml.etree import ElementTree

from evalkit.boundary.errors import EvalkitError
from evalkit.report.content import gate as words
from evalkit.results.gate.verdict import Verdict

_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 cannot represent, not even escaped."""


def dump(verdict: Verdict) -> str:
    """Return the document; a check without a limit, or skipped on request, is a skipped test case.

    JUnit has no warnings: an undecided check passes, with an output that begins with "undecided".
    """
    states = [check.state for check in verdict.checks]
    counts = {
        "tests": str(len(states)),
        "failures": str(states.count("failed")),
        "errors": "0",
        "skipped": str(states.count("skipped") + states.count("no limit")),
    }
    root = ElementTree.Element("testsuites", counts)
    suite = ElementTree.SubElement(root, "testsuite", {"name": "evalkit gate", **counts})
    for check in verdict.checks:
        case = ElementTree.SubElement(suite, "testcase", {"classname": "evalkit.gate", "name": _xml(check.name)})
        message = _xml(words.alone(check))
        if check.state == "failed":
            ElementTree.SubElement(case, "failure", {"message": message, "type": "regression"}).text = message
        elif check.state in ("passed", "undecided"):
            ElementTree.SubElement(case, "system-out").text = message
        else:
            ElementTree.SubElement(case, "skipped", {"message": f"{check.state}: {message}"})
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def write(verdict: Verdict, path: Path) -> None:
    """Write the document.

    Args:
        verdict: the outcome of the gate.
        path: path of the file; missing folders are created.

    Raises:
        EvalkitError: it cannot be written there.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dump(verdict), encoding="utf-8")
    except (OSError, ValueError) as error:
        raise EvalkitError(
            f"cannot write {path}: {getattr(error, 'strerror', None) or error}; name another file as junit"
        ) from None


def _xml(text: str) -> str:
    return _NOT_XML.sub("\ufffd", text)
