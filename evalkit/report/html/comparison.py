"""The page of a comparison."""

from collections.abc import Iterable, Mapping

from evalkit.report.content import comparison as comparing
from evalkit.report.content import numbers
from evalkit.report.content import values as figures
from evalkit.report.content.values import Entry
from evalkit.report.html import parts
from evalkit.report.html.markup import Markup, tag


def comparison(compared: Entry, pictures: Mapping[str, str]) -> str:
    """Return the page of a comparison of several systems on one slice, as one HTML file that loads nothing.

    `pictures` maps a title to an SVG. Parts that are missing or null are left out.
    """
    facts, measures, baseline = compared["slice"], compared["measures"], compared["baseline"]
    outcome = comparing.outcome(compared)
    sections = [
        parts.section("systems", "The systems", *_systems(compared)),
        parts.section("time", "Quality and time", *_times(compared)),
        parts.section("cost", "What it costs", *_cost(compared)),
        parts.warnings(compared.get("warnings")),
        parts.pictures(pictures),
        parts.section("baseline", f"Against {baseline}", *_against_baseline(compared)),
        parts.section("matrix", "Each against each", *_matrices(compared)),
        parts.section("parity", "Same scores, same order?", *_parity(compared)),
        parts.section("queries", "Every query", *_compared_queries(compared)),
        parts.section("origin", "Where it comes from", *_compared_origin(compared)),
    ]
    heading = (
        f"{facts['name']}: {facts['queries']} queries, {facts['docs']:,} passages, {len(compared['systems'])} systems"
    )
    head = tag(
        "header",
        tag("p", heading),
        tag("h1", tag("strong", outcome.claim, class_=parts.GLYPH.get(outcome.trend)), f"in {measures[0]}"),
        *(tag("p", line, class_="plain") for line in outcome.lines if line),
        class_=outcome.trend or None,
    )
    return parts.page(f"{facts['name']}: {len(compared['systems'])} systems compared", head, sections)


def _systems(compared: Entry) -> Iterable[Markup | None]:
    names = compared["measures"]
    rows = []
    for system in compared["systems"]:
        rows.append([
            str(system["label"]),
            str(system.get("first_stage") or ""),
            str(system.get("reranker") or ("none" if system.get("side") == "first_stage" else "")),
            str(system.get("precision") or ""),
            str(system.get("depth") or ""),
            *(figures.value(system["mean"].get(name)) for name in names),
            str((system.get("cost") or {}).get("device") or ""),
        ])  # fmt: skip
    text = ("first stage", "reranker", "precision", "device")
    columns = ["system", *text[:3], "depth", *names, "device"]
    baseline = next((n for n, s in enumerate(compared["systems"]) if s["label"] == compared["baseline"]), None)
    yield parts.table(columns, rows, "Systems", text=text, marked=baseline)
    if baseline is not None:
        yield parts.note(f"The marked row, {compared['baseline']}, is the baseline.")


def _cost(compared: Entry) -> Iterable[Markup | None]:
    rows = comparing.cost_rows(compared)
    if rows:
        marked = next((n for n, row in enumerate(rows) if row["system"] == compared["baseline"]), None)
        yield parts.table(list(rows[0]), [list(row.values()) for row in rows], "What it costs", marked=marked)
        for sentence in comparing.cost_notes(compared):
            yield parts.note(sentence)


def _times(compared: Entry) -> Iterable[Markup | None]:
    if rows := comparing.time_rows(compared):
        yield parts.table(list(rows[0]), [list(row.values()) for row in rows], "Quality and time")
        yield parts.note(comparing.TIME_NOTE)


def _against_baseline(compared: Entry) -> Iterable[Markup | None]:
    against = compared.get("against_baseline") or {}
    if not against:
        return
    percent = f"{100 * (compared.get('confidence') or 0.95):g} % interval"
    yield parts.note(
        "Mean paired difference to the baseline over the queries; p is of the paired randomisation test, corrected by "
        "Holm and by Benjamini and Hochberg over all systems and measures; a test in which no query differs can reject "
        "nothing and is not counted."
    )
    for name in compared["measures"]:
        found = {label: tests[name] for label, tests in against.items() if tests.get(name)}
        scale = parts.scale(([t["low"], t["high"]] for t in found.values()), (t["mean"] for t in found.values()))
        rows = [
            [
                label,
                parts.change(test["mean"]),
                parts.around(test["mean"], (test["low"], test["high"]), scale),
                figures.interval(test["low"], test["high"]),
                figures.interval(test.get("bca_low"), test.get("bca_high")),
                figures.p(test.get("randomization_p")),
                figures.p(test.get("holm_p")),
                f"{test['wins']}/{test['ties']}/{test['losses']}",
                *(figures.p(test.get(key)) for key in ("bh_p", "t_p", "wilcoxon_p")),
                numbers.number(test.get("effect_size"), "+.3f"),
                figures.value(test.get("detectable")),
            ]
            for label, test in found.items()
        ]
        columns = ["system", "change", parts.DRAWN, f"{percent} (t)", f"{percent} (BCa)", "p", "p (Holm)",
                   "win/tie/loss", "p (BH)", "p (t test)", "p (Wilcoxon)", "effect size",
                   "sees a change of"]  # fmt: skip
        if rows:
            yield tag("h3", name)
            yield parts.table(columns, rows, f"{name} against the baseline")


def _matrices(compared: Entry) -> Iterable[Markup | None]:
    matrices = {name: m for name, m in (compared.get("matrix") or {}).items() if len(m["labels"]) > 1}
    if not matrices:
        return
    yield parts.note(
        "Corrected p (Holm, over all pairs) of the paired randomisation test. An arrow up: the system of the row is "
        "above that of the column; the stronger the colour, the smaller p (below 0.05, 0.01, 0.001)."
    )
    means = {system["label"]: system["mean"] for system in compared["systems"]}
    for name, matrix in matrices.items():
        labels = matrix["labels"]
        rows = []
        for label, values in zip(labels, matrix["holm_p"]):
            cells = []
            for other, p in zip(labels, values):
                row, column = (means.get(key, {}).get(name) for key in (label, other))
                cells.append(_p_cell(p, 0 if row is None or column is None else row - column))
            rows.append(tag("tr", tag("th", label, scope="row"), *cells))
        head = tag("thead", tag("tr", tag("td"), *(tag("th", label, scope="col") for label in labels)))
        yield tag("h3", name)
        yield parts.box(tag("table", head, tag("tbody", *rows), class_="matrix"), f"Corrected p values, {name}")


def _p_cell(p: float | None, difference: float) -> Markup:
    if p is None:
        return tag("td")
    level = sum(p < limit for limit in (0.05, 0.01, 0.001))
    trend = ("up" if difference > 0 else "down" if difference < 0 else "") if level else ""
    return tag("td", figures.p(p), class_=f"{trend} sure-{level}".strip() if level else None)


def _parity(compared: Entry) -> Iterable[Markup | None]:
    parity = compared.get("parity") or {}
    if not any(parity.values()):
        return
    facts = {
        label: {key: value for key, value in found.items() if not isinstance(value, Mapping) and value is not None}
        for label, found in parity.items()
        if found
    }
    for label, found in parity.items():
        test = (found or {}).get("equivalence")
        if test:
            interval = figures.interval(test.get("low"), test.get("high"))
            verdict = "is equivalent to" if test["equivalent"] else "is not shown to be equivalent to"
            yield tag(
                "p",
                f"{label} {verdict} {compared['baseline']} in {test['measure']} within \u00b1{test['margin']:g}: "
                f"difference {figures.signed(test['mean'])}"
                + (f", interval {interval}" if interval else "")
                + (f", p {figures.p(test['p'])}" if test.get("p") is not None else "")
                + ".",
            )
    missing = [label for label, found in parity.items() if not found]
    if missing:
        yield parts.note(f"Other candidates than the baseline's, or no scores to compare: {', '.join(missing)}.")
    rows = [
        [key.replace("_", " "), *(figures.plain(found[key]) if key in found else "" for found in facts.values())]
        for key in dict.fromkeys(key for found in facts.values() for key in found)
    ]
    yield parts.table(["", *facts], rows, "Parity with the baseline")


def _compared_queries(compared: Entry) -> Iterable[Markup]:
    texts, lang = compared.get("queries") or {}, figures.lang(compared["slice"].get("lang"))
    per_query = compared.get("per_query") or {}
    for number, (name, systems) in enumerate(per_query.items()):
        labels = list(systems)
        heads = [tag("th", "query", scope="col", data_column=0, data_text=True)]
        heads += [tag("th", head, scope="col", data_column=n) for n, head in enumerate([*labels, "spread"], 1)]
        bodies = []
        for query_id in dict.fromkeys(query_id for values in systems.values() for query_id in values):
            values = [systems[label].get(query_id) for label in labels]
            known = [value for value in values if value is not None]
            spread = max(known) - min(known) if known else None
            text = tag("bdi", str(texts.get(query_id, query_id)), lang=lang)
            shown = tag("th", text, tag("bdi", query_id, class_="id line"), scope="row")
            row = tag("tr", shown, *(parts.cell(figures.value(value)) for value in [*values, spread]))
            bodies.append(tag("tbody", row))
        table = parts.searchable(tag("thead", tag("tr", *heads)), bodies, "one")
        if number:
            yield tag("details", tag("summary", name), table)
        else:
            yield tag("h3", name)
            yield table


def _compared_origin(compared: Entry) -> Iterable[Markup | None]:
    rows = [[str(s["label"]), str(s["where"])] for s in compared["systems"] if s.get("where")]
    rows += [
        [key, figures.plain(compared[key])]
        for key in ("confidence", "resamples", "seed")
        if compared.get(key) is not None
    ]
    yield parts.facts(rows, "Origin")
    yield parts.more(
        "The slice",
        parts.facts([[key, figures.plain(value)] for key, value in figures.flat(compared["slice"])], "Slice"),
    )
