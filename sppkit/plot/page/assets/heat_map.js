// A training as a map: steps from the bottom up, blocks from left to right, one statistic as colour.

// Viridis at nine places (Smith & van der Walt, CC0), told apart with every kind of colour vision and in grey.
const VIRIDIS = ["#440154", "#472d7b", "#3b528b", "#2c728e", "#21918c", "#28ae80", "#5ec962", "#addc30", "#fde725"]
  .map((colour) => [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16)));
const ABSENT = [150, 150, 150], NOT_FINITE = [213, 94, 0];

function viridis(share) {
  const at = Math.min(1, Math.max(0, share)) * (VIRIDIS.length - 1), low = Math.min(VIRIDIS.length - 2, Math.floor(at));
  return VIRIDIS[low].map((value, channel) => value + (VIRIDIS[low + 1][channel] - value) * (at - low));
}

class HeatMap {
  constructor(page) {
    this.page = page;
    this.run = page.runs.find((run) => run.steps.length > 1);
    this.statistic = page.statistics.find((one) => this.run.has(one.name));
    this.canvas = element("canvas", { id: "map", role: "img" });
    this.markStep = element("div", { class: "mark-step" });
    this.markBlock = element("div", { class: "mark-block" });
    this.top = element("span", { class: "y top" });
    this.bottom = element("span", { class: "y bottom" });
    this.frame = element("div", { class: "map-frame" }, this.canvas, this.markStep, this.markBlock, this.top, this.bottom);
    this.ends = element("div", { class: "map-x" });
    this.scale = element("span", { class: "scale" });
    this.canvas.addEventListener("pointermove", (event) => page.moveTo(this.at(event).x));
    this.canvas.addEventListener("pointerleave", () => page.moveTo(null));
    this.canvas.addEventListener("click", (event) => {
      const { step, x } = this.at(event);
      page.stepTo(step);
      page.pinTo(x);
    });
  }

  controls() {
    const { page } = this, watched = page.runs.filter((run) => run.steps.length > 1);
    const there = page.statistics.filter((one) => watched.some((run) => run.has(one.name)));
    const runs = watched.map((run) => [String(run.index), run.label]);
    return [
      watched.length > 1 ? choice("Map of", runs, String(this.run.index), (index) => this.show(page.runs[Number(index)], this.statistic)) : null,
      choice("Map shows", there.map((one) => [one.name, words(one.name)]), this.statistic.name,
        (name) => this.show(this.run, there.find((one) => one.name === name))),
      this.scale,
    ];
  }

  show(run, statistic) {
    Object.assign(this, { run, statistic });
    this.render();
  }

  at(event) {
    const box = this.canvas.getBoundingClientRect(), { run } = this;
    const share = (value, size) => Math.min(0.999999, Math.max(0, value / size));
    const row = run.steps.length - 1 - Math.floor(share(event.clientY - box.top, box.height) * run.steps.length);
    const block = run.blocks[Math.floor(share(event.clientX - box.left, box.width) * run.blocks.length)];
    return { step: run.steps[row], x: this.page.state.relative ? relativePlace(run, block) : block };
  }

  render() {
    const { run, statistic, canvas } = this, rows = run.steps.length, columns = run.blocks.length;
    const curves = run.steps.map((step) => run.curve(statistic.name, step));
    const values = curves.flatMap((curve) => finite(curve.map((point) => point.centre)));
    const log = values.length > 0 && (statistic.logarithmic || needsLogarithm(values)) && values.some((value) => value > 0);
    const scaled = log ? values.filter((value) => value > 0).map(Math.log10) : values;
    const low = scaled.reduce((least, value) => Math.min(least, value), log ? Infinity : 0);
    const high = scaled.reduce((most, value) => Math.max(most, value), -Infinity);
    canvas.width = columns;
    canvas.height = rows;
    const context = canvas.getContext("2d"), image = context.createImageData(columns, rows);
    curves.forEach((curve, row) => curve.forEach(({ centre, lost }, column) => {
      const share = ((log ? Math.log10(Math.max(centre, 10 ** low)) : centre) - low) / (high - low || 1);
      const colour = lost ? NOT_FINITE : centre === null ? ABSENT : viridis(share);
      image.data.set([...colour, 255], 4 * ((rows - 1 - row) * columns + column));
    }));
    context.putImageData(image, 0, 0);
    canvas.setAttribute("aria-label", `${words(statistic.name)} of ${run.label}: ${rows} steps × ${columns} ${this.page.unit}s`);
    this.describe(values.length ? (log ? [10 ** low, 10 ** high] : [low, high]) : null, log);
    this.showMarks();
  }

  describe(ends, log) {
    const { run, page } = this;
    this.top.textContent = `step ${run.steps[run.steps.length - 1]}`;
    this.bottom.textContent = `step ${run.steps[0]}`;
    this.ends.replaceChildren(
      element("span", {}, `${page.unit} ${run.blocks[0]}`), element("span", {}, `${page.unit} ${run.last}`),
    );
    const bar = element("canvas", { width: 140, height: 1, "aria-hidden": "true" }), context = bar.getContext("2d");
    for (let x = 0; x < 140; x += 1) {
      context.fillStyle = `rgb(${viridis(x / 139).map(Math.round).join(",")})`;
      context.fillRect(x, 0, 1, 1);
    }
    const kinds = `${log ? "logarithmic; " : ""}orange: not finite, grey: not measured`;
    this.scale.replaceChildren(...(ends ? [short(ends[0]), bar, `${short(ends[1])} (${kinds})`] : [kinds]));
  }

  showMarks() {
    const { run, page } = this, step = run.steps.indexOf(run.nearest(page.state.step));
    this.markStep.style.top = `${(1 - (step + 0.5) / run.steps.length) * 100}%`;
    const at = page.state.cursor ?? page.state.pin;
    this.markBlock.hidden = at === null;
    if (at !== null) this.markBlock.style.left = `${((page.placeIn(run, at) + 0.5) / run.blocks.length) * 100}%`;
  }
}
