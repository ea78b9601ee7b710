// A run: its CSV read once, and the curves in it.

// CSV as Python's csv module writes it: cells in quotes may hold commas and doubled quotes; a name holds no line break.
function parseCsv(text) {
  const lines = text.split("\n").filter((line) => line !== "");
  const cut = (line) => {
    if (!line.includes('"')) return line.split(",");
    const cells = [...`,${line}`.matchAll(/,(?:"((?:[^"]|"")*)"|([^,]*))/g)];
    return cells.map(([, quoted, plain]) => (quoted === undefined ? plain : quoted.replaceAll('""', '"')));
  };
  return { columns: cut(lines[0]), rows: lines.slice(1).map(cut) };
}

const LOST = { nan: NaN, inf: Infinity, "-inf": -Infinity };

// An absent value is null; one that was measured and is not finite is NaN or infinite.
const parseCell = (cell) => (cell === "" ? null : cell in LOST ? LOST[cell] : Number(cell));

class Run {
  constructor(described, index) {
    Object.assign(this, described);
    this.index = index;
    const { columns, rows } = parseCsv(this.csv);
    this.columns = columns;
    this.rows = rows;
    this.at = Object.fromEntries(columns.map((name, place) => [name, place]));
    this.cells = new Map();
    this.hasSteps = "step" in this.at;
    const whole = (name) => rows.map((row) => Number(row[this.at[name]]));
    const unique = (values) => [...new Set(values)];
    this.rowSteps = this.hasSteps ? whole("step") : rows.map(() => 0);
    this.steps = unique(this.rowSteps).sort((a, b) => a - b);
    this.rowSeeds = whole("seed");
    this.seeds = unique(this.rowSeeds);
    this.rowBlocks = whole("block");
    this.blocks = unique(this.rowBlocks).sort((a, b) => a - b);
    this.last = this.blocks[this.blocks.length - 1];
    this.places_ = new Map(this.blocks.map((block, place) => [block, place]));
    this.first = new Map();
    rows.forEach((row, place) => {
      if (!this.first.has(this.rowBlocks[place])) this.first.set(this.rowBlocks[place], place);
    });
    this.curves = new Map();
  }

  has(column) {
    return column in this.at && this.values(column).some((value) => value !== null);
  }

  values(column) {
    if (!(column in this.at)) return [];
    if (!this.cells.has(column)) this.cells.set(column, this.rows.map((row) => parseCell(row[this.at[column]])));
    return this.cells.get(column);
  }

  text(column, block) {
    return this.first.has(block) && column in this.at ? this.rows[this.first.get(block)][this.at[column]] : "";
  }

  name(block) {
    return this.text("name", block);
  }

  shape(block) {
    return ["channels", "height", "width"].map((side) => this.text(side, block)).filter((side) => side !== "").join("×");
  }

  // The step at or before the one that is asked for: runs were not watched at the same steps.
  nearest(step) {
    const before = this.steps.filter((known) => known <= step);
    return before.length ? before[before.length - 1] : this.steps[0];
  }

  // Of every block: the values of all seeds, in the order of this.blocks; null where a row is missing.
  bySeed(column, step) {
    const key = `${column} ${step}`;
    if (this.curves.has(key)) return this.curves.get(key);
    const places = new Map(this.seeds.map((seed, place) => [seed, place]));
    const found = this.seeds.map(() => new Array(this.blocks.length).fill(null));
    this.values(column).forEach((value, row) => {
      if (this.rowSteps[row] === step) found[places.get(this.rowSeeds[row])][this.places_.get(this.rowBlocks[row])] = value;
    });
    this.curves.set(key, found);
    return found;
  }

  // Mean over the seeds that are finite there, with the smallest and the largest; geometric on a logarithmic axis.
  curve(column, step, geometric = false) {
    const seeds = this.bySeed(column, step);
    const wanted = geometric && seeds.every((values) => finite(values).every((value) => value > 0));
    return this.blocks.map((block, place) => {
      const all = seeds.map((values) => values[place]);
      const known = finite(all);
      const lost = all.some((value) => value !== null && !Number.isFinite(value));
      if (!known.length) return { block, centre: null, low: null, high: null, lost };
      const centre = known.length === 1 ? known[0] : wanted ? Math.exp(mean(known.map(Math.log))) : mean(known);
      return { block, centre, low: Math.min(...known), high: Math.max(...known), lost };
    });
  }

  // The first block of each stage.
  stageStarts() {
    const starts = [];
    for (const block of this.blocks) {
      const stage = this.text("stage", block);
      if (stage !== "" && stage !== "0" && (!starts.length || starts[starts.length - 1].stage !== stage)) {
        starts.push({ block, stage });
      }
    }
    return starts;
  }
}

// Theory's band is two standard deviations of one seed to either side. Of a gradient, whose deviations multiply, and on
// a logarithmic axis, two of the logarithm: a lognormal number of mean m and deviation s has v = log(1 + s²/m²) there.
function theoryBand(centre, spread, multiplies) {
  if (centre === null || spread === null || spread === undefined) return null;
  if (!multiplies || centre <= 0) return [centre - 2 * spread, centre + 2 * spread];
  const variance = Math.log1p((spread / centre) ** 2);
  const middle = centre * Math.exp(-variance / 2), half = Math.exp(2 * Math.sqrt(variance));
  return [middle / half, middle * half];
}
