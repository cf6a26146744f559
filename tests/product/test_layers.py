"""Which module may know which, read off the source."""

import ast
import graphlib
import json
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import evalkit
from evalkit.boundary.errors import EvalkitError
from evalkit.cli.instantiate import build

PACKAGE = Path(evalkit.__file__).parent

LAYERS = (
    "types < boundary < evaluation, scoring < slices, first_stage, rerankers, results < cost < trial < report "
    "< cli < api < __main__"
)
"""A module imports from its own folder and those to the left of it, never from one to the right or of the same rank."""

COMPONENTS = {"slices", "first_stage", "rerankers"}

FILES = sorted(PACKAGE.rglob("*.py"))
FOLDERS = sorted({path.parent for path in FILES if path.parent != PACKAGE})


def name_of(path: Path) -> str:
    return ".".join(("evalkit", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")


@cache
def imported(path: Path) -> frozenset[str]:
    """Return the dotted names of all modules that a file imports, inside of functions too."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute here"
            assert node.module is not None
            for alias in node.names:
                inner = PACKAGE.parent.joinpath(*node.module.split("."), alias.name)
                is_module = node.module.startswith("evalkit") and (inner.is_dir() or inner.with_suffix(".py").exists())
                found.add(f"{node.module}.{alias.name}" if is_module else node.module)
    return frozenset(found)


def part(module: str) -> str:
    """Return what a module of ours belongs to: the name right under ``evalkit``, or "" for the package itself."""
    return [*module.split("."), ""][1]


def ours(modules: frozenset[str]) -> set[str]:
    return {module for module in modules if module.split(".")[0] == "evalkit"}


def layer(module: str) -> int:
    places = [number for number, names in enumerate(LAYERS.split(" < ")) if part(module) in names.split(", ")]
    assert places, f"{module} has no place in LAYERS yet: give it one"
    return places[0]


def in_files(*names: str) -> set[Path]:
    return {path for path in FILES if any(path.is_relative_to(PACKAGE / name) for name in names)}


def test_the_imports_of_a_file_are_all_seen() -> None:
    # One of each kind: a module of the package, a name out of a module, a name inside of a function.
    assert {"evalkit.evaluation.ranking", "evalkit.evaluation.measures", "evalkit.types", "math"} <= imported(
        PACKAGE / "evaluation" / "evaluated.py"
    ) | imported(PACKAGE / "evaluation" / "ranking.py")
    assert "evalkit.scoring.device" in imported(PACKAGE / "cost" / "meter.py")


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_imports_point_one_way(path: Any) -> None:
    if name_of(path) == "evalkit":
        assert {part(module) for module in ours(imported(path))} == {"boundary", "types", "api"}  # api: names it later
        return
    for module in ours(imported(path)) - {"evalkit"}:
        assert part(module) == part(name_of(path)) or layer(module) < layer(name_of(path)), (
            f"{name_of(path)} imports {module}"
        )


def test_no_files_import_one_another_in_a_circle() -> None:
    imports = {name_of(path): ours(imported(path)) for path in FILES}
    graph = graphlib.TopologicalSorter({name: known - {name, "evalkit"} for name, known in imports.items()})
    graph.prepare()  # raises a CycleError that names the circle


def test_the_package_has_few_entries_and_each_folder_has_a_sentence() -> None:
    made_by_installing = {"__pycache__", "conf"}
    assert len({entry.name for entry in PACKAGE.iterdir()} - made_by_installing) <= 16
    for folder in FOLDERS:
        sentence = ast.get_docstring(ast.parse((folder / "__init__.py").read_text("utf-8")))
        assert sentence, folder


def test_the_values_import_nothing_but_one_another() -> None:
    assert {part(module) for path in in_files("types") for module in ours(imported(path))} == {"types"}


def test_the_trial_gets_its_components_as_objects() -> None:
    allowed = {f"evalkit.{group}.{name}" for group in COMPONENTS for name in ("base", "adapter", "search")}
    allowed |= {f"evalkit.rerankers.{name}" for name in ("chunked", "chunking")}
    for path in (PACKAGE / "trial.py", *in_files("cost"), PACKAGE / "cli" / "tasks.py"):
        known = {module for module in imported(path) if part(module) in COMPONENTS}
        assert known <= allowed | {"evalkit.rerankers.quickcheck"}, path


ENGINES = {"pynvml", "torch", "transformers", "huggingface_hub", "numpy", "tokenizers", "safetensors"}
"""What a machine with transformers has."""
RUNTIMES = {"onnx", "onnxruntime", "openvino", "nncf"}


STANDS_ALONE = sorted(in_files("scoring", "cost") - in_files("scoring/cluster"))


@pytest.mark.parametrize("path", STANDS_ALONE, ids=name_of)
def test_the_engine_and_the_clocks_stand_alone(path: Any) -> None:
    modules = imported(path)
    parts = {part(module) for module in ours(modules)}
    assert parts <= {"types", "boundary", "scoring", "cost", "rerankers"}
    others = {module.split(".")[0] for module in modules - ours(modules)}
    runtimes = RUNTIMES if path in in_files("scoring/runtime") else set()
    merging = {"peft"} if path in in_files("scoring/loading/merge_adapter.py") else set()
    late = {"sentence_transformers"} if path in in_files("scoring/multi_vector.py") else set()
    assert others - sys.stdlib_module_names <= ENGINES | runtimes | merging | late


@pytest.mark.parametrize(
    ("package", "places"),
    [
        ("ranx", ["evaluation/measures.py"]),
        ("numba", ["evaluation/measures.py"]),
        ("hydra", ["cli"]),
        ("mlflow", ["results/history/tracking.py"]),
        ("trackio", ["results/history/tracking.py"]),
        ("sqlite3", ["boundary/sqlite_file.py", "scoring/store", "results/history/index.py"]),
        ("scipy", ["evaluation", "first_stage/bm25.py", "first_stage/sparse_index.py"]),
        ("narwhals", ["boundary/rows.py"]),
        ("pydantic", ["boundary/typed.py", "results"]),
        ("httpx2", ["rerankers/server/client.py"]),
        ("ir_datasets", ["slices", "results/provenance.py"]),
        ("bm25s", ["first_stage"]),
        ("matplotlib", ["report", "api/outcomes.py"]),
        ("pytest", ["api/pytest_plugin.py"]),
        ("transformers", ["scoring"]),
        ("sentence_transformers", ["scoring/multi_vector.py"]),
        ("onnx", ["scoring/runtime"]),
        ("onnxruntime", ["scoring/runtime"]),
        ("openvino", ["scoring/runtime"]),
        ("nncf", ["scoring/runtime"]),
        ("peft", ["scoring/loading/merge_adapter.py"]),
        (
            "torch",
            [
                "scoring",
                "cost",
                *(f"first_stage/{name}.py" for name in ("dense", "dense_index")),
                *(f"rerankers/{name}.py" for name in ("bi_encoder", "cross_encoder", "engine_reranker")),
                "rerankers/late_interaction.py",
            ],
        ),
    ],
)
def test_a_package_is_known_in_one_place(package: Any, places: Any) -> None:
    users = {path for path in FILES if package in {module.split(".")[0] for module in imported(path)}}
    assert users
    assert users <= in_files(*places)


HEAVY = [
    "torch",
    "ranx",
    "numba",
    "transformers",
    "ir_datasets",
    "bm25s",
    "matplotlib",
    "scipy",
    "pandas",
    "narwhals",
    "pydantic",
    "onnx",
    "onnxruntime",
    "openvino",
]


@pytest.mark.parametrize("module", ["evalkit", "evalkit.cli.app", "evalkit.cli.tasks"])
def test_importing_brings_in_nothing_heavy(module: Any) -> None:
    program = f"import json, sys, {module}; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=PACKAGE.parent
    )
    loaded = json.loads(done.stdout)
    assert module in loaded
    assert [name for name in HEAVY if name in loaded] == []


def test_the_public_names_are_there_and_no_others() -> None:
    assert evalkit.__all__ == sorted(evalkit.__all__)
    for name in evalkit.__all__:
        assert hasattr(evalkit, name)
    namespace: dict[str, object] = {}
    exec("from evalkit import *", namespace)
    assert set(namespace) - {"__builtins__"} == set(evalkit.__all__)


# --- what a configuration may name ------------------------------------------------------------------------------------


def test_a_configuration_builds_what_it_names() -> None:
    from evalkit.first_stage.bm25 import BM25

    assert build({"_target_": "evalkit.first_stage.bm25.BM25", "k1": 1.2}) == BM25(k1=1.2)


@pytest.mark.parametrize(
    "target", ["os.system", "builtins.eval", "evalkit.evaluation.trec.read_run", "evalkit.slicesx.beir.load"]
)
def test_a_configuration_names_nothing_but_evalkit_s_own_components(target: Any) -> None:
    with pytest.raises(EvalkitError, match="a configuration can name only evalkit's own components"):
        build({"_target_": target, "command": "true"})


@pytest.mark.parametrize("target", ["evalkit.first_stage.bm25.BM52", "evalkit.first_stage.bm52.BM25"])
def test_a_component_that_there_is_not_is_refused(target: Any) -> None:
    with pytest.raises(EvalkitError, match="there is no such component"):
        build({"_target_": target})
