"use strict";
// The page is whole without this; the script adds sorting and searching, and opens for print what is not marked as rest:
// every passage of every query would fill a book.

const byText = new Intl.Collator(undefined, { numeric: true });
const fold = (text) => text.normalize("NFKC").toLowerCase();
const cellOf = (body, column) => body.rows[0].cells[column].textContent.trim();

// Thousands of rows change much faster in a table that is not on the page.
function aside(table, change) {
  const box = table.parentNode;
  table.remove();
  change();
  box.append(table);
}

function sortBy(table, head, descending) {
  const column = Number(head.dataset.column);
  const keyed = [...table.tBodies].map((body) => {
    const text = cellOf(body, column);
    return { body, text, number: Number.parseFloat(text) };
  });
  const isText = "text" in head.dataset;
  keyed.sort((a, b) => {
    if (isText) return (descending ? -1 : 1) * byText.compare(a.text, b.text);
    if (Number.isNaN(a.number) || Number.isNaN(b.number)) return Number.isNaN(a.number) - Number.isNaN(b.number);
    return descending ? b.number - a.number : a.number - b.number;
  });
  aside(table, () => table.append(...keyed.map((entry) => entry.body)));
  head.querySelector("button").focus();
  for (const other of table.tHead.querySelectorAll("[aria-sort]")) other.setAttribute("aria-sort", "none");
  head.setAttribute("aria-sort", descending ? "descending" : "ascending");
}

function makeSortable(table) {
  for (const head of table.tHead.querySelectorAll("[data-column]")) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    button.setAttribute("aria-label", `sort by ${head.abbr}`);
    head.append(button);
    head.setAttribute("aria-sort", "none");
    button.addEventListener("click", () => {
      const now = head.getAttribute("aria-sort");
      sortBy(table, head, now === "none" ? !("text" in head.dataset) : now === "ascending"); // numbers: largest first
    });
  }
}

function makeSearchable(part, table) {
  const box = part.querySelector(".search");
  const input = box.querySelector("input");
  const count = box.querySelector("output");
  const words = (body) => `${cellOf(body, 0)} ${body.querySelector(".id")?.textContent ?? ""}`; // the query and its id
  const found = new Map([...table.tBodies].map((body) => [body, fold(words(body))]));
  const all = found.size === 1 ? "1 query" : `${found.size} queries`;
  const search = () => {
    const wanted = fold(input.value).split(/\s+/).filter(Boolean);
    let shown = 0;
    aside(table, () => {
      for (const [body, text] of found) {
        body.hidden = !wanted.every((word) => text.includes(word));
        shown += !body.hidden;
      }
    });
    count.textContent = wanted.length ? `${shown} of ${found.size}` : all;
  };
  input.addEventListener("input", search);
  box.hidden = false;
  count.textContent = all;
}

for (const part of document.querySelectorAll(".queries")) {
  const table = part.querySelector("table");
  makeSortable(table);
  makeSearchable(part, table);
}

function reveal() {
  const target = location.hash && document.getElementById(location.hash.slice(1));
  if (!target) return;
  const body = target.closest("tbody");
  if (body) body.hidden = false;
  for (let box = target.closest("details"); box; box = box.parentElement.closest("details")) box.open = true;
  target.scrollIntoView();
}
addEventListener("hashchange", reveal);
reveal();

let opened = [];
addEventListener("beforeprint", () => {
  opened = [...document.querySelectorAll("details:not([open]):not(.rest)")];
  for (const box of opened) box.open = true;
});
addEventListener("afterprint", () => {
  for (const box of opened) box.open = false;
});
