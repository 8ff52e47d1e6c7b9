// Two runs side by side: tables that were made beforehand.

function comparisonView() {
  return [
    el("p", { class: "lead" }, `A: ${DATA.runs[0]}. B: ${DATA.runs[1]}. Differences are B minus A.`),
    DATA.comparisons.map((found, number) => {
      const notes = [];
      const footnote = (note) => { if (!notes.includes(note)) notes.push(note); return notes.indexOf(note) + 1; };
      const columns = found.columns.map((column, place) => ({ key: String(place), title: column.title, numeric: column.numeric,
        value: (row) => (row[place].value !== null ? row[place].value : row[place].text),
        cell: (row) => [row[place].text === null ? DASH : row[place].text, row[place].notes.map((note) => el("sup", { title: note }, footnote(note)))] }));
      const table = sortable({ id: `comparison-${number}`, caption: found.caption, columns, rows: found.rows });
      return el("section", {}, el("h2", {}, found.title), el("p", { class: "finding" }, found.summary), table,
        notes.length ? el("ol", { class: "notes" }, notes.map((note) => el("li", {}, note))) : null, el("ul", { class: "notes" }, found.notes.map((note) => el("li", {}, note))));
    }),
  ];
}
