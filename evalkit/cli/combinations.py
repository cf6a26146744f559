"""The trials of settings with several values, ``depth=10,20``, by Hydra's own grammar."""

from collections.abc import Sequence

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser


def combinations(settings: Sequence[str]) -> list[Sequence[str]]:
    """Return the overrides of each trial: one for each combination of values, in the order of Hydra's sweeper.

    Args:
        settings: such as ``depth=10,20`` and ``reranker=packaged``.

    Raises:
        HydraException: one is not an override.
    """
    overrides = OverridesParser.create().parse_overrides(list(settings))
    return [one for batch in BasicSweeper.split_arguments(overrides, None) for one in batch]


def differing(trials: Sequence[Sequence[str]]) -> list[str]:
    """Return for each trial the settings that not all of them have, as one text."""
    common = set.intersection(*map(set, trials))
    return [" ".join(override for override in one if override not in common) for one in trials]
