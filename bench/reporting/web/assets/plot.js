// Plots as SVG, as wide as their place: text keeps its size on every screen.

const KINDS = {
  "first stage": { mark: "square", class: "kind-first" },
  "pair-wise": { mark: "circle", class: "kind-pair" },
  "list-wise": { mark: "diamond", class: "kind-list" },
  unknown: { mark: "triangle", class: "kind-unknown" },
};
const kindOf = (row) => (row.baseline ? "first stage" : row.scoring || "unknown");

function mark(kind, x, y, size, attributes) {
  const name = { ...attributes, class: `mark ${kind.class} ${attributes?.class || ""}`.trim() };
  if (kind.mark === "circle") return svg("circle", { ...name, cx: x, cy: y, r: size });
  const far = size * 1.25;
  const shapes = {
    square: `M${x - size},${y - size}h${2 * size}v${2 * size}h${-2 * size}z`,
    diamond: `M${x},${y - far}L${x + far},${y}L${x},${y + far}L${x - far},${y}z`,
    triangle: `M${x},${y - far}L${x + far},${y + size}L${x - far},${y + size}z`,
  };
  return svg("path", { ...name, d: shapes[kind.mark] });
}

// A scale from data to pixels. log: zero has a place of its own, left of all others.
function scale(low, high, from, to, log) {
  const side = (to - from) / Math.abs(to - from || 1),
    zero = log && low <= 0;
  if (!log) {
    const found = (value) => from + ((value - low) / (high - low || 1)) * (to - from);
    return Object.assign(found, { ticks: niceTicks(low, high), low, high });
  }
  const least = zero ? log.least : low,
    start = zero ? from + side * 34 : from;
  const span = Math.log(high / least) || 1;
  const found = (value) => (value <= 0 ? from + side * 6 : start + (Math.log(value / least) / span) * (to - start));
  return Object.assign(found, { ticks: [...(zero ? [0] : []), ...logTicks(least, high)], low, high });
}

function niceTicks(low, high, count = 8) {
  const rough = (high - low) / count || 1,
    power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((one) => one * power).find((one) => one >= rough);
  const found = [];
  for (let value = Math.ceil(low / step - 1e-9) * step; value <= high + step * 1e-9; value += step)
    found.push(Number(value.toPrecision(12)));
  return found;
}

function logTicks(low, high) {
  const found = [],
    wide = Math.log10(high / low) > 3;
  for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++) {
    for (const digit of wide ? [1] : [1, 2, 5]) {
      const value = Number((digit * 10 ** power).toPrecision(12));
      if (value >= low * 0.999 && value <= high * 1.001) found.push(value);
    }
  }
  return found;
}

// Limits around values with a margin: a factor on a logarithmic axis.
function limits(values, log) {
  const known = values.filter((value) => value !== null && Number.isFinite(value) && (!log || value > 0));
  if (!known.length) return log ? [1, 10] : [0, 1];
  const low = Math.min(...known),
    high = Math.max(...known);
  if (log) return [low / 1.4, high * 1.4];
  const margin = (high - low || Math.abs(high) || 1) * 0.08;
  return [low - margin, high + margin];
}

// An empty plot with its axes. draw(frame) adds what is in it.
function plot({ width, height, x, y, xTitle, yTitle, xText, yText, title, id }) {
  const left = 52,
    right = 12,
    top = 10,
    bottom = 40;
  const frame = { left, right: width - right, top, bottom: height - bottom };
  frame.x = scale(x.low, x.high, frame.left, frame.right, x.log);
  frame.y = scale(y.low, y.high, frame.bottom, frame.top, y.log);
  const xTicks = (x.ticks || frame.x.ticks).filter(
    (tick, place, all) => place === 0 || Math.abs(frame.x(tick) - frame.x(all[place - 1])) > 24,
  );
  frame.svg = svg(
    "svg",
    { id, class: "plot", width, height, viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": title },
    svg("title", {}, title),
    xTicks.map((tick) =>
      svg(
        "g",
        {},
        svg("line", { class: "grid", x1: frame.x(tick), x2: frame.x(tick), y1: frame.top, y2: frame.bottom }),
        svg(
          "text",
          { class: "tick", x: frame.x(tick), y: frame.bottom + 15, "text-anchor": "middle" },
          (xText || short)(tick),
        ),
      ),
    ),
    (y.ticks || frame.y.ticks).map((tick) =>
      svg(
        "g",
        {},
        svg("line", { class: "grid", x1: frame.left, x2: frame.right, y1: frame.y(tick), y2: frame.y(tick) }),
        svg(
          "text",
          { class: "tick", x: frame.left - 6, y: frame.y(tick) + 4, "text-anchor": "end" },
          (yText || short)(tick),
        ),
      ),
    ),
    svg("text", { class: "axis", x: (frame.left + frame.right) / 2, y: height - 6, "text-anchor": "middle" }, xTitle),
    svg(
      "text",
      {
        class: "axis",
        transform: `translate(13 ${(frame.top + frame.bottom) / 2}) rotate(-90)`,
        "text-anchor": "middle",
      },
      yTitle,
    ),
  );
  return frame;
}

const short = (value) =>
  Math.abs(value) >= 1e4 ? `${significant(value / 1e3, 2)}k` : String(Number(value.toPrecision(6)));

// Names beside points, each where it covers nothing; a name without room is left to the tooltip.
function placeLabels(frame, points) {
  const taken = points.map(({ x, y }) => [x - 6, y - 6, x + 6, y + 6]);
  const clear = (box) =>
    box[0] >= frame.left &&
    box[2] <= frame.right &&
    box[1] >= frame.top &&
    box[3] <= frame.bottom &&
    !taken.some((other) => box[0] < other[2] && box[2] > other[0] && box[1] < other[3] && box[3] > other[1]);
  const found = [];
  for (const point of [...points].sort((one, two) => (two.first ? 1 : 0) - (one.first ? 1 : 0))) {
    const wide = point.name.length * 6.1,
      { x, y } = point;
    const places = [
      [x + 7, y - 7, "start"],
      [x + 9, y + 4, "start"],
      [x - 9, y + 4, "end"],
      [x + 6, y + 16, "start"],
      [x - 6, y - 8, "end"],
      [x - 6, y + 16, "end"],
    ];
    for (const [at, base, anchor] of places) {
      const box = anchor === "start" ? [at, base - 10, at + wide, base + 2] : [at - wide, base - 10, at, base + 2];
      if (!clear(box)) continue;
      taken.push(box);
      found.push(
        svg("text", { class: `label ${point.class || ""}`.trim(), x: at, y: base, "text-anchor": anchor }, point.name),
      );
      break;
    }
  }
  return found;
}

const captioned = (drawn, text) => el("figure", {}, drawn, el("figcaption", { class: "quiet" }, text));

function legend(kinds) {
  return el(
    "p",
    { class: "legend" },
    kinds.map((name) =>
      el("span", {}, svg("svg", { width: 16, height: 16, "aria-hidden": "true" }, mark(KINDS[name], 8, 8, 5)), name),
    ),
  );
}

// How wide a plot may be now.
const room = (most = 860) => Math.max(300, Math.min(most, document.getElementById("main").clientWidth - 4));
