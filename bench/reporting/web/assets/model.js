// The data, and how rows of accuracy and of cost find each other.

const DATA = JSON.parse(document.getElementById("data").textContent);
const RECORDS = DATA.records || [];
const GROUPS = DATA.groups || [];

// What a re-ranker costs, along which axes it can be drawn.
const COSTS = {
  latency: { figure: "latency_median_ms", title: "latency", unit: "ms", show: significant, divisor: 1 },
  flops: { figure: "gflops_executed", title: "FLOPs executed", unit: "GFLOP", show: significant, divisor: 1 },
  memory: {
    figure: "delta_rss_bytes",
    title: "memory over baseline",
    unit: "MiB",
    show: significant,
    divisor: 2 ** 20,
  },
  device: {
    figure: "device_allocated_bytes",
    title: "memory on device",
    unit: "MiB",
    show: significant,
    divisor: 2 ** 20,
  },
  parameters: { figure: "parameters", title: "parameters", unit: "M", show: significant, divisor: 1e6 },
};

// {value} or {reason} of a record's figure; a record that is null has neither, for the reason `absent`.
function figureOf(record, name, absent = "not measured") {
  if (record === null || record === undefined) return { reason: absent };
  const found = RECORDS[record];
  if (name in found.figures) return { value: found.figures[name], record };
  return { reason: found.reasons[name] || found.reason || "not measured", record };
}

// Tables of cost: one for each machine, number of threads and of candidates, device and number type.
const COST_TABLES = (DATA.costs || []).flatMap((section) => {
  const found = new Map();
  for (const record of section.rows) {
    const { device, dtype } = RECORDS[record].key;
    const where = `${device}, ${dtype}`;
    if (!found.has(where)) found.set(where, { ...section, device, dtype, where, rows: [] });
    found.get(where).rows.push(record);
  }
  return [...found.values()];
});
COST_TABLES.forEach((table) => {
  table.byName = new Map(table.rows.map((record) => [RECORDS[record].key.reranker, record]));
  table.label =
    `${table.where}: ${table.cpu || "unknown processor"}, ${plural(table.threads, "thread")}, ` +
    `${table.candidates} candidates (machine ${table.fingerprint.slice(0, 6)})`;
});

// The cost table that knows most of a group's re-rankers; of several the one with as many candidates as it re-ranks.
function nearestCosts(group) {
  const known = (table) =>
    group
      ? group.rows.filter((row) => table.byName.has(RECORDS[row.record].key.reranker)).length +
        (table.candidates === group.shortlist ? 0.5 : 0)
      : table.rows.length;
  const scores = COST_TABLES.map(known);
  return Math.max(0, scores.indexOf(Math.max(...scores)));
}

// One row a re-ranker: its accuracy in `group`, its cost in `table`, either of which may be missing.
function joined(group, table, others) {
  const rows = (group ? group.rows : []).map((row) => {
    const record = RECORDS[row.record];
    const cost = table ? (table.byName.get(record.key.reranker) ?? null) : null;
    // told how many descriptors to read, a re-ranker does not cost what it does by itself
    return {
      ...row,
      accuracy: row.record,
      cost: row.read === null ? cost : null,
      scoring: scoringOf(row.record, cost),
    };
  });
  const named = new Set(rows.map((row) => RECORDS[row.accuracy].key.reranker));
  if (table && (others || !group)) {
    for (const cost of table.rows) {
      const record = RECORDS[cost];
      if (named.has(record.key.reranker)) continue;
      rows.push({
        name: record.key.reranker,
        accuracy: null,
        cost,
        scoring: scoringOf(cost),
        trained: true,
        baseline: record.key.reranker.startsWith("none"),
        gains: {},
        values: {},
        lists: null,
        read: null,
      });
    }
  }
  return rows;
}

// Whether pair-wise or list-wise: said by either record, by another of the same re-ranker, or by one of its family.
const SCORING = new Map();
const familyOf = (name) => name.split(/[:+]/)[0];
for (const { key, scoring } of RECORDS) {
  if (!scoring) continue;
  SCORING.set(key.reranker, scoring);
  if (!key.reranker.includes("+")) SCORING.set(familyOf(key.reranker), scoring);
}
function scoringOf(...records) {
  const known = records.filter((record) => record !== null).map((record) => RECORDS[record]);
  const said = known.map((record) => record.scoring || SCORING.get(record.key.reranker)).find(Boolean);
  const name = known[0].key.reranker;
  return said || (name.includes("+") ? null : SCORING.get(familyOf(name))) || null;
}

const NO_COST = (name) => `its cost was not measured here: python -m bench.profile --rerankers ${name}`;
const NO_ACCURACY = "not evaluated in this setting";
const costReason = (row) =>
  row.read === null
    ? NO_COST(row.name)
    : "told how many descriptors to read: cost is measured at the variant's own size";

let pictures = null;
// The images of a data set by query and by number in the gallery, read when the first of them is shown.
function picturesOf(group) {
  if (pictures === null) pictures = JSON.parse(document.getElementById("thumbnails").textContent);
  const found = pictures.sets?.[group.dataset_sha256];
  return found
    ? {
        query: (query) => pictures.images[found.queries[query]],
        candidate: (image) => pictures.images[found.gallery[image]],
      }
    : null;
}
