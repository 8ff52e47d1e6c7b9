// Tables that sort by any column. A missing value sorts last, whichever way.

// columns: {key, title, hint, numeric, value(row), cell(row)}; `value` is sorted by, `cell` is what is shown.
// sorted: {key, down} to begin with; changed(sorted) is told when that changes.
function sortable({ id, caption, columns, rows, sorted, changed, rowClass, rowKey }) {
  let order = sorted || { key: null, down: false };
  const body = el("tbody");
  const heads = columns.map((column) => {
    const button = el(
      "button",
      { type: "button", title: column.hint, onclick: () => sortBy(column) },
      column.title,
      el("span", { class: "arrow", "aria-hidden": "true" }),
    );
    return el("th", { scope: "col", class: column.numeric ? "number" : null, "data-key": column.key }, button);
  });

  function sortBy(column) {
    const down = order.key === column.key ? !order.down : Boolean(column.numeric && !column.lowFirst);
    order = { key: column.key, down };
    fill();
    if (changed) changed(order);
  }

  function fill() {
    const column = columns.find((one) => one.key === order.key);
    const lines = column
      ? [...rows].sort((one, two) => compare(column.value(one), column.value(two), order.down))
      : rows;
    replace(
      body,
      lines.map((row) =>
        el(
          "tr",
          { class: rowClass ? rowClass(row) : null, "data-row": rowKey ? rowKey(row) : null },
          columns.map((column, place) =>
            el(
              place ? "td" : "th",
              { scope: place ? null : "row", class: column.numeric ? "number" : null },
              column.cell(row),
            ),
          ),
        ),
      ),
    );
    heads.forEach((head, place) => {
      const here = columns[place].key === order.key;
      head.setAttribute("aria-sort", here ? (order.down ? "descending" : "ascending") : "none");
    });
  }

  fill();
  return el(
    "div",
    { class: "scroller", tabindex: "0", role: "region", "aria-label": caption },
    el("table", { id }, el("caption", { class: "quiet" }, caption), el("thead", {}, el("tr", {}, heads)), body),
  );
}

function compare(one, two, down) {
  const absent = (value) => value === null || value === undefined || Number.isNaN(value);
  if (absent(one) || absent(two)) return absent(one) - absent(two);
  const found = typeof one === "string" ? one.localeCompare(two, "en", { numeric: true }) : one - two;
  return down ? -found : found;
}

// The sorting of a table as it stands in the address: "key" or "-key".
const written = (order) => `${order.down ? "-" : ""}${order.key}`;
const parsedOrder = (text) => ({ key: text.replace(/^-/, ""), down: text.startsWith("-") });

// A figure that leads to its record, or a dash that leads to the reason.
function figureCell(found, show, extra) {
  const known = found.value !== undefined && found.value !== null;
  const text = known ? show(found.value) : DASH;
  if (found.record === undefined || found.record === null) return dash(found.reason);
  return el(
    "a",
    {
      class: known ? "figure" : "figure missing",
      href: recordHash(found.record),
      title: known ? null : found.reason,
      "aria-label": known ? null : `missing: ${found.reason}`,
      onclick: (event) => openRecord(event, found.record),
    },
    text,
    known ? extra : null,
  );
}

function dash(reason) {
  return el(
    "button",
    {
      type: "button",
      class: "figure missing",
      title: reason,
      "aria-label": `missing: ${reason}`,
      onclick: () => openText("Why there is no figure", reason),
    },
    DASH,
  );
}
