"""Texts and ids of any kind go through a whole trial, and come out as letters, which no reader or terminal obeys."""

import csv
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from rich.table import Table

from evalkit.boundary.errors import EvalkitError
from evalkit.boundary.terminal import PlainConsole
from evalkit.boundary.text import escape_id, is_unicode, replace_surrogates
from evalkit.cli import tasks
from evalkit.evaluation.trec import read_run, write_qrels
from evalkit.report import markdown, per_query
from evalkit.results import reading
from evalkit.slices.assemble import assemble
from evalkit.types import Effectiveness, Hit, Run, Slice, Trial

LIVE = [
    "<script>alert(1)</script>", "</style>", "<!--", "![x](http://e.org/x.png)", "[x](javascript:alert(1))", "`", "**",
    "_", "__", "~~", "|", "\\", "&lt;", "&#60;", "&", "# ", "> ", "- ", "--", "\n\n", "=1+1", "+1", "-1", "@A1", ";=1",
    "\t", "\r", "\x00", "\x1b[2J", "\x9b2J", "\x07", "\ud800", "\u202e", "\u2028", "\U0001f600", "::error::x",
    "##[error]", '"', "'", ",", "%20", " ", "1", "a",
]  # fmt: skip
texts = st.lists(st.sampled_from(LIVE) | st.characters(), max_size=6).map("".join)
quick = settings(deadline=None, max_examples=80)


# --- ids


@quick
@given(st.lists(texts, min_size=2, max_size=6, unique=True))
def test_an_id_becomes_one_word_stays_another_than_the_others_and_changes_once(ids: Any) -> None:
    names = [escape_id(item) for item in ids]
    for item, name in zip(ids, names, strict=True):
        assert len(name.split()) == bool(item)
        assert name.isprintable() or not re.search("[\x00-\x1f\x7f-\x9f]", name)
        assert escape_id(name) == name
        name.encode()
    changed = [name for item, name in zip(ids, names, strict=True) if name != item]
    assert len(set(changed)) == len(changed)


@pytest.mark.parametrize(
    ("item", "name"),
    [
        ("page 7", "page%207"),
        ("tab\tand 100%", "tab%09and%20100%25"),
        ("no\u00a0break", "no%C2%A0break"),
        ("half \ud800", "half%20%ED%A0%80"),
        ("<dbpedia:Caf%C3%A9>", "<dbpedia:Caf%C3%A9>"),  # without white space it stays, as its qrels have it
        ('a/b,"c";d', 'a/b,"c";d'),
        ("巴黎", "巴黎"),
    ],
)
def test_white_space_in_an_id_is_percent_encoded_and_nothing_else_is(item: Any, name: Any) -> None:
    assert escape_id(item) == name


def test_ids_keep_together_in_queries_passages_and_judgments(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ids = ("a b", "plain", "without text")
    made = assemble("n", "en", "HERE", {"q 1": "t"}, {"a b": "A", "plain": "P"}, {"q 1": dict.fromkeys(ids, 1)}, 1, {})
    assert made.docs == {"a%20b": "A", "plain": "P"}
    assert made.qrels == {"q%201": {"a%20b": 1, "plain": 1, "without%20text": 1}}
    assert made.facts["ids_escaped"] == 3
    printed = capsys.readouterr().err
    assert "ids with white space or control characters are written percent-encoded" in printed
    write_qrels(made.qrels, tmp_path / "qrels.trec")
    assert (tmp_path / "qrels.trec").read_text("utf-8").splitlines()[0] == "q%201 0 a%20b 1"
    (tmp_path / "theirs.trec").write_text(
        "q\u00a01 Q0 a\u00a0b 1 2.0 t\n", "utf-8"
    )  # blanks of another kind are no columns
    assert read_run(tmp_path / "theirs.trec").run.rankings == {"q%C2%A01": (Hit("a%C2%A0b", 2.0),)}


def test_two_ids_that_would_become_one_are_refused() -> None:
    docs = {"a b": "A", "a%20b": "B"}
    with pytest.raises(EvalkitError, match=r"HERE: the passage ids 'a b' and 'a%20b' are the same one"):
        assemble("n", "en", "HERE", {"q": "t"}, docs, {"q": {"a b": 1}}, 1, {})
    with pytest.raises(EvalkitError, match=r"HERE: the passage ids 'a b' and 'a%20b' are the same one"):
        assemble("n", "en", "HERE", {"q": "t"}, {"a b": "A"}, {"q": {"a b": 1, "a%20b": 2}}, 1, {})


# --- texts


@quick
@given(texts)
def test_half_a_character_is_replaced_and_no_other(text: Any) -> None:
    whole = replace_surrogates(text)
    assert is_unicode(whole)
    assert len(whole) == len(text)
    assert all(a == b or (b == "\ufffd" and "\ud800" <= a <= "\udfff") for a, b in zip(text, whole, strict=True))


def test_replaced_characters_are_counted_and_reported(capsys: pytest.CaptureFixture[str]) -> None:
    made = assemble("n", "en", "HERE", {"q": "\udc00?"}, {"d": "one \ud800", "e": "two"}, {"q": {"d": 1}}, 1, {})
    assert (made.queries, made.docs) == ({"q": "\ufffd?"}, {"d": "one \ufffd", "e": "two"})
    assert made.facts["texts_mended"] == 2
    assert "lone surrogates, which UTF-8 cannot write, were replaced by U+FFFD (2 texts)" in capsys.readouterr().err


# --- a spreadsheet, Markdown, a terminal


FORMULA = re.compile(r"\s*[=+\-@\uff1d\uff0b\uff0d\uff20]")


@quick
@given(texts, texts)
def test_a_spreadsheet_finds_as_many_cells_as_there_are_and_no_formula_in_them(query_id: Any, query: Any) -> None:
    data = Slice("s", "en", {query_id: query}, {}, {query_id: {"d": 1}}, "")
    run, values = Run("r", {query_id: ()}), Effectiveness({"nDCG@10": {query_id: 0.25}})
    trial = Trial("t", {}, {}, {}, data, run, run, {"first_stage": values, "reranked": values}, {}, None)
    written = per_query.per_query(trial).to_csv(index=False, float_format="%.6f")
    head, row = csv.reader(io.StringIO(written, newline=""))
    assert len(row) == len(head) == 7
    assert row[2:] == ["1", "0", "0.250000", "0.250000", "0.000000"]
    for cell in row[:2]:
        assert not FORMULA.match(cell) or re.fullmatch(r"[+-][0-9]+", cell)
        assert not any(FORMULA.match(part) for part in re.split("[;\t]", cell)[1:] if cell not in ("+1", "-1"))
        assert not re.search("[\x00-\x08\x0b-\x1f]", cell)


def test_numbers_stay_numbers_in_a_spreadsheet() -> None:
    cells = {"-5": "-5", "+1.5": "+1.5", "-5x": "'-5x", "=1": "'=1", " @x": "' @x", "a;-b": "a;'-b", "a-b": "a-b"}
    queries = {str(number): text for number, text in enumerate(cells)}
    data = Slice("s", "en", queries, {}, {query_id: {"d": 1} for query_id in queries}, "")
    run = Run("r", dict.fromkeys(queries, ()))
    values = Effectiveness({"nDCG@10": dict.fromkeys(queries, 0.25)})
    trial = Trial("t", {}, {}, {}, data, run, run, {"first_stage": values, "reranked": values}, {}, None)
    assert list(per_query.per_query(trial)["query"]) == list(cells.values())


MARKDOWN = MarkdownIt("commonmark").enable("table")


@quick
@given(texts)
def test_markdown_shows_a_text_as_it_is_and_starts_nothing(text: Any) -> None:
    seen = re.sub("[\x00-\x1f\x7f-\x9f\ud800-\udfff]", "\ufffd", " ".join(text.split()))
    written = markdown.escaped(text)
    for line in (
        f"# head {written}",
        f"- note: {written}",
        f"- {written}",
        f"**q {written}**",
        f"![{written}](own.png)",
    ):
        tokens = MARKDOWN.parse(line)
        inside = [child for token in tokens for child in token.children or ()]
        kinds = {token.type for token in (*tokens, *inside)}
        assert kinds.isdisjoint({"html_block", "html_inline", "link_open", "code_inline", "em_open", "fence", "hr"})
        assert [child.attrs["src"] for child in inside if child.type == "image"] == ["own.png"] * line.startswith("!")
    _, _, _, cell = (
        token for token in MARKDOWN.parse(markdown.table(["", text], [["", text]])) if token.type == "inline"
    )
    assert "".join(child.content for child in cell.children or ()) == seen


@quick
@given(texts)
@pytest.mark.parametrize("job", ["", "true"])
def test_a_terminal_and_a_runner_are_given_letters(job: Any, text: Any) -> None:
    with pytest.MonkeyPatch.context() as patch:
        for name in ("CI", "GITHUB_ACTIONS", "TF_BUILD", "TEAMCITY_VERSION"):
            patch.setenv(name, job)
        out = io.StringIO()
        console = PlainConsole(file=out, markup=False, emoji=False, highlight=False, width=60)
        table = Table(title=text)
        table.add_column(text)
        table.add_row(text)
        console.print(table)
        console.print(f"note: {text}", soft_wrap=True)
        console.print(text, soft_wrap=True)
    shown = out.getvalue()
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f]", shown)
    assert not job or ("::" not in shown and "##[" not in shown)


# --- all of it


NASTY_DOCS = {
    "a b": "alpha <script>alert(1)</script> \x00 nul",
    "a/b": "alpha \ud800 half",
    '"quoted", with commas': "alpha \u202e right to left \u202c and \u0642\u0645\u0631",
    "'=1+1": "=1+1 alpha ![x](http://e.org/x.png)",
    "../../../up": "\x1b[2J alpha ::error::x |",
    "%41": "\U0001f600\U00020000 alpha",
    "\ud800": "alpha\u2028and\x85more\r\nlines",
    "long": "alpha " + "word " * 200_000,  # 1 MB
    "one word": "alpha " + "x" * 1_000_000,
}
NASTY_QUERIES = {"=q 1": "alpha =1", "q/2": "\ud83d alpha </td>", "-3": "@alpha\x00", "q,4\x1b[2J": "alpha\talpha"}


@pytest.fixture(scope="module")
def nasty(bert_folder: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The result of a trial over texts that nobody would want, and the folder around it."""
    place = tmp_path_factory.mktemp("nasty")
    source, out = place / "source", place / "one" / "two" / "out"
    (source / "qrels").mkdir(parents=True)
    out.mkdir(parents=True)
    for name, records in (("corpus", NASTY_DOCS), ("queries", NASTY_QUERIES)):
        lines = (json.dumps({"_id": key, "text": text}) + "\n" for key, text in records.items())
        (source / f"{name}.jsonl").write_text("".join(lines), "utf-8")
    judged = [doc_id for doc_id in NASTY_DOCS if is_unicode(doc_id)]
    rows = (f"{query_id}\t{doc_id}\t1\n" for query_id, doc_id in zip(NASTY_QUERIES, judged, strict=False))
    (source / "qrels" / "test.tsv").write_text("".join(rows), "utf-8")
    reranker = {"model": str(bert_folder), "max_length": 64, "truncation": "longest_first", "batch_tokens": 640,
                "device": "cpu", "precision": "fp32"}  # fmt: skip
    asked = {
        "name": "../../<b>n", "depth": 20, "measures": {"names": ["nDCG@10"]},
        "slice": {"_target_": "evalkit.slices.beir.load", "path": str(source), "name": "=s|<i>\x1b[2J"},
        "first_stage": {"_target_": "evalkit.first_stage.bm25.BM25"},
        "reranker": {"_target_": "evalkit.rerankers.cross_encoder.CrossEncoder", **reranker},
        "protocol": {"warmup_queries": 0, "latency_queries": 0, "seed": 0}, "precision": {"name": "fp32"}, "blend": {},
    }  # fmt: skip
    before = {path.relative_to(place) for path in place.rglob("*")}
    provenance = {"command": ["evalkit", "name=`<b>`\n\n<script>"], "started": "now"}
    tasks.run_trial(asked, provenance, out)
    made = {path for path in place.rglob("*") if path.relative_to(place) not in before}
    return out, made


def test_every_pair_is_scored_and_nothing_is_written_outside_the_folder(nasty: Any) -> None:
    out, made = nasty
    assert all(path.parent == out for path in made)
    found = reading.read(out)
    scoring, facts = found.result.effective.scoring, dict(found.result.effective.slice)
    assert (scoring["pairs"], scoring["pairs_unscored"]) == (len(NASTY_QUERIES) * len(NASTY_DOCS), 0)
    assert (facts["ids_escaped"], facts["texts_mended"]) == (6, 2)
    assert list(found.queries) == ["=q%201", "q/2", "-3", "q,4%1B[2J"]
    assert {hit.doc_id for hit in found.reranked.rankings["-3"]} == {escape_id(doc_id) for doc_id in NASTY_DOCS}


def test_every_file_is_unicode_and_every_line_of_a_run_has_six_columns(nasty: Any) -> None:
    out, _ = nasty
    for path in out.iterdir():
        if path.suffix != ".png":
            path.read_text("utf-8")
    for name in ("first_stage.trec", "reranked.trec"):
        lines = (out / name).read_text("utf-8").split("\n")[:-1]
        assert len(lines) == len(NASTY_QUERIES) * len(NASTY_DOCS)
        assert {len(line.split()) for line in lines} == {6}


def test_the_page_has_one_script_its_own_and_no_address_but_data(nasty: Any) -> None:
    out, _ = nasty
    elements: list[tuple[str, dict[str, str | None]]] = []

    class Parser(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            elements.append((tag, dict(attrs)))

    parser = Parser()
    parser.feed((out / "report.html").read_text("utf-8"))
    assert [name for name, _ in elements].count("script") == 1
    assert all(
        value is not None and value.startswith(("data:", "#"))
        for _, held in elements
        for key, value in held.items()
        if key in ("src", "href")
    )
    assert not any(key.startswith("on") or key == "style" for _, held in elements for key in held)


def test_markdown_and_table_show_all_queries_and_obey_none(nasty: Any) -> None:
    out, _ = nasty
    text = (out / "report.md").read_text("utf-8")
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f]", text)
    tokens = [child for token in MARKDOWN.parse(text) for child in (token, *(token.children or ()))]
    assert not {"html_inline", "html_block", "link_open"} & {token.type for token in tokens}
    pictures = [str(token.attrs["src"]) for token in tokens if token.type == "image"]
    assert pictures
    assert all((out / picture).exists() for picture in pictures)
    with (out / "per_query.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["query_id"] for row in rows] == ["'=q%201", "q/2", "-3", "q,4%1B[2J"]
    assert [row["query"] for row in rows] == ["alpha =1", "\ufffd alpha </td>", "'@alpha\ufffd", "alpha\talpha"]
