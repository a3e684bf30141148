"use strict";
for (const button of document.querySelectorAll("button[data-copies]")) {
  const place = button.parentElement.parentElement;
  const target = document.getElementById(button.dataset.copies) ?? place.querySelector("code");
  const status = place.querySelector("[role=status]");
  button.hidden = false;
  button.addEventListener("click", async () => {
    const selection = getSelection();
    selection.selectAllChildren(target);
    try {
      await navigator.clipboard.writeText(target.textContent);
      status.textContent = "Copied.";
    } catch {
      status.textContent = document.execCommand("copy") ? "Copied." : "Selected: press Ctrl+C or ⌘C.";
    }
  });
}
const plain = (text) => text.replace(/\s/g, " ").toLowerCase();
const UNITS = { d: 86400, h: 3600, min: 60, s: 1 };
const number = (text) => {
  const times = [...text.matchAll(/([\d.]+)\s(d|h|min|s)\b/g)];
  const sum = times.reduce((seconds, [, value, unit]) => seconds + value * UNITS[unit], 0);
  const value = times.length ? sum : parseFloat(text.replace(/,/g, ""));
  return Number.isNaN(value) ? -1 : value;
};
const { compare } = new Intl.Collator(undefined, { numeric: true });
const order = (a, b) => a.matches(".number") ? number(a.textContent) - number(b.textContent)
  : compare(a.textContent, b.textContent);
for (const table of document.querySelectorAll("table[data-sortable]")) {
  const body = table.tBodies[0];
  table.querySelectorAll("thead th").forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      for (const other of table.querySelectorAll("thead th")) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const rows = [...body.rows].sort((a, b) => order(a.cells[column], b.cells[column]));
      body.append(...(down ? rows.reverse() : rows));
    });
  });
  const search = document.createElement("input");
  search.type = "search";
  search.placeholder = "Filter rows";
  search.setAttribute("aria-label", `Filter: ${table.caption?.textContent ?? "rows"}`);
  search.addEventListener("input", () => {
    const wanted = plain(search.value);
    for (const row of body.rows) row.hidden = !plain(row.textContent).includes(wanted);
  });
  table.parentElement.before(search);
}
const unfold = () => {
  for (let at = document.getElementById(location.hash.slice(1)); at; at = at.parentElement) if (at.matches("details")) at.open = true;
  document.getElementById(location.hash.slice(1))?.scrollIntoView();
};
addEventListener("hashchange", unfold);
if (location.hash) unfold();
