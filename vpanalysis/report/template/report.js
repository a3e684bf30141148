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
const order = (a, b) => a.localeCompare(b, undefined, { numeric: true });
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
      const rows = [...body.rows].sort((a, b) => order(a.cells[column].dataset.sort ?? a.cells[column].textContent,
        b.cells[column].dataset.sort ?? b.cells[column].textContent));
      body.append(...(down ? rows.reverse() : rows));
    });
  });
  const search = document.createElement("input");
  search.type = "search";
  search.placeholder = "Filter rows";
  search.setAttribute("aria-label", `Filter: ${table.caption?.textContent ?? "rows"}`);
  search.addEventListener("input", () => {
    const wanted = search.value.toLowerCase();
    for (const row of body.rows) row.hidden = !row.textContent.toLowerCase().includes(wanted);
  });
  table.parentElement.before(search);
}
