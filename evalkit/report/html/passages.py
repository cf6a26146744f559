"""The queries of a trial with their passages, grades, and ranks before and after."""

from collections.abc import Sequence

from evalkit.evaluation.breakdown import Example
from evalkit.report.content import numbers
from evalkit.report.content.recorded import Entry
from evalkit.report.html.markup import Markup, join, language_tag, tag


class Passages:
    """The passages of each query as lists, with the grade of each and its rank before and after."""

    def __init__(self, lines: Sequence[Entry], level: int, lang: object, reranks: bool = True) -> None:
        self.level, self.lang = level, language_tag(lang)
        self.ranks = _RANKS if reranks else _RANKS[:1]
        self.lines = {str(line["query_id"]): line for line in lines}
        self.numbers = {query_id: number for number, query_id in enumerate(self.lines, 1)}
        self.most = max(3, MOST_PASSAGES // max(1, len(self.lines)))
        self.cut = any(len(line["passages"]) > self.most for line in lines)

    def query(self, query_id: str) -> Markup:
        """Return the query's text, or its id if the text is not known."""
        line = self.lines.get(query_id)
        return tag("bdi", str(line["query"]), lang=self.lang) if line else tag("bdi", query_id)

    def details(self, query_id: str) -> Markup:
        """Return the query's line below its figures: its id, and its passages to open."""
        line = self.lines.get(query_id)
        if not line:
            return Markup()
        found = line["passages"]
        relevant = [p for p in found if self._relevant(p)]
        best = [numbers.rank(min(filter(None, (p[key] for p in relevant)), default=None)) for key in self.ranks]
        ranks = " \u2192 ".join(best)
        facts = f"{len(relevant)} relevant, the best at rank {ranks}" if relevant else "none relevant"
        if relevant and not any(p[key] for p in relevant for key in _RANKS):
            facts = f"{len(relevant)} relevant, none of them found"
        kept = found[: self.most]
        top, rest = (self._list([p for p in kept if _within(p, 10) == within]) for within in (True, False))
        where = "in neither top 10" if len(self.ranks) > 1 else "not in the top 10"
        below = tag("summary", f"more relevant passages, {where}")
        listed = join(top, tag("details", below, rest, class_="rest") if rest else None)
        summary = tag("summary", tag("bdi", query_id, class_="id"), f" \u00b7 {facts}")
        return tag("details", summary, tag("div", listed, id=f"q{self.numbers[query_id]}"), class_="rest")

    def move(self, move: Example, main: str) -> Markup:
        """Return a gain or loss with the five best passages of both lists.

        Args:
            move: a query, with its value before and after.
            main: name of the measure.
        """
        query_id = move.query_id
        change = numbers.signed(move.after - move.before)
        moved = f" {main} {move.before:.4f} \u2192 {move.after:.4f} ({change})"
        line = self.lines.get(query_id)
        head = tag("p", tag("bdi", move.query, lang=self.lang), tag("br"), tag("span", moved, class_="note"))
        if not line:
            return tag("li", head)
        best = [p for p in line["passages"] if _within(p, 5)]
        every = tag("a", "all of its passages", href=f"#q{self.numbers[query_id]}")
        summary = tag("summary", tag("bdi", query_id, class_="id"), " \u00b7 the five best before and after")
        return tag("li", head, tag("details", summary, self._list(best), tag("p", every, class_="note")))

    def _relevant(self, passage: Entry) -> bool:
        return passage["grade"] is not None and passage["grade"] >= self.level

    def _list(self, found: Sequence[Entry]) -> Markup:
        return tag("ol", *map(self._item, found), class_="passages") if found else Markup()

    def _item(self, passage: Entry) -> Markup:
        kind = "unjudged" if passage["grade"] is None else "relevant" if self._relevant(passage) else "other"
        before, after = (passage[key] for key in _RANKS)
        moved = None if before == after else "up" if after and (not before or after < before) else "down"
        where = " \u2192 ".join(numbers.rank(passage[key]) for key in self.ranks)
        note = tag(
            "p",
            tag("span", f"rank {where}", class_=moved),
            f" \u00b7 {numbers.grade(passage['grade'])}{', relevant' if kind == 'relevant' else ''} \u00b7 ",
            tag("bdi", str(passage["doc_id"])),
            class_="note",
        )
        return tag("li", note, tag("p", str(passage["text"]), dir="auto", lang=self.lang), class_=kind)


def _within(passage: Entry, rank: int) -> bool:
    """Return whether a passage is among the best of either list."""
    return any(passage[key] is not None and passage[key] <= rank for key in _RANKS)


_RANKS = ("first_stage_rank", "reranked_rank")
MOST_PASSAGES = 20_000
"""Over all queries; with more, the page is too large to open."""
