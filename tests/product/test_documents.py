"""What README and docs/ state is true: commands, settings, files, messages, links and figures."""

import ast
import re
import shlex
from collections.abc import Iterator
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import yaml
from omegaconf import OmegaConf

from evalkit.boundary.errors import EvalkitError
from evalkit.cli import commands
from evalkit.cli.config import SCHEMAS
from evalkit.results import published
from evalkit.results.gate.limits import CHECKS, Limits
from tests.conftest import REPOSITORY, compose
from tests.helpers.command_line import run_here

PAGES = {path: path.read_text("utf-8") for path in (REPOSITORY / "README.md", *REPOSITORY.glob("docs/**/*.md"))}
OTHERS = ("SECURITY.md", "CHANGELOG.md", "CONTRIBUTING.md", "benchmarks/README.md", "reports/README.md")
LINKED = PAGES | {path: path.read_text("utf-8") for path in map(REPOSITORY.joinpath, OTHERS) if path.exists()}
README, CI, TROUBLE = (PAGES[REPOSITORY / name] for name in ("README.md", "docs/ci.md", "docs/troubleshooting.md"))

BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`([^`\n]+)`")
STOPS = ("--help", "--version", "--cfg job")
"""Commands that print and stop, each of which tests/cli/test_app.py runs."""


def written(program: str) -> Iterator[str]:
    """Return what follows `program` in the commands of all pages: in blocks of code and within lines of text."""
    for text in PAGES.values():
        blocks = "\n".join(block for kind, block in BLOCK.findall(text) if kind in ("", "sh", "yaml"))
        for line in [*blocks.replace("\\\n", " ").splitlines(), *INLINE.findall(BLOCK.sub("", text))]:
            yield from re.findall(rf"(?:^|\s|: ){program}\b(.*)", line)


def evalkit_commands() -> list[tuple[str, ...]]:
    """Return the arguments of every ``python -m evalkit`` in the pages, each once; ``...`` alone is a placeholder."""
    found = {tuple(shlex.split(rest, comments=True)) for rest in written("python -m evalkit")}
    return sorted(arguments for arguments in found if arguments != ("...",))


COMMANDS = evalkit_commands()
RUNS = [c for c in COMMANDS if c and c[0] not in (*commands.COMMANDS, "--config-dir") and " ".join(c) not in STOPS]
OTHER_COMMANDS = [c for c in COMMANDS if c and c[0] in commands.COMMANDS]


@pytest.mark.parametrize("arguments", RUNS, ids=" ".join)
def test_a_command_composes_and_misses_nothing(arguments: tuple[str, ...]) -> None:
    for overrides in trials(arguments):
        assert OmegaConf.missing_keys(compose(*overrides)) == set()


def trials(arguments: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Return the overrides of each trial of a sweep; of a single run its own."""
    if "--multirun" not in arguments:
        yield arguments
        return
    choices = []
    for key, _, values in (argument.partition("=") for argument in arguments if argument != "--multirun"):
        choices.append([f"{key}={value}" for value in values.split(",")])
    yield from product(*choices)


@pytest.mark.parametrize("arguments", OTHER_COMMANDS, ids=" ".join)
def test_a_command_for_finished_results_takes_these_arguments(
    arguments: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EVALKIT_HOME", str(tmp_path))
    monkeypatch.setenv("EVALKIT_HISTORY", "auto")
    given = [word.strip("[]") for word in arguments if word != "...]"]
    needs_runs = {"--between", "--rebuild"} & set(given)
    if given[0] in ("store", "info", "slices") or (given[0] == "history" and not needs_runs):  # they need no RESULT
        assert commands.run(given, gate_settings) == 0
        return
    if "--check" in given:
        assert commands.run(given, gate_settings) == 1  # there is no such file
        return
    with pytest.raises(EvalkitError) as refused:  # there is no RESULT, which is looked for after the arguments are read
        commands.run(given, gate_settings)
    assert "usage:" not in str(refused.value)


def gate_settings(overrides: list[str]) -> dict[str, Any]:
    settings = OmegaConf.to_container(compose(*overrides).gate, resolve=True)
    assert isinstance(settings, dict)
    return {str(key): value for key, value in settings.items()}


def test_every_kind_of_command_is_found_in_the_pages() -> None:
    assert len(RUNS) > 30
    assert {arguments[0] for arguments in OTHER_COMMANDS} == set(commands.COMMANDS)
    assert sum(arguments[0] == "--multirun" for arguments in RUNS) > 5


def test_a_slice_with_published_figures_composes_as_the_page_has_it(tmp_path: Path) -> None:
    text = next(block for _, block in BLOCK.findall(PAGES[REPOSITORY / "docs/own-data.md"]) if "reference:" in block)
    (tmp_path / "slice").mkdir()
    (tmp_path / "slice" / "mine.yaml").write_text(text, "utf-8")
    done = run_here("--config-dir", str(tmp_path), "slice=mine", "--cfg", "job", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    composed = yaml.safe_load(done.stdout)["slice"]
    assert composed["_target_"] == "evalkit.slices.beir.load"
    published.check(composed["reference"])


def test_every_target_of_make_is_one() -> None:
    targets = set(re.findall(r"^([a-z]+):", (REPOSITORY / "Makefile").read_text("utf-8"), re.MULTILINE))
    found = {rest.split()[0] for rest in written("make") if rest.strip()}
    assert {"run", "test", "docs"} <= found <= targets


def test_every_script_exists_and_has_the_options_given() -> None:
    scripts = [f"{rest}".split() for rest in written("python") if rest.strip().startswith(("benchmarks/", "tools/"))]
    assert scripts
    for path, *arguments in scripts:
        source = (REPOSITORY / path).read_text("utf-8")
        assert [word for word in arguments if word.startswith("--") and f'"{word}"' not in source] == [], path


def test_every_file_that_is_named_exists() -> None:
    roots = ("evalkit", "conf", "tests", "benchmarks", "tools", "docs", "reports/baselines", "reports/examples")
    named = {
        word.rstrip(".,:")
        for text in PAGES.values()
        for code in INLINE.findall(BLOCK.sub("", text))
        for word in code.split()
        if word.startswith(tuple(f"{root}/" for root in roots)) and word != "reports/baselines/mine.json"
    }
    assert len(named) > 5
    assert sorted(name for name in named if not (REPOSITORY / name).exists()) == []


def test_every_setting_that_is_named_exists() -> None:
    known: dict[str, set[str]] = {}
    for (group, _), schema in SCHEMAS.items():
        node = OmegaConf.to_container(OmegaConf.structured(schema))
        assert isinstance(node, dict)
        known.setdefault(group or "", set()).update(map(str, node))
    groups = "|".join(sorted(filter(None, known)))
    named = {
        found
        for text in PAGES.values()
        for found in re.findall(rf"(?<![\w./:-])({groups})\.([a-z_0-9]+)(?=[`=.\s,)])", text)
    }
    assert len(named) > 40
    elsewhere = {("first_stage", "trec"), ("reranker", "weight")}  # a file, a setting of the recipe's reranker
    assert sorted(f"{group}.{key}" for group, key in named - elsewhere if key not in known[group]) == []


CHOICES = re.compile(
    r"(?:experiment|slice|first_stage|reranker|precision|protocol|executor|runtime|deployment)=\w+(?: [\w.]+=[^\s|]+)*"
)


def test_every_choice_within_a_line_of_text_composes() -> None:
    """Such as ``slice=beir slice.path=DIR``; the commands of the tables of figures are among them."""
    choices = {
        code for text in PAGES.values() for code in INLINE.findall(BLOCK.sub("", text)) if CHOICES.fullmatch(code)
    }
    assert len(choices) > 25
    for code in choices:
        compose(*code.split())


def test_every_link_leads_to_a_file_and_a_heading() -> None:
    wrong = [
        f"{path.relative_to(REPOSITORY)}: {link}"
        for path, text in LINKED.items()
        for link in re.findall(r"(?:\]\(|src=\")([^)\s\"]+)", INLINE.sub("", BLOCK.sub("", text)))
        if not link.startswith("https://") and not leads_somewhere(path, link)
    ]
    assert wrong == []


def leads_somewhere(page: Path, link: str) -> bool:
    name, _, anchor = link.partition("#")
    target = (page.parent / name).resolve() if name else page
    return target.is_file() and (not anchor or anchor in anchors(target))


@cache
def anchors(page: Path) -> set[str]:
    """Return the anchors of the headings, as GitHub and MkDocs make them from simple words."""
    headings = re.findall(r"^#+ (.+)$", BLOCK.sub("", page.read_text("utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_readme_is_short_and_leads_to_every_page() -> None:
    assert len(README.splitlines()) <= 150
    pages = {path.relative_to(REPOSITORY).as_posix() for path in PAGES} - {"README.md", "docs/index.md"}
    assert sorted(page for page in pages if f"({page})" not in README) == []


def test_the_navigation_of_the_site_has_every_page() -> None:
    text = (REPOSITORY / "mkdocs.yml").read_text("utf-8").split("\nnav:\n")[1]
    pages = {path.relative_to(REPOSITORY / "docs").as_posix() for path in PAGES if path.name != "README.md"}
    assert pages <= set(re.findall(r"[\w./-]+\.md", text))


def test_the_workflow_is_one_that_github_can_read() -> None:
    section = CI.split("## GitHub Actions")[1].split("\n## ")[0]
    by_action, by_hand = (
        yaml.safe_load(block)["jobs"]["gate"]["steps"] for kind, block in BLOCK.findall(section) if kind == "yaml"
    )
    action = yaml.safe_load((REPOSITORY / "action.yml").read_text("utf-8"))
    assert by_action[-1]["with"].keys() <= action["inputs"].keys()
    runs = [step["run"] for step in by_hand if "run" in step]
    assert runs[0].startswith("pip install evalkit-rerank")  # and not the repository that is tested
    assert runs[1].startswith("python -m evalkit experiment=ci")
    caches = [
        next(step["with"]["path"] for step in steps if step.get("uses", "").startswith("actions/cache@"))
        for steps in (by_hand, action["runs"]["steps"])
    ]
    assert caches[0] == caches[1]


def test_the_inclusion_for_gitlab_gives_inputs_that_the_component_has() -> None:
    section = CI.split("## GitLab CI/CD")[1].split("\n## ")[0]
    (given,) = yaml.safe_load(next(block for kind, block in BLOCK.findall(section) if kind == "yaml"))["include"]
    component = REPOSITORY / "templates" / "evalkit-gate" / "template.yml"
    spec = next(yaml.safe_load_all(component.read_text("utf-8")))["spec"]
    assert given["component"].split("/")[-1].split("@")[0] == component.parent.name
    named = set(re.findall(r"`([\w-]+)`", section.split("Further inputs:")[1]))
    assert given["inputs"].keys() | named == spec["inputs"].keys()


def test_the_hook_for_pre_commit_is_one_that_there_is() -> None:
    section = CI.split("## Before a commit")[1].split("\n## ")[0]
    (repository,) = yaml.safe_load(next(block for kind, block in BLOCK.findall(section) if kind == "yaml"))["repos"]
    hooks = yaml.safe_load((REPOSITORY / ".pre-commit-hooks.yaml").read_text("utf-8"))
    assert {hook["id"] for hook in repository["hooks"]} == {hook["id"] for hook in hooks}


def test_every_check_of_the_gate_is_explained() -> None:
    assert [name for name in CHECKS if name != "quality" and f"`{name}`" not in CI] == []


def test_the_limits_that_are_stated_are_the_defaults() -> None:
    limits = Limits()
    stated = dict(re.findall(r"`gate\.(\w+(?:\.nDCG)?)` ([\d.]+)", CI))
    assert stated
    for name, value in stated.items():
        field, _, kind = name.partition(".")
        assert (getattr(limits, field)[kind] if kind else getattr(limits, field)) == float(value), name


def test_every_message_of_the_troubleshooting_page_is_one_that_evalkit_gives() -> None:
    """``...`` in a message of the page stands for what differs; each part between must be in some text of the code."""
    section = TROUBLE.split("## Messages")[1].split("\n## ")[0]
    messages = [code for cell in re.findall(r"^\| (.*?) \| ", section, re.MULTILINE) for code in INLINE.findall(cell)]
    assert len(messages) > 25
    known = "\n".join(texts_of_the_code())
    wrong = [m for m in messages if not all(part.strip() in known for part in m.split("..."))]
    assert wrong == []


def texts_of_the_code() -> Iterator[str]:
    for path in (REPOSITORY / "evalkit").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.JoinedStr):
                yield "".join(str(part.value) if isinstance(part, ast.Constant) else "..." for part in node.values)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


def test_the_sample_of_a_run_is_that_of_the_example_report() -> None:
    report = (REPOSITORY / "reports/examples/dev/report.md").read_text("utf-8")
    for text in PAGES.values():
        for line in re.findall(r"^(?:Reranking helped|Cost at|Ties of) .*$", text, re.MULTILINE):
            assert line in report
    start = PAGES[REPOSITORY / "docs/getting-started.md"]
    rows = [[cell.strip() for cell in row.split("│")[1:-1]] for row in start.splitlines() if row.startswith("│")]
    assert len(rows) == 4
    for row in rows:
        assert f"| {' | '.join(row)} |" in report


def test_the_figures_by_language_are_those_of_the_example_report() -> None:
    report = (REPOSITORY / "reports/examples/languages/report.md").read_text("utf-8")
    choosing = PAGES[REPOSITORY / "docs/choosing-a-reranker.md"]
    rows = re.findall(r"^\| (?:en|ar|de|es|hi|ja|ru|sw|zh) \| (.+) \|$", choosing, re.MULTILINE)
    assert len(rows) == 9
    for row in rows:
        before, after, change, interval, counts, _, verdict = row.split(" | ")
        wins, ties, losses = counts.split("/")
        outcome = verdict.replace("no clear", "made no clear")
        assert (
            f"Reranking {outcome}: nDCG@10 {before} -> {after} ({change}, 95 % interval {interval}; "
            f"{wins} queries better, {losses} worse, {ties} equal)"
        ) in report
