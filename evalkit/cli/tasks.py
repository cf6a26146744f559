"""The tasks that run in a fresh process: from plain settings to a folder of results."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from evalkit.boundary import redaction
from evalkit.boundary.errors import EvalkitError
from evalkit.boundary.importing import uncollected
from evalkit.cli.child_process import in_parent, tell_parent
from evalkit.cli.instantiate import build
from evalkit.cost.protocol import CostProtocol
from evalkit.evaluation.blending import BlendSettings
from evalkit.first_stage.base import FirstStage
from evalkit.rerankers.base import Reranker
from evalkit.rerankers.chunked import in_chunks
from evalkit.rerankers.chunking import ChunkSettings
from evalkit.results.schema import Result
from evalkit.types import Fused, Slice, Trial

if TYPE_CHECKING:
    from evalkit.evaluation.evaluated import Evaluated, Logits
    from evalkit.rerankers.quickcheck import Check, QuickCheck
    from evalkit.trial import Evaluate

T = TypeVar("T")

DEFAULT_DEPTH = 20
"""Candidates of each query where neither the user nor a finished run sets it: as in conf/base.yaml."""


_FINISHED_RUNS = (
    "evalkit.first_stage.trec_run.TrecRun",
    "evalkit.rerankers.trec_run.TrecRun",
    "evalkit.rerankers.none.NoReranker",
)
_FUSION = "evalkit.first_stage.fusion.Fusion"


def computes_nothing(asked: dict[str, Any]) -> bool:
    """Return whether a trial only evaluates finished runs, so that no time and no memory is measured."""
    first_stage = asked["first_stage"]
    members = first_stage["of"] if first_stage.get("_target_") == _FUSION else [first_stage]
    return all(part.get("_target_") in _FINISHED_RUNS for part in (*members, asked["reranker"]))


@dataclass(frozen=True)
class Given:
    """Parts of a trial that a caller in Python has made; None for what the settings name."""

    data: Slice | None = None
    first_stage: FirstStage | None = None
    reranker: Reranker | None = None


def run_trial(asked: dict[str, Any], provenance: dict[str, Any], folder: Path, given: Given = Given()) -> Result:
    """Build what the settings name, run the trial, write its folder, and return the result.

    The parent process evaluates the rankings, and is sent the result twice: when that is done and no query is timed
    yet, and when it is whole, before anything is drawn or written.

    Args:
        asked: the settings, as plain values.
        provenance: commit, versions and command line.
        folder: folder of the run.
        given: parts that exist already.

    Raises:
        EvalkitError: a setting is refused, the trial fails, or the folder cannot be written.
    """
    from evalkit.report.folder import write_trial

    ranked: Result | None = None

    def elsewhere(trial: Trial, logits: "Logits", blend: BlendSettings | None) -> "Evaluated":
        nonlocal ranked
        sent = _without_secrets(replace(trial, slice=replace(trial.slice, docs={})))
        found, ranked = in_parent(evaluate_and_test, sent, logits, blend)
        tell_parent(Ranked(ranked))
        return found

    done, references = carry_out(asked, provenance, given, elsewhere)
    return write_trial(done, folder, references, tell_parent, ranked)


def evaluate_and_test(trial: Trial, logits: "Logits", blend: BlendSettings | None) -> "tuple[Evaluated, Result]":
    """Return what the rankings of a trial are worth, and the result of it without costs.

    Args:
        trial: as for `evalkit.evaluation.evaluated.evaluate`, without secrets.
        logits: as there.
        blend: as there.
    """
    from evalkit.boundary import cache_dirs
    from evalkit.boundary.progress import stage
    from evalkit.evaluation.evaluated import evaluate
    from evalkit.results.result import finished

    cache_dirs.ensure_writable(announce=False)  # the process of the trial has said so
    found = evaluate(trial, logits, blend)
    with stage("testing"):
        return found, finished(found.of(trial))


@cache
def import_evaluation() -> None:
    """Import what `evaluate_and_test` does, once: a second, in which the process of the trial imports more."""
    from evalkit.boundary import cache_dirs
    from evalkit.evaluation import measures

    cache_dirs.ensure_writable(announce=False)  # the process of the trial says so
    with uncollected():
        measures.import_ranx()
        for name in ("evalkit.results.result", "scipy.stats"):
            import_module(name)


@dataclass(frozen=True)
class Ranked:
    """A result whose rankings are evaluated and whose costs are not known yet."""

    result: Result


def carry_out(
    asked: dict[str, Any],
    provenance: dict[str, Any],
    given: Given = Given(),
    evaluate_elsewhere: "Evaluate | None" = None,
) -> tuple[Trial, Sequence[Mapping[str, Any]]]:
    """Build what the settings name and run the trial.

    Args:
        asked: as for `run_trial`.
        provenance: as for `run_trial`.
        given: as for `run_trial`.
        evaluate_elsewhere: as for `evalkit.trial.run`.

    Returns:
        The trial and the published figures of its slice, both without secrets.

    Raises:
        EvalkitError: a setting is refused, or the trial fails.
    """
    from evalkit import trial
    from evalkit.boundary import cache_dirs
    from evalkit.results import published

    cache_dirs.ensure_writable()
    redaction.add_secrets_of_environment(os.environ)
    redaction.add_secrets(asked)
    slice_settings = dict(asked["slice"])
    references = slice_settings.pop("reference", None) or []  # published figures: for the report, not for the slice
    published.check(references)
    plan = trial.Plan(
        name=asked["name"],
        depth=DEFAULT_DEPTH if asked["depth"] is None else asked["depth"],
        measures=asked["measures"]["names"],
        protocol=CostProtocol(**asked["protocol"]),
        blend=BlendSettings(**asked["blend"]),
    )
    _check_groups_used(asked)
    first_stage = given.first_stage or build(asked["first_stage"], "first_stage")
    reranker = _reranker(asked, given.reranker)
    # Find mistakes now, not after an hour of indexing.
    plan.check()
    first_stage.check()
    if lang := given.data.lang if given.data else slice_settings.get("lang"):
        first_stage.check_language(lang)
    reranker.check()
    reranker.check_protocol(asked["protocol"])
    plan = replace(plan, depth=_depth(asked["depth"], first_stage, reranker))
    shown = redaction.settings(asked)
    data = given.data or build(slice_settings, "slices")
    done = trial.run(plan, data, first_stage, reranker, shown, provenance, evaluate_elsewhere)
    ended = {"ended": datetime.now(UTC).isoformat(timespec="milliseconds")}
    done = replace(done, provenance={**done.provenance, **ended})
    return _without_secrets(done), redaction.settings(references)


def _reranker(asked: Mapping[str, Any], given: Reranker | None = None) -> Reranker:
    """Return the reranker, over chunks of passages where the settings ask for these."""
    return in_chunks(given or build(asked["reranker"], "rerankers"), ChunkSettings(**asked.get("chunks", {})))


def _check_groups_used(asked: Mapping[str, Any]) -> None:
    """Refuse a runtime or an executor that the reranker takes no notice of.

    Raises:
        EvalkitError: there is one.
    """
    for group, default in (("runtime", "torch"), ("executor", "local")):
        chosen = (asked.get(group) or {}).get("name", default)
        if chosen != default and group not in asked["reranker"]:
            raise EvalkitError(
                f"{group}={chosen}: this reranker is not computed by it, as only reranker=cross_encoder and choices of "
                f"its kind are; leave it out, which is {group}={default}"
            )


def _depth(asked: int | None, first_stage: FirstStage, reranker: Reranker) -> int:
    """Return how many candidates of each query are judged: `asked`, else all that a finished run has."""
    if asked is not None:
        return asked
    finished = () if reranker.computes else (reranker.max_hits(), first_stage.max_hits())
    return next((most for most in finished if most is not None), DEFAULT_DEPTH)


def run_quickcheck(asked: dict[str, Any], texts: "Check | None") -> "QuickCheck":
    """Score the user's texts, or the two built-in queries, and return what came of it.

    Args:
        asked: the settings, as plain values.
        texts: the user's query and passages; None for the built-in ones.

    Raises:
        EvalkitError: the model, device or precision cannot be had.
    """
    from evalkit.rerankers import quickcheck

    redaction.add_secrets(asked)
    _check_groups_used(asked)
    reranker = _reranker(asked)
    reranker.check()
    return quickcheck.run(reranker, quickcheck.CHECKS if texts is None else (texts,))


def _without_secrets(done: Trial) -> Trial:
    """Return a trial whose settings and names hold no secret; texts and ids stay as they are."""

    def names(members: Mapping[str, T]) -> dict[str, T]:
        return {redaction.text(name): value for name, value in members.items()}

    fused = done.fused and Fused(
        names(done.fused.members), tuple(replace(fold, weights=names(fold.weights)) for fold in done.fused.folds)
    )
    return replace(
        done,
        fused=fused,
        members=names(done.members),
        name=redaction.text(done.name),
        effective=redaction.settings(done.effective),
        first_stage=replace(done.first_stage, name=redaction.text(done.first_stage.name)),
        reranked=replace(done.reranked, name=redaction.text(done.reranked.name)),
        warnings=tuple(map(redaction.text, done.warnings)),
    )
