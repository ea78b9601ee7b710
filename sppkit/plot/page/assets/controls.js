// What can be switched: which runs, which panels, how their curves are shown.

function buildControls(page) {
  const { state, runs } = page;
  const others = runs.map((run) => [String(run.index), run.label]);
  const hasTheory = runs.some((run) => page.statistics.some(({ name }) => run.has(`predicted_${name}`)));
  const views = [
    ["values", "as they are"],
    ...(hasTheory ? [["theory", "measured / predicted"]] : []),
    ...(runs.length > 1 ? others.flatMap(([index, label]) => [
      [`ratio:${index}`, `ratio to ${label}`], [`difference:${index}`, `difference to ${label}`],
    ]) : []),
  ];
  const set = (key) => (value) => page.set(key, value);
  byId("controls").append(...[
    choice("Scale", [["auto", "by the values"], ["linear", "linear"], ["log", "logarithmic"]], state.scale, set("scale")),
    views.length > 1 ? choice("Curves", views, state.view, set("view")) : null,
    runs.some((run) => run.seeds.length > 1)
      ? choice("Seeds", [["band", "as a band"], ["lines", "as lines"], ["mean", "mean only"]], state.seeds, set("seeds")) : null,
    page.statistics.length > 1 ? panelChooser(page) : null,
    element("button", { id: "reset", onclick: () => page.zoomTo(null), hidden: true }, "Whole depth"),
  ].filter(Boolean));
  byId("legend").append(...runs.map((run) => legendEntry(page, run)), ...(hasTheory ? [theoryEntry(page)] : []));
}

function sampleLine(attributes) {
  return drawing("svg", { width: 30, height: 10, "aria-hidden": "true", class: "plot-sample" },
    drawing("line", { x1: 1, x2: 29, y1: 5, y2: 5, "stroke-width": 2.2, ...attributes }));
}

function legendEntry(page, run) {
  const { colour, dash } = lookOf(run.index);
  const thinned = run.thinned ? ` (${run.thinned})` : "";
  const button = element("button", {
    "aria-pressed": "true",
    onclick: () => button.setAttribute("aria-pressed", String(page.toggleRun(run))),
  }, sampleLine({ class: colour, "stroke-dasharray": dash }), run.label + thinned);
  return button;
}

function theoryEntry(page) {
  const button = element("button", {
    "aria-pressed": "true",
    title: "What theory expects, and two standard deviations of one seed to either side",
    onclick: () => {
      page.set("theory", !page.state.theory);
      button.setAttribute("aria-pressed", String(page.state.theory));
    },
  }, sampleLine({ stroke: "currentColor", "stroke-dasharray": "3 4", "stroke-width": 1.3 }), "predicted");
  return button;
}

function panelChooser(page) {
  const boxes = page.statistics.map((one) => {
    const box = element("input", { type: "checkbox", checked: one.open, onchange: () => page.togglePanel(one, box.checked) });
    return element("label", { title: one.meaning }, box, words(one.name));
  });
  return element("details", {}, element("summary", {}, "Panels"), element("div", {}, boxes));
}

function buildTraining(page, map) {
  const steps = [...new Set(page.runs.filter((run) => run.steps.length > 1).flatMap((run) => run.steps))].sort((a, b) => a - b);
  const output = element("output", { for: "step" });
  const slider = element("input", {
    type: "range", id: "step", min: 0, max: steps.length - 1, step: 1, "aria-label": "Training step",
    oninput: () => page.stepTo(steps[Number(slider.value)]),
  });
  page.onStep = () => {
    slider.value = String(nearestPlace(steps, page.state.step));
    slider.setAttribute("aria-valuetext", `step ${page.state.step}`);
    output.textContent = `step ${page.state.step}`;
  };
  const section = byId("training");
  section.append(
    element("div", {}, element("label", { for: "step" }, "Step"), slider, output, map.controls()), map.frame, map.ends,
    element("p", { class: "subtitle" }, "Faint and dashed in the panels: the first step."),
  );
  section.hidden = false;
}
