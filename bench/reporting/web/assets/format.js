// Numbers as the tables print them.

const DASH = "–";

function grouped(value, decimals) {
  return value.toLocaleString("en-US", { minimumFractionDigits: decimals, maximumFractionDigits: decimals });
}

function significant(value, digits = 3) {
  if (value === 0 || !Number.isFinite(value)) return value.toFixed(0);
  const exponent = Number(value.toExponential(digits - 1).split("e")[1]);
  if (exponent < -4) return value.toExponential(digits - 1);
  return grouped(value, Math.max(0, digits - 1 - exponent));
}

const percent = (fraction) => (100 * fraction).toFixed(2);

function points(fraction) {
  const text = (100 * fraction).toFixed(2);
  if (Number(text) === 0) return "0.00";
  return fraction > 0 ? `+${text}` : text.replace("-", "−");
}

function plusMinus(mean, deviation) {
  if (!deviation || !Number.isFinite(deviation)) return `${significant(mean)} ± 0`;
  const decimals = Math.min(4, Math.max(0, 1 - Math.floor(Math.log10(deviation))));
  return `${grouped(mean, decimals)} ± ${grouped(deviation, decimals)}`;
}

const millions = (value) => significant(value / 1e6);
const mebibytes = (bytes) => significant(bytes / 2 ** 20);
const probability = (p) => (p < 0.001 ? "< 0.001" : p.toFixed(3));
const plural = (count, word) => `${count} ${word}${count === 1 ? "" : "s"}`;
const queryWord = (count) => `${count} ${count === 1 ? "query" : "queries"}`;
