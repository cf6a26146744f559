"""The package is installed as evalkit-rerank: evalkit on the index is somebody else's, and nothing advises it."""

import ast
import re
import sys
import tomllib
from typing import Any

from tests.conftest import REPOSITORY

PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"]
FOLDERS = ("evalkit", "conf", "docs", "benchmarks", "tools", "tests", ".ci")
SUFFIXES = {".py", ".md", ".yaml", ".yml", ".toml", ".txt", ".svg", ".sh", ""}
TEXTS = {
    path.relative_to(REPOSITORY): path.read_text("utf-8")
    for path in [*REPOSITORY.iterdir(), *(p for name in FOLDERS for p in (REPOSITORY / name).rglob("*"))]
    if path.is_file() and path.suffix in SUFFIXES and path.name not in (".git", "test_distribution.py")
}


def advised(text: Any) -> Any:
    """Return the words after each ``pip install``, options left out: requirements, and what follows them in prose."""
    for command in re.findall(r"pip install((?: +(?:--?[\w-]+|'[^']+'|[\w.\[\],-]+))+)", text.replace("\\[", "[")):
        for word in command.split():
            if not word.startswith("-"):
                yield word.strip("'")


def test_what_is_advised_is_read_off_a_text() -> None:
    text = "use pip install 'evalkit[ray]' or `pip install -c x.txt -e '.[test]'`; pip install evalkit-rerank."
    assert list(advised(text)) == ["evalkit[ray]", "or", "x.txt", ".[test]", "evalkit-rerank."]


def test_the_distribution_is_not_the_strangers_and_the_import_stays() -> None:
    assert PROJECT["name"] == "evalkit-rerank"
    assert PROJECT["scripts"] == {"evalkit": "evalkit.__main__:main"}
    assert len(TEXTS) > 150


def test_no_message_and_no_document_advises_the_strangers_package() -> None:
    wrong = {
        str(path): word
        for path, text in TEXTS.items()
        for word in advised(text)
        if re.fullmatch(r"evalkit(\[.*)?[.,]*", word)
    }
    assert wrong == {}
    assert [str(path) for path, text in TEXTS.items() if re.search(r"\bevalkit\\?\[[\w-]+\]", text)] == []


def test_an_extra_that_is_advised_is_one_that_there_is() -> None:
    found = {
        extra
        for text in TEXTS.values()
        for word in advised(text)
        for extra in re.findall(r"^(?:evalkit-rerank|\.)\[([\w-]+)\]", word)
    }
    assert {"ray", "gpu", "benchmark", "nano-beir"} <= found <= PROJECT["optional-dependencies"].keys()


def test_no_code_asks_the_installation_for_evalkits_version() -> None:
    # An editable install may have the old name: the package knows its version itself.
    asks = re.compile(r"(version|distribution|metadata|requires)\(\s*['\"]evalkit")
    assert [str(path) for path, text in TEXTS.items() if asks.search(text)] == []


def imported() -> set[str]:
    """Return the packages that evalkit imports, inside of functions too, other than the standard library's."""
    names: set[str] = set()
    for path in (REPOSITORY / "evalkit").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                names.add(node.module.split(".")[0])
    return names - sys.stdlib_module_names - {"evalkit"}


IMPORT_NAMES = {
    "backports.zstd": "backports",
    "hydra-core": "hydra",
    "hydra-submitit-launcher": "hydra_plugins",
    "mlflow-skinny": "mlflow",
    "nvidia-ml-py": "pynvml",
    "pystemmer": "Stemmer",
    "pyyaml": "yaml",
}
"""Of the distributions that are imported by another name."""


def import_name(requirement: str) -> str:
    name = re.split(r"[\[<>=]", requirement)[0].lower()
    return IMPORT_NAMES.get(name, name.replace("-", "_"))


def test_what_is_required_is_imported_and_what_is_imported_is_required() -> None:
    required = {import_name(one) for one in PROJECT["dependencies"]}
    names = (
        "formats",
        "gpu",
        "late-interaction",
        "mlflow",
        "ray",
        "nano-beir",
        "onnxruntime",
        "openvino",
        "peft",
        "trackio",
    )
    extras = {import_name(one) for extra in names for one in PROJECT["optional-dependencies"][extra]}
    assert required <= imported()
    # numba: what ranx compiles with, its settings and its warning; pytest: it loads the plugin, nothing of evalkit does
    # compression: of Python 3.14
    assert imported() <= required | extras | {"numba", "pytest", "compression"}


def test_every_dependency_has_its_reason_in_a_comment() -> None:
    lines = (REPOSITORY / "pyproject.toml").read_text("utf-8").splitlines()
    start = lines.index("dependencies = [")
    for line in lines[start + 1 : lines.index("]", start)]:
        assert re.fullmatch(r'    "[^"]+", +# .{10,}', line), line
