// The table of a run as it is in its file: sorted by any column, kept as CSV.

// A browser lays out so many rows at once without a pause.
const MOST_ROWS_AT_ONCE = 400;

class DataTable {
  constructor(page) {
    this.page = page;
    this.run = page.runs[0];
    this.sorted = { column: null, down: false };
    this.rows = element("table", { id: "rows" });
    this.more = element("button", { onclick: () => this.renderAll() });
    const runs = page.runs.map((run) => [String(run.index), run.label]);
    const tools = element("div", { class: "tools" },
      page.runs.length > 1 ? choice("Run", runs, "0", (index) => this.show(page.runs[Number(index)])) : null,
      element("button", { id: "download", onclick: () => this.download() }, "Download CSV"), this.more);
    this.box = element("details", { ontoggle: () => this.render() }, element("summary", {}, "Table"), tools,
      element("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Rows of the table" }, this.rows));
  }

  show(run) {
    this.run = run;
    this.sorted = { column: null, down: false };
    this.render();
  }

  render() {
    if (this.box.open) this.fill(MOST_ROWS_AT_ONCE);
  }

  renderAll() {
    this.fill(Infinity);
  }

  // Of a training, the rows of the step that is shown.
  ordered() {
    const { run, sorted } = this, step = run.nearest(this.page.state.step);
    const places = run.rows.map((_, place) => place).filter((place) => run.rowSteps[place] === step);
    if (sorted.column === null) return places;
    const cell = (place) => run.rows[place][run.at[sorted.column]], sign = sorted.down ? -1 : 1;
    if (sorted.column === "name") return places.sort((a, b) => sign * cell(a).localeCompare(cell(b), "en", { numeric: true }));
    const values = run.values(sorted.column);
    // What is absent or not a number stands last, whichever way.
    const isKnown = (value) => value !== null && !Number.isNaN(value);
    return places.sort((a, b) => (
      isKnown(values[a]) && isKnown(values[b]) ? sign * (values[a] - values[b]) : isKnown(values[b]) - isKnown(values[a])
    ));
  }

  fill(most) {
    const { run, page } = this, places = this.ordered();
    const pinned = page.state.pin === null ? null : run.blocks[page.placeIn(run, page.state.pin)];
    const body = places.slice(0, most).map((place) => element("tr",
      { class: run.rowBlocks[place] === pinned ? "pinned" : null, onclick: () => page.pinBlock(run, run.rowBlocks[place]) },
      run.rows[place].map((cell, column) => element("td", { class: run.columns[column] === "name" ? "text" : null }, cell))));
    this.rows.replaceChildren(
      element("thead", {}, element("tr", {}, run.columns.map((name) => this.header(name)))), element("tbody", {}, body),
    );
    this.more.hidden = body.length === places.length;
    this.more.textContent = `Show all ${places.length} rows`;
  }

  header(name) {
    const { sorted } = this, isSorted = sorted.column === name;
    const direction = isSorted ? (sorted.down ? "descending" : "ascending") : "none";
    const button = element("button", { onclick: () => this.sortBy(name) }, name + (isSorted ? (sorted.down ? " ↓" : " ↑") : ""));
    return element("th", { scope: "col", "aria-sort": direction, class: name === "name" ? "text" : null }, button);
  }

  sortBy(name) {
    this.sorted = { column: name, down: this.sorted.column === name && !this.sorted.down };
    this.render();
    const index = this.run.columns.indexOf(name);
    this.rows.querySelectorAll("th button")[index].focus();
  }

  download() {
    const address = URL.createObjectURL(new Blob([this.run.csv], { type: "text/csv" }));
    const link = element("a", { href: address, download: `${this.run.label.replace(/[^\w.-]+/g, "-") || "run"}.csv` });
    link.click();
    setTimeout(() => URL.revokeObjectURL(address), 1000);
  }
}
