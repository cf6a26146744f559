"""report.html in a browser: what a phone shows, how the table of queries is sorted; skipped where there is none."""

import html as escaping
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.report.test_html import DRAWN, SVG, full, passages, per_query, trial_of
from tests.report.test_html import alone as first_stage_alone

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")
QUERIES = ("ten", "two", "1", "\u0645\u0631\u062d\u0628\u0627")
LONG = "an-organisation-with-a-name/multilingual-reranker-large-v2.5_instruct" * 3


def queries_page(found: Any) -> Any:
    """A page of four queries whose first measure rises by 0.1, 0.3, 0.2 and falls by 0.1."""
    before, after = per_query(0.5, QUERIES), per_query(0.5, QUERIES)
    for query_id, value in zip(QUERIES, (0.6, 0.8, 0.7, 0.4), strict=True):
        after["nDCG@10"][query_id] = value
    found["effectiveness"]["per_query"] = {"first_stage": before, "reranked": after}
    lines = [line | {"query_id": q, "query": f"query {q}"} for q in QUERIES for line in passages()[:1]]
    return trial_of(found, lines, dict.fromkeys(DRAWN, SVG))


def ask(page: Any, tmp_path: Path, script: Any, width: Any = 390) -> Any:
    """Return what `script`, which sees the page's `view` and `doc`, returns from a page `width` pixels wide."""
    frame = f'<iframe width="{width}" height="800" style="border:0" srcdoc="{escaping.escape(page)}"></iframe>'
    asked = (
        f"<script>onload = () => {{ const view = document.querySelector('iframe').contentWindow, doc = view.document; "
        f"document.body.textContent = 'ANSWER' + btoa(encodeURIComponent(JSON.stringify((() => {{ {script} }})()))) + "
        "'END' }</script>"
    )
    file = tmp_path / "frame.html"
    file.write_text(f'<!DOCTYPE html><meta charset="utf-8"><body>{frame}{asked}</body>', "utf-8")
    command = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}",
               "--virtual-time-budget=5000", "--dump-dom", file.as_uri()]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    answer = re.search("ANSWER(.*?)END", done.stdout)
    assert answer, done.stderr
    import base64
    from urllib.parse import unquote

    return json.loads(unquote(base64.b64decode(answer[1]).decode()))


WIDE = """
const out = [...doc.querySelectorAll("body *")].filter((e) => e.getBoundingClientRect().right > view.innerWidth + 1);
const box = (e) => e.closest(".scroll, pre");
return {
  width: doc.documentElement.scrollWidth,
  outside: out.filter((e) => !box(e)).map((e) => e.outerHTML.slice(0, 80)),
  unhinted: [...doc.querySelectorAll(".scroll")].filter((e) => e.scrollWidth > e.clientWidth + 1
    && !view.getComputedStyle(e).backgroundAttachment.includes("local")).map((e) => e.outerHTML.slice(0, 80)),
  scrolling: [...doc.querySelectorAll(".scroll")].filter((e) => e.scrollWidth > e.clientWidth + 1)
    .map((e) => e.getAttribute("aria-label")),
  pictures: [...doc.images].map((e) => Math.round(e.getBoundingClientRect().width)),
};
"""


@pytest.mark.parametrize("width", [320, 390])
@pytest.mark.parametrize("names", ["plain", LONG])
def test_on_a_phone_nothing_is_off_the_screen_but_in_the_box_of_queries_which_shows_it(
    width: Any, names: Any, tmp_path: Path
) -> None:
    found = ask(queries_page(full(names)), tmp_path, WIDE, width)
    assert found["width"] <= width
    assert found["outside"] == []
    assert found["unhinted"] == []
    assert set(found["scrolling"]) <= {"Every query"}
    assert max(found["pictures"]) <= width


def test_a_first_stage_alone_fits_a_phone_too(tmp_path: Path) -> None:
    assert ask(queries_page(first_stage_alone()), tmp_path, WIDE)["outside"] == []


SORTING = """
const order = () => [...doc.querySelectorAll(".queries tbody")].map((b) => b.querySelector("th bdi").textContent);
const heads = [...doc.querySelectorAll(".queries thead [data-column]")];
const state = () => heads.map((h) => h.getAttribute("aria-sort"));
const button = heads[3].querySelector("button");
const found = { before: state(), names: heads.map((h) => h.querySelector("button").getAttribute("aria-label")),
  arrow: view.getComputedStyle(heads[3].querySelector("button"), "::after").content, focusable: button.tabIndex };
button.focus();
button.click();
found.first = order(); found.after = state(); found.focused = doc.activeElement === button;
button.click();
found.second = order();
heads[0].querySelector("button").click();
found.byQuery = order(); found.last = state();
return found;
"""


def test_the_table_of_queries_shows_that_it_sorts_and_is_sorted_by_its_heads(tmp_path: Path) -> None:
    found = ask(queries_page(full()), tmp_path, SORTING, 1000)
    assert found["before"] == ["none"] * 7
    assert found["names"][:4] == ["sort by query", "sort by nDCG@10 before", "sort by nDCG@10 after",
                                  "sort by nDCG@10 change"]  # fmt: skip
    assert "\u2195" in found["arrow"]
    assert (found["focusable"], found["focused"]) == (0, True)
    largest_first = ["query two", "query 1", "query ten", "query \u0645\u0631\u062d\u0628\u0627"]
    assert found["first"] == largest_first
    assert found["after"] == ["none"] * 3 + ["descending"] + ["none"] * 3
    assert found["second"] == largest_first[::-1]
    assert found["byQuery"] == ["query 1", "query ten", "query two", "query \u0645\u0631\u062d\u0628\u0627"]
    assert found["last"] == ["ascending"] + ["none"] * 6
