"""What runs in the fresh process: from plain settings to a folder of results."""

from pathlib import Path
from typing import Any

from evalkit.build import build
from evalkit.report.result import Result


def run_trial(asked: dict[str, Any], provenance: dict[str, Any], folder: Path) -> Result:
    """Build what the settings name, run the trial, write its folder, and return the result.

    Raises:
        EvalkitError: whatever a part refuses.
    """
    from evalkit import home, published, trial
    from evalkit.report.folder import write_trial

    home.lend()
    slice_settings = dict(asked["slice"])
    references = slice_settings.pop("reference", None) or []  # published figures: for the report, not for the slice
    published.check(references)
    plan = trial.Plan(
        name=asked["name"],
        depth=asked["depth"],
        measures=asked["measures"]["names"],
        **asked["protocol"],
    )
    first_stage, reranker = build(asked["first_stage"], "first_stage"), build(asked["reranker"], "rerankers")
    # What can be known to be wrong is known now, not after an hour of indexing.
    plan.parsed()
    first_stage.check()
    reranker.check()
    reranker.check_protocol(asked["protocol"])
    done = trial.run(plan, build(slice_settings, "slices"), first_stage, reranker, asked, provenance)
    return write_trial(done, folder, references)


def run_quickcheck(asked: dict[str, Any]) -> dict[str, Any]:
    """Score the two built-in queries and return what came of it.

    Raises:
        EvalkitError: the model, device or precision cannot be had.
    """
    from evalkit import quickcheck

    reranker = build(asked["reranker"], "rerankers")
    reranker.check()
    return quickcheck.run(reranker)
