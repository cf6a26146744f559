"""The page of a trial."""

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence

from evalkit.report import costs, tables
from evalkit.report.page import figures, parts
from evalkit.report.page.figures import Entry
from evalkit.report.page.markup import Markup, join, tag
from evalkit.report.page.passages import Passages
from evalkit.report.result import Result


def trial(result: Result, passages: Sequence[Entry], pictures: Mapping[str, str]) -> str:
    """Return the page of a finished trial, as one HTML file that loads nothing.

    `passages` are the lines of passages.jsonl; `pictures` maps a title to an SVG. Parts that `result` does not have, as
    those of older versions, are left out.
    """
    effect, analysis = result["effectiveness"], result.get("analysis") or {}
    main = next(iter(effect["delta"]))
    shown = Passages(passages, effect["relevance_level"], result["effective"]["slice"].get("lang"))
    sections = [
        parts.section("quality", "What reranking changed", *_quality(result)),
        parts.warnings(result.get("warnings")),
        parts.pictures(pictures),
        parts.section("depth", "Quality by depth", *_depths(analysis.get("depths"), list(effect["delta"]))),
        parts.section("breakdown", "Where it helps", *_breakdowns(analysis.get("breakdown"), main)),
        parts.section("scores", "What the scores mean", *_scores(analysis.get("scores"), effect["relevance_level"])),
        parts.section("moves", "The largest changes", *_moves(analysis, shown, main)),
        parts.section("queries", "Every query", *_queries(effect["per_query"], shown)),
        parts.section("cost", "Cost", *_cost(result)),
        parts.section("references", "Published figures", *_references(result.get("references"))),
        parts.section("settings", "Asked and done", *_settings(result["asked"], result["effective"])),
        parts.section("origin", "Where it comes from", *_origin(result.get("provenance") or {})),
    ]
    state = _TREND.get(effect["verdict"][main], "")
    claim, _, how_much = tables.verdict(result).partition(": ")
    cost = tables.cost_line(result)
    head = tag(
        "header",
        tag("p", f"{result['name']} \u00b7 {tables.heading(result)}"),
        tag("h1", tag("strong", claim, class_=parts.GLYPH.get(state)), how_much),
        tag("p", tables.label(result), class_="plain"),
        cost and tag("p", cost),
        class_=state or None,
    )
    return parts.page(f"{result['name']}: is the reranker worth it?", head, sections)


def _quality(result: Result) -> Iterable[Markup | None]:
    effect = result["effectiveness"]
    names, tests = list(effect["delta"]), effect.get("tests") or {}
    scale = parts.scale(effect["delta_ci95"].values(), effect["delta"].values())
    rows = []
    for name in names:
        test, (low, high) = tests.get(name) or {}, effect["delta_ci95"][name]
        rows.append([
            name,
            figures.value(effect["first_stage"]["mean"][name]),
            figures.value(effect["reranked"]["mean"][name]),
            parts.change(effect["delta"][name]),
            parts.around(effect["delta"][name], (low, high), scale),
            figures.interval(low, high),
            figures.interval(*(test.get("bca95") or (None, None))),
            figures.p(test.get("randomization_p")),
            figures.p(test.get("holm_p")),
            f"{effect['wins'][name]}/{effect['ties'][name]}/{effect['losses'][name]}",
            figures.value(effect["ceiling"]["mean"][name]),
        ])  # fmt: skip
    columns = [
        "measure", tables.label_first(result), tables.label_second(result), "change", parts.DRAWN, "95 % interval (t)",
        "95 % interval (BCa)", "p", "p, corrected", "win/tie/loss", "ceiling",
    ]  # fmt: skip
    yield parts.table(columns, rows, "Measures")
    yield parts.note(
        f"Means over {effect['queries']} queries. Binary measures count grade {effect['relevance_level']} and above as "
        "relevant. Intervals are of the mean paired difference: Student's t, and the bootstrap's BCa where it is "
        "shown. The ceiling is what a perfect order of the same candidates would reach."
        + (" p is of the paired randomisation test; corrected is Holm's, over all measures here." if tests else "")
    )
    if unjudged := effect.get("unjudged_at_10"):
        before, after = unjudged["first_stage"], unjudged["reranked"]
        yield parts.note(f"Unjudged passages in the top 10: {before:.1%} before, {after:.1%} after.")
    if tests:
        rows = [
            [
                name,
                *(figures.p(test.get(key)) for key in _TESTS),
                tables.number(test.get("effect_size"), "+.3f"),
                figures.value(test.get("detectable")),
            ]
            for name, test in tests.items()
        ]
        columns = ["measure", *_TESTS.values(), "effect size", "sees a change of"]
        yield parts.more("All tests", parts.table(columns, rows, "All tests"))
    analysis = result.get("analysis") or {}
    rows = [
        [label, name, *(figures.value(values.get(key)) for key in ("low", "expected", "high"))]
        for label, of_list in (
            (tables.label_first(result), "tied_first_stage"),
            (tables.label_second(result), "tied"),
        )
        for name, values in (analysis.get(of_list) or {}).items()
    ]
    if rows:
        yield tag("h3", "Tied scores")
        yield parts.note(
            "Some passages of one query share a score. The mean over all orders of them, and its extremes:"
        )
        yield parts.table(["list", "measure", "worst order", "expected", "best order"], rows, "Tied scores")
        for line in tables.tie_lines(result):
            yield parts.note(line)


def _depths(depths: Sequence[Entry] | None, names: Sequence[str]) -> Iterable[Markup | None]:
    if not depths:
        return
    yield parts.note("The same scores, had only the best candidates of the first stage been reranked.")
    rows = [
        [str(d["depth"]), figures.count(d.get("pairs")), *(figures.value(d["mean"].get(name)) for name in names)]
        for d in depths
    ]
    yield parts.table(["depth", "pairs", *names], rows, "Quality by depth", marked=len(rows) - 1)


def _breakdowns(breakdown: Mapping[str, Sequence[Entry]] | None, main: str) -> Iterable[Markup | None]:
    groups = {by: found for by, found in (breakdown or {}).items() if found}
    if not groups:
        return
    yield parts.note(
        f"{main} by kind of query. Small groups have wide intervals, and many groups find something by chance."
    )
    every = [group for found in groups.values() for group in found]
    scale = parts.scale((g["ci95"] for g in every), (g["delta"] for g in every))
    for by, found in groups.items():
        rows = [
            [
                str(group["label"]),
                figures.count(group["queries"]),
                figures.value(group["before"]),
                figures.value(group["after"]),
                parts.change(group["delta"]),
                parts.around(group["delta"], group["ci95"], scale),
                figures.interval(*group["ci95"]),
            ]
            for group in found
        ]
        title = _BREAKDOWNS.get(by, by.replace("_", " "))
        yield tag("h3", title)
        columns = ["group", "queries", "before", "after", "change", parts.DRAWN, "95 % interval (t)"]
        yield parts.table(columns, rows, title)


def _scores(scores: Entry | None, level: int) -> Iterable[Markup | None]:
    if not scores:
        return
    if grades := scores.get("grades"):
        yield tag("h3", "Logits by grade")
        quantiles = ("p5", "p25", "p50", "p75", "p95")
        rows = [
            [
                figures.grade(group["grade"]),
                figures.count(group["pairs"]),
                *(tables.number(group.get(quantile), "+.2f") for quantile in quantiles),
            ]
            for group in grades
        ]
        yield parts.table(["", "pairs", "5 %", "25 %", "median", "75 %", "95 %"], rows, "Logits by grade")
    columns = ["logit", "sigmoid", "precision", "recall", "F1"]
    if best := scores.get("best_f1"):
        yield tag("h3", "Where to cut")
        yield parts.note(
            f"Over judged pairs, relevant from grade {level} up. The best F1 is {best['f1']:.3f}, at a logit of "
            f"{best['logit']:+.2f} (sigmoid {best['sigmoid']:.3f}): precision {best['precision']:.3f}, recall "
            f"{best['recall']:.3f}. A threshold belongs to this model and this slice."
        )
    if thresholds := scores.get("thresholds"):
        rows = [
            [tables.number(t["logit"], "+.2f"), *(tables.number(t[k], ".3f") for k in _THRESHOLD)] for t in thresholds
        ]
        yield parts.more(f"{len(rows)} thresholds", parts.table(columns, rows, "Thresholds"))
    if rules := scores.get("rules"):
        yield tag("h3", "Rules of thumb, tried here")
        yield parts.note("Tutorials call a passage relevant from a sigmoid of 0.8 up and irrelevant below 0.4.")
        rows = [[str(r["rule"]), figures.count(r["pairs"]), figures.share(r["relevant_share"])] for r in rules]
        yield parts.table(["rule", "judged pairs", "of them relevant"], rows, "Rules of thumb")
    if bins := scores.get("calibration"):
        yield tag("h3", "Is the sigmoid a probability?")
        error = scores.get("expected_calibration_error")
        yield parts.note(
            "It is one where the mean sigmoid equals the share of relevant pairs."
            + ("" if error is None else f" Expected calibration error: {error:.3f}.")
        )
        rows = [
            [
                f"{b['low']:.1f} to {b['high']:.1f}",
                figures.count(b["pairs"]),
                tables.number(b["mean_sigmoid"], ".3f"),
                tables.number(b["relevant_share"], ".3f"),
            ]
            for b in bins
        ]
        yield parts.table(["sigmoid", "judged pairs", "mean sigmoid", "relevant share"], rows, "Calibration")


def _moves(analysis: Entry, shown: Passages, main: str) -> Iterable[Markup | None]:
    for key, title in (("gains", "Gained most"), ("losses", "Lost most")):
        if moves := analysis.get(key):
            yield tag("h3", title)
            yield tag("ol", *(shown.move(move, main) for move in moves), class_="moves")


def _queries(per_query: Mapping[str, Mapping[str, Mapping[str, float]]], shown: Passages) -> Iterable[Markup]:
    first, reranked = per_query["first_stage"], per_query["reranked"]
    names = list(first)
    heads = ["before", "after", "change"] * len(names)
    top = [tag("th", "query", rowspan=2, scope="col", data_column=0, data_text=True)]
    top += [tag("th", name, colspan=3, scope="colgroup") for name in names]
    low = [tag("th", head, scope="col", data_column=column) for column, head in enumerate(heads, 1)]
    bodies = []
    for query_id in first[names[0]]:
        cells = []
        for name in names:
            before, after = first[name].get(query_id), reranked[name].get(query_id)
            delta = None if before is None or after is None else after - before
            cells += [figures.value(before), figures.value(after), parts.change(delta)]
        row = tag("tr", tag("th", shown.query(query_id), scope="row"), *map(parts.cell, cells))
        more = tag("tr", tag("td", shown.details(query_id), colspan=1 + len(cells)))
        bodies.append(tag("tbody", row, more))
    if shown.cut:
        yield parts.note(f"Up to {shown.most} passages a query; passages.jsonl in the result's folder has all.")
    yield parts.searchable(tag("thead", tag("tr", *top), tag("tr", *low)), bodies, "two")


def _cost(result: Result) -> Iterable[Markup | None]:
    for part in costs.parts(result):
        yield tag("h3", part.title)
        yield parts.table(part.columns, part.rows, part.title, text=("what",))
        several = tag("ul", *(tag("li", sentence) for sentence in part.notes), class_="note")
        yield several if len(part.notes) > 1 else parts.note("".join(part.notes)) if part.notes else None
    if result.get("cost"):
        yield parts.note("MiB are 2\u00b2\u2070 bytes. Latency is one query with its passages, tokenization included.")


def _references(references: Sequence[Entry] | None) -> Iterable[Markup | None]:
    if not references:
        return
    rows = [
        [
            str(entry.get("of") or ""),
            str(entry.get("measure") or ""),
            figures.value(entry.get("value")),
            figures.value(entry.get("ours")),
            parts.change(entry.get("difference")),
            _source(entry.get("source")),
            str(entry.get("note") or ""),
        ]
        for entry in references
    ]
    columns = ["of", "measure", "published", "here", "difference", "source", "note"]
    yield parts.table(columns, rows, "Published figures", text=("measure", "source", "note"))


def _source(source: object) -> Markup:
    text = str(source or "")
    link = re.fullmatch(r"https?://\S+", text)
    return tag("a", text, href=text, rel="noopener noreferrer") if link else join(text)


def _settings(asked: Entry, effective: Entry) -> Iterable[Markup | None]:
    rows = list(_differences(asked, effective))
    if rows:
        yield parts.note("Where what was done is not, word for word, what was asked:")
        yield parts.table(["setting", "asked", "done"], rows, "Asked and done", text=("asked", "done"))
    yield parts.more(
        "Everything that was asked", parts.facts([[k, figures.plain(v)] for k, v in figures.flat(asked)], "Asked")
    )
    yield parts.more(
        "Everything that was done", parts.facts([[k, figures.plain(v)] for k, v in figures.flat(effective)], "Done")
    )


def _differences(asked: Entry, effective: Entry, path: str = "") -> Iterable[list[str]]:
    for key, wanted in asked.items():
        got = effective.get(key)
        if got is None or wanted == got:
            continue
        if isinstance(wanted, Mapping) and isinstance(got, Mapping):
            yield from _differences(wanted, got, f"{path}{key}.")
        else:
            yield [f"{path}{key}", "not set" if wanted is None else figures.plain(wanted), figures.plain(got)]


def _origin(provenance: Entry) -> Iterable[Markup | None]:
    if command := provenance.get("command"):
        yield tag("pre", tag("code", f"{command[0]} {shlex.join(command[1:])}".strip()), tabindex=0)
    rest = {key: value for key, value in provenance.items() if key != "command"}
    yield parts.facts([[key, figures.plain(value)] for key, value in figures.flat(rest)], "Provenance")


_TREND = {"helped": "rise", "hurt": "fall"}
_THRESHOLD = ("sigmoid", "precision", "recall", "f1")
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
