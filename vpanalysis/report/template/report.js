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
for (const table of document.querySelectorAll("table[data-sortable]")) {
  const body = table.tBodies[0];
  const asWritten = [...body.rows], grouped = table.matches(".grouped");
  const text = (row, column) => row.cells[column]?.textContent ?? "";
  const isGroup = (row) => row.matches(".group");
  const search = document.createElement("input");
  const filter = () => {
    const wanted = plain(search.value);
    let group;
    for (const row of body.rows) {
      row.hidden = isGroup(row) || !plain(row.textContent).includes(wanted);
      if (isGroup(row)) group = row;
      else if (group && !row.hidden) group.hidden = false;
    }
  };
  table.querySelectorAll("thead th").forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const next = { ascending: "descending", descending: "" }[head.getAttribute("aria-sort")] ?? "ascending";
      for (const other of table.querySelectorAll("thead th")) other.removeAttribute("aria-sort");
      if (next) head.setAttribute("aria-sort", next);
      const order = head.matches(".number") ? (a, b) => number(text(a, column)) - number(text(b, column))
        : (a, b) => compare(text(a, column), text(b, column));
      const rows = next ? asWritten.filter((row) => !isGroup(row)).sort(order) : asWritten;
      if (grouped) table.classList.toggle("grouped", !next); // lanes' headings belong to the order as written
      body.replaceChildren(...(next === "descending" ? rows.reverse() : rows));
      filter();
    });
  });
  search.type = "search";
  search.placeholder = "Filter rows";
  search.setAttribute("aria-label", `Filter: ${table.caption?.textContent ?? "rows"}`);
  search.addEventListener("input", filter);
  table.parentElement.before(search);
}
const unfold = () => {
  for (let at = document.getElementById(location.hash.slice(1)); at; at = at.parentElement) if (at.matches("details")) at.open = true;
  document.getElementById(location.hash.slice(1))?.scrollIntoView();
};
addEventListener("hashchange", unfold);
if (location.hash) unfold();
