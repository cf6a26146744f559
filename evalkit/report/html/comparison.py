"""The HTML page of a comparison."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields

from evalkit.evaluation.parity import Parity
from evalkit.report.content import alternatives, numbers, pooling, recorded
from evalkit.report.content import comparison as comparing
from evalkit.report.html import parts
from evalkit.report.html.markup import Markup, language_tag, tag
from evalkit.results.comparison_schema import Comparison


def comparison(compared: Comparison, pictures: Mapping[str, str]) -> str:
    """Return the page of a comparison of several systems on one slice, as one HTML file that loads nothing.

    Parts without content are left out.

    Args:
        compared: a comparison.
        pictures: title -> SVG.
    """
    data, baseline = compared.slice, compared.baseline
    outcome = comparing.outcome(compared)
    sections = [
        parts.section("worth", alternatives.TITLE, *_worth(compared)),
        parts.section("systems", "The systems", *_systems(compared)),
        parts.section("time", "Quality and time", *_times(compared)),
        parts.section("pooling", pooling.TITLE, *_pooling(compared)),
        parts.section("cost", "What it costs", *_cost(compared)),
        parts.warnings(compared.warnings),
        parts.pictures(pictures),
        parts.section("baseline", f"Against {baseline}", *_against_baseline(compared)),
        parts.section("matrix", "Each against each", *_matrices(compared)),
        parts.section("parity", "Same scores, same order?", *_parity(compared)),
        parts.section("queries", "Every query", *_compared_queries(compared)),
        parts.section("origin", "Where it comes from", *_compared_origin(compared)),
    ]
    heading = f"{data.name}: {data.queries} queries, {data.docs:,} passages, {len(compared.systems)} systems"
    head = tag(
        "header",
        tag("p", heading),
        tag("h1", tag("strong", f"{outcome.claim}.", class_=parts.GLYPH.get(outcome.trend))),
        *(tag("p", line, class_="plain") for line in outcome.lines if line),
        class_=outcome.trend or None,
    )
    return parts.page(f"{data.name}: {len(compared.systems)} systems compared", head, sections)


def _worth(compared: Comparison) -> Iterable[Markup | None]:
    if rows := alternatives.rows(compared):
        yield parts.table(list(rows[0]), [list(row.values()) for row in rows], alternatives.TITLE, text=("worth it?",))
        yield parts.note(alternatives.note(compared))


def _systems(compared: Comparison) -> Iterable[Markup | None]:
    names = compared.measures
    rows = []
    for system in compared.systems:
        rows.append([
            system.label,
            system.first_stage,
            system.reranker or "none",
            system.precision or "",
            str(system.depth or ""),
            *(numbers.measure_value(system.mean[name]) for name in names),
            (system.cost and system.cost.device) or "",
        ])  # fmt: skip
    text = ("first stage", "reranker", "precision", "device")
    columns = ["system", *text[:3], "depth", *names, "device"]
    baseline = next((n for n, s in enumerate(compared.systems) if s.label == compared.baseline), None)
    yield parts.table(columns, rows, "Systems", text=text, marked=baseline)
    if baseline is not None:
        yield parts.note(f"The marked row, {compared.baseline}, is the baseline.")


def _pooling(compared: Comparison) -> Iterable[Markup | None]:
    if rows := pooling.rows(compared):
        for line in pooling.lines(compared):
            yield tag("p", line)
        yield parts.table(pooling.columns(compared), rows, pooling.TITLE, text=("against", "verdict"))
        yield parts.note(pooling.NOTE)


def _cost(compared: Comparison) -> Iterable[Markup | None]:
    rows = comparing.cost_rows(compared)
    if rows:
        marked = next((n for n, row in enumerate(rows) if row["system"] == compared.baseline), None)
        yield parts.table(list(rows[0]), [list(row.values()) for row in rows], "What it costs", marked=marked)
        for sentence in comparing.cost_notes(compared):
            yield parts.note(sentence)


def _times(compared: Comparison) -> Iterable[Markup | None]:
    if rows := comparing.time_rows(compared):
        yield parts.table(list(rows[0]), [list(row.values()) for row in rows], "Quality and time")
        yield parts.note(comparing.TIME_NOTE)


def _against_baseline(compared: Comparison) -> Iterable[Markup | None]:
    percent = f"{100 * compared.confidence:g} % interval"
    yield parts.note(
        "Mean paired difference to the baseline over the queries; p is of the paired randomisation test, corrected by "
        "Holm and by Benjamini and Hochberg over all systems and measures; a test in which no query differs can reject "
        "nothing and is not counted."
    )
    for name in compared.measures:
        found = {label: tests[name] for label, tests in compared.against_baseline.items()}
        scale = parts.scale(([t.low, t.high] for t in found.values()), (t.mean for t in found.values()))
        rows = [
            [
                label,
                parts.change(test.mean),
                parts.interval_drawing(test.mean, (test.low, test.high), scale),
                numbers.interval(test.low, test.high),
                numbers.interval(test.bca_low, test.bca_high),
                numbers.p_value(test.randomization_p),
                numbers.p_value(test.holm_p),
                f"{test.wins}/{test.ties}/{test.losses}",
                *map(numbers.p_value, (test.bh_p, test.t_p, test.wilcoxon_p)),
                numbers.number(test.effect_size, "+.3f"),
                numbers.measure_value(test.detectable),
            ]
            for label, test in found.items()
        ]
        columns = ["system", "change", parts.DRAWN, f"{percent} (t)", f"{percent} (BCa)", "p", "p (Holm)",
                   "win/tie/loss", "p (BH)", "p (t test)", "p (Wilcoxon)", "effect size",
                   "sees a change of"]  # fmt: skip
        yield tag("h3", name)
        yield parts.table(columns, rows, f"{name} against the baseline")


def _matrices(compared: Comparison) -> Iterable[Markup | None]:
    yield parts.note(
        "Corrected p (Holm, over all pairs) of the paired randomisation test. An arrow up: the system of the row is "
        "above that of the column; the stronger the colour, the smaller p (below 0.05, 0.01, 0.001)."
    )
    means = {system.label: system.mean for system in compared.systems}
    for name, matrix in compared.matrix.items():
        labels = matrix.labels
        rows = []
        for label, ps in zip(labels, matrix.holm_p):
            cells = [_p_cell(p, means[label][name] - means[other][name]) for other, p in zip(labels, ps)]
            rows.append(tag("tr", tag("th", label, scope="row"), *cells))
        head = tag("thead", tag("tr", tag("td"), *(tag("th", label, scope="col") for label in labels)))
        yield tag("h3", name)
        yield parts.box(tag("table", head, tag("tbody", *rows), class_="matrix"), f"Corrected p values, {name}")


def _p_cell(p: float | None, difference: float) -> Markup:
    if p is None:
        return tag("td")
    level = sum(p < limit for limit in (0.05, 0.01, 0.001))
    trend = ("up" if difference > 0 else "down" if difference < 0 else "") if level else ""
    return tag("td", numbers.p_value(p), class_=f"{trend} sure-{level}".strip() if level else None)


def _parity(compared: Comparison) -> Iterable[Markup | None]:
    agreements = {label: found for label, found in compared.parity.items() if found}
    if not agreements:
        return
    for label, found in agreements.items():
        test = found.equivalence
        interval = numbers.interval(test.low, test.high)
        verdict = "is equivalent to" if test.equivalent else "is not shown to be equivalent to"
        yield tag(
            "p",
            f"{label} {verdict} {compared.baseline} in {test.measure} within \u00b1{test.margin:g}: "
            f"difference {numbers.signed(test.mean)}"
            + (f", interval {interval}" if interval else "")
            + (f", p {numbers.p_value(test.p)}" if test.p is not None else "")
            + ".",
        )
    missing = [label for label, found in compared.parity.items() if not found]
    if missing:
        yield parts.note(f"Other candidates than the baseline's, or no scores to compare: {', '.join(missing)}.")
    rows = []
    for name in (field.name for field in fields(Parity) if field.name != "per_query"):
        values = [getattr(found, name) for found in agreements.values()]
        if any(value is not None for value in values):
            cells = ("" if value is None else recorded.readable(value) for value in values)
            rows.append([name.replace("_", " "), *cells])
    yield parts.table(["", *agreements], rows, "Parity with the baseline")


def _compared_queries(compared: Comparison) -> Iterable[Markup]:
    lang = language_tag(compared.slice.lang)
    for number, (name, systems) in enumerate(compared.per_query.items()):
        labels = list(systems)
        heads = [tag("th", "query", scope="col", data_column=0, data_text=True)]
        heads += [tag("th", head, scope="col", data_column=n) for n, head in enumerate([*labels, "spread"], 1)]
        bodies = []
        for query_id, text in compared.queries.items():
            values = [systems[label][query_id] for label in labels]
            spread = max(values) - min(values)
            shown = tag("th", tag("bdi", text, lang=lang), tag("bdi", query_id, class_="id line"), scope="row")
            row = tag("tr", shown, *(parts.cell(numbers.measure_value(value)) for value in [*values, spread]))
            bodies.append(tag("tbody", row))
        table = parts.searchable(tag("thead", tag("tr", *heads)), bodies, "one")
        if number:
            yield tag("details", tag("summary", name), table)
        else:
            yield tag("h3", name)
            yield table


def _compared_origin(compared: Comparison) -> Iterable[Markup | None]:
    rows = [[system.label, system.where] for system in compared.systems]
    rows += [
        ["confidence", recorded.readable(compared.confidence)],
        ["resamples", recorded.readable(compared.resamples)],
        ["seed", recorded.readable(compared.seed)],
    ]
    yield parts.facts(rows, "Origin")
    facts = [[key, recorded.readable(value)] for key, value in asdict(compared.slice).items() if value is not None]
    yield parts.more("The slice", parts.facts(facts, "Slice"))
