// Two runs side by side: tables that were made beforehand.

function comparisonView() {
  return [
    el(
      "p",
      { class: "lead" },
      DATA.names.map((name, place) => `${name}: ${DATA.runs[place]}. `),
      "Differences are B minus A.",
    ),
    DATA.comparisons.map((found, number) => {
      const notes = [];
      const footnote = (note) => {
        if (!notes.includes(note)) notes.push(note);
        return notes.indexOf(note) + 1;
      };
      const rows = found.rows.map((cells, place) => ({ cells, records: found.records[place] || [] }));
      // a column of one run's own figures bears its name last: each of them leads to its record
      const sideOf = (title) => DATA.names.findIndex((name) => title.endsWith(` ${name}`));
      const columns = found.columns.map((column, place) => ({
        key: String(place),
        title: column.title,
        numeric: column.numeric,
        value: (row) => row.cells[place].value ?? row.cells[place].text,
        cell: (row) => {
          const { text, notes: said } = row.cells[place];
          const record = row.records[sideOf(column.title)] ?? null;
          const known = { value: text, reason: said[0], record };
          return [
            record === null ? (text ?? dash(said[0])) : figureCell(known, String),
            said.map((note) => el("sup", { title: note }, footnote(note))),
          ];
        },
      }));
      const table = sortable({ id: `comparison-${number}`, caption: found.caption, columns, rows });
      return el(
        "section",
        {},
        el("h2", {}, found.title),
        el("p", { class: "finding" }, found.summary),
        table,
        notes.length
          ? el(
              "ol",
              { class: "notes" },
              notes.map((note) => el("li", {}, note)),
            )
          : null,
        el(
          "ul",
          { class: "notes" },
          found.notes.map((note) => el("li", {}, note)),
        ),
      );
    }),
  ];
}
