// The block under the cursor, or the one that is kept: where it is, and every number of it.

class Inspector {
  constructor(page) {
    this.page = page;
    this.box = byId("inspector");
    this.spoken = byId("spoken");
  }

  render() {
    const { page } = this, { state } = page, at = state.cursor ?? state.pin;
    const runs = page.shownRuns();
    if (at === null || !runs.length) {
      this.box.replaceChildren(element("p", { class: "where" }, `Move over a panel to read a ${page.unit} here; click to keep it.`));
      return;
    }
    const isKept = state.cursor === null || state.cursor === state.pin;
    this.box.replaceChildren(
      ...this.head(runs, at, isKept && state.pin !== null),
      ...runs.map((run) => this.numbers(run, at, runs.length > 1)),
      ...(isKept && state.pin !== null ? runs.map((run) => this.neighbours(run, at, runs.length > 1)) : []),
    );
  }

  head(runs, at, isKept) {
    const { page } = this, run = runs[0], block = run.blocks[page.placeIn(run, at)], name = run.name(block);
    const place = run.places[name], stage = run.text("stage", block);
    const facts = [
      stage !== "" && stage !== "0" ? `stage ${stage}` : "",
      run.shape(block),
      run.classes[name] ? `class ${run.classes[name]}` : "",
      place ? `${place[0]}:${place[1]}` : "",
    ].filter(Boolean);
    const numbered = name === String(block) ? `${page.unit} ${block}` : `${page.unit} ${block}: ${name}`;
    const letGo = isKept ? element("button", { onclick: () => page.pinTo(null), "aria-label": "Let go of the block" }, "let go") : null;
    const nodes = [element("h3", {}, numbered, " ", letGo), element("p", { class: "where" }, facts.join(" · "))];
    if (run.joins[name]) nodes.push(element("p", { class: "where" }, run.joins[name]));
    return nodes;
  }

  numbers(run, at, isOneOfMany) {
    const { page } = this, step = run.nearest(page.state.step), place = page.placeIn(run, at);
    const rows = page.statistics.filter((one) => run.has(one.name) || run.has(`predicted_${one.name}`))
      .map((one) => this.row(run, one, place, step)).filter(Boolean);
    const lost = run.curve("nonfinite", step)[place].centre;
    const heading = this.heading(run, isOneOfMany, run.steps.length > 1 ? `step ${step}` : "");
    const columns = ["", "measured", "predicted", "ratio"].map((text) => element("th", { scope: "col" }, text));
    const table = element("table", {}, element("thead", {}, element("tr", {}, columns)), element("tbody", {}, rows));
    return element("div", {}, heading, table, lost ? element("p", { class: "off" }, `${short(lost)} values are not finite`) : null);
  }

  row(run, statistic, place, step) {
    const { name } = statistic;
    const value = run.has(name) ? run.curve(name, step)[place] : { centre: null, lost: false };
    const theory = run.has(`predicted_${name}`) ? run.curve(`predicted_${name}`, step)[place].centre : null;
    if (value.centre === null && !value.lost && theory === null) return null;
    const spreads = run.has(`predicted_${name}_spread`) ? run.curve(`predicted_${name}_spread`, step)[place].centre : null;
    const band = theoryBand(theory, spreads, statistic.multiplied || this.page.isLogarithmic(statistic));
    const range = value.centre !== null && value.low < value.high ? [value.low, value.high] : null;
    const isOff = band && value.centre !== null && (value.high < band[0] || value.low > band[1]);
    const between = (ends) => (ends ? element("small", {}, ends.map((end) => short(Number(Math.max(0, end).toPrecision(3)))).join(" to ")) : null);
    return element("tr", { title: statistic.meaning },
      element("th", { scope: "row" }, words(name)),
      element("td", {}, value.lost && value.centre === null ? "not finite" : short(value.centre), between(range)),
      element("td", {}, short(theory), between(band)),
      element("td", { class: isOff ? "off" : "" }, value.centre !== null && theory ? `×${short(Number((value.centre / theory).toPrecision(3)))}` : ""));
  }

  neighbours(run, at, isOneOfMany) {
    const { page } = this, step = run.nearest(page.state.step), place = page.placeIn(run, at);
    const places = [place - 1, place, place + 1].filter((index) => index >= 0 && index < run.blocks.length);
    const heads = places.map((index) => element("th", { scope: "col", title: run.name(run.blocks[index]) }, String(run.blocks[index])));
    const rows = page.statistics.filter((one) => run.has(one.name)).map((one) => {
      const curve = run.curve(one.name, step);
      return element("tr", {}, element("th", { scope: "row" }, words(one.name)),
        places.map((index) => element("td", {}, curve[index].lost ? "not finite" : short(curve[index].centre))));
    });
    const title = this.heading(run, isOneOfMany, "beside its neighbours");
    const head = element("thead", {}, element("tr", {}, element("th", { scope: "col" }, page.unit), heads));
    return element("div", {}, title, element("table", {}, head, element("tbody", {}, rows)));
  }

  heading(run, isOneOfMany, text) {
    if (!isOneOfMany) return text ? element("h4", {}, text) : null;
    const { colour } = lookOf(run.index);
    const sample = element("span", { class: "sample", "aria-hidden": "true" },
      drawing("svg", { viewBox: "0 0 10 10" }, drawing("rect", { class: colour, width: 10, height: 10 })));
    return element("h4", { class: "runs-name" }, sample, run.label, text ? ` · ${text}` : "");
  }

  // For a screen reader, only where keys moved the cursor: a mouse would never let it finish a sentence.
  speak() {
    const { page } = this, at = page.state.cursor ?? page.state.pin, runs = page.shownRuns();
    if (at === null || !runs.length) return;
    const block = runs[0].blocks[page.placeIn(runs[0], at)];
    const told = runs.map((run) => {
      const place = page.placeIn(run, at), step = run.nearest(page.state.step);
      const numbers = page.openStatistics().filter((one) => run.has(one.name))
        .map((one) => [words(one.name), run.curve(one.name, step)[place].centre])
        .filter(([, value]) => value !== null).map(([name, value]) => `${name} ${short(value)}`);
      return `${runs.length > 1 ? `${run.label}: ` : ""}${numbers.join(", ")}`;
    });
    this.spoken.textContent = `${page.unit} ${block}, ${runs[0].name(block)}. ${told.join(". ")}`;
  }
}
