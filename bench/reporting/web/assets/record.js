// The record behind a figure: everything that was kept of one cell, and the way to its file.

const dialog = document.getElementById("dialog");

function recordHash(number) {
  const values = new URLSearchParams([...state.values]);
  values.set("record", idOf(number));
  return `#${values}`;
}

const idOf = (number) => RECORDS[number].id;

function openRecord(event, number) {
  if (event && (event.ctrlKey || event.metaKey || event.shiftKey)) return;
  if (event) event.preventDefault();
  state.set({ record: idOf(number) });
}

function showRecord() {
  const id = state.get("record"),
    number = RECORDS.findIndex((record) => record.id === id);
  if (id === undefined || number < 0) {
    if (dialog.open) dialog.close();
    return;
  }
  const record = RECORDS[number],
    where = DATA.provenances[record.where];
  show(record.name, [
    el(
      "p",
      { class: `status ${record.status}` },
      record.status === "ok" ? `A finished ${record.key.kind} cell.` : `${record.status}: ${record.reason}`,
    ),
    record.notes.map((note) => el("p", { class: "note" }, note)),
    el("p", {}, "Record: ", el("a", { href: record.file }, record.file)),
    el("p", {}, "Run by: ", el("code", {}, record.command)),
    el(
      "p",
      {},
      "Checked by: ",
      el("code", {}, `python -m bench.verify ${DATA.comparisons ? "" : "reports/"}${record.file}`),
    ),
    pairs("What was run", Object.entries(record.key)),
    pairs(
      "Figures",
      [
        ...Object.entries(record.figures).map(([name, value]) => [name, String(value)]),
        ...Object.entries(record.reasons).map(([name, reason]) => [name, `${DASH} ${reason}`]),
      ].sort(),
    ),
    record.published.length
      ? pairs(
          "Published",
          record.published.map((one) => [one.measure, `${one.value}: ${one.setting} (${one.source})`]),
        )
      : null,
    pairs("Where it comes from", [
      ["started at", record.started_at],
      ["seconds", significant(record.wall_s)],
      ["scores sha256", record.scores_sha256 || DASH],
      ["first-stage lists sha256", record.first_stage_sha256 || DASH],
      ["commit", `${where.commit || "not run from a git checkout"}${where.dirty ? " with uncommitted changes" : ""}`],
      ["version", where.project_version],
      ["code sha256", where.code_sha256],
      ["threads", where.threads],
      ["seed", where.seed],
      ["fingerprint", where.fingerprint],
      ...Object.entries(where.machine),
      ...Object.entries(where.versions),
    ]),
  ]);
}

function pairs(title, entries) {
  return el(
    "section",
    {},
    el("h3", {}, title),
    el(
      "dl",
      {},
      entries.map(([name, value]) => [
        el("dt", {}, String(name).replaceAll("_", " ")),
        el("dd", {}, value === null ? DASH : value),
      ]),
    ),
  );
}

function openText(title, text) {
  show(title, [el("p", {}, text)]);
}

function show(title, content) {
  replace(
    dialog,
    el(
      "header",
      {},
      el("h2", { id: "dialog-title" }, title),
      el("button", { type: "button", class: "close", "aria-label": "Close", onclick: () => dialog.close() }, "×"),
    ),
    el("div", { class: "body" }, content),
  );
  if (!dialog.open) dialog.showModal();
  dialog.querySelector(".body").scrollTop = 0;
}

dialog.addEventListener("close", () => state.set({ record: null }));
dialog.addEventListener("click", (event) => {
  if (event.target === dialog) dialog.close();
});
