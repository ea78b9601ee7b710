// The page: what is shown of the runs, and who is told when that changes.

class SignalPage {
  constructor(data) {
    this.unit = data.unit;
    this.statistics = data.statistics;
    this.runs = data.runs.map((described, index) => new Run(described, index));
    const steps = this.runs.flatMap((run) => run.steps);
    this.state = {
      scale: "auto", view: "values", seeds: "band", theory: true, hidden: new Set(), zoom: null, cursor: null, pin: null,
      step: Math.max(...steps), relative: new Set(this.runs.map((run) => run.last)).size > 1,
    };
    this.panels = this.statistics.map((statistic) => new Panel(statistic, this));
    this.inspector = new Inspector(this);
    this.table = new DataTable(this);
    this.onStep = () => {};
    buildControls(this);
    byId("panels").append(...this.panels.map((panel) => panel.figure));
    this.panels.forEach((panel) => { panel.figure.hidden = !panel.statistic.open; });
    byId("numbers").append(this.table.box);
    byId("records").append(...this.runs.map(recordOf));
    for (const id of ["signal", "numbers", "records"]) byId(id).hidden = false;
    if (this.runs.some((run) => run.steps.length > 1)) {
      this.map = new HeatMap(this);
      buildTraining(this, this.map);
    }
    this.listen();
    this.render();
    this.map?.render();
    this.onStep();
    this.followAddress();
  }

  listen() {
    let width = window.innerWidth;
    window.addEventListener("resize", () => {
      if (window.innerWidth !== width) this.render();
      width = window.innerWidth;
    });
    window.addEventListener("hashchange", () => this.followAddress());
    // A link to the block that the address names already changes nothing, and is followed all the same.
    byId("verdict").addEventListener("click", (event) => event.target.closest("a") && setTimeout(() => this.followAddress()));
  }

  // #run-0-block-12 keeps a block: what the lines of the verdict link to.
  followAddress() {
    const found = /^#run-(\d+)-block-(\d+)$/.exec(window.location.hash);
    const run = found && this.runs[Number(found[1])];
    if (!run) return;
    this.pinBlock(run, Number(found[2]));
    byId("signal").scrollIntoView({ block: "start" });
  }

  shownRuns() {
    return this.runs.filter((run) => !this.state.hidden.has(run));
  }

  isLogarithmic(statistic) {
    return Boolean(this.panels.find((panel) => panel.statistic === statistic).axis?.log);
  }

  openStatistics() {
    return this.panels.filter((panel) => !panel.figure.hidden).map((panel) => panel.statistic);
  }

  // The x axis: block indices, or parts of the depth where runs have different numbers of blocks.
  span() {
    if (this.state.relative) return [0, 1];
    return [Math.min(...this.runs.map((run) => run.blocks[0])), Math.max(...this.runs.map((run) => run.last))];
  }

  domain() {
    if (this.state.zoom) return this.state.zoom;
    const [low, high] = this.span(), margin = this.state.relative ? 0.02 : Math.max(0.5, 0.02 * (high - low));
    return [low - margin, high + margin];
  }

  // Index of the block of a run that is nearest to a place on the x axis.
  placeIn(run, x) {
    return nearestPlace(run.blocks, this.state.relative ? x * run.last : x);
  }

  snap(x) {
    const run = this.shownRuns()[0];
    if (x === null || !run) return null;
    const block = run.blocks[this.placeIn(run, x)];
    return this.state.relative ? relativePlace(run, block) : block;
  }

  set(key, value) {
    this.state[key] = value;
    this.render();
  }

  toggleRun(run) {
    const { hidden } = this.state;
    if (!hidden.delete(run)) hidden.add(run);
    this.render();
    return !hidden.has(run);
  }

  togglePanel(statistic, isOpen) {
    const panel = this.panels.find((one) => one.statistic === statistic);
    panel.figure.hidden = !isOpen;
    this.render();
  }

  stepTo(step) {
    this.state.step = step;
    this.onStep();
    this.render();
  }

  zoomTo(range) {
    const smallest = this.state.relative ? 0.01 : 2;
    if (range && range[1] - range[0] < smallest) {
      const middle = (range[0] + range[1]) / 2;
      range = [middle - smallest / 2, middle + smallest / 2];
    }
    this.state.zoom = range;
    byId("reset").hidden = range === null;
    this.render();
  }

  zoomBy(factor) {
    const [low, high] = this.domain(), middle = this.state.cursor ?? this.state.pin ?? (low + high) / 2;
    const [first, last] = this.span(), half = ((high - low) * factor) / 2;
    this.zoomTo(2 * half >= last - first ? null : [middle - half, middle + half]);
  }

  moveTo(x) {
    const snapped = this.snap(x);
    if (snapped === this.state.cursor) return;
    this.state.cursor = snapped;
    this.showCursor();
  }

  pinTo(x) {
    const snapped = this.snap(x);
    this.state.pin = snapped === this.state.pin ? null : snapped;
    this.showCursor();
    this.table.render();
  }

  pinBlock(run, block) {
    this.state.pin = null;
    this.state.cursor = null;
    this.pinTo(this.state.relative ? relativePlace(run, block) : block);
  }

  onKey(event) {
    const moves = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10, Home: -Infinity, End: Infinity };
    const { key } = event;
    if (key in moves) this.step(moves[key]);
    else if (key === "Enter" || key === " ") this.pinTo(this.state.cursor);
    else if (key === "Escape") this.letGo();
    else if (key === "+" || key === "=") this.zoomBy(0.5);
    else if (key === "-") this.zoomBy(2);
    else return;
    event.preventDefault();
    this.inspector.speak();
  }

  step(count) {
    const run = this.shownRuns()[0];
    if (!run) return;
    const from = this.state.cursor ?? this.state.pin;
    const place = from === null ? 0 : this.placeIn(run, from) + count;
    const block = run.blocks[Math.min(run.blocks.length - 1, Math.max(0, place))];
    this.moveTo(this.state.relative ? relativePlace(run, block) : block);
  }

  letGo() {
    if (this.state.pin !== null) this.pinTo(null);
    else if (this.state.zoom) this.zoomTo(null);
    this.moveTo(null);
  }

  render() {
    for (const panel of this.panels) if (!panel.figure.hidden) panel.render();
    this.inspector.render();
    this.table.render();
    this.map?.showMarks();
  }

  showCursor() {
    for (const panel of this.panels) if (!panel.figure.hidden) panel.showCursor();
    this.inspector.render();
    this.map?.showMarks();
  }
}

// The data are JSON, deflated, in base64: nothing in them can be taken for markup.
async function readData() {
  const bytes = Uint8Array.from(atob(byId("data").textContent), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return JSON.parse(await new Response(stream).text());
}

readData().then((data) => new SignalPage(data)).catch((error) => {
  byId("verdict").append(element("p", { class: "off", role: "alert" }, `The curves can't be drawn here: ${error.message}`));
});
