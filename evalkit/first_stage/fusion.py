"""Several first stages as one: each searches by itself, and their rankings are fused by rank or by score."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import cached_property
from itertools import combinations
from typing import Any

from evalkit.boundary.errors import EvalkitError
from evalkit.evaluation import cross_validation, fusion, measures
from evalkit.evaluation.measure_names import parse
from evalkit.first_stage.adapter import adapt_first_stage
from evalkit.first_stage.base import FirstStage
from evalkit.first_stage.search import timed_search
from evalkit.types import Fused, Run, Searched, Settings, Slice, TunedFold

_STEPS = 10
"""Tuned weights are multiples of 1 / this."""
_MOST_TUNED = 4
"""Members whose weights can be tuned: for 4 there are 286 combinations, for 8 there would be 19,448."""

Weights = Mapping[str, float]
"""Name of a member -> weight."""


@dataclass
class Fusion(FirstStage):
    """The first stages in `of`, fused; `evalkit.evaluation.fusion.METHODS` has the formulas."""

    of: list[Any]
    """The members: names of first stages, or a name with its settings: [bm25, {bm25: {k1: 1.2}}, {trec_run: FILE}]."""
    method: str = "rrf"
    """What is summed: rrf (reciprocal ranks), min_max or z_score (normalised scores), or rank (1 - (rank - 1) / n)."""
    k: int = 60
    """Constant of rrf, 1 / (k + rank): the larger, the less the first ranks count."""
    weights: list[float] | None = None
    """A weight for each member, in the same order, 0 or more and 1 in sum; null for equal ones."""
    tune: bool = False
    """Whether weights are chosen by cross-validation: each query is ranked by those that are best on other queries."""
    tune_for: str = "nDCG@10"
    """The measure that tuned weights are best in."""
    folds: int = 5
    """Parts into which tuning divides the queries, 2 or more."""
    seed: int = 0
    """Draws which query is in which fold."""
    member_depth: int = 100
    """Hits of each member and query that are fused."""
    name: str | None = None
    """Name in results and reports; null for method and members."""

    def __post_init__(self) -> None:
        self.uses_judgments = self.tune
        self._found: dict[str, Searched] = {}
        self._notes: list[str] = []

    @cached_property
    def _given(self) -> list[FirstStage]:
        return [adapt_first_stage(member) for member in self.of]

    @cached_property
    def _members(self) -> list[FirstStage]:
        """The members in alphabetical order, so that the order in which they are named changes nothing."""
        return sorted(self._given, key=lambda member: member.label)

    @property
    def label(self) -> str:
        """The setting `name`, else method and members."""
        names = [member.label for member in self._members]
        return self.name or f"{self.method}({', '.join(names) if len(names) < 4 else f'{len(names)} first stages'})"

    def check(self) -> None:
        """Check the settings, and those of each member.

        Raises:
            EvalkitError: there are fewer than two members, or two that are the same; a setting is out of range or
                contradicts another one; or a member refuses its own.
        """
        fusion.check_method("first_stage", self.method, self.k)
        if self.member_depth < 1:
            raise EvalkitError(f"first_stage.member_depth={self.member_depth}: give 1 hit of each member, or more")
        self._check_members()
        self._check_weights()
        for member in self._members:
            with _of_member(member.label):
                member.check()

    def _check_members(self) -> None:
        if len(self._members) < 2:
            raise EvalkitError(
                f"first_stage.of has {'one member' if self._members else 'no member'}; a fusion needs two or more, "
                "such as first_stage.of=[bm25,minilm]"
            )
        for one, other in combinations(self._members, 2):
            if isinstance(one, Fusion) or isinstance(other, Fusion):
                raise EvalkitError("first_stage.of: a fusion cannot be a member of a fusion; name its members instead")
            if _settings(one) == _settings(other):
                raise EvalkitError(
                    f"first_stage.of: {one.label} and {other.label} are the same first stage with the same settings; "
                    "name each member once"
                )
            if one.label == other.label:
                raise EvalkitError(
                    f"first_stage.of: two members have the name {one.label!r}; give one of them another one, as in "
                    "{bm25: {k1: 1.2, name: bm25-k1-1.2}}"
                )

    def _check_weights(self) -> None:
        given, count = self.weights, len(self._members)
        if self.tune:
            cross_validation.check_folds("first_stage.folds", self.folds)
            parse(self.tune_for, 0)
            if given is not None:
                raise EvalkitError(
                    "first_stage.tune=true chooses the weights, and first_stage.weights gives them; leave one out"
                )
            if count > _MOST_TUNED:
                raise EvalkitError(
                    f"first_stage.tune=true tunes the weights of {_MOST_TUNED} members at most, and first_stage.of has "
                    f"{count}; leave some out, or give first_stage.weights"
                )
        if given is None:
            return
        if len(given) != count:
            raise EvalkitError(
                f"first_stage.weights={_list(given)}: {count} members need {count} weights, one for each in the same "
                "order"
            )
        if wrong := [weight for weight in given if not weight >= 0]:
            raise EvalkitError(f"first_stage.weights={_list(given)}: {wrong[0]:g} is negative; weights are 0 or more")
        if abs((total := sum(given)) - 1) > 1e-6:
            example = f", such as {_list([weight / total for weight in given], 6)}" if total else ""
            raise EvalkitError(
                f"first_stage.weights={_list(given)} sum to {total:g}, and have to sum to 1{example}; "
                "null gives all members the same weight"
            )

    def check_language(self, lang: str) -> None:
        """Check that each member can search texts of a language.

        Raises:
            EvalkitError: one cannot.
        """
        for member in self._members:
            with _of_member(member.label):
                member.check_language(lang)

    def max_hits(self) -> int | None:
        """Return the largest number of hits of a member's query, if all members are finished runs.

        Raises:
            EvalkitError: a file is malformed.
        """
        found = [most for member in self._members if (most := member.max_hits()) is not None]
        return min(max(found), self.member_depth) if len(found) == len(self._members) else None

    def search(self, data: Slice, depth: int) -> Run:
        """Search with each member and return the best `depth` passages of each query by the fused score.

        Args:
            data: the slice; ``data.qrels`` is used where weights are tuned, otherwise it is empty.
            depth: the largest number of hits of a query.

        Raises:
            EvalkitError: a member refuses the slice, lacks queries or has the same hits as another; scores cannot be
                normalised; or there are fewer queries than folds.
        """
        if self.tune:
            cross_validation.check_folds("first_stage.folds", self.folds, len(data.queries))
        self._found = {}
        for member in self._members:
            with _of_member(member.label):
                self._found[member.label] = timed_search(member, data, self.member_depth)
        self._check_found(data)
        with _of_member(""):
            terms = {
                name: fusion.terms(replace(one.run, name=name), self.method, self.k)
                for name, one in self._found.items()
            }
        began = time.perf_counter()
        folds = self._tuned(terms, data) if self.tune else ()
        # Tuning is done once, like indexing, and includes what ranx compiles: it is no part of the cost of a search.
        self.cache_s = sum(member.cache_s for member in self._members) + (time.perf_counter() - began) * self.tune
        known = [one.index_s for one in self._found.values() if one.index_s is not None]
        self.index_s = sum(known) if len(known) == len(self._found) else None
        self.fused = Fused(self._found, folds)
        tuned = {query_id: fold.weights for fold in folds for query_id in fold.queries}
        weights = {query_id: tuned[query_id] if tuned else self._weights() for query_id in data.queries}
        run = fusion.fuse(terms, weights, self.label, depth)
        self._notes = list(self._noted(run, depth))
        return run

    def _weights(self) -> Weights:
        """Return the weights that are given; equal ones are 1, so that the scores are plain sums."""
        given = [1.0] * len(self._given) if self.weights is None else self.weights
        return dict(sorted((member.label, weight) for member, weight in zip(self._given, given)))

    def _tuned(self, terms: Mapping[str, Mapping[str, fusion.Terms]], data: Slice) -> tuple[TunedFold, ...]:
        """Return for each fold its queries, and the weights that are best on all other folds."""
        measure = parse(self.tune_for, 0)
        depth = None if measure.judged_only else measure.cutoff  # unjudged hits are removed before the cutoff
        values = {}
        for point in cross_validation.lattice(len(terms), _STEPS):
            weights = dict(zip(terms, point))
            run = fusion.fuse(terms, dict.fromkeys(data.queries, weights), "", depth)
            (values[point],) = measures.evaluate(run, data.qrels, [measure], data.relevance_level).per_query.values()
        folds = cross_validation.split(data.queries, self.folds, self.seed)
        chosen = cross_validation.choose(values, folds)
        return tuple(TunedFold(dict(zip(terms, point)), fold) for point, fold in zip(chosen, folds))

    def _check_found(self, data: Slice) -> None:
        for name, one in self._found.items():
            if missing := one.facts.get("queries_missing"):
                first = next(query_id for query_id in data.queries if not one.run.rankings.get(query_id))
                raise EvalkitError(
                    f"first_stage.of: {name} lacks {missing} of the {len(data.queries)} queries of {data.name}, such "
                    f"as {first!r}, which the other members alone would rank; give runs of the same queries"
                )
        for (name, one), (other_name, other) in combinations(self._found.items(), 2):
            if one.run.rankings == other.run.rankings:
                raise EvalkitError(
                    f"first_stage.of: {name} and {other_name} find the same passages with the same scores for every "
                    "query; name each member once"
                )

    def _noted(self, run: Run, depth: int) -> Iterator[str]:
        for name, one in self._found.items():
            yield from (f"{name}: {note}" for note in one.facts.get("notes", ()))
        if self.tune:
            yield (
                f"the weights of the fusion were tuned for {self.tune_for} on this slice's judgments, in {self.folds} "
                "folds: each query is ranked by weights that were chosen on the other folds"
            )
        if depth > self.member_depth and any(len(hits) < depth for hits in run.rankings.values()):
            yield (
                f"each member of the fusion gave {self.member_depth} passages of a query "
                f"(first_stage.member_depth), and {depth} were asked for"
            )

    def describe(self) -> Settings:
        """Return the method, the weights, and what each member describes."""
        members = {
            name: {key: value for key, value in one.facts.items() if key not in ("name", "notes")}
            for name, one in self._found.items()
        }
        tuning = {"measure": self.tune_for, "folds": self.folds, "seed": self.seed, "steps": _STEPS}
        return {
            "name": self.label,
            "method": self.method,
            **({"k": self.k} if self.method == "rrf" else {}),
            **({"tuning": tuning} if self.tune else {"weights": self._weights()}),
            "member_depth": self.member_depth,
            "tie_rule": f"rank in {next(iter(members))} and then ascending doc_id",
            "from_cache": any(facts.get("from_cache") for facts in members.values()),
            "notes": self._notes,
            "members": members,
        }


@contextmanager
def _of_member(name: str) -> Iterator[None]:
    """Name the member in an error that it raises."""
    try:
        yield
    except EvalkitError as error:
        raise EvalkitError(f"first_stage.of: {name}{': ' if name else ''}{error}") from None


def _settings(member: FirstStage) -> object:
    """Return the settings of one of evalkit's own first stages but for its name; itself for any other."""
    if not is_dataclass(member):
        return member
    return type(member), {field.name: getattr(member, field.name) for field in fields(member) if field.name != "name"}


def _list(weights: Sequence[float], digits: int = 10) -> str:
    return f"[{', '.join(f'{weight:.{digits}g}' for weight in weights)}]"
