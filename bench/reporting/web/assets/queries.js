// Two methods on the same queries: a point a query, and behind it the images that came out first.

function queriesView(view) {
  const { group, measure } = view;
  const heading = el("h2", {}, "Query by query");
  if (!group) return [heading, el("p", { class: "empty" }, "No accuracy has been measured yet.")];
  const able = group.rows.filter((row) => row.values[measure.name]?.length);
  if (able.length < 2) return [heading, el("p", { class: "empty" }, "Two finished re-rankers are needed.")];
  const names = able.map((row) => [
    RECORDS[row.record].file,
    row.read === null ? row.name : `${row.name}, L = ${row.read}`,
  ]);
  const score = (row) => figureOf(row.record, measure.figure).value ?? -1;
  const top =
    able.filter((row) => row.trained).reduce((best, row) => (best && score(best) >= score(row) ? best : row), null) ||
    able[0];
  const find = (key, fallback) => able.find((row) => nameOf(row) === state.get(key)) || fallback;
  const first = find("a", able.find((row) => row.baseline) || able[0]),
    second = find("b", top === first ? able[1] : top);
  const label = (row) => names[able.indexOf(row)][1];
  const pairs = pairsOf(first.values[measure.name], second.values[measure.name]);
  const what = measure.graded ? "AP" : measure.title,
    chosen = el("section", { id: "query", "aria-live": "polite" });
  const picks = (id, title, row) =>
    choice(
      id,
      title,
      able.map((one, place) => [nameOf(one), names[place][1]]),
      nameOf(row),
      (value) => state.set({ [id]: value }),
    );
  const details = { group, measure, first, second, label, what, pairs };
  state.partial.query = () => showQuery(chosen, details);
  return [
    heading,
    el(
      "div",
      { class: "choices" },
      picks("a", "Method A, across", first),
      picks("b", "Method B, upwards", second),
      el(
        "button",
        { type: "button", id: "swap", onclick: () => state.set({ a: nameOf(second), b: nameOf(first) }) },
        "Swap",
      ),
    ),
    pairs.length < 2
      ? el("p", { class: "empty" }, "Fewer than two queries have a value in both.")
      : [
          verdict(details),
          el(
            "div",
            { class: "beside" },
            captioned(
              queryPlot(details),
              "A dot is a query, coloured by who serves it better; the cross is the mean. Choose a dot or a row.",
            ),
            queryTable(details),
          ),
          chosen,
        ],
  ];
}

const nameOf = (row) => idOf(row.record);

function verdict({ measure, first, second, label, pairs }) {
  const found = pairedDifference(pairs),
    mean = (side) => pairs.reduce((sum, pair) => sum + pair[side], 0) / pairs.length;
  const means = found.p < 0.05 ? "The queries tell them apart." : "These queries do not tell them apart.";
  return el(
    "div",
    { id: "verdict", class: "finding" },
    el(
      "p",
      {},
      el(
        "strong",
        {},
        `${plural(found.above, "win")}, ${plural(found.equal, "tie")}, ${found.below} ${found.below === 1 ? "loss" : "losses"}`,
      ),
      ` for ${label(second)} over ${label(first)}, on ${queryWord(found.queries)}.`,
    ),
    otherLists(first, second)
      ? el(
          "p",
          {},
          el(
            "span",
            { class: "loss" },
            "They re-ranked different first-stage lists: this is a difference of descriptors too.",
          ),
        )
      : null,
    el(
      "p",
      {},
      `${measure.title}: `,
      figureCell({ value: mean("first"), record: first.record }, percent),
      " → ",
      figureCell({ value: mean("second"), record: second.record }, percent),
      `, ${points(found.mean)} points [${points(found.low)}, ${points(found.high)}], p `,
      el(
        "span",
        { id: "p-value", "data-p": found.p },
        found.p < 0.001 ? probability(found.p) : `= ${probability(found.p)}`,
      ),
      `. ${means}`,
    ),
    el(
      "p",
      { class: "quiet" },
      `Interval: 95 % percentile bootstrap over queries. p: two-sided paired randomisation test, ${RESAMPLES.toLocaleString("en-US")} resamples, not corrected for looking at several pairs.`,
    ),
  );
}

function otherLists(first, second) {
  const [one, two] = [first, second].map((row) => RECORDS[row.record].first_stage_sha256);
  return Boolean(one && two && one !== two);
}

const outcome = (pair) => (pair.second - pair.first > 1e-9 ? "win" : pair.second - pair.first < -1e-9 ? "loss" : "tie");

function queryPlot({ first, second, label, what, pairs, group }) {
  const size = Math.min(room(), 440),
    ticks = [0, 25, 50, 75, 100];
  const frame = plot({
    id: "atlas",
    width: size,
    height: size,
    title: `${what} of every query`,
    x: { low: -3, high: 103, ticks },
    y: { low: -3, high: 103, ticks },
    xTitle: `A: ${label(first)}, ${what} (%)`,
    yTitle: `B: ${label(second)}, ${what} (%)`,
  });
  frame.svg.append(
    svg("line", { class: "diagonal", x1: frame.x(0), y1: frame.y(0), x2: frame.x(100), y2: frame.y(100) }),
  );
  const shapes = { win: "triangle", tie: "circle", loss: "square" };
  for (const pair of pairs) {
    const x = frame.x(100 * pair.first),
      y = frame.y(100 * pair.second),
      result = outcome(pair);
    const dot = svg(
      "a",
      {
        href: `#query=${pair.query}`,
        class: `point ${result}`,
        "data-query": pair.query,
        "aria-label": `${queryName(group, pair.query)}: ${percent(pair.first)} and ${percent(pair.second)}`,
        onclick: (event) => {
          event.preventDefault();
          state.set({ query: pair.query });
        },
      },
      mark({ mark: shapes[result], class: result }, x, y, 4.5),
    );
    frame.svg.append(
      withTooltip(dot, () => [
        queryName(group, pair.query),
        `A ${percent(pair.first)}, B ${percent(pair.second)}`,
        `${points(pair.second - pair.first)} points`,
      ]),
    );
  }
  const x = frame.x((100 * pairs.reduce((sum, pair) => sum + pair.first, 0)) / pairs.length),
    y = frame.y((100 * pairs.reduce((sum, pair) => sum + pair.second, 0)) / pairs.length);
  frame.svg.append(svg("path", { class: "mean", d: `M${x - 7},${y}h14M${x},${y - 7}v14` }));
  return frame.svg;
}

function queryTable({ group, measure, pairs, first, second }) {
  const side = (key, title, row) => ({
    key,
    title,
    numeric: true,
    value: (pair) => pair[key],
    cell: (pair) => figureCell({ value: pair[key], record: row.record }, percent),
  });
  const positives = group.positives[measure.name] || [];
  return sortable({
    id: "queries",
    caption: `${queryWord(pairs.length)}, the largest differences first by a click on the heading`,
    columns: [
      {
        key: "query",
        title: "query",
        numeric: false,
        value: (pair) => pair.query,
        cell: (pair) =>
          el(
            "button",
            { type: "button", class: "link", onclick: () => state.set({ query: pair.query }) },
            queryName(group, pair.query),
          ),
      },
      side("first", "A", first),
      side("second", "B", second),
      {
        key: "gain",
        title: "B − A",
        numeric: true,
        value: (pair) => pair.second - pair.first,
        cell: (pair) => el("span", { class: outcome(pair) }, points(pair.second - pair.first)),
      },
      {
        key: "positives",
        title: "positives",
        hint: "in the shortlist",
        numeric: true,
        value: (pair) => positives[pair.query],
        cell: (pair) => positives[pair.query] ?? DASH,
      },
    ],
    rows: pairs,
    sorted: { key: "gain", down: true },
    rowKey: (pair) => pair.query,
  });
}

const queryName = (group, query) => group.query_names[query] || `query ${query}`;

function showQuery(place, details) {
  const { group, measure, first, second, label, what, pairs } = details;
  const query = state.number("query", -1, (first.values[measure.name] || []).length);
  for (const dot of document.querySelectorAll("#atlas .point"))
    dot.classList.toggle("chosen", Number(dot.dataset.query) === query);
  for (const row of document.querySelectorAll("#queries tr"))
    row.classList.toggle("chosen", row.dataset.row === String(query));
  const pair = pairs.find((one) => one.query === query);
  if (!pair) {
    replace(place, el("p", { class: "quiet" }, "No query is chosen."));
    return;
  }
  const images = group.no_pictures ? null : picturesOf(group);
  const baseline = group.rows.find((row) => row.baseline && row.lists);
  const strips = [
    [baseline, "Before: the first stage"],
    [first, `A: ${label(first)}`],
    [second, `B: ${label(second)}`],
  ].filter(([row], place, all) => row && all.findIndex(([other]) => other === row) === place);
  replace(
    place,
    el(
      "div",
      { class: "asked" },
      images && images.query(query) ? picture(images.query(query), queryName(group, query)) : null,
      el(
        "div",
        {},
        el("h3", {}, queryName(group, query)),
        el(
          "p",
          {},
          `${what}: A ${percent(pair.first)}, B ${percent(pair.second)}, ${points(pair.second - pair.first)} points. `,
          `${group.positives[measure.name]?.[query] ?? DASH} positives are in the shortlist of ${group.shortlist}.`,
        ),
      ),
    ),
    group.no_lists ? el("p", { class: "note" }, `No candidates: ${group.no_lists}.`) : null,
    group.no_pictures && !group.no_lists ? el("p", { class: "note" }, `No images: ${group.no_pictures}`) : null,
    strips.map(([row, title]) => strip(row, title, query, group, images, measure)),
  );
}

function strip(row, title, query, group, images, measure) {
  const value = row.values[measure.name]?.[query];
  const heading = el(
    "h4",
    {},
    title,
    value === null || value === undefined
      ? null
      : el("small", {}, ` ${measure.graded ? "AP" : measure.title} ${percent(value)}`),
  );
  if (!row.lists)
    return el("section", { class: "strip" }, heading, el("p", { class: "note" }, "Its record keeps no list."));
  const found = row.lists,
    letters = found.labels[query];
  return el(
    "section",
    { class: "strip" },
    heading,
    el(
      "ol",
      {},
      found.images[query].map((image, rank) => {
        const before = found.places[query][rank],
          moved = before - (rank + 1),
          score = found.scores[query][rank];
        const name = group.gallery_names[image] || `image ${image}`,
          label = DATA.labels[letters[rank]].replace(" positive", "");
        return el(
          "li",
          { class: `candidate label-${letters[rank] === "-" ? "n" : letters[rank]}`, title: name },
          images && images.candidate(image)
            ? picture(images.candidate(image), name)
            : el("span", { class: "blank" }, name),
          el("span", { class: "label" }, label),
          el(
            "span",
            {},
            row.baseline ? `rank ${rank + 1}` : `${before} → ${rank + 1}`,
            moved > 0
              ? el("span", { class: "win" }, ` ▲${moved}`)
              : moved < 0
                ? el("span", { class: "loss" }, ` ▼${-moved}`)
                : null,
          ),
          el("span", { class: "quiet" }, score === null ? "no score" : `score ${significant(score, 4)}`),
        );
      }),
    ),
  );
}

const picture = (base64, name) => el("img", { src: `data:image/jpeg;base64,${base64}`, alt: name, loading: "lazy" });
