"""``pick --explore``: runs the combinations of settings on more and more queries, and drops those that cannot win."""

import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hydra.errors import HydraException

from evalkit.boundary.errors import EvalkitError
from evalkit.boundary.progress import say
from evalkit.cli.combinations import combinations, differing
from evalkit.evaluation import racing
from evalkit.results import picking, reading
from evalkit.results.choices import Choice, choices
from evalkit.results.pick_schema import Budget
from evalkit.results.schema import Result


@dataclass(frozen=True)
class Race:
    """How settings are followed: on how many queries first, and with which error rate they are dropped."""

    start: int = 25
    """Queries of the first round; each further one has twice as many, until all are used."""
    alpha: float = 0.05
    """Chance, at most, that the best setting is dropped."""

    def check(self) -> None:
        """Check both numbers.

        Raises:
            EvalkitError: one is out of its range.
        """
        if self.start < 10:
            raise EvalkitError(f"--start {self.start}: give the queries of the first round, 10 or more")
        if not 0 < self.alpha < 1:
            raise EvalkitError(f"--alpha {self.alpha:g}: give a probability above 0 and below 1, such as 0.05")


@dataclass(frozen=True)
class _Trial:
    name: str
    """The settings in which it differs from the others."""
    overrides: Sequence[str]


@dataclass(frozen=True)
class _Done:
    trial: _Trial
    where: str
    result: Result


@dataclass(frozen=True)
class Explored:
    """The trials that were followed to the end, and what happened to the others."""

    places: list[str]
    """Folders of results over all queries."""
    notes: list[str]


def explore(settings: Sequence[str], folder: Path, budget: Budget, race: Race, measure: str | None) -> Explored:
    """Run every combination of settings, cheapest first, and drop those that are over the budget or clearly worse.

    Args:
        settings: of the command line, such as ``reranker=packaged,minilm_l6``; several values are combined.
        folder: of the exploration, with a folder for each round.
        budget: limits of time, memory and price.
        race: the queries of the first round, and the error rate.
        measure: what decides; None for the first one.

    Raises:
        EvalkitError: the settings cannot be read or have one combination only, or no trial finished.
    """
    race.check()
    following = _trials(settings)
    notes: list[str] = []
    sizes: list[int] = []
    while True:
        queries = race.start * 2 ** len(sizes)
        done = _round(following, folder / f"{queries}-queries", queries, notes)
        if not done:
            raise EvalkitError(f"no trial of --explore finished; {notes[-1]}")
        is_last = done[0].result.effectiveness.queries in (*sizes, *range(queries))
        sizes.append(done[0].result.effectiveness.queries)
        name, found = choices({one.where: one.result for one in done}, measure)
        if is_last:
            break
        affordable = [one for one in found if picking.is_affordable(one, budget)]
        values = {one.label: one.values for one in affordable}
        worse = racing.worse_than_best(values, race.alpha, len(sizes)) if values else {}
        following = _followed(done, affordable, worse, sizes[-1], notes) or [one.trial for one in done]
    notes.append(
        f"explored on {', '.join(map(str, sizes))} queries; after each round settings that were clearly worse in "
        f"{name} were dropped, and the best one with a chance of {race.alpha:.0%} at most (one-sided paired t tests, "
        "Bonferroni, the level halved from round to round)"
    )
    return Explored([one.where for one in done], notes)


_OWN = ("out_dir", "slice.queries", "overwrite")


def _trials(settings: Sequence[str]) -> list[_Trial]:
    if wrong := [one for one in settings if "=" not in one]:
        raise EvalkitError(f"--explore takes settings such as reranker=packaged,minilm_l6, and not {wrong[0]!r}")
    if own := [key for one in settings if (key := one.lstrip("+").split("=")[0]) in _OWN]:
        raise EvalkitError(f"--explore sets {own[0]} itself; leave it out, or give --output and --start")
    try:
        found = combinations(settings)
    except HydraException as error:
        raise EvalkitError(f"--explore: {str(error).splitlines()[0]}") from None
    if len(found) < 2:
        raise EvalkitError("--explore needs a setting with several values, such as first_stage=bm25,minilm")
    return [_Trial(name, one) for name, one in zip(differing(found), found)]


def _round(trials: Sequence[_Trial], folder: Path, queries: int, notes: list[str]) -> list[_Done]:
    """Run trials on so many queries; return those that finished, the fastest first, and note those that did not."""
    done = []
    for number, trial in enumerate(trials, 1):
        where = folder / str(number)
        say(f"{queries} queries, setting {number} of {len(trials)}: {trial.name}")
        run_trial([*trial.overrides, f"slice.queries={queries}", f"out_dir={where}", "overwrite=true"])
        try:
            done.append(_Done(trial, str(where), reading.read_result(where)))
        except EvalkitError as error:
            notes.append(f"dropped, as it did not finish: {trial.name} ({error})")
    return sorted(done, key=lambda one: _total_ms(one.result))


def run_trial(overrides: Sequence[str]) -> None:
    """Run a trial in a process of its own; a trial that fails leaves its message in its folder."""
    subprocess.run([sys.executable, "-m", "evalkit", *overrides], stdout=subprocess.DEVNULL, check=False)


def _total_ms(result: Result) -> float:
    latency = result.cost.latency if result.cost else None
    return (result.effective.first_stage_time.per_query_ms or 0.0) + (latency.p50_ms if latency else 0.0)


def _followed(
    done: Sequence[_Done], affordable: Sequence[Choice], worse: Mapping[str, float], queries: int, notes: list[str]
) -> list[_Trial]:
    """Return the trials of which some choice is within the budget and may be the best, and note the others."""
    followed = []
    for one in done:
        own = [choice for choice in affordable if choice.where == one.where]
        if any(choice.label not in worse for choice in own):
            followed.append(one.trial)
            continue
        why = "clearly worse than the best" if own else "over the budget, or equal to another one"
        notes.append(f"dropped after {queries} queries, {why}: {one.trial.name}")
    return followed
