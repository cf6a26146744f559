"""The HTML page of a trial."""

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict

from evalkit.evaluation.breakdown import ClassRow, DepthRow
from evalkit.evaluation.score_analysis import ScoreAnalysis
from evalkit.report.content import blend as blending
from evalkit.report.content import chunks as chunking
from evalkit.report.content import cost as costs
from evalkit.report.content import cost_load, intervals, numbers, pooling, recorded, system
from evalkit.report.content import fusion as fusing
from evalkit.report.content import trial as tables
from evalkit.report.content.recorded import Entry
from evalkit.report.html import parts
from evalkit.report.html.markup import Markup, join, picture, tag
from evalkit.report.html.passages import Passages
from evalkit.report.plots import titles
from evalkit.results import summary
from evalkit.results.schema import Analysis, PerQueryValues, Reference, Result


def trial(result: Result, passages: Sequence[Entry], pictures: Mapping[str, str]) -> str:
    """Return the page of a finished trial, as one HTML file that loads nothing.

    Sections without content, as in results of older versions, are left out; without a reranker the page is about the
    first stage alone.

    Args:
        result: the result.
        passages: the lines of passages.jsonl.
        pictures: name -> SVG. A known picture is next to the table of its figures; others have a section of their own.
    """
    effect, analysis = result.effectiveness, result.analysis
    main, reranks = next(iter(effect.delta)), summary.reranks(result)
    shown = Passages(passages, effect.relevance_level, result.effective.slice["lang"], reranks)
    drawn = _Drawn(result, pictures)
    quality, breakdowns = (_quality, "Where it helps") if reranks else (_quality_alone, "By kind of query")
    depths = _depths(analysis.depths, list(effect.delta), drawn) if reranks else ()
    scores = _scores(analysis.scores, effect.relevance_level, drawn)
    sections = [
        parts.section("quality", "What reranking changed" if reranks else "Quality", *quality(result, drawn)),
        parts.section("fusion", fusing.TITLE, *_fusion(result)),
        parts.warnings(result.warnings),
        parts.section("depth", "Quality by depth", *depths),
        parts.section("chunks", chunking.TITLE, *_chunks(result)),
        parts.section("blend", "Blended with the first stage", *_blend(result, drawn)),
        parts.section("breakdown", breakdowns, *_breakdowns(analysis.breakdown, main, result)),
        parts.section("scores", "What the scores mean", *scores),
        parts.section("moves", "The largest changes", *_moves(analysis, shown, main)),
        parts.section("queries", "Every query", *_queries(effect.per_query, shown, reranks)),
        parts.section("cost", "Cost", *_cost(result, drawn)),
        parts.section("references", "Published figures", *_references(result.references)),
        parts.section("settings", "Asked and done", *_settings(result.asked, asdict(result.effective))),
        parts.section("origin", "Where it comes from", *_origin(result.provenance)),
    ]
    sections.insert(3, parts.pictures(drawn.rest()))
    state = _TREND.get(effect.verdict[main], "")
    claim, _, how_much = tables.reranking(result).partition(": ")
    blended = blending.claim(result)
    cost = tables.cost_line(result)
    head = tag(
        "header",
        tag("p", f"{result.name} \u00b7 {tables.heading(result)}"),
        tag("h1", tag("strong", claim, class_=parts.GLYPH.get(state)), how_much),
        blended and tag("p", tag("strong", blended)),
        tag("p", summary.label(result), class_="plain"),
        tag("dl", *(tag("div", tag("dt", name), tag("dd", value)) for name, value in system.facts(result))),
        cost and tag("p", cost),
        class_=state or None,
    )
    question = "is the reranker worth it?" if reranks else "the first stage by itself"
    return parts.page(f"{result.name}: {question}", head, sections)


class _Drawn:
    """The pictures of a page by name; each is placed once."""

    def __init__(self, result: Result, svgs: Mapping[str, str]) -> None:
        self._result, self._left = result, dict(svgs)

    def take(self, name: str) -> Markup | None:
        """Return a picture with its caption, or None where it was not drawn."""
        svg = self._left.pop(name, None)
        return None if svg is None else picture(titles.title(name, self._result), svg, titles.NOTES[name])

    def rest(self) -> dict[str, str]:
        """Return the pictures that were not taken, by title."""
        return {titles.title(name, self._result): svg for name, svg in self._left.items()}


def _quality_alone(result: Result, drawn: _Drawn) -> Iterable[Markup | None]:
    """Yield the quality of a first stage without a reranker."""
    effect = result.effectiveness
    rows = [
        [name, numbers.measure_value(value), numbers.measure_value(effect.ceiling.mean[name])]
        for name, value in effect.first_stage.mean.items()
    ]
    yield parts.table(["measure", summary.label_first(result), "ceiling"], rows, "Measures")
    queries = numbers.counted(effect.queries, "query", "queries")
    yield parts.note(
        f"Means over {queries}. Binary measures count grade {effect.relevance_level} and above as "
        "relevant. The ceiling is what a perfect order of the same candidates would reach."
    )
    yield from _unjudged(result, f"{effect.unjudged_at_10.first_stage:.1%}")
    yield _ties(result)


def _quality(result: Result, drawn: _Drawn) -> Iterable[Markup | None]:
    effect = result.effectiveness
    names, tests = list(effect.delta), effect.tests
    first, ceiling = effect.first_stage.mean, effect.ceiling.mean
    drawn_ends = {
        name: intervals.clip(ends, effect.delta[name], first[name], ceiling[name]) or (None, None)
        for name, ends in effect.delta_ci95.items()
    }
    scale = parts.scale(drawn_ends.values(), effect.delta.values())
    rows = []
    for name in names:
        test, (low, high) = tests.get(name), effect.delta_ci95[name]
        rows.append([
            name,
            numbers.measure_value(first[name]),
            numbers.measure_value(effect.reranked.mean[name]),
            parts.mean_change(effect.delta[name], (low, high)),
            parts.interval_drawing(effect.delta[name], drawn_ends[name], scale),
            numbers.interval(low, high),
            numbers.interval(*(test.bca95 if test else (None, None))),
            numbers.p_value(test.randomization_p if test else None),
            numbers.p_value(test.holm_p if test else None),
            f"{effect.wins[name]}/{effect.ties[name]}/{effect.losses[name]}",
            numbers.measure_value(ceiling[name]),
        ])  # fmt: skip
    columns = [
        "measure", summary.label_first(result), summary.label_second(result), "change", parts.DRAWN,
        "95 % interval (t)", "95 % interval (BCa)", "p", "p, corrected", "win/tie/loss", "ceiling",
    ]  # fmt: skip
    yield parts.table(columns, rows, "Measures", cards=True)
    queries = numbers.counted(effect.queries, "query", "queries")
    yield parts.note(
        f"Means over {queries}. Binary measures count grade {effect.relevance_level} and above as "
        "relevant. Intervals are of the mean paired difference: Student's t, and the bootstrap's BCa where it is "
        "shown. The ceiling is what a perfect order of the same candidates would reach. An arrow stands where the t "
        "interval leaves out 0; its drawing ends where the measure would pass 0 or the ceiling."
        + (" p is of the paired randomisation test; corrected is Holm's, over all measures here." if tests else "")
    )
    before, after = effect.unjudged_at_10.first_stage, effect.unjudged_at_10.reranked
    yield from _unjudged(result, f"{before:.1%} before, {after:.1%} after")
    if tests:
        rows = [
            [
                name,
                *(numbers.p_value(getattr(test, field)) for field in _TESTS),
                numbers.number(test.effect_size, "+.3f"),
                numbers.measure_value(test.detectable),
            ]
            for name, test in tests.items()
        ]
        columns = ["measure", *_TESTS.values(), "effect size", "sees a change of"]
        yield parts.more("All tests", parts.table(columns, rows, "All tests", cards=True))
    yield parts.side_by_side(drawn.take("before_after"), drawn.take("changes"))
    yield _ties(result)


def _unjudged(result: Result, shares: str) -> Iterable[Markup]:
    yield parts.note(f"Unjudged passages in the top 10: {shares}.")
    if condensed := pooling.of_trial(result):
        yield parts.note(condensed)


def _ties(result: Result) -> Markup | None:
    """Return what each measure would be over all orders of the tied passages, for each list that has some."""
    rows = [
        [label, name, *(numbers.measure_value(value) for value in (means.low, means.expected, means.high))]
        for label, name, means in tables.tied_means(result)
    ]
    if not rows:
        return None
    columns = ["list", "measure", "worst order", "expected", "best order"]
    return parts.titled(
        "Tied scores",
        parts.note("Some passages of one query share a score. The mean over all orders of them, and its extremes:"),
        parts.table(columns, rows, "Tied scores", cards=True),
        *(parts.note(line) for line in tables.tie_lines(result)),
    )


def _fusion(result: Result) -> Iterable[Markup | None]:
    fusion = result.fusion
    if fusion is None:
        return
    yield parts.note(fusing.verdict(result, fusion))
    yield parts.table(fusing.columns(result), fusing.rows(result, fusion), fusing.TITLE, cards=True)
    if folds := fusing.fold_rows(fusion):
        yield parts.titled(
            fusing.FOLDS,
            parts.note("The weights of each fold were chosen on all other folds."),
            parts.table(fusing.fold_columns(fusion), folds, fusing.FOLDS),
        )


def _depths(depths: Sequence[DepthRow], names: Sequence[str], drawn: _Drawn) -> Iterable[Markup | None]:
    if not depths:
        return
    yield parts.note("The same scores, had only the best candidates of the first stage been reranked.")
    rows = [
        [str(d.depth), numbers.count(d.pairs), *(numbers.measure_value(d.mean.get(name)) for name in names)]
        for d in depths
    ]
    table = parts.table(["depth", "pairs", *names], rows, "Quality by depth", marked=len(rows) - 1)
    yield parts.side_by_side(table, drawn.take("depths"))


def _blend(result: Result, drawn: _Drawn) -> Iterable[Markup | None]:
    if result.blend is None:
        return
    yield parts.note(blending.intro(result))
    if rows := blending.rows(result):
        yield parts.table(blending.columns(result), rows, "Blended and replaced", cards=True)
    curve = parts.table(["weight", *result.effectiveness.delta], blending.curve_rows(result), "Quality by weight")
    yield parts.side_by_side(curve, drawn.take("blend"))


def _chunks(result: Result) -> Iterable[Markup | None]:
    if result.chunks is None:
        return
    yield parts.note(chunking.intro(result))
    if claim := chunking.claim(result):
        yield parts.note(claim)
    if rows := chunking.rows(result, result.chunks):
        yield parts.table(chunking.columns(), rows, chunking.TITLE, cards=True)


def _breakdowns(breakdown: Mapping[str, Sequence[ClassRow]], main: str, result: Result) -> Iterable[Markup | None]:
    groups = {by: found for by, found in breakdown.items() if found}
    if not groups:
        return
    reranks = summary.reranks(result)
    note = f"{main} by kind of query."
    several = [group for found in groups.values() if len(found) > 1 for group in found]
    if several and reranks:
        note += (
            " Small groups have wide intervals, and many groups find something by chance. An arrow stands where the "
            "interval leaves out 0; drawings end where the mean would pass 0 or 1."
        )
    if any(group.queries < intervals.FEW for group in several):
        note += f" Few: fewer than {intervals.FEW} queries, too few for a reliable mean."
    yield parts.note(note)
    scale = parts.scale(map(_possible, several), (g.delta for g in several))
    columns = ["group", "queries", "before", "after", "change", parts.DRAWN, "95 % interval (t)"]
    for by, found in groups.items():
        title = _BREAKDOWNS.get(by, by.replace("_", " "))
        if len(found) == 1:  # a group of all queries has the figures of the whole
            continue
        rows = [
            [
                str(group.label),
                numbers.count(group.queries) + (" (few)" if group.queries < intervals.FEW else ""),
                numbers.measure_value(group.before),
                numbers.measure_value(group.after),
                parts.mean_change(group.delta, group.ci95),
                parts.interval_drawing(group.delta, _possible(group), scale),
                numbers.interval(*group.ci95),
            ]
            for group in found
        ]
        if reranks:
            yield parts.titled(title, parts.table(columns, rows, title, cards=True))
        else:
            yield parts.titled(title, parts.table(["group", "queries", "mean"], [row[:3] for row in rows], title))
    if alone := [f"{_by(by)} {found[0].label}" for by, found in groups.items() if len(found) == 1]:
        yield parts.note(f"All queries are of one group {'; '.join(alone)}.")


def _by(breakdown: str) -> str:
    title = _BREAKDOWNS.get(breakdown, breakdown.replace("_", " "))
    return f"{title[0].lower()}{title[1:]}:"


def _possible(group: ClassRow) -> tuple[float, float] | tuple[None, None]:
    """Return a group's interval as far as its mean can go: to 0 and to 1."""
    return intervals.clip(group.ci95, group.delta, group.before, 1.0) or (None, None)


def _scores(scores: ScoreAnalysis | None, level: int, drawn: _Drawn) -> Iterable[Markup | None]:
    if not scores:
        return
    rows = [
        [
            numbers.grade(group.grade),
            numbers.count(group.pairs),
            *(numbers.number(quantile, "+.2f") for quantile in (group.p5, group.p25, group.p50, group.p75, group.p95)),
        ]
        for group in scores.grades
    ]
    table = parts.table(["", "pairs", "5 %", "25 %", "median", "75 %", "95 %"], rows, "Logits by grade", cards=True)
    yield parts.titled("Logits by grade", parts.side_by_side(table, drawn.take("scores")))
    columns = ["logit", "sigmoid", "precision", "recall", "F1"]
    if best := scores.best_f1:
        note = parts.note(
            f"Over judged pairs, relevant from grade {level} up. The best F1 is {best.f1:.3f}, at a logit of "
            f"{best.logit:+.2f} (sigmoid {best.sigmoid:.3f}): precision {best.precision:.3f}, recall "
            f"{best.recall:.3f}. A threshold belongs to this model and this slice."
        )
        rows = [
            [
                f"{cut.logit:+.2f}",
                *(numbers.number(value, ".3f") for value in (cut.sigmoid, cut.precision, cut.recall, cut.f1)),
            ]
            for cut in scores.thresholds
        ]
        every = parts.more(numbers.counted(len(rows), "threshold"), parts.table(columns, rows, "Thresholds"))
        yield parts.titled("Where to cut", note, every)
    if rules := scores.rules:
        rows = [[str(r.rule), numbers.count(r.pairs), numbers.percent(r.relevant_share)] for r in rules]
        yield parts.titled(
            "Rules of thumb, tried here",
            parts.note("Tutorials call a passage relevant from a sigmoid of 0.8 up and irrelevant below 0.4."),
            parts.table(["rule", "judged pairs", "of them relevant"], rows, "Rules of thumb"),
        )
    if bins := scores.calibration:
        error = scores.expected_calibration_error
        note = parts.note(
            "It is one where the mean sigmoid equals the share of relevant pairs."
            + ("" if error is None else f" Expected calibration error: {error:.3f}.")
        )
        rows = [
            [
                f"{b.low:.1f} to {b.high:.1f}",
                numbers.count(b.pairs),
                numbers.number(b.mean_sigmoid, ".3f"),
                numbers.number(b.relevant_share, ".3f"),
            ]
            for b in bins
        ]
        table = parts.table(["sigmoid", "judged pairs", "mean sigmoid", "relevant share"], rows, "Calibration")
        every = parts.more(numbers.counted(len(rows), "bin"), table)
        yield parts.titled("Is the sigmoid a probability?", note, parts.side_by_side(drawn.take("reliability")), every)


def _moves(analysis: Analysis, shown: Passages, main: str) -> Iterable[Markup | None]:
    for examples, title in ((analysis.gains, "Gained most"), (analysis.losses, "Lost most")):
        moves = [shown.move(move, main) for move in examples]
        most = tag("ol", *moves[:_MOVES], class_="moves") if moves else None
        rest = tag("ol", *moves[_MOVES:], class_="moves", start=_MOVES + 1) if moves[_MOVES:] else None
        yield parts.titled(title, most, parts.more(f"{len(moves) - _MOVES} more", rest))


def _queries(per_query: PerQueryValues, shown: Passages, reranks: bool) -> Iterable[Markup]:
    first, reranked = per_query.first_stage, per_query.reranked
    names = list(first)
    query = tag("th", "query", rowspan=2 if reranks else None, scope="col", data_column=0, data_text=True, abbr="query")
    heads = [(name, name) for name in names]
    if reranks:
        heads = [(head, f"{name} {head}") for name in names for head in ("before", "after", "change")]
    top = tag("tr", query, *(tag("th", name, colspan=3, scope="colgroup") for name in names)) if reranks else None
    low = [tag("th", head, scope="col", data_column=n, abbr=whole) for n, (head, whole) in enumerate(heads, 1)]
    bodies = []
    for query_id in first[names[0]]:
        cells: list[Markup | str] = []
        for name in names:
            before, after = first[name].get(query_id), reranked[name].get(query_id)
            cells.append(numbers.measure_value(before))
            if reranks:
                delta = None if before is None or after is None else after - before
                cells += [numbers.measure_value(after), parts.change(delta)]
        row = tag("tr", tag("th", shown.query(query_id), scope="row"), *map(parts.cell, cells))
        more = tag("tr", tag("td", shown.details(query_id), colspan=1 + len(cells)))
        bodies.append(tag("tbody", row, more))
    if shown.cut:
        yield parts.note(f"Up to {shown.most} passages a query; passages.jsonl in the result's folder has all.")
    bottom = tag("tr", None if reranks else query, *low)
    yield parts.searchable(tag("thead", top, bottom), bodies, "two")


def _cost(result: Result, drawn: _Drawn) -> Iterable[Markup | None]:
    for part in costs.parts(result):
        table = parts.table(
            part.columns, part.rows, part.title, text=("what",), cards=part.title in (costs.GRID, cost_load.TITLE)
        )
        several = tag("ul", *(tag("li", sentence) for sentence in part.notes), class_="note")
        notes = several if len(part.notes) > 1 else parts.note("".join(part.notes)) if part.notes else None
        name = _PICTURES_OF_COST.get(part.title)
        yield parts.titled(part.title, parts.side_by_side(table, drawn.take(name)) if name else table, notes)
    if result.cost:
        yield parts.note("MiB are 2\u00b2\u2070 bytes. Latency is one query with its passages, tokenization included.")


def _references(references: Sequence[Reference]) -> Iterable[Markup | None]:
    if not references:
        return
    rows = [
        [
            entry.of,
            entry.measure,
            numbers.measure_value(entry.value),
            numbers.measure_value(entry.ours),
            numbers.signed(entry.difference),
            _source(entry.source),
            entry.note,
        ]
        for entry in references
    ]
    columns = ["of", "measure", "published", "here", "difference", "source", "note"]
    yield parts.table(columns, rows, "Published figures", text=("measure", "source", "note"), cards=True)


def _source(source: object) -> Markup:
    text = str(source or "")
    link = re.fullmatch(r"https?://\S+", text)
    return tag("a", text, href=text, rel="noopener noreferrer") if link else join(text)


def _settings(asked: Entry, effective: Entry) -> Iterable[Markup | None]:
    rows = list(_differences(asked, effective))
    if rows:
        yield parts.note("Settings whose value in effect is not literally the one that was asked for:")
        yield parts.table(["setting", "asked", "done"], rows, "Asked and done", text=("asked", "done"), cards=True)
    yield parts.more(
        "Everything that was asked",
        parts.facts([[k, recorded.readable(v)] for k, v in recorded.flatten(asked)], "Asked"),
    )
    yield parts.more(
        "Everything that was done",
        parts.facts([[k, recorded.readable(v)] for k, v in recorded.flatten(effective)], "Done"),
    )


def _differences(asked: Entry, effective: Entry, path: str = "") -> Iterable[list[str]]:
    for key, wanted in asked.items():
        got = effective.get(key)
        if got is None or wanted == got:
            continue
        if isinstance(wanted, Mapping) and isinstance(got, Mapping):
            yield from _differences(wanted, got, f"{path}{key}.")
        else:
            yield [f"{path}{key}", "not set" if wanted is None else recorded.readable(wanted), recorded.readable(got)]


def _origin(provenance: Entry) -> Iterable[Markup | None]:
    if command := provenance.get("command"):
        yield tag("pre", tag("code", f"{command[0]} {shlex.join(command[1:])}".strip()), tabindex=0)
    rest = {key: value for key, value in provenance.items() if key != "command"}
    known = parts.facts([[key, recorded.readable(value)] for key, value in recorded.flatten(rest)], "Provenance")
    yield parts.more("Commit, machine and versions", known)


_TREND = {"helped": "rise", "hurt": "fall"}
_PICTURES_OF_COST = {costs.LATENCY: "latency", costs.GRID: "latency_grid", cost_load.TITLE: "load"}
_MOVES = 5
"""Gains and losses shown before the reader opens the rest."""
_TESTS = {
    "randomization_p": "p (randomization)",
    "holm_p": "p (Holm)",
    "bh_p": "p (Benjamini-Hochberg)",
    "t_p": "p (t test)",
    "wilcoxon_p": "p (Wilcoxon)",
}
_BREAKDOWNS = {
    "query_length": "By length of the query",
    "question_word": "By question word",
    "relevant_passages": "By number of relevant passages",
    "answer_in_first_10": "By whether the first stage had a relevant passage in its top 10",
}
