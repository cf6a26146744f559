"""A collection in files of any format as a slice: its queries, a stream of its passages, and its judgments."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evalkit.boundary import languages
from evalkit.boundary.columns import DOCS, QUERIES, Role
from evalkit.boundary.errors import EvalkitError, nearest
from evalkit.boundary.progress import track
from evalkit.boundary.rows import Picker, Row
from evalkit.boundary.table_files import open_table
from evalkit.boundary.text import escape_id, quoted
from evalkit.slices import labels
from evalkit.slices.assemble import assemble
from evalkit.slices.settings import check_level, check_settings
from evalkit.slices.sources import doc_rows, mapping_rows, query_rows
from evalkit.slices.subset import choose_queries, collect_docs, settings_without_effect
from evalkit.types import Slice

TABLES = ("docs", "queries", "qrels")
"""Whose columns can be stated."""
Columns = Mapping[str, Mapping[str, str]]
"""One of `TABLES` -> role -> column."""


@dataclass(frozen=True)
class Cut:
    """The settings that every collection has, as `evalkit.slices.beir.load` describes them."""

    lang: str
    queries: int | None
    corpus: str
    distractors: int
    seed: int
    relevance_level: int
    unjudged_queries: str
    empty_docs: str
    identical_ids: str
    judge: str | None = None
    judge_kind: str | None = None

    def check(self) -> None:
        """Check them before anything is read.

        Raises:
            EvalkitError: one of them is not valid.
        """
        check_settings(self.corpus, self.unjudged_queries, self.empty_docs, self.identical_ids)
        check_level(self.relevance_level)
        languages.canonical(self.lang)


@dataclass(frozen=True)
class Files:
    """The files of a collection."""

    where: str
    """Names it in messages."""
    docs: Sequence[Path]
    queries: Sequence[Path]
    qrels: Sequence[Path]


def load(name: str, files: Files, cut: Cut, stated: Any, facts: Mapping[str, Any]) -> Slice:
    """Load a collection; as in BEIR, its queries are those that are judged.

    Args:
        name: of the slice.
        files: what is read.
        cut: how much of it becomes the slice.
        stated: one of `TABLES` -> role -> column, where columns have other names; None for none.
        facts: what the result records besides.

    Raises:
        EvalkitError: a file is missing or malformed (file and line are named), or `evalkit.slices.assemble` refuses
            something.
    """
    columns = _checked(stated or {})
    judged = labels.read_qrels(files.qrels, cut.judge, cut.judge_kind, columns.get("qrels"))
    # Ids read from trec_eval's files are escaped, so the ids of queries and passages have to be escaped too.
    as_id = escape_id if judged.is_trec else str
    found = _read_queries(files.queries, columns.get("queries", {}), as_id)
    missing = [query_id for query_id in judged.grades if query_id not in found.texts]
    if missing:
        names = ", ".join(path.name for path in files.queries[:3])
        raise EvalkitError(
            f"{files.qrels[0]} judges {len(missing)} queries that {names} lacks (e.g. {quoted(missing[0])})"
        )
    grades = judged.grades
    chosen = choose_queries(
        files.where, {q: text for q, text in found.texts.items() if q in grades}, grades, cut.queries, cut.seed,
        cut.unjudged_queries,
    )  # fmt: skip
    needed = {doc_id for q in chosen for doc_id in grades[q]} if cut.corpus == "judged" else None
    pickers: list[Picker] = []
    passages = (
        (as_id(doc_id), text)
        for rows, picker in tables(files.docs, DOCS, "passages", columns.get("docs", {}), pickers)
        for _, doc_id, text in doc_rows(rows, picker)
    )
    stream = track(passages, "reading passages", unit="passages")
    docs, dropped = collect_docs(files.where, stream, needed, cut.distractors, cut.seed, cut.empty_docs)
    more: dict[str, Any] = {
        "corpus": cut.corpus,
        "distractors": cut.distractors,
        "seed": cut.seed,
        "empty_docs_dropped": len(dropped),
        "other_queries_in_file": len(found.texts) - len(grades),
        **settings_without_effect(cut.seed, cut.queries, len(chosen), cut.distractors, needed, docs),
        **judged.facts,
    }
    used = {"docs": columns_of(pickers), "queries": found.columns, "qrels": dict(judged.columns)}
    more["columns"] = {table: names for table, names in used.items() if names}
    read = {"docs": files.docs, "queries": files.queries, "qrels": files.qrels}
    more["files"] = {table: [path.name for path in paths[:20]] for table, paths in read.items()}
    if found.with_title:
        more["query_titles_left_out"] = found.with_title
    if idle := [*more.get("without_effect", []), *facts.get("without_effect", [])]:
        more["without_effect"] = idle
    return assemble(
        name, cut.lang, files.where, chosen, docs, grades, cut.relevance_level, {**facts, **more},
        identical_ids=cut.identical_ids, excluded_ids=found.excluded, empty_docs=dropped,
    )  # fmt: skip


def _checked(columns: Any) -> Columns:
    if not isinstance(columns, Mapping):
        raise EvalkitError(
            f"slice.columns is {quoted(columns)}, and has to name columns, such as {{docs: {{text: body}}}}"
        )
    for table, roles in columns.items():
        if table not in TABLES:
            raise EvalkitError(f"slice.columns: there is no table {quoted(table)}{nearest(table, TABLES)}")
        if not isinstance(roles, Mapping):
            raise EvalkitError(
                f"slice.columns.{table} is {quoted(roles)}, and has to name columns, such as {{doc_id: pid}}"
            )
    return {table: {role: str(column) for role, column in roles.items()} for table, roles in columns.items()}


@dataclass
class _Queries:
    """Texts, excluded passages, the number of titles, which are not used, and the columns of the source."""

    texts: dict[str, str] = field(default_factory=dict)
    excluded: dict[str, frozenset[str]] = field(default_factory=dict)
    with_title: int = 0
    columns: dict[str, str] = field(default_factory=dict)


def _read_queries(paths: Sequence[Path], stated: Mapping[str, str], as_id: Callable[[str], str]) -> _Queries:
    """Read the queries; as in BEIR, only ``text`` is searched with."""
    found = _Queries()
    pickers: list[Picker] = []
    for rows, picker in tables(paths, QUERIES, "queries", stated, pickers):
        for query in query_rows(rows, picker):
            key = as_id(query.query_id)
            if key in found.texts:
                raise EvalkitError(f"{query.place}: id {quoted(query.query_id)} occurs twice; ids must be unique")
            found.texts[key] = query.text
            found.with_title += query.has_title
            if query.excluded_ids:
                found.excluded[key] = frozenset(map(as_id, query.excluded_ids))
    found.columns = columns_of(pickers)
    return found


def tables(
    paths: Sequence[Path], roles: tuple[Role, ...], what: str, stated: Mapping[str, str], pickers: list[Picker]
) -> Iterator[tuple[Iterator[Row], Picker]]:
    """Yield the rows of each file with what picks from them, which is added to `pickers` too.

    Args:
        paths: the files.
        roles: what is wanted of them, one of the tuples of `evalkit.boundary.columns`.
        what: what they should contain, for messages.
        stated: role -> column, where columns have other names.
        pickers: a list that the caller keeps.

    Raises:
        EvalkitError: a file cannot be read.
    """
    for path in paths:
        table = open_table(path, roles, what, stated)
        content = table.content
        rows = mapping_rows(content, str(path), roles) if isinstance(content, Mapping) else content
        pickers.append(Picker(roles, table.stated))
        yield rows, pickers[-1]


def columns_of(pickers: Sequence[Picker]) -> dict[str, str]:
    """Return role -> the column that was used, over all files."""
    return {role: column for picker in pickers for role, column in picker.columns.items()}
