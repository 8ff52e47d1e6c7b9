// What was run, on what, by which command; and every record there is.

function provenanceView() {
  const commands = new Map();
  RECORDS.forEach((record, number) => {
    const key = `${record.where}\n${record.command}`;
    if (!commands.has(key)) commands.set(key, { where: record.where, command: record.command, records: [] });
    commands.get(key).records.push(number);
  });
  const surroundings = Object.entries(DATA.provenances);
  const machines = new Map();
  for (const [where, one] of surroundings) {
    if (!machines.has(one.fingerprint)) machines.set(one.fingerprint, { ...one, places: [] });
    machines.get(one.fingerprint).places.push(where);
  }
  return [
    el("h2", {}, "Machine and commands"),
    el(
      "p",
      { class: "lead" },
      `${plural(RECORDS.length, "record")} of ${DATA.made}, from ${plural(machines.size, "machine")}. Costs of different machines never stand in one table, and a gain is over rows that re-ranked the same lists.`,
    ),
    [...machines.values()].map((one) =>
      el(
        "section",
        { class: "machine" },
        el("h3", {}, `${one.machine.cpu || "unknown processor"} `, el("small", {}, one.fingerprint.slice(0, 12))),
        pairs(
          "",
          Object.entries(one.machine).filter(([, value]) => value !== null),
        ),
        el("h4", {}, "Commands"),
        el(
          "ul",
          { class: "commands" },
          [...commands.values()]
            .filter((command) => one.places.includes(command.where))
            .map((command) => {
              const at = DATA.provenances[command.where];
              return el(
                "li",
                {},
                el("code", {}, command.command),
                el(
                  "span",
                  { class: "quiet" },
                  ` ${plural(command.records.length, "record")}, commit ${at.commit ? at.commit.slice(0, 7) : "unknown"}${at.dirty ? " with uncommitted changes" : ""}, ${plural(at.threads, "thread")}, seed ${at.seed}`,
                ),
              );
            }),
        ),
      ),
    ),
    el("h3", {}, "Versions"),
    [...new Set(surroundings.map(([, one]) => JSON.stringify(one.versions)))].map((text) =>
      el(
        "p",
        { class: "versions" },
        Object.entries(JSON.parse(text))
          .map(([name, version]) => `${name} ${version}`)
          .join(", "),
      ),
    ),
    el("h3", {}, "All records"),
    sortable({
      id: "records",
      caption: "Every record of this report; a name leads to what it holds, and from there to its file.",
      columns: [
        {
          key: "name",
          title: "re-ranker",
          value: (number) => RECORDS[number].name,
          cell: (number) =>
            el(
              "a",
              { class: "figure", href: recordHash(number), onclick: (event) => openRecord(event, number) },
              RECORDS[number].name,
            ),
        },
        {
          key: "kind",
          title: "cell",
          value: (number) => RECORDS[number].key.kind,
          cell: (number) => RECORDS[number].key.kind,
        },
        {
          key: "on",
          title: "on",
          value: (number) => settingOf(RECORDS[number].key),
          cell: (number) => settingOf(RECORDS[number].key),
        },
        {
          key: "status",
          title: "status",
          value: (number) => RECORDS[number].status,
          cell: (number) =>
            el(
              "span",
              { class: `status ${RECORDS[number].status}`, title: RECORDS[number].reason },
              RECORDS[number].status,
            ),
        },
        {
          key: "started",
          title: "started (UTC)",
          value: (number) => RECORDS[number].started_at,
          cell: (number) => RECORDS[number].started_at.slice(0, 16).replace("T", " "),
        },
        {
          key: "seconds",
          title: "seconds",
          numeric: true,
          value: (number) => RECORDS[number].wall_s,
          cell: (number) => significant(RECORDS[number].wall_s),
        },
      ],
      rows: RECORDS.map((_, number) => number),
      sorted: { key: "kind", down: false },
    }),
  ];
}

function settingOf(key) {
  if (key.dataset) return `${key.dataset}, top ${key.shortlist}${key.read ? `, L = ${key.read}` : ""}`;
  return [
    key.device,
    key.dtype,
    key.candidates ? `${key.candidates} candidates` : null,
    key.axis ? `along ${key.axis}` : null,
    key.planted,
  ]
    .filter(Boolean)
    .join(", ");
}
