"""``python -m evalkit --help``: what there is to do and to choose from, on one page of plain text."""

import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path

from evalkit.boundary.terminal import without_controls
from evalkit.cli import commands
from evalkit.cli.config import CollectionSlice, Config, CrossEncoderReranker
from evalkit.cli.describe import GROUPS, descriptions
from evalkit.cli.info_command import WIDTH, heading, listed

_USAGE = """\
evalkit: is the reranker worth it? It measures the gain in ranking quality, and the cost.

Usage: python -m evalkit [OPTIONS] [GROUP=CHOICE ...] [KEY=VALUE ...]
       python -m evalkit COMMAND ...

Without a command, a trial is run: first stage, reranker, measures, report. The defaults need no
network and no GPU. For example:

  python -m evalkit                                          the packaged collection and reranker
  python -m evalkit experiment=quickcheck reranker=bge_base  does this model work?
  python -m evalkit experiment=quickcheck query="Who?" passages='["Me.","You, perhaps."]'
  python -m evalkit slice=beir slice.path=DATA reranker=bge_v2_m3 precision=fp16 depth=100
  python -m evalkit --multirun reranker=bge_base,bge_large   one trial for each, one combined report
"""

OPTIONS = {
    "--multirun, -m": "a sweep: one trial for each combination of values given as KEY=A,B",
    "--config-dir, -cd DIR": "a folder with YAML of your own, such as DIR/slice/mine.yaml",
    "--cfg, -c job": "print the configuration that the other arguments give, and stop",
    "--resolve": "with --cfg: print values in place of ${...}",
    "--shell-completion, -sc": "completion for bash, zsh or fish; --hydra-help explains how to install it",
    "--version": "print evalkit's version",
    "--help, -h": "print this page",
    "--hydra-help": "print the options and groups of Hydra, which composes the configuration",
}
"""Options that people need -> what each does."""

SETTINGS = {
    "depth": Config,
    "device": Config,
    "slice.queries": CollectionSlice,
    "slice.corpus": CollectionSlice,
    "reranker.model": CrossEncoderReranker,
    "reranker.max_length": CrossEncoderReranker,
    "reranker.batch_tokens": CrossEncoderReranker,
    "store": Config,
    "history": Config,
    "time_limit_s": Config,
    "out_dir": Config,
    "overwrite": Config,
}
"""The settings used most -> the schema that describes each."""


def lines(config_dir: Path | None = None) -> Iterator[str]:
    """Yield the page line by line; `config_dir` is the folder of ``--config-dir``, whose choices are listed too.

    Raises:
        EvalkitError: there is no such folder.
    """
    yield from _USAGE.splitlines()
    yield ""
    yield "Commands, each with its own --help:"
    yield from _table([(f"{name} {what.arguments}".strip(), what.summary) for name, what in commands.COMMANDS.items()])
    yield ""
    yield "Options, which stand before all settings:"
    yield from _table(list(OPTIONS.items()))
    yield ""
    yield "Settings used most (python -m evalkit info GROUP CHOICE shows all of a choice):"
    yield from _table([(key, descriptions(schema)[key.rpartition(".")[2]]) for key, schema in SETTINGS.items()])
    yield ""
    yield "Groups and their choices, chosen with GROUP=CHOICE (python -m evalkit slices lists every slice):"
    for group in GROUPS:
        yield ""
        yield heading(group)
        yield from (without_controls(f"  {line}") for line in listed(group, config_dir, families=True))
    yield ""
    yield "Exit codes: 0 done; 1 a gate or a trial of a sweep failed; 2 wrong input; 130 interrupted."
    yield "Documentation: README.md and docs/ in evalkit's repository."


def _table(rows: Sequence[tuple[str, str]]) -> Iterator[str]:
    width = max(len(left) for left, _ in rows)
    for left, right in rows:
        first, below = f"  {left:<{width}}  ", " " * (width + 4)
        yield from textwrap.wrap(right, WIDTH, initial_indent=first, subsequent_indent=below)
