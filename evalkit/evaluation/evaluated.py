"""Evaluates the rankings of a trial: measures before and after, those of a fusion's members, and the blend."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from evalkit.boundary.progress import say, stage
from evalkit.evaluation import blending, measures
from evalkit.evaluation.blending import BlendSettings, Lists
from evalkit.evaluation.measure_names import Measure, parse
from evalkit.evaluation.ranking import oracle_run
from evalkit.types import Blend, Effectiveness, Run, Slice, Trial

Logits = Mapping[str, Mapping[str, float]]
"""query_id -> doc_id -> logit."""


@dataclass(frozen=True)
class Evaluated:
    """What the rankings of a trial are worth, as the fields of `Trial` with the same names."""

    effectiveness: Mapping[str, Effectiveness]
    unjudged_at_10: Mapping[str, float]
    members: Mapping[str, Effectiveness]
    blend: Blend | None

    def of(self, trial: Trial) -> Trial:
        """Return the trial that was evaluated, with this.

        Args:
            trial: it, without.
        """
        return replace(
            trial,
            effectiveness=self.effectiveness,
            unjudged_at_10=self.unjudged_at_10,
            members=self.members,
            blend=self.blend,
        )


def evaluate(trial: Trial, logits: Logits, blend: BlendSettings | None) -> Evaluated:
    """Evaluate the rankings of a trial. Its passages are not needed.

    Args:
        trial: the trial, with its rankings and settings.
        logits: of the candidates, for the blend.
        blend: how the two scores are interpolated; None for no blend.
    """
    first, reranked, data = trial.first_stage, trial.reranked, trial.slice
    depth = trial.effective["depth"]
    wanted = [parse(name, depth) for name in trial.effective["measures"]]
    runs = {"first_stage": first, "reranked": reranked, "ceiling": oracle_run(first, data.qrels, depth)}
    effectiveness = measured(runs, data, wanted)
    blended = None
    if blend and blend.method != "none" and trial.effective["reranker"].get("reranks", True):
        with stage("blending"):
            blended = blending.blend(blend, Lists(first, reranked, logits, depth), data, wanted, effectiveness)
    members = {name: one.run for name, one in trial.fused.members.items()} if trial.fused else {}
    return Evaluated(
        effectiveness=effectiveness,
        unjudged_at_10={
            "first_stage": measures.unjudged_share(first, data.qrels),
            "reranked": measures.unjudged_share(reranked, data.qrels),
        },
        members=measured(members, data, wanted) if members else {},
        blend=blended,
    )


def measured(runs: Mapping[str, Run], data: Slice, wanted: Sequence[Measure]) -> dict[str, Effectiveness]:
    """Return the effectiveness of each run.

    Args:
        runs: by any name.
        data: whose queries and judgments.
        wanted: what to measure.
    """
    if measures.needs_compilation():
        say("  ranx compiles its kernels on the first use on a machine: 10 to 40 s")
    with stage("measuring"):
        return {label: measures.evaluate(run, data.qrels, wanted, data.relevance_level) for label, run in runs.items()}
