// One panel: a statistic over the blocks, for all runs that are shown. Cursor, pin and zoom are those of all panels.

const HEIGHT = 230, EDGE = { left: 48, right: 8, top: 18, bottom: 34 };
const LONG_STAGE = 46, SHORT_STAGE = 14, MOST_MARKED = 60;
// Kinds of line, in pixels: with eight colours they tell 32 runs apart.
const DASHES = [null, "7 3", "7 3 2 3", "2 2.5"];

// Lines of neighbouring runs differ in colour and kind; the second time round a colour has the next kind.
const lookOf = (index) => ({ colour: `c${index % 8}`, dash: DASHES[(index + Math.floor(index / 8)) % DASHES.length] });

class Panel {
  constructor(statistic, page) {
    this.statistic = statistic;
    this.page = page;
    this.plot = drawing("svg", {
      class: "plot", tabindex: 0, role: "img", "aria-roledescription": "curve",
      "aria-label": `${words(statistic.name)}: ${statistic.meaning}. Arrow keys move through the ${page.unit}s.`,
    });
    this.note = element("small");
    const direction = statistic.backward ? " ←" : "";
    const caption = element("figcaption", { title: statistic.meaning }, words(statistic.name) + direction, this.note);
    this.figure = element("figure", { "data-statistic": statistic.name }, caption, this.plot);
    this.listen();
  }

  listen() {
    const { plot, page } = this;
    plot.addEventListener("pointermove", (event) => this.onMove(event));
    plot.addEventListener("pointerdown", (event) => this.onDown(event));
    plot.addEventListener("pointerup", (event) => this.onUp(event));
    plot.addEventListener("pointerleave", () => this.dragFrom === undefined && page.moveTo(null));
    plot.addEventListener("pointercancel", () => this.stopDragging());
    plot.addEventListener("dblclick", () => page.zoomTo(null));
    plot.addEventListener("keydown", (event) => page.onKey(event));
    plot.addEventListener("focus", () => page.state.cursor === null && page.state.pin === null && page.moveTo(page.span()[0]));
  }

  onMove(event) {
    const x = this.xAt(event);
    if (this.dragFrom !== undefined && Math.abs(event.clientX - this.downAt) > 4) this.showZoom(this.dragFrom, x);
    this.page.moveTo(x);
  }

  onDown(event) {
    if (event.button !== 0) return;
    this.dragFrom = this.xAt(event);
    this.downAt = event.clientX;
    this.plot.setPointerCapture(event.pointerId);
  }

  onUp(event) {
    if (this.dragFrom === undefined) return;
    const [from, to] = [this.dragFrom, this.xAt(event)];
    const moved = Math.abs(event.clientX - this.downAt) > 4;
    this.stopDragging();
    if (moved) this.page.zoomTo([Math.min(from, to), Math.max(from, to)]);
    else this.page.pinTo(to);
  }

  stopDragging() {
    this.dragFrom = undefined;
    this.zooming?.remove();
  }

  showZoom(from, to) {
    this.zooming?.remove();
    const [left, right] = [this.x(Math.min(from, to)), this.x(Math.max(from, to))];
    const box = { class: "zooming", x: left, y: EDGE.top, width: right - left, height: HEIGHT - EDGE.top - EDGE.bottom };
    this.zooming = this.plot.appendChild(drawing("rect", box));
  }

  xAt(event) {
    const box = this.plot.getBoundingClientRect();
    const [low, high] = this.domain;
    const share = ((event.clientX - box.left) * (this.width / box.width) - EDGE.left) / this.inner;
    return low + Math.min(1, Math.max(0, share)) * (high - low);
  }

  x(value) {
    const [low, high] = this.domain;
    return EDGE.left + ((value - low) / (high - low)) * this.inner;
  }

  y(value) {
    const share = value === null ? null : this.axis.place(value);
    return share === null ? null : HEIGHT - EDGE.bottom - share * (HEIGHT - EDGE.top - EDGE.bottom);
  }

  render() {
    const { statistic, page } = this, { state } = page;
    this.width = Math.max(240, Math.round(this.figure.clientWidth) || 360);
    this.inner = this.width - EDGE.left - EDGE.right;
    this.domain = page.domain();
    const shown = page.shownRuns();
    const build = (geometric) => shown.map((run) => seriesOf(run, statistic, state, page.runs, geometric));
    this.series = build(false);
    this.axis = this.chooseAxis();
    if (this.axis.log) this.series = build(true);
    this.note.textContent = [this.axis.log ? "log" : "", this.showsScale() ? "dotted: variance" : ""].filter(Boolean).join(" · ");
    this.plot.setAttribute("viewBox", `0 0 ${this.width} ${HEIGHT}`);
    const clip = `clip-${statistic.name}`;
    const area = { x: EDGE.left, y: EDGE.top - 3, width: this.inner, height: HEIGHT - EDGE.top - EDGE.bottom + 6 };
    this.overlay = drawing("g");
    this.plot.replaceChildren(
      drawing("clipPath", { id: clip }, drawing("rect", area)),
      drawing("rect", { ...area, fill: "transparent" }),
      this.drawGrid(), this.drawStages(),
      drawing("g", { "clip-path": `url(#${clip})` }, this.drawReference(), ...this.series.map((one) => this.drawSeries(one))),
      this.drawLost(), this.drawStem(), this.drawEmpty(), this.overlay,
    );
    this.showCursor();
  }

  chooseAxis() {
    const { page, statistic } = this, [from, to] = this.domain, view = parseView(page.state.view);
    const blocks = [], stem = [];
    const take = (points, numbers) => points.forEach((point, place) => {
      if (point.x < from || point.x > to) return;
      const isStem = point.block === 0 && page.unit === "block";
      (isStem ? stem : blocks).push(...finite(numbers(point, place)));
    });
    for (const { measured, theory, before, scale, rounding } of this.series) {
      take(measured, ({ centre, low, high }, place) => (rounding[place] ? [0] : [centre, low, high]));
      take(before, ({ centre }) => [centre]);
      if (page.state.theory) take(theory, ({ centre, high }) => [centre, high]);
      if (this.showsScale()) take(scale, ({ centre }) => [centre]);
    }
    const reference = view.neutral ?? statistic.reference;
    const logarithmic = statistic.logarithmic && view.kind !== "difference";
    return chooseAxis(blocks, stem, { mode: page.state.scale, logarithmic, reference });
  }

  // A squared mean is large or small beside the variance: of one run, that is drawn with it.
  showsScale() {
    return this.series.length === 1 && this.series[0].scale.length > 0 && this.page.state.view === "values";
  }

  drawGrid() {
    const group = drawing("g"), bottom = HEIGHT - EDGE.bottom;
    this.axis.ticks.forEach((tick, index) => {
      const y = this.y(tick);
      group.append(
        drawing("line", { class: "grid", x1: EDGE.left, x2: this.width - EDGE.right, y1: y, y2: y }),
        drawing("text", { x: EDGE.left - 5, y: y + 4, "text-anchor": "end" }, this.axis.texts[index]),
      );
    });
    const [low, high] = this.domain, step = this.page.state.relative ? niceStep((high - low) / 5) : Math.max(1, Math.round(niceStep((high - low) / 6)));
    for (let tick = Math.ceil(low / step - 1e-9) * step; tick <= high + 1e-9; tick += step) {
      group.append(drawing("text", { x: this.x(tick), y: bottom + 15, "text-anchor": "middle" }, tickText(tick, step)));
    }
    const label = this.page.state.relative ? "fraction of the depth" : this.page.unit;
    group.append(
      drawing("text", { x: EDGE.left + this.inner / 2, y: HEIGHT - 4, "text-anchor": "middle" }, label),
      drawing("path", { class: "frame", d: `M${EDGE.left},${EDGE.top}V${bottom}H${this.width - EDGE.right}` }),
    );
    return group;
  }

  // Stages, where all runs that are shown have the same; their numbers as far as there is room.
  drawStages() {
    const group = drawing("g"), runs = this.page.shownRuns();
    if (this.page.state.relative || !runs.length) return group;
    const starts = runs[0].stageStarts(), key = JSON.stringify(starts);
    if (starts.length < 2 || runs.some((run) => JSON.stringify(run.stageStarts()) !== key)) return group;
    const right = this.width - EDGE.right, inside = (x) => Math.min(right, Math.max(EDGE.left, x));
    starts.forEach(({ block, stage }, index) => {
      const x = this.x(block - 0.5), from = inside(x);
      const to = inside(index + 1 < starts.length ? this.x(starts[index + 1].block - 0.5) : right);
      if (x > EDGE.left && x < right) group.append(drawing("line", { class: "stage", x1: x, x2: x, y1: EDGE.top, y2: HEIGHT - EDGE.bottom }));
      const text = to - from > LONG_STAGE ? `stage ${stage}` : to - from > SHORT_STAGE ? stage : "";
      if (text) group.append(drawing("text", { x: (from + to) / 2, y: EDGE.top - 6, "text-anchor": "middle" }, text));
    });
    return group;
  }

  drawReference() {
    const view = parseView(this.page.state.view), value = view.neutral ?? this.statistic.reference;
    const y = value === null || value === undefined ? null : this.y(value);
    const group = drawing("g");
    if (y !== null) group.append(drawing("line", { class: "reference", x1: EDGE.left, x2: this.width - EDGE.right, y1: y, y2: y }));
    if (this.showsScale()) group.append(drawing("path", { class: "reference", d: this.path(this.series[0].scale) }));
    return group;
  }

  drawSeries({ run, measured, seeds, before, theory }) {
    const { colour, dash } = lookOf(run.index), group = drawing("g", { "data-run": run.index });
    const { state } = this.page;
    if (state.theory && theory.length) {
      group.append(drawing("path", { class: "theory-band", d: this.band(theory) }));
    }
    if (seeds.length && state.seeds === "band") group.append(drawing("path", { class: `band ${colour}`, d: this.band(measured) }));
    if (seeds.length && state.seeds === "lines") {
      group.append(...seeds.map((points) => drawing("path", { class: `line seed ${colour}`, d: this.path(points) })));
    }
    if (before.length) group.append(drawing("path", { class: `line before ${colour}`, d: this.path(before) }));
    group.append(drawing("path", { class: `line ${colour}`, d: this.path(measured), "stroke-dasharray": dash }));
    if (state.theory && theory.length) group.append(drawing("path", { class: "theory", d: this.path(theory) }));
    group.append(...this.marks(measured, colour));
    return group;
  }

  // A dot where there are few blocks, and a triangle at the edge of a logarithmic axis for each zero.
  marks(points, colour) {
    const [from, to] = this.domain, inside = points.filter((point) => point.x >= from && point.x <= to);
    const edge = HEIGHT - EDGE.bottom;
    const zeros = this.axis.log ? inside.filter((point) => point.centre === 0) : [];
    const drawn = zeros.map(({ x }) => drawing("path", { class: `zero ${colour}`, d: `M${this.x(x) - 4},${edge - 7}h8l-4,6z` }));
    if (inside.length > MOST_MARKED) return drawn;
    const dots = inside.filter((point) => this.y(point.centre) !== null);
    return [...drawn, ...dots.map(({ x, centre }) => drawing("circle", { class: colour, cx: this.x(x), cy: this.y(centre), r: 2.2 }))];
  }

  // A stem that the axis leaves out has no line to it: it would be drawn all across the panel.
  outside(point) {
    return this.axis.leavesStem && point.block === 0 && point.centre !== null && this.axis.place(point.centre) > 1;
  }

  path(points) {
    let path = "", pen = "M";
    for (const point of points) {
      const y = this.outside(point) ? null : this.y(point.centre);
      if (y === null) pen = "M";
      else {
        path += `${pen}${this.x(point.x).toFixed(1)},${y.toFixed(1)}`;
        pen = "L";
      }
    }
    return path;
  }

  // Between the smallest and the largest value; on a logarithmic axis what has no place goes down to its edge.
  band(points) {
    const edge = HEIGHT - EDGE.bottom + 3;
    let path = "", run = [];
    const close = () => {
      if (run.length > 1) {
        const side = (name) => run.map((point) => `${point.x.toFixed(1)},${point[name].toFixed(1)}`);
        path += `M${side("high").join("L")}L${side("low").reverse().join("L")}Z`;
      }
      run = [];
    };
    for (const point of points) {
      const high = point.high === null || this.outside(point) ? null : this.y(point.high);
      if (high === null || point.low === null) close();
      else run.push({ x: this.x(point.x), high, low: Math.min(edge, this.y(point.low) ?? edge) });
    }
    close();
    return path;
  }

  drawLost() {
    const group = drawing("g"), [from, to] = this.domain;
    this.series.forEach(({ run, measured }, index) => {
      const lost = measured.filter((point) => point.lost && point.x >= from && point.x <= to);
      if (!lost.length) return;
      const y = EDGE.top + 8 + 13 * index, x = this.x(lost[0].x), end = this.x(lost[lost.length - 1].x);
      const right = x > EDGE.left + this.inner * 0.55;
      group.append(
        drawing("path", { class: "lost", d: `M${x - 4},${y - 4}l8,8m0,-8l-8,8M${x},${y}H${end}` }),
        drawing("text", { class: "lost-text", x: right ? x - 8 : x + 8, y: y + 14, "text-anchor": right ? "end" : "start" },
          `not finite from ${this.page.unit} ${lost[0].block}`),
      );
    });
    return group;
  }

  drawStem() {
    const group = drawing("g");
    const stems = this.series.flatMap(({ measured }) => measured.filter((point) => this.outside(point)));
    if (!stems.length) return group;
    const x = this.x(stems[0].x), values = [...new Set(stems.map((point) => short(point.centre)))];
    return fill(group, {}, [
      drawing("path", { class: "zero c0", d: `M${x - 4},${EDGE.top + 7}h8l-4,-7z` }),
      drawing("text", { x: x + 8, y: EDGE.top + 8 }, `stem ${values.join(", ")}`),
    ]);
  }

  drawEmpty() {
    const isThere = (point) => point.centre !== null || point.lost;
    if (this.series.some(({ measured, theory }) => measured.some(isThere) || theory.some(isThere))) return drawing("g");
    const text = this.page.shownRuns().length ? "nothing to show" : "no run is switched on";
    return drawing("text", { class: "empty", x: EDGE.left + this.inner / 2, y: HEIGHT / 2, "text-anchor": "middle" }, text);
  }

  showCursor() {
    const { state } = this.page, parts = [];
    const line = (x, kind) => {
      const at = this.x(x);
      if (at < EDGE.left - 1 || at > this.width - EDGE.right + 1) return;
      parts.push(drawing("line", { class: kind, x1: at, x2: at, y1: EDGE.top, y2: HEIGHT - EDGE.bottom }));
    };
    if (state.pin !== null) line(state.pin, "pin");
    if (state.cursor !== null) line(state.cursor, "cursor");
    const at = state.cursor ?? state.pin;
    if (at !== null) {
      for (const { run, measured } of this.series) {
        const point = measured[this.page.placeIn(run, at)];
        const y = point === undefined || this.outside(point) ? null : this.y(point.centre);
        if (y === null || y < EDGE.top - 4) continue;
        parts.push(drawing("circle", { class: `dot ${lookOf(run.index).colour}`, cx: this.x(point.x), cy: y, r: 4 }));
      }
    }
    this.overlay.replaceChildren(...parts);
  }
}
