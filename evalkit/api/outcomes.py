"""What the functions return: a finished trial, a comparison and a gate's verdict, as sentences, tables and pictures."""

import shutil
import weakref
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from evalkit.api import notebook
from evalkit.boundary.errors import EvalkitError, nearest
from evalkit.boundary.text import user_path
from evalkit.results import reading
from evalkit.results.reading import Finished
from evalkit.results.schema import Result
from evalkit.types import Cost

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from evalkit.results.comparison_schema import Comparison
    from evalkit.results.gate.verdict import Verdict

T = TypeVar("T")


class TrialResult:
    """A finished trial: what reranking gained, how sure that is, and what it cost; shown as a table in notebooks."""

    def __init__(self, folder: str | Path, temporary: bool = False) -> None:
        """Read a finished trial.

        Args:
            folder: its folder, or the result.json in it.
            temporary: whether the folder is removed when nothing refers to this object any more.

        Raises:
            EvalkitError: there is no finished trial.
        """
        self._finished = reading.read(folder)
        self._folder = reading.result_file(folder).parent
        if temporary:
            weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)

    @property
    def result(self) -> Result:
        """All that was measured, as result.json has it."""
        return self._finished.result

    @property
    def finished(self) -> Finished:
        """The trial with its ranking and texts, as comparisons and gates read it."""
        return self._finished

    @property
    def folder(self) -> Path:
        """The folder of its rankings, judgments and result.json; a temporary one unless ``out_dir`` named another."""
        return self._folder

    @property
    def verdict(self) -> str:
        """One sentence: did reranking help, by how much, and how sure is that; the first measure decides."""
        from evalkit.report.content import trial

        return trial.verdict(self.result)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What to know before quoting a figure, one sentence each."""
        return tuple(self.result.warnings)

    @property
    def cost(self) -> Cost | None:
        """Time, memory, energy and price; None where nothing was computed."""
        return self.result.cost

    def to_frame(self) -> "pd.DataFrame":
        """Return a row for each measure: means, the difference with its 95 % interval and p values, and counts.

        Columns: first_stage, reranked, ceiling (the best order of the same candidates), delta, delta_low, delta_high
        (bootstrap), p (paired randomisation test), p_holm (corrected for the number of measures), better, worse and
        equal (queries).
        """
        import pandas as pd

        effect = self.result.effectiveness
        rows = {
            name: {
                "first_stage": effect.first_stage.mean[name],
                "reranked": effect.reranked.mean[name],
                "ceiling": effect.ceiling.mean.get(name),
                "delta": effect.delta[name],
                "delta_low": effect.delta_ci95[name][0],
                "delta_high": effect.delta_ci95[name][1],
                "p": effect.tests[name].randomization_p if name in effect.tests else None,
                "p_holm": effect.tests[name].holm_p if name in effect.tests else None,
                "better": effect.wins[name],
                "worse": effect.losses[name],
                "equal": effect.ties[name],
            }
            for name in effect.delta
        }
        return pd.DataFrame.from_dict(rows, orient="index").rename_axis("measure")

    def per_query(self) -> "pd.DataFrame":
        """Return a row for each query: its text, and each measure before, after, and their difference.

        The index is the query_id; the columns are query, and for each measure those such as ``nDCG@10 before``,
        ``nDCG@10 after`` and ``nDCG@10 delta``.
        """
        import pandas as pd

        values = self.result.effectiveness.per_query
        query_ids = list(next(iter(values.first_stage.values())))
        frame = pd.DataFrame({"query": [self._finished.queries.get(one, "") for one in query_ids]}, index=query_ids)
        for name, before in values.first_stage.items():
            after = values.reranked[name]
            frame[f"{name} before"] = [before[one] for one in query_ids]
            frame[f"{name} after"] = [after[one] for one in query_ids]
            frame[f"{name} delta"] = frame[f"{name} after"] - frame[f"{name} before"]
        return frame.rename_axis("query_id")

    def ranking(self, side: Literal["first_stage", "reranked"] = "reranked") -> "pd.DataFrame":
        """Return a ranking as a table with the columns query_id, doc_id, rank (from 1) and score.

        Args:
            side: which of the two rankings.

        Raises:
            EvalkitError: there is no such ranking.
        """
        import pandas as pd

        if side not in ("first_stage", "reranked"):
            raise EvalkitError(f"ranking {side!r}: choose first_stage or reranked")
        run = self._finished.reranked if side == "reranked" else reading.ranking(self._folder, side)
        if run is None:
            raise EvalkitError(f"{self._folder} has no {side}.trec")
        rows = [
            (query_id, hit.doc_id, rank, hit.score)
            for query_id, hits in run.rankings.items()
            for rank, hit in enumerate(hits, 1)
        ]
        return pd.DataFrame(rows, columns=["query_id", "doc_id", "rank", "score"])

    def plot(self, name: str = "before_after") -> "Figure":
        """Return a picture of the report.

        Args:
            name: before_after, changes, depths, blend, scores, reliability, latency, latency_grid or load.

        Raises:
            EvalkitError: there is no such picture, or this trial has no data for it.
        """
        from evalkit.report.folder import TRIAL_PICTURES

        figure: Figure = _drawn(name, TRIAL_PICTURES, self.result, "this trial")
        return figure

    def report(self, folder: str | Path, overwrite: bool = False) -> Path:
        """Write the trial with its pictures and its report (HTML, Markdown, LaTeX) to a folder, and return its path.

        Args:
            folder: where to write; it is created.
            overwrite: whether a result in it may be replaced.

        Raises:
            EvalkitError: the folder holds a result already, or cannot be written.
        """
        from evalkit.report.folder import write_reports

        path = user_path(folder)
        _refuse_to_replace(path / "result.json", overwrite)
        path.mkdir(parents=True, exist_ok=True)
        write_reports(self.result, self._folder, path)
        return path

    def __repr__(self) -> str:
        return f"<evalkit.TrialResult {self.result.name}: {self.verdict}>"

    def _repr_html_(self) -> str:
        from evalkit.report.content import trial

        effect = trial.effectiveness_columns(self.result), trial.effectiveness_rows(self.result)
        lines = [line for line in (trial.verdict(self.result), trial.cost_line(self.result)) if line]
        return notebook.fragment(trial.heading(self.result), lines, *effect, self.warnings)


class ComparisonResult:
    """Several trials on one slice side by side: which of them is worth it, and which differ."""

    def __init__(self, compared: "Comparison") -> None:
        """Wrap a comparison.

        Args:
            compared: the comparison.
        """
        self._compared = compared

    @property
    def comparison(self) -> "Comparison":
        """All that was compared, as comparison.json has it."""
        return self._compared

    @property
    def verdict(self) -> str:
        """One sentence: which rerankings are worth it, in the first measure."""
        from evalkit.report.content import comparison

        return f"{comparison.outcome(self._compared).claim}."

    @property
    def warnings(self) -> tuple[str, ...]:
        """What to know before quoting a figure, one sentence each."""
        return tuple(self._compared.warnings)

    def to_frame(self) -> "pd.DataFrame":
        """Return a row for each system: the mean of each measure, and the milliseconds of a query where they are known.

        Columns of time: first_stage_ms, reranking_p50_ms and total_ms.
        """
        import pandas as pd

        rows = {one.label: {**one.mean, **asdict(one.time)} for one in self._compared.systems}
        return pd.DataFrame.from_dict(rows, orient="index").rename_axis("system")

    def tests(self) -> "pd.DataFrame":
        """Return a row for each system but the baseline, and each measure: its difference from the baseline.

        Columns: those of `evalkit.evaluation.significance.Comparison`, such as mean, bca_low, bca_high,
        randomization_p, and the corrected p values.
        """
        import pandas as pd

        rows = {
            (label, measure): asdict(found)
            for label, of_measure in self._compared.against_baseline.items()
            for measure, found in of_measure.items()
        }
        frame = pd.DataFrame(list(rows.values()), index=pd.MultiIndex.from_tuples(rows, names=["system", "measure"]))
        return frame

    def plot(self, name: str = "quality_and_latency") -> "Figure":
        """Return a picture of the report.

        Args:
            name: quality_and_latency, changes or costs.

        Raises:
            EvalkitError: there is no such picture, or these trials have no data for it.
        """
        from evalkit.report.folder import COMPARISON_PICTURES

        figure: Figure = _drawn(name, COMPARISON_PICTURES, self._compared, "this comparison")
        return figure

    def report(self, folder: str | Path, overwrite: bool = False) -> Path:
        """Write the comparison with its pictures and its report (HTML, Markdown, LaTeX), and return the folder's path.

        Args:
            folder: where to write; it is created.
            overwrite: whether a comparison in it may be replaced.

        Raises:
            EvalkitError: the folder holds a result or a comparison already, or cannot be written.
        """
        from evalkit.report.folder import write_comparison

        path = user_path(folder)
        _refuse_to_replace(path / "result.json", False)
        _refuse_to_replace(path / "comparison.json", overwrite)
        write_comparison(self._compared, path)
        return path

    def __repr__(self) -> str:
        return f"<evalkit.ComparisonResult of {len(self._compared.systems)} systems: {self.verdict}>"

    def _repr_html_(self) -> str:
        from evalkit.report.content import comparison

        rows = comparison.system_rows(self._compared)
        outcome = comparison.outcome(self._compared)
        lines = [f"{outcome.claim}.", *outcome.lines]
        return notebook.fragment(
            comparison.heading(self._compared),
            lines,
            list(rows[0]),
            [list(row.values()) for row in rows],
            self.warnings,
        )


class GateResult:
    """What a gate found: whether a trial is worse or slower than its baseline."""

    def __init__(self, verdict: "Verdict", baseline: Path) -> None:
        """Wrap a verdict.

        Args:
            verdict: the verdict.
            baseline: the baseline's file.
        """
        self._verdict, self._baseline = verdict, baseline

    @property
    def details(self) -> "Verdict":
        """All checks, measures before and after, and the queries that lost most."""
        return self._verdict

    @property
    def baseline(self) -> Path:
        """The baseline's file."""
        return self._baseline

    @property
    def holds(self) -> bool:
        """Whether nothing is known to have got worse."""
        return self._verdict.holds

    @property
    def verdict(self) -> str:
        """One sentence: it holds, or which checks failed and why."""
        if self.holds:
            return f"the gate holds: no check failed against {self._baseline}"
        why = "; ".join(f"{check.name}: {' '.join(check.message.split())}" for check in self._verdict.failed)
        return f"the gate failed against {self._baseline}: {why}"

    def to_frame(self) -> "pd.DataFrame":
        """Return a row for each check, with the columns state and message."""
        import pandas as pd

        rows = {check.name: {"state": check.state, "message": check.message} for check in self._verdict.checks}
        return pd.DataFrame.from_dict(rows, orient="index").rename_axis("check")

    def raise_if_worse(self) -> None:
        """Raise an error if a check failed.

        Raises:
            AssertionError: a check failed; the message names each.
        """
        if not self.holds:
            raise AssertionError(self.verdict)

    def __bool__(self) -> bool:
        raise TypeError("a gate's result has no truth value of its own: use .holds, or .raise_if_worse()")

    def __repr__(self) -> str:
        return f"<evalkit.GateResult: {self.verdict}>"

    def _repr_html_(self) -> str:
        rows = [[check.name, check.state, check.message] for check in self._verdict.checks]
        return notebook.fragment("Gate", [self.verdict], ["check", "state", "message"], rows, ())


def _drawn(name: str, pictures: Mapping[str, Callable[[T], Any]], value: T, what: str) -> Any:
    if name not in pictures:
        raise EvalkitError(f"there is no picture {name!r}{nearest(name, pictures)}")
    figure = pictures[name](value)
    if figure is None:
        raise EvalkitError(f"{what} has no data for the picture {name!r}")
    return figure


def _refuse_to_replace(file: Path, overwrite: bool) -> None:
    if file.exists() and not overwrite:
        raise EvalkitError(f"{file.parent} holds {file.name} already; name another folder, or pass overwrite=True")
