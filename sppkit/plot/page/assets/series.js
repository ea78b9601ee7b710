// What a panel draws of a run: its curve, its seeds and theory's, as they are or held against something else.

const ROUNDING = 1e-12;

// How the curves are shown: as they are, against theory, or against one of the runs.
const VIEWS = {
  values: { title: "values", combine: (value) => value },
  theory: { title: "measured / predicted", combine: (value, base) => (base ? value / base : null), neutral: 1 },
  ratio: { title: "ratio to", combine: (value, base) => (base ? value / base : null), neutral: 1 },
  difference: { title: "difference to", combine: (value, base) => value - base, neutral: 0 },
};

function parseView(text) {
  const [kind, index] = text.split(":");
  return { kind, ...VIEWS[kind], base: index === undefined ? null : Number(index) };
}

const relativePlace = (run, block) => (run.last > 0 ? block / run.last : 0);

// The block of another run that a block is held against: the same one, or the one at the same part of the depth.
function counterpart(run, block, other, relative) {
  const wanted = relative ? relativePlace(run, block) * other.last : block;
  return nearestPlace(other.blocks, wanted);
}

function nearestPlace(sorted, wanted) {
  let low = 0, high = sorted.length - 1;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (sorted[middle] <= wanted) low = middle;
    else high = middle;
  }
  return Math.abs(sorted[low] - wanted) <= Math.abs(sorted[high] - wanted) ? low : high;
}

// Everything of one run in one panel; `geometric` where the axis is logarithmic.
function seriesOf(run, statistic, state, runs, geometric) {
  const view = parseView(state.view), step = run.nearest(state.step);
  const x = (block) => (state.relative ? relativePlace(run, block) : block);
  const theory = run.has(`predicted_${statistic.name}`) ? run.curve(`predicted_${statistic.name}`, step) : null;
  const spread = run.has(`predicted_${statistic.name}_spread`)
    ? run.curve(`predicted_${statistic.name}_spread`, step).map((point) => point.centre) : null;
  const base = baseOf(run, statistic, state, runs, view, theory, geometric);
  const against = (value, place) => {
    if (value === null || !Number.isFinite(value) || base[place] === null) return null;
    return view.combine(value, base[place]);
  };
  const points = run.has(statistic.name) ? run.curve(statistic.name, step, geometric) : [];
  const measured = points.map(({ block, centre, low, high, lost }, place) => (
    { block, x: x(block), centre: against(centre, place), low: against(low, place), high: against(high, place), lost }
  ));
  const seeds = points.length && run.seeds.length > 1
    ? run.bySeed(statistic.name, step).map((values) => values.map((value, place) => (
      { x: x(run.blocks[place]), centre: against(value, place) }
    ))) : [];
  const before = run.steps.length > 1 && points.length && view.kind === "values" && step !== run.steps[0]
    ? run.curve(statistic.name, run.steps[0], geometric).map(({ block, centre }) => ({ x: x(block), centre })) : [];
  const variance = statistic.name === "channel_squared_mean" && run.has("channel_variance")
    ? run.curve("channel_variance", step, geometric) : [];
  return {
    run, measured, seeds, before,
    theory: theoryOf(theory, spread, view, against, x, statistic, geometric),
    scale: variance.map(({ block, centre }) => ({ block, x: x(block), centre })),
    rounding: roundingOf(points, variance),
  };
}

// Behind a normalizer a mean of float32 numbers is their rounding: where anything else is, it counts as 0.
function roundingOf(points, variance) {
  const found = points.map(({ centre }, place) => variance.length > 0 && centre < ROUNDING * variance[place].centre);
  return found.every(Boolean) ? found.map(() => false) : found;
}

function baseOf(run, statistic, state, runs, view, theory, geometric) {
  if (view.kind === "theory") return run.blocks.map((_, place) => (theory ? theory[place].centre : null));
  if (view.base === null) return run.blocks.map(() => 1);
  const other = runs[view.base];
  if (!other.has(statistic.name)) return run.blocks.map(() => null);
  const curve = other.curve(statistic.name, other.nearest(state.step), geometric);
  return run.blocks.map((block) => curve[counterpart(run, block, other, state.relative)].centre);
}

function theoryOf(theory, spread, view, against, x, statistic, geometric) {
  if (!theory || (view.kind !== "values" && view.kind !== "theory")) return [];
  return theory.map(({ block, centre }, place) => {
    const band = spread ? theoryBand(centre, spread[place], geometric || statistic.multiplied) : null;
    const [low, high] = band ? band.map((value) => against(value, place)) : [null, null];
    return { block, x: x(block), centre: against(centre, place), low, high };
  });
}
