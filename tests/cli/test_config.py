"""Every YAML composes, names something that exists, and offers exactly the settings that its component takes."""

import dataclasses
import inspect
import re
import shlex
from importlib import import_module
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from evalkit.boundary.errors import EvalkitError
from evalkit.cli.config import SCHEMAS, conf_dir
from evalkit.cli.describe import COMBINING, descriptions
from evalkit.cli.instantiate import build
from evalkit.cost.protocol import CostProtocol
from evalkit.evaluation.measure_names import parse
from evalkit.results.gate.limits import Limits
from evalkit.scoring.cluster.settings import RaySettings
from evalkit.scoring.device import PRECISIONS
from tests.conftest import compose

CONF = conf_dir()
GROUPS = (
    "slice", "first_stage", "reranker", "precision", "measures", "protocol", "chunks", "blend", "gate",
    "executor", "runtime",
)  # fmt: skip
CHOICES = [(path.parent.name, path.stem) for group in GROUPS for path in sorted((CONF / group).glob("*.yaml"))]
EXPERIMENTS = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))

TO_BE_GIVEN = {
    ("slice", "irds"): {"slice.dataset"},
    ("slice", "beir"): {"slice.path"},
    ("slice", "hub"): {"slice.dataset"},
    ("slice", "files"): {"slice.docs_path", "slice.queries_path", "slice.qrels"},
    ("first_stage", "dense"): {"first_stage.model"},
    ("reranker", "bi_encoder"): {"reranker.model"},
    ("first_stage", "fusion"): {"first_stage.of"},
    ("first_stage", "splade"): {"first_stage.model"},
    ("first_stage", "trec_run"): {"first_stage.path"},
    ("reranker", "cross_encoder"): {"reranker.model"},
    ("reranker", "decoder"): {"reranker.model"},
    ("reranker", "http"): {"reranker.url"},
    ("reranker", "late_interaction"): {"reranker.model"},
    ("reranker", "trec_run"): {"reranker.path"},
}
"""What a user must add to the command; every other choice is complete."""

COMPONENTS = [schema for (group, _), schema in SCHEMAS.items() if group in GROUPS[:3]]


def test_every_folder_of_the_configuration_is_a_known_group() -> None:
    assert {path.name for path in CONF.iterdir() if path.is_dir()} == {*GROUPS, *COMBINING, "hydra"}


def test_of_the_packaged_files_only_experiments_make_a_command_a_sweep() -> None:
    """Any other command is composed once, for Hydra's mode need not be found out first."""
    setting = re.compile(r"^\s*mode:|^hydra:", re.MULTILINE)
    found = {
        path.relative_to(CONF).parts[0] for path in CONF.rglob("*.yaml") if setting.search(path.read_text("utf-8"))
    }
    assert found == {"config.yaml", "experiment"}
    assert "mode" not in OmegaConf.load(CONF / "config.yaml").hydra


def test_the_default_is_complete_and_offline() -> None:
    cfg = compose()
    assert OmegaConf.missing_keys(cfg) == set()
    assert cfg.slice._target_ == "evalkit.slices.packaged.load"
    assert cfg.first_stage._target_ == "evalkit.first_stage.bm25.BM25"
    assert (cfg.reranker.model, cfg.reranker.precision, cfg.device) == ("packaged", "fp32", "auto")


@pytest.mark.parametrize(("group", "choice"), CHOICES, ids=lambda value: str(value))
def test_every_choice_composes_and_misses_only_what_a_user_must_give(group: Any, choice: Any) -> None:
    cfg = compose(f"{group}={choice}")
    assert OmegaConf.missing_keys(cfg) == TO_BE_GIVEN.get((group, choice), set())


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_is_complete_and_has_its_own_name(name: Any) -> None:
    cfg = compose(f"experiment={name}")
    assert OmegaConf.missing_keys(cfg) == set()
    assert str(cfg.name).startswith(name)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_the_command_at_the_top_of_an_experiment_is_one_that_works(name: Any) -> None:
    text = (CONF / "experiment" / f"{name}.yaml").read_text("utf-8")
    commands = re.findall(r"^# python -m evalkit (.+)$", text, re.MULTILINE)
    assert commands
    for command in commands:
        arguments = [one for one in shlex.split(command) if one != "--multirun"]
        assert f"experiment={name}" in arguments
        assert OmegaConf.missing_keys(compose(*arguments)) == set()


def test_an_experiment_overrides_the_base_and_the_command_line_overrides_both() -> None:
    assert compose().depth == 20
    assert compose("experiment=msmarco_fp32").depth == 100
    assert compose("experiment=msmarco_fp32", "depth=7").depth == 7
    assert compose("experiment=msmarco_fp32").slice.dataset == "msmarco-passage/trec-dl-2019/judged"


def test_a_precision_reaches_every_part_that_computes() -> None:
    cfg = compose("precision=bf16", "first_stage=minilm", "device=cuda:1")
    assert (cfg.reranker.precision, cfg.first_stage.precision) == ("bf16", "bf16")
    assert (cfg.reranker.device, cfg.first_stage.device) == ("cuda:1", "cuda:1")


def test_the_language_reaches_the_dataset() -> None:
    assert compose("experiment=miracl_fp16", "slice.lang=yo").slice.dataset == "miracl/yo/dev"


def test_every_precision_has_its_choice() -> None:
    assert {choice for group, choice in CHOICES if group == "precision"} == set(PRECISIONS)
    assert all(compose(f"precision={name}").precision.name == name for name in PRECISIONS)


def test_every_measure_of_every_choice_is_known() -> None:
    for choice in (choice for group, choice in CHOICES if group == "measures"):
        assert [str(parse(name, 20)) for name in compose(f"measures={choice}").measures.names]


def plain(cfg: Any, resolve: bool = False) -> dict[str, Any]:
    found = OmegaConf.to_container(cfg, resolve=resolve)
    assert isinstance(found, dict)
    return {str(key): value for key, value in found.items()}


def component(target: Any) -> Any:
    module, _, name = target.rpartition(".")
    return getattr(import_module(module), name)


def settings(of: Any) -> dict[str, inspect.Parameter]:
    """What `of` takes, private state left out."""
    return {name: p for name, p in inspect.signature(of).parameters.items() if not name.startswith("_")}


@pytest.mark.parametrize(("group", "choice"), [c for c in CHOICES if c[0] in GROUPS[:3]], ids=lambda value: str(value))
def test_every_choice_names_a_component_and_offers_exactly_its_settings(group: Any, choice: Any) -> None:
    node = compose(f"{group}={choice}")[group]
    other_keys = {"reference"} if group == "slice" else set()  # for evalkit.results.published, not for the component
    assert set(node) - {"_target_"} == set(settings(component(node._target_))) | other_keys
    assert node._target_.startswith("evalkit.")


@pytest.mark.parametrize("schema", COMPONENTS, ids=lambda schema: schema.__name__)
def test_a_schema_has_the_settings_types_and_defaults_of_its_component(schema: Any) -> None:
    ours = {field.name: field for field in dataclasses.fields(schema)}
    hints = get_type_hints(schema)
    takes = settings(component(str(ours["_target_"].default)))
    for name, parameter in takes.items():
        default = ours[name].default
        if str(default).startswith("${"):  # a setting of the whole trial, such as its store
            continue
        assert hints[name] == parameter.annotation, name
        missing = default in ("???", dataclasses.MISSING)
        assert missing if parameter.default is inspect.Parameter.empty else default == parameter.default, name
    assert ours.keys() - takes.keys() <= {"_target_", "reference"}


@pytest.mark.parametrize("schema", [*SCHEMAS.values(), CostProtocol, Limits], ids=lambda schema: schema.__name__)
def test_every_setting_has_a_description(schema: Any) -> None:
    described = descriptions(schema)
    without = [field.name for field in dataclasses.fields(schema) if not described.get(field.name)]
    assert set(without) <= {"_target_", "slice", "first_stage", "reranker", "precision", "measures", "protocol",
                            "chunks", "blend", "gate", "executor", "runtime"}  # fmt: skip


@pytest.mark.parametrize("schema", COMPONENTS, ids=lambda schema: schema.__name__)
def test_a_schema_points_at_what_it_describes(schema: Any) -> None:
    for target in re.findall(r"`(evalkit\.[\w.]+)`", schema.__doc__):
        assert callable(component(target))


def test_the_settings_of_a_cluster_have_one_definition() -> None:
    cfg = compose("executor=ray")
    assert OmegaConf.get_type(cfg.executor) is RaySettings
    assert RaySettings(**plain(cfg.executor, resolve=True)) == RaySettings()


def test_the_gates_yaml_states_the_defaults_of_its_limits() -> None:
    settings = plain(compose().gate)
    limits = Limits(**{key: value for key, value in settings.items() if key not in ("baseline", "junit", "markdown")})
    assert limits == Limits()
    assert settings["baseline"] == "reports/baselines/ci.json"


def test_what_a_configuration_names_can_be_built(bert_folder: Any) -> None:
    reranker = build(plain(compose(f"reranker.model={bert_folder}").reranker, resolve=True))
    assert (type(reranker).__name__, reranker.max_length, reranker.precision) == ("CrossEncoder", 256, "fp32")


@pytest.mark.parametrize(
    "target", ["os.system", "evalkit.cli.tasks.run_trial", "builtins.eval", "evalkit_other.slices.x", "load", ""]
)
def test_a_configuration_can_name_nothing_but_evalkits_own_components(target: Any) -> None:
    with pytest.raises(EvalkitError, match="can name only evalkit's own components"):
        build({"_target_": target})


@pytest.mark.parametrize("target", ["evalkit.slices.nowhere.load", "evalkit.rerankers.cross_encoder.Crossencoder"])
def test_a_component_that_is_not_there_is_named(target: Any) -> None:
    with pytest.raises(EvalkitError, match=f"_target_={target}: there is no such component"):
        build({"_target_": target})


def test_settings_that_a_component_does_not_take_are_named() -> None:
    """As with +slice.lng=zh, which adds a key that no schema holds back."""
    target = "evalkit.slices.packaged.load"
    with pytest.raises(EvalkitError, match=r"unexpected keyword argument 'lng'; its settings are lang, queries, seed"):
        build({"_target_": target, "lng": "zh"})
    with pytest.raises(
        EvalkitError, match=r"first_stage\.dense\.Dense missing .*'model'; its settings are model, pool"
    ):
        build({"_target_": "evalkit.first_stage.dense.Dense"})


@pytest.mark.parametrize(
    "override",
    ["depth=abc", "slice.queries=many", "reranker.max_length=1.5", "overwrite=perhaps", "first_stage.k1=big",
     "slice.lng=zh", "reranker.batch=3", "measures.names=5"],
)  # fmt: skip
def test_a_setting_of_the_wrong_name_or_type_does_not_compose(override: Any) -> None:
    from hydra.errors import HydraException

    with pytest.raises((HydraException, OmegaConfBaseException)):
        compose(override)


def test_the_packaged_configuration_is_taken_where_there_is_one() -> None:
    """In a wheel it lies inside of the package; in a checkout next to it."""
    package = Path(inspect.getfile(import_module("evalkit"))).parent
    assert CONF in (package / "conf", package.parent / "conf")
    assert (CONF / "config.yaml").is_file()
