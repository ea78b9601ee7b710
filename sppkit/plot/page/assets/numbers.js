// Numbers as text: what a cell of the table says, and what fits beside an axis.

const words = (name) => name.replaceAll("_", " ");

// Four significant digits, as people compare them.
function short(value) {
  if (value === null || value === undefined) return "";
  if (!Number.isFinite(value)) return String(value).replace("NaN", "nan").replace("Infinity", "inf");
  const size = Math.abs(value);
  if (value !== 0 && (size < 1e-3 || size >= 1e5)) return value.toExponential(3).replace("e+", "e");
  return String(Number(value.toPrecision(4)));
}

const SUPERSCRIPTS = "⁰¹²³⁴⁵⁶⁷⁸⁹";

function power(exponent) {
  const digits = [...String(Math.abs(exponent))].map((digit) => SUPERSCRIPTS[digit]).join("");
  return `10${exponent < 0 ? "⁻" : ""}${digits}`;
}

// Beside a linear axis: short where it is short, else with an exponent.
function tickText(value, step) {
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e5 || size < 1e-3) return Number(value.toPrecision(3)).toExponential().replace("e+", "e");
  const decimals = [0, 1, 2, 3, 4, 5].find((count) => Math.abs(Math.round(step * 10 ** count) - step * 10 ** count) < 1e-6);
  return value.toFixed(decimals ?? 6);
}

const finite = (values) => values.filter((value) => value !== null && Number.isFinite(value));
const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
