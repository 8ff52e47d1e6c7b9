// What the shortlist costs before any re-ranker has seen it, and what ordering it badly costs after.

function ceiling(view) {
  const { group, measure } = view,
    heading = el("h2", {}, "The shortlist's ceiling");
  if (!group) return [heading, el("p", { class: "empty" }, "No accuracy has been measured yet.")];
  const base = group.rows.find((row) => row.baseline),
    found = base ? ceilings(base.record, measure) : [];
  if (!found.length)
    return [
      heading,
      el(
        "p",
        { class: "empty" },
        base
          ? "The record of 'none' was made before ceilings were kept: run it again."
          : "'none' was not evaluated in this setting: its record says what shortlists allow.",
      ),
    ];
  const here = found.find((one) => one.depth === group.shortlist);
  const rows = view.rows
    .filter((row) => row.accuracy !== null && row.trained && figureOf(row.accuracy, measure.figure).value !== undefined)
    .map((row) => ({ row, name: row.name, reached: figureOf(row.accuracy, measure.figure).value }));
  const known = found.filter((one) => one.oracle.value !== undefined);
  return [
    heading,
    el("p", { class: "lead" }, `${group.description}.`),
    known.length ? ceilingPlot(known, rows, group, measure) : null,
    sortable({
      id: "ceilings",
      caption:
        "Recall ceiling: share of a query's positives among the first N, mean over queries. Oracle: the same first N in the best order, the rest of the list as it was.",
      columns: [
        {
          key: "depth",
          title: "shortlist",
          numeric: true,
          lowFirst: true,
          value: (one) => one.depth,
          cell: (one) => String(one.depth),
        },
        {
          key: "recall",
          title: "recall ceiling (%)",
          numeric: true,
          value: (one) => one.recall.value,
          cell: (one) => figureCell(one.recall, percent),
        },
        {
          key: "oracle",
          title: `oracle ${measure.title} (%)`,
          numeric: true,
          value: (one) => one.oracle.value,
          cell: (one) => figureCell(one.oracle, percent),
        },
      ],
      rows: found,
      sorted: { key: "depth", down: false },
    }),
    here && here.oracle.value !== undefined
      ? sortable({
          id: "losses",
          caption: `Of 100 points of ${measure.title}: what was reached, what the order of the ${group.shortlist} candidates lost, and what no order of them could have earned.`,
          columns: [
            {
              key: "name",
              title: "re-ranker",
              value: (one) => one.name,
              cell: (one) => el("span", { class: "name" }, one.name),
            },
            {
              key: "reached",
              title: "reached",
              numeric: true,
              value: (one) => one.reached,
              cell: (one) => figureCell({ value: one.reached, record: one.row.accuracy }, percent),
            },
            {
              key: "order",
              title: "order loss",
              numeric: true,
              lowFirst: true,
              value: (one) => here.oracle.value - one.reached,
              cell: (one) => figureCell({ value: here.oracle.value - one.reached, record: one.row.accuracy }, percent),
            },
            {
              key: "shortlist",
              title: "shortlist loss",
              numeric: true,
              value: () => 1 - here.oracle.value,
              cell: () => figureCell({ value: 1 - here.oracle.value, record: base.record }, percent),
            },
            {
              key: "share",
              title: "share of the possible gain",
              numeric: true,
              value: (one) => shareOf(one, base, here, measure),
              cell: (one) => {
                const share = shareOf(one, base, here, measure);
                return share === null ? DASH : percent(share);
              },
            },
          ],
          rows,
          sorted: { key: "reached", down: true },
        })
      : null,
    el(
      "ul",
      { class: "notes" },
      el(
        "li",
        {},
        "Share of the possible gain: how much of the way from no re-ranking to the oracle a method has come, in percent.",
      ),
      el("li", {}, "An oracle knows the labels: it is a bound, not a method."),
    ),
  ];
}

function shareOf(one, base, here, measure) {
  const start = figureOf(base.record, measure.figure).value;
  return start === undefined || here.oracle.value - start < 1e-9
    ? null
    : (one.reached - start) / (here.oracle.value - start);
}

// [{depth, recall, oracle}] of a first-stage record under one measure, short to long.
function ceilings(record, measure) {
  const names = [...Object.keys(RECORDS[record].figures), ...Object.keys(RECORDS[record].reasons)],
    prefix = `oracle_${measure.figure}_at_`;
  const depths = names
    .filter((name) => name.startsWith(prefix))
    .map((name) => Number(name.slice(prefix.length)))
    .filter(Number.isInteger)
    .sort((one, two) => one - two);
  const recall = (depth) =>
    names.includes(`recall_ceiling_${measure.name}_at_${depth}`)
      ? `recall_ceiling_${measure.name}_at_${depth}`
      : `recall_ceiling_at_${depth}`;
  return depths.map((depth) => ({
    depth,
    recall: figureOf(record, recall(depth)),
    oracle: figureOf(record, `${prefix}${depth}`),
  }));
}

function ceilingPlot(found, rows, group, measure) {
  const width = room(),
    depths = found.map((one) => one.depth);
  const [low, high] = limits(depths, true);
  const frame = plot({
    id: "ceiling",
    width,
    height: Math.max(320, width * 0.5),
    title: "What shortlists allow",
    x: { low, high, log: { least: low }, ticks: depths },
    y: { low: 0, high: 104, ticks: [0, 25, 50, 75, 100] },
    xTitle: "images in the shortlist, logarithmic",
    yTitle: "%",
  });
  const line = (name) =>
    found
      .filter((one) => one[name].value !== undefined)
      .map((one, place) => `${place ? "L" : "M"}${frame.x(one.depth)},${frame.y(100 * one[name].value)}`)
      .join("");
  frame.svg.append(
    svg("path", { class: "recall", d: line("recall") }),
    svg("path", { class: "oracle", d: line("oracle") }),
  );
  const last = found.at(-1);
  for (const one of found) {
    for (const name of ["recall", "oracle"]) {
      if (one[name].value === undefined) continue;
      frame.svg.append(
        withTooltip(
          svg(
            "a",
            {
              href: recordHash(one[name].record),
              "aria-label": `${name} at ${one.depth}`,
              onclick: (event) => openRecord(event, one[name].record),
            },
            mark(
              name === "recall" ? { mark: "square", class: "recall" } : { mark: "circle", class: "oracle" },
              frame.x(one.depth),
              frame.y(100 * one[name].value),
              4.5,
            ),
          ),
          () => [`${name === "recall" ? "recall ceiling" : "oracle"} at ${one.depth}`, `${percent(one[name].value)} %`],
        ),
      );
    }
  }
  const methods = rows.map((one) => ({ ...one, x: frame.x(group.shortlist), y: frame.y(100 * one.reached) }));
  append(frame.svg, [
    methods.map((one) =>
      withTooltip(
        svg(
          "a",
          {
            href: recordHash(one.row.accuracy),
            class: "point",
            "aria-label": one.name,
            onclick: (event) => openRecord(event, one.row.accuracy),
          },
          mark(KINDS[kindOf(one.row)], one.x, one.y, 4.5),
        ),
        () => [one.name, `${measure.title} ${percent(one.reached)}`],
      ),
    ),
    placeLabels(frame, [
      { x: frame.x(last.depth), y: frame.y(100 * (last.recall.value ?? 0)), name: "recall ceiling", first: true },
      { x: frame.x(last.depth), y: frame.y(100 * last.oracle.value), name: "oracle order", first: true },
      ...methods,
    ]),
  ]);
  return el(
    "figure",
    {},
    frame.svg,
    legend([...new Set(rows.map((one) => kindOf(one.row)))]),
    el(
      "figcaption",
      { class: "quiet" },
      "Between a method and the oracle lies what its order loses; between the oracle and 100 what the shortlist has lost before it.",
    ),
  );
}
