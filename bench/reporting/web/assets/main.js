// One view at a time, drawn from the data and the address.

// Title, what draws it, and the filters that mean something to it.
const VIEWS = {
  leaderboard: ["Leaderboard", leaderboard, ["group", "measure", "table", "kind", "name", "others"]],
  tradeoff: ["Accuracy against cost", tradeoff, ["group", "measure", "table", "kind", "name"]],
  queries: ["Query by query", queriesView, ["group", "measure"]],
  anatomy: ["Cost anatomy", anatomy, ["table"]],
  ceiling: ["Shortlist ceiling", ceiling, ["group", "measure", "kind", "name"]],
  provenance: ["Machine and commands", provenanceView, []],
};
const main = document.getElementById("main"),
  filters = document.getElementById("filters"),
  views = document.getElementById("views");
state.partial = {};

// What all views share: the setting, the measure, the machine, and the rows that the filters leave.
function chosenView() {
  const group = GROUPS[state.number("group", mostRows(), GROUPS.length)] || null;
  const measure = group ? group.measures.find((one) => one.name === state.get("measure")) || preferred(group) : null;
  const table = COST_TABLES[state.number("table", nearestCosts(group), COST_TABLES.length)] || null;
  const others = state.get("others") === "yes",
    all = joined(group, table, others);
  const kind = state.get("kind", "all"),
    words = state.get("name", "").toLowerCase().split(/\s+/).filter(Boolean);
  const rows = all.filter(
    (row) =>
      (kind === "all" || kindOf(row) === kind || row.baseline) &&
      words.every((word) => row.name.toLowerCase().includes(word)),
  );
  return { group, measure, table, rows, all: all.length, others };
}

// The first table that a report shows: no ablation, and the most re-rankers.
function mostRows() {
  const size = (group) => (group.ablation ? 0 : group.rows.length);
  return GROUPS.reduce((best, group, place) => (size(group) > size(GROUPS[best]) ? place : best), 0);
}

const preferred = (group) =>
  group.measures.find((one) => one.name === "hard") || group.measures.find((one) => one.graded) || group.measures[0];

function drawFilters(view, wanted) {
  const all = filterElements(view);
  replace(
    filters,
    wanted.map((name) => all[name]),
  );
}

function filterElements(view) {
  const kinds = [
    ["all", "all"],
    ["pair-wise", "pair-wise"],
    ["list-wise", "list-wise"],
  ];
  const search = el("input", {
    type: "search",
    id: "name",
    value: state.get("name", ""),
    placeholder: "part of a name",
    oninput: () => {
      state.set({ name: search.value });
    },
  });
  return {
    group: GROUPS.length
      ? choice(
          "group",
          "Data set",
          GROUPS.map((group, place) => [
            place,
            `${group.dataset}, top ${group.shortlist}, ${group.policy}${group.ablation ? ", by descriptors read" : ""}`,
          ]),
          GROUPS.indexOf(view.group),
          (value) => state.set({ group: value, query: null, a: null, b: null }),
        )
      : null,
    measure: view.group
      ? choice(
          "measure",
          "Protocol",
          view.group.measures.map((one) => [one.name, one.title]),
          view.measure.name,
          (value) => state.set({ measure: value }),
        )
      : null,
    table: COST_TABLES.length
      ? choice(
          "table",
          "Device",
          COST_TABLES.map((table, place) => [place, table.label]),
          COST_TABLES.indexOf(view.table),
          (value) => state.set({ table: value }),
        )
      : null,
    kind: choice("kind", "Kind", kinds, state.get("kind", "all"), (value) =>
      state.set({ kind: value === "all" ? null : value }),
    ),
    name: el("label", { class: "choice", for: "name" }, el("span", {}, "Name"), search),
    others:
      view.group && view.table
        ? el(
            "label",
            { class: "choice check", for: "others" },
            el("input", {
              type: "checkbox",
              id: "others",
              checked: view.others,
              onchange: (event) => state.set({ others: event.target.checked ? "yes" : null }),
            }),
            el("span", {}, "also those with a cost only"),
          )
        : null,
  };
}

function draw(changes) {
  if (changes.every((name) => name === "record")) {
    showRecord();
    return;
  }
  if (changes.every((name) => name === "sort")) return;
  if (changes.every((name) => name === "query") && state.partial.query) {
    state.partial.query();
    return;
  }
  state.partial = {};
  tooltip.hidden = true;
  if (DATA.comparisons) {
    replace(main, comparisonView());
    return;
  }
  const name = state.get("view", "leaderboard") in VIEWS ? state.get("view", "leaderboard") : "leaderboard",
    view = chosenView();
  replace(
    views,
    Object.entries(VIEWS).map(([key, [title]]) =>
      el(
        "a",
        {
          href: `#${new URLSearchParams([...state.values, ["view", key]].filter(([other], place, all) => all.findLastIndex(([one]) => one === other) === place))}`,
          "aria-current": key === name ? "page" : null,
          "data-view": key,
          onclick: (event) => {
            event.preventDefault();
            state.set({ view: key, sort: null });
            window.scrollTo(0, 0);
          },
        },
        title,
      ),
    ),
  );
  const typing =
    document.activeElement && document.activeElement.id === "name" ? document.activeElement.selectionStart : null;
  drawFilters(view, VIEWS[name][2]);
  replace(main, VIEWS[name][1](view));
  if (state.partial.query) state.partial.query();
  if (typing !== null) {
    const search = document.getElementById("name");
    search.focus();
    search.setSelectionRange(typing, typing);
  }
  showRecord();
}

function theme() {
  const button = document.getElementById("theme"),
    order = ["system", "light", "dark"];
  const kept = () => {
    try {
      return localStorage.getItem("theme");
    } catch {
      return null;
    }
  };
  let chosen = order.includes(kept()) ? kept() : "system";
  const apply = () => {
    if (chosen === "system") document.documentElement.removeAttribute("data-theme");
    else document.documentElement.setAttribute("data-theme", chosen);
    button.textContent = { system: "◐ auto", light: "○ light", dark: "● dark" }[chosen];
  };
  button.addEventListener("click", () => {
    chosen = order[(order.indexOf(chosen) + 1) % order.length];
    try {
      localStorage.setItem("theme", chosen);
    } catch {
      /* a page from disk may keep nothing */
    }
    apply();
  });
  apply();
}

let width = innerWidth;
addEventListener("resize", () => {
  // a keyboard on a phone changes the height only
  if (innerWidth === width) return;
  width = innerWidth;
  draw(["view"]);
});

state.draw = draw;
theme();
document.getElementById("made").textContent = DATA.comparisons
  ? "Two runs side by side."
  : `${plural(RECORDS.length, "record")} of ${DATA.made}. A dash is a missing figure, never a zero.`;
draw(["view"]);
document.documentElement.setAttribute("data-ready", String(Math.round(performance.now())));
