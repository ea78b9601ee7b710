// Axes: linear or logarithmic, their limits and their ticks, chosen by the values that are to be seen.

// From here on a linear axis shows the small values as zero: 1/300 of the height is about one line's width.
const LOG_FROM_DECADES = 2.5;
// A stem beyond this would leave the blocks less than a third of the axis; far beyond, its fall is what is to be seen.
const STEM_RATIO = 3, STEM_FALL = 1e6;

function needsLogarithm(values) {
  const positive = values.filter((value) => value > 0);
  if (!positive.length || Math.min(...values) < 0) return false;
  return Math.log10(Math.max(...positive)) - Math.log10(Math.min(...positive)) > LOG_FROM_DECADES;
}

// `stem` are the values at block 0, which belong to no block; they may be left out of the axis.
function chooseAxis(blocks, stem, { mode, logarithmic, reference }) {
  const highest = Math.max(...blocks), above = Math.max(...stem);
  const dwarfs = blocks.length && stem.length && above > STEM_RATIO * highest && above < STEM_FALL * highest;
  const leavesStem = dwarfs && mode !== "log" && !(mode === "auto" && (logarithmic || needsLogarithm(blocks)));
  const values = leavesStem ? blocks : [...blocks, ...stem];
  const positive = values.filter((value) => value > 0);
  const isLog = positive.length > 0 && mode !== "linear" && (mode === "log" || logarithmic || needsLogarithm(values));
  if (isLog) return logarithmicAxis(Math.min(...positive), Math.max(...positive), leavesStem);
  return linearAxis(values, reference, leavesStem);
}

function linearAxis(values, reference, leavesStem) {
  let low = Math.min(0, ...values), high = Math.max(...values, low);
  // What is near a value that it is held against shows how it differs from it; else the axis starts at 0.
  if (reference !== null && reference !== undefined && high >= reference / 4) high = Math.max(high, reference);
  if (high <= low) high = low + 1;
  const span = high - low;
  const axis = { log: false, low: low < 0 ? low - 0.06 * span : low - 0.012 * span, high: high + 0.06 * span, leavesStem };
  const step = niceStep(span / 5);
  const first = Math.ceil(low / step - 1e-9);
  const count = Math.floor(axis.high / step + 1e-9) - first + 1;
  axis.ticks = Array.from({ length: count }, (_, index) => (first + index) * step);
  axis.texts = axis.ticks.map((tick) => tickText(Math.abs(tick) < step / 1e6 ? 0 : tick, step));
  axis.place = (value) => (value - axis.low) / (axis.high - axis.low);
  return axis;
}

function logarithmicAxis(lowest, highest, leavesStem) {
  let low = Math.log10(lowest), high = Math.log10(highest);
  if (high - low < 1) [low, high] = [Math.floor(low + 1e-12), Math.floor(high + 1e-12) + 1];
  const span = high - low, axis = { log: true, low: low - 0.06 * span, high: high + 0.06 * span, leavesStem };
  const step = Math.max(1, Math.ceil(niceStep((axis.high - axis.low) / 5)));
  const exponents = [];
  for (let exponent = Math.ceil(axis.low / step) * step; exponent <= axis.high; exponent += step) exponents.push(exponent);
  axis.ticks = exponents.map((exponent) => 10 ** exponent);
  axis.texts = exponents.map(power);
  // Less than two decades have few powers of ten: 2 and 5 stand between them.
  if (axis.high - axis.low < 2) {
    for (let exponent = Math.floor(axis.low); exponent <= axis.high; exponent += 1) {
      for (const tick of [2 * 10 ** exponent, 5 * 10 ** exponent]) {
        if (Math.log10(tick) < axis.low || Math.log10(tick) > axis.high) continue;
        axis.ticks.push(tick);
        axis.texts.push(Number(tick.toPrecision(1)).toString());
      }
    }
  }
  axis.place = (value) => (value > 0 ? (Math.log10(value) - axis.low) / (axis.high - axis.low) : null);
  return axis;
}

function niceStep(rough) {
  const decade = 10 ** Math.floor(Math.log10(rough));
  return decade * [1, 2, 2.5, 5, 10].find((factor) => factor * decade >= rough * (1 - 1e-9));
}
