// Every re-ranker of a setting: what it earns, and what it costs.

function leaderboard(view) {
  const { group, measure, table, rows } = view;
  const measures = group ? group.measures : [];
  const best = new Map(
    measures.map((one) => [
      one.name,
      Math.max(
        ...rows
          .filter((row) => row.trained && row.accuracy !== null)
          .map((row) => figureOf(row.accuracy, one.figure).value ?? -Infinity),
      ),
    ]),
  );
  const accuracy = (row, name) => figureOf(row.accuracy, name, NO_ACCURACY);
  const costs = (row, name) => figureOf(row.cost, name, costReason(row));
  const costColumn = (key, title, figure, show, hint) => ({
    key,
    title,
    hint,
    numeric: true,
    lowFirst: true,
    value: (row) => costs(row, figure).value,
    cell: (row) => figureCell(costs(row, figure), (value) => show(value, row)),
  });
  const columns = [
    {
      key: "name",
      title: "re-ranker",
      value: (row) => row.name,
      cell: (row) => el("span", { class: "name" }, row.name, row.read === null ? null : ` L = ${row.read}`),
    },
    {
      key: "kind",
      title: "kind",
      value: (row) => kindOf(row),
      cell: (row) =>
        el(
          "span",
          { class: "kind" },
          svg("svg", { width: 14, height: 14, "aria-hidden": "true" }, mark(KINDS[kindOf(row)], 7, 7, 4)),
          kindOf(row),
        ),
    },
    ...measures.map((one) => ({
      key: one.name,
      title: one.title,
      numeric: true,
      hint: "percent",
      value: (row) => accuracy(row, one.figure).value,
      cell: (row) => {
        const found = accuracy(row, one.figure);
        const cell = figureCell(found, percent);
        // a tie in what is printed is a tie, as in the tables
        if (row.trained && found.value !== undefined && percent(found.value) === percent(best.get(one.name)))
          cell.classList.add("best");
        return cell;
      },
    })),
    ...(measure
      ? [
          {
            key: "gain",
            title: `gain ${measure.short}`,
            numeric: true,
            hint: "points over no re-ranking, with its 95 % interval",
            value: (row) => row.gains[measure.name]?.mean,
            cell: (row) => gainCell(row, measure),
          },
        ]
      : []),
    costColumn("parameters", "params (M)", "parameters", millions),
    costColumn("flops", "GFLOP", "gflops_executed", (value) => significant(value), "executed; a multiply-add is 2"),
    costColumn(
      "latency",
      "latency (ms)",
      "latency_mean_ms",
      (mean, row) => plusMinus(mean, costs(row, "latency_std_ms").value),
      "mean ± standard deviation of the measured runs of one process",
    ),
    costColumn("memory", "memory (MiB)", "delta_rss_bytes", mebibytes, "peak resident set over the baseline"),
  ];
  const fallback = measure ? `-${measure.name}` : "latency";
  const wanted = parsedOrder(state.get("sort", fallback));
  const sorted = columns.some((column) => column.key === wanted.key) ? wanted : parsedOrder(fallback);
  const caption = group
    ? `${group.title}. mAP and recall in percent; AP query by query under Queries.`
    : "No accuracy has been measured yet.";
  const shown =
    rows.length === view.all ? plural(rows.length, "re-ranker") : `${rows.length} of ${plural(view.all, "re-ranker")}`;
  return [
    el("h2", {}, "Leaderboard"),
    el(
      "p",
      { class: "lead" },
      group ? `${group.description}. ` : "",
      table ? `Cost of one query: ${table.label}.` : "No cost has been measured yet.",
    ),
    el("p", { id: "count", class: "quiet", role: "status" }, shown),
    rows.length
      ? sortable({
          id: "leaderboard",
          caption,
          columns,
          rows,
          sorted,
          changed: (order) => state.set({ sort: written(order) }),
          rowClass: (row) => (row.trained ? null : "untrained"),
          rowKey: (row) => row.name,
        })
      : el("p", { class: "empty" }, "Nothing is called that. Clear the filters."),
    el(
      "ul",
      { class: "notes" },
      el("li", {}, "Every figure leads to its record; a dash leads to the reason why there is no figure."),
      el(
        "li",
        {},
        "Best of a column in bold. Some 70 queries rarely separate methods one point apart: an interval that holds 0 shows no difference.",
      ),
      el(
        "li",
        {},
        "∗ p < 0.05, ∗∗ p < 0.01, ∗∗∗ p < 0.001: two-sided paired randomisation test of the gain over queries, after Holm's correction over the re-rankers of the setting.",
      ),
      el("li", {}, "Random weights: the accuracy of such a row means nothing."),
    ),
  ];
}

function gainCell(row, measure) {
  const gain = row.gains[measure.name];
  if (gain === undefined) return dash(NO_ACCURACY);
  if (typeof gain === "string") return figureCell({ reason: gain, record: row.accuracy }, points);
  return figureCell(
    { value: gain.mean, record: row.accuracy },
    points,
    el("small", {}, ` [${points(gain.low)}, ${points(gain.high)}]`, gain.mark ? ` ${gain.mark}` : ""),
  );
}
