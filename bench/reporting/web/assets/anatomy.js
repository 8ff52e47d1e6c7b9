// Where cost comes from: the machine's limits, growth with the input, memory.

function anatomy(view) {
  const { table } = view;
  const heading = el("h2", {}, "Cost anatomy");
  if (!table && !(DATA.sweeps || []).length)
    return [heading, el("p", { class: "empty" }, "No cost has been measured yet: python -m bench.profile")];
  return [
    heading,
    table ? [el("p", { class: "lead" }, `One query: ${table.label}.`), roofline(table), memoryBars(table)] : null,
    scalingView(),
  ];
}

function median(values) {
  const sorted = [...values].sort((one, two) => one - two);
  return sorted.length ? sorted[Math.floor(sorted.length / 2)] : null;
}

function roofline(table) {
  const known = (name) => table.rows.map((record) => RECORDS[record].figures[name]).filter((value) => value);
  const peak = median(known("peak_gflop_per_s")),
    copy = median(known("copy_gbyte_per_s"));
  const points = [],
    absent = [];
  for (const record of table.rows) {
    const intensity = figureOf(record, "intensity_flop_per_byte"),
      rate = figureOf(record, "achieved_gflop_per_s");
    if (intensity.value > 0 && rate.value > 0)
      points.push({ record, name: RECORDS[record].key.reranker, x: intensity.value, y: rate.value });
    else absent.push(`${RECORDS[record].key.reranker}: ${intensity.reason || rate.reason || "no FLOPs"}`);
  }
  if (!peak || !copy || !points.length)
    return el("p", { class: "empty" }, "No roofline: FLOPs and the machine's rates are not known for any row.");
  const [low, high] = limits([...points.map((point) => point.x), peak / copy], true),
    [least, most] = limits([...points.map((point) => point.y), peak], true);
  const width = room(),
    frame = plot({
      id: "roofline",
      width,
      height: Math.max(320, width * 0.5),
      title: "Roofline",
      x: { low, high, log: { least: low } },
      y: { low: least, high: most, log: { least } },
      xTitle: "FLOP a byte of weights, inputs and scores, logarithmic",
      yTitle: "GFLOP/s reached",
    });
  const roof = (intensity) => Math.min(peak, copy * intensity),
    ridge = peak / copy,
    start = Math.max(low, least / copy);
  frame.svg.append(
    svg("path", {
      class: "roof",
      d: `M${frame.x(start)},${frame.y(roof(start))}L${frame.x(Math.max(ridge, start))},${frame.y(roof(Math.max(ridge, start)))}H${frame.right}`,
    }),
    svg(
      "text",
      { class: "label", x: frame.right, y: frame.y(peak) - 6, "text-anchor": "end" },
      `matrix product ${significant(peak)} GFLOP/s; copy ${significant(copy)} GB/s`,
    ),
  );
  append(frame.svg, [
    points.map((point) =>
      withTooltip(
        svg(
          "a",
          {
            href: recordHash(point.record),
            class: "point",
            "aria-label": point.name,
            onclick: (event) => openRecord(event, point.record),
          },
          mark(KINDS[scoringOf(point.record) || "unknown"], frame.x(point.x), frame.y(point.y), 5),
        ),
        () => [
          point.name,
          `${significant(point.x)} FLOP/byte`,
          `${significant(point.y)} GFLOP/s, ${percent(point.y / roof(point.x))} % of the roof`,
        ],
      ),
    ),
    placeLabels(
      frame,
      points.map((point) => ({ x: frame.x(point.x), y: frame.y(point.y), name: point.name })),
    ),
  ]);
  return el(
    "section",
    {},
    el("h3", {}, "Roofline"),
    captioned(
      frame.svg,
      "No program of these FLOPs and bytes runs above the line: bytes are the least there can be, each weight, input and score once; both rates were measured in the same processes (medians). A convolution may lie above the product that was timed beside it, in another library.",
    ),
    absent.length ? el("p", { class: "quiet" }, `Not drawn: ${absent.join("; ")}.`) : null,
  );
}

function memoryBars(table) {
  const rows = table.rows.map((record) => ({
    record,
    name: RECORDS[record].key.reranker,
    parts: ["baseline_rss_bytes", "delta_anon_bytes", "delta_file_bytes"].map((name) => figureOf(record, name)),
  }));
  const known = rows
    .filter((row) => row.parts.every((part) => part.value !== undefined))
    .sort((one, two) => two.parts[1].value + two.parts[2].value - one.parts[1].value - one.parts[2].value);
  const absent = rows
    .filter((row) => !known.includes(row))
    .map((row) => `${row.name}: ${row.parts.find((part) => part.reason).reason}`);
  if (!known.length) return null;
  const width = room(),
    left = Math.min(230, width * 0.4),
    line = 22,
    most = Math.max(...known.map((row) => row.parts.reduce((sum, part) => sum + part.value, 0)));
  const x = (bytes) => (bytes / most) * (width - left - 70);
  const bars = known.map((row, place) => {
    let from = left;
    const y = place * line + 4,
      total = row.parts[1].value + row.parts[2].value;
    const drawn = row.parts.map((part, number) => {
      const wide = Math.max(0, x(part.value)),
        found = svg("rect", { class: `part-${number}`, x: from, y, width: wide, height: line - 7 });
      from += wide;
      return found;
    });
    return withTooltip(
      svg(
        "a",
        {
          href: recordHash(row.record),
          "aria-label": `${row.name}: ${mebibytes(total)} MiB over the baseline`,
          onclick: (event) => openRecord(event, row.record),
        },
        svg(
          "text",
          { class: "label", x: left - 6, y: y + 12, "text-anchor": "end" },
          row.name.length * 6.1 > left - 8 ? `${row.name.slice(0, Math.floor((left - 14) / 6.1))}…` : row.name,
        ),
        drawn,
        svg("text", { class: "label", x: from + 5, y: y + 12 }, `+${mebibytes(total)}`),
      ),
      () => [
        row.name,
        `baseline ${mebibytes(row.parts[0].value)} MiB`,
        `growth ${mebibytes(row.parts[1].value)} MiB anonymous, ${mebibytes(row.parts[2].value)} MiB of files`,
      ],
    );
  });
  return el(
    "section",
    {},
    el("h3", {}, "Memory"),
    el(
      "figure",
      {},
      svg(
        "svg",
        {
          id: "memory",
          class: "plot",
          width,
          height: known.length * line + 8,
          role: "group",
          "aria-label": "Memory of every re-ranker",
        },
        bars,
      ),
      el(
        "figcaption",
        { class: "quiet" },
        "MiB of the measuring process: grey is what it held before the window (the interpreter, torch, weights, inputs), coloured how far its peak rose above that. The number is the growth.",
      ),
    ),
    absent.length ? el("p", { class: "quiet" }, `Not drawn: ${absent.join("; ")}.`) : null,
  );
}

const QUANTITIES = {
  latency: { title: "latency", unit: "ms", measured: "latency_median_ms", law: "predicted_ms", divisor: 1 },
  memory: {
    title: "memory",
    unit: "MiB",
    measured: "peak_delta_bytes",
    law: "memory_predicted_bytes",
    divisor: 2 ** 20,
  },
};

function scalingView() {
  const sweeps = DATA.sweeps || [];
  if (!sweeps.length)
    return el(
      "section",
      {},
      el("h3", {}, "Growth"),
      el(
        "p",
        { class: "empty" },
        "Nothing was swept yet: python -m bench.profile --rerankers ames:micro --sweep candidates=25,50,100,200",
      ),
    );
  const sweep = sweeps[state.number("sweep", 0, sweeps.length)],
    what = QUANTITIES[state.get("quantity", "latency")] || QUANTITIES.latency;
  const lines = sweep.rows
    .map((row) => ({
      ...row,
      points: row.values
        .map((value, place) => ({
          value,
          measured: (row.series[what.measured]?.[place] ?? NaN) / what.divisor,
          law: (row.series[what.law]?.[place] ?? NaN) / what.divisor,
          left: row.departed[what.title][place],
        }))
        .filter((point) => point.measured > 0),
    }))
    .filter((row) => row.points.length);
  const all = lines.flatMap((row) => row.points);
  const choices = el(
    "div",
    { class: "choices" },
    choice(
      "sweep",
      "Along",
      sweeps.map((one, place) => [place, one.title]),
      sweeps.indexOf(sweep),
      (value) => state.set({ sweep: value }),
    ),
    choice(
      "quantity",
      "Of",
      Object.entries(QUANTITIES).map(([name, one]) => [name, one.title]),
      state.get("quantity", "latency"),
      (value) => state.set({ quantity: value }),
    ),
  );
  if (!all.length)
    return el("section", {}, el("h3", {}, "Growth"), choices, el("p", { class: "empty" }, "No figure above 0."));
  const values = [...new Set(all.map((point) => point.value))].sort((one, two) => one - two);
  const [low, high] = limits(values, true),
    [least, most] = limits(
      all.map((point) => point.measured),
      true,
    ),
    width = room();
  const frame = plot({
    id: "scaling",
    width,
    height: Math.max(320, width * 0.55),
    title: `${what.title} along ${sweep.axis}`,
    x: { low, high: high * 1.6, log: { least: low }, ticks: values },
    y: { low: least, high: most, log: { least } },
    xTitle: `${sweep.axis}, logarithmic`,
    yTitle: `${what.title} (${what.unit})`,
  });
  append(frame.svg, [
    lines.map((row) => {
      const path = (name) =>
        row.points
          .filter((point) => Number.isFinite(point[name]) && point[name] > 0)
          .map((point, place) => `${place ? "L" : "M"}${frame.x(point.value)},${frame.y(point[name])}`)
          .join("");
      return withTooltip(
        svg(
          "a",
          {
            class: "line",
            href: recordHash(row.record),
            "aria-label": row.name,
            onclick: (event) => openRecord(event, row.record),
          },
          svg("path", { class: "law", d: path("law") }),
          row.points.map((point) =>
            mark(
              point.left ? { mark: "diamond", class: "loss" } : { mark: "circle", class: "kind-pair" },
              frame.x(point.value),
              frame.y(point.measured),
              3.5,
            ),
          ),
        ),
        () => [
          row.name,
          row.laws[what.title] ? `${what.title}: ${row.laws[what.title]} ${what.unit}` : "no law",
          `leaves the law: ${row.leaves[what.title] || DASH}`,
        ],
      );
    }),
    placeLabels(
      frame,
      lines.map((row) => ({
        x: frame.x(row.points.at(-1).value),
        y: frame.y(row.points.at(-1).measured),
        name: row.name,
      })),
    ),
  ]);
  return el(
    "section",
    {},
    el("h3", {}, "Growth"),
    choices,
    captioned(frame.svg, `${sweep.form} Points were measured, lines are the fitted laws, diamonds have left them.`),
    sortable({
      id: "laws",
      caption: sweep.title,
      columns: [
        {
          key: "name",
          title: "re-ranker",
          value: (row) => row.name,
          cell: (row) =>
            el(
              "a",
              { class: "figure", href: recordHash(row.record), onclick: (event) => openRecord(event, row.record) },
              row.name,
            ),
        },
        ...Object.values(QUANTITIES).flatMap((one) => [
          {
            key: one.title,
            title: `${one.title} (${one.unit})`,
            value: (row) => row.laws[one.title],
            cell: (row) => row.laws[one.title] || DASH,
          },
          {
            key: `${one.title} leaves`,
            title: "leaves the law",
            value: (row) => row.leaves[one.title],
            cell: (row) => row.leaves[one.title] || DASH,
          },
        ]),
      ],
      rows: sweep.rows,
    }),
  );
}
