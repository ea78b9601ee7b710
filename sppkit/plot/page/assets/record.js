// The records of the runs, folded away: every option with where its value came from, and the rest as it was written.

const plainText = (value) => (typeof value === "string" ? value : JSON.stringify(value));

function recordOf(run) {
  const rows = run.options.map(([name, value, source]) => element("tr", {},
    element("th", { scope: "row" }, name), element("td", {}, value === null ? "" : plainText(value)), element("td", {}, source)));
  const head = ["option", "value", "source"].map((text) => element("th", { scope: "col", class: "text" }, text));
  const rest = Object.keys(run.record).length ? element("pre", {}, JSON.stringify(run.record, null, 2)) : null;
  return element("details", {}, element("summary", {}, `Record of ${run.label}`),
    rows.length ? element("table", {}, element("thead", {}, element("tr", {}, head)), element("tbody", {}, rows)) : null,
    rest, rows.length || rest ? null : element("p", {}, "This run was saved without a record."));
}
