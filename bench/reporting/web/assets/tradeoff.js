// Accuracy against cost: who is beaten at both, who is not, and what is cheapest among the good ones.

const WITHIN = 0.01;

function tradeoff(view) {
  const { group, measure, table, rows } = view;
  if (!group || !table)
    return [
      el("h2", {}, "Accuracy against cost"),
      el(
        "p",
        { class: "empty" },
        "Both are needed: python -m bench.profile and python -m bench.accuracy --shortlist 400.",
      ),
    ];
  const cost = COSTS[state.get("cost", "latency")] || COSTS.latency;
  const points = [],
    absent = [];
  for (const row of rows) {
    const earned = figureOf(row.accuracy, measure.figure, NO_ACCURACY),
      spent = figureOf(row.cost, cost.figure, costReason(row));
    if (!row.trained) absent.push(`${row.name}: random weights`);
    else if (earned.value === undefined) absent.push(`${row.name}: ${earned.reason}`);
    else if (spent.value === undefined) absent.push(`${row.name}: ${spent.reason}`);
    else points.push({ row, name: row.name, earned: earned.value, spent: spent.value / cost.divisor });
  }
  const front = paretoFront(points);
  for (const point of points) point.front = front.includes(point);
  const best = points.reduce((top, point) => (top && top.earned >= point.earned ? top : point), null);
  const cheapest =
    best &&
    points
      .filter((point) => point.earned >= best.earned - WITHIN)
      .reduce((low, point) => (low && low.spent <= point.spent ? low : point), null);
  return [
    el("h2", {}, "Accuracy against cost"),
    el(
      "div",
      { class: "choices" },
      choice(
        "cost",
        "Cost",
        Object.entries(COSTS).map(([name, one]) => [name, `${one.title} (${one.unit})`]),
        state.get("cost", "latency"),
        (value) => state.set({ cost: value }),
      ),
    ),
    el("p", { class: "lead" }, `${group.description}. Cost: ${table.label}.`),
    points.length
      ? tradeoffPlot(points, front, cheapest, cost, measure)
      : el("p", { class: "empty" }, "No re-ranker of this setting has both figures."),
    points.length ? legend([...new Set(points.map((point) => kindOf(point.row)))]) : null,
    cheapest
      ? el(
          "p",
          { id: "cheapest", class: "finding" },
          `Cheapest within one point of the best (${best.name}, ${percent(best.earned)}): `,
          el("strong", {}, cheapest.name),
          `, ${percent(cheapest.earned)} at ${cost.show(cheapest.spent)} ${cost.unit}`,
          cheapest === best ? "." : ` against ${cost.show(best.spent)} ${cost.unit}.`,
        )
      : null,
    points.length
      ? sortable({
          id: "tradeoff-table",
          caption:
            "A method is dominated when another earns at least as much for at most as much, and is better in one of both.",
          columns: [
            {
              key: "name",
              title: "re-ranker",
              value: (point) => point.name,
              cell: (point) => el("span", { class: "name" }, point.name),
            },
            {
              key: "earned",
              title: measure.title,
              numeric: true,
              value: (point) => point.earned,
              cell: (point) => figureCell({ value: point.earned, record: point.row.accuracy }, percent),
            },
            {
              key: "spent",
              title: `${cost.title} (${cost.unit})`,
              numeric: true,
              lowFirst: true,
              value: (point) => point.spent,
              cell: (point) => figureCell({ value: point.spent, record: point.row.cost }, cost.show),
            },
            {
              key: "by",
              title: "dominated by",
              value: (point) =>
                dominators(point, points)
                  .map((one) => one.name)
                  .join(", ") || null,
              cell: (point) =>
                dominators(point, points)
                  .map((one) => one.name)
                  .join(", ") || "nobody",
            },
          ],
          rows: points,
          sorted: { key: "spent", down: false },
          rowClass: (point) => (point.front ? null : "dominated"),
          rowKey: (point) => point.name,
        })
      : null,
    absent.length ? el("p", { class: "quiet" }, `Not drawn: ${absent.join("; ")}.`) : null,
  ];
}

function dominators(point, points) {
  return points.filter(
    (other) =>
      other.earned >= point.earned &&
      other.spent <= point.spent &&
      (other.earned > point.earned || other.spent < point.spent),
  );
}

function paretoFront(points) {
  return points.filter((point) => !dominators(point, points).length).sort((one, two) => one.spent - two.spent);
}

function tradeoffPlot(points, front, cheapest, cost, measure) {
  const width = room(),
    [low, high] = limits(
      points.map((point) => 100 * point.earned),
      false,
    );
  const [least, most] = limits(
      points.map((point) => point.spent),
      true,
    ),
    zero = points.some((point) => point.spent <= 0);
  const frame = plot({
    id: "tradeoff",
    width,
    height: Math.min(460, Math.max(320, width * 0.6)),
    title: `${measure.title} against ${cost.title}`,
    x: { low: zero ? 0 : least, high: most, log: { least } },
    y: { low, high },
    xTitle: `${cost.title} (${cost.unit}), logarithmic`,
    yTitle: `${measure.title} (%)`,
  });
  const at = (point) => ({ x: frame.x(point.spent), y: frame.y(100 * point.earned) });
  const steps = front
    .map((point, place) => {
      const { x, y } = at(point);
      return place ? `H${x}V${y}` : `M${x},${y}`;
    })
    .join("");
  frame.svg.append(svg("path", { class: "front", d: `${steps}H${frame.right}` }));
  const marked = points.map((point) => {
    const { x, y } = at(point);
    const found = svg(
      "a",
      {
        href: recordHash(point.row.accuracy),
        class: point.front ? "point" : "point dominated",
        "data-name": point.name,
        "aria-label": `${point.name}: ${percent(point.earned)} at ${cost.show(point.spent)} ${cost.unit}`,
        onclick: (event) => openRecord(event, point.row.accuracy),
      },
      point === cheapest ? svg("circle", { class: "ring", cx: x, cy: y, r: 12 }) : null,
      mark(KINDS[kindOf(point.row)], x, y, 6),
    );
    return withTooltip(found, () => [
      point.name,
      `${measure.title} ${percent(point.earned)}`,
      `${cost.title} ${cost.show(point.spent)} ${cost.unit}`,
      point.front
        ? "on the Pareto front"
        : `dominated by ${dominators(point, points)
            .map((one) => one.name)
            .join(", ")}`,
    ]);
  });
  append(frame.svg, [
    marked,
    placeLabels(
      frame,
      points.map((point) => ({
        ...at(point),
        name: point.name,
        first: point.front,
        class: point.front ? "" : "dominated",
      })),
    ),
  ]);
  return captioned(
    frame.svg,
    "The line is the Pareto front: nothing to its upper left. Grey methods are dominated. The ring is the cheapest within one point of the best. A cost of 0 stands at the left edge.",
  );
}
