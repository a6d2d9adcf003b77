// Tables sort by a click on a heading, and what scrolls sideways says so; the page is whole without.
"use strict";
for (const table of document.querySelectorAll("table.data")) {
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    const button = document.createElement("button");
    button.title = "Sort";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => sort(table, column, head.ariaSort ? head.ariaSort === "ascending" : null));
  });
}

function sort(table, column, descending) {
  const body = table.tBodies[0], groups = []; // a row and those of the same thing below it, which stay together
  for (const row of body.rows)
    if (row.classList.contains("part") && groups.length) groups.at(-1).push(row);
    else groups.push([row]);
  const value = group => group[0].cells[column].dataset.value ?? group[0].cells[column].textContent;
  const numbers = groups.some(group => group[0].cells[column].dataset.value !== undefined);
  descending ??= numbers;
  const known = group => !numbers || group[0].cells[column].dataset.value !== undefined;
  groups.sort((a, b) => known(b) - known(a) || (descending ? -1 : 1) *
    (numbers ? value(a) - value(b) : value(a).localeCompare(value(b), undefined, { numeric: true })) || 0);
  for (const each of table.tHead.rows[0].cells) each.removeAttribute("aria-sort");
  table.tHead.rows[0].cells[column].setAttribute("aria-sort", descending ? "descending" : "ascending");
  body.append(...groups.flat());
}

for (const box of document.querySelectorAll(".scroll")) {
  const look = () => {
    const hidden = box.scrollWidth - box.clientWidth;
    box.classList.toggle("before", box.scrollLeft > 1);
    box.classList.toggle("after", box.scrollLeft < hidden - 1);
    if (hidden > 1) box.tabIndex = 0; // the arrow keys scroll what has the focus
    else box.removeAttribute("tabindex");
  };
  box.addEventListener("scroll", look, { passive: true });
  new ResizeObserver(look).observe(box);
}
