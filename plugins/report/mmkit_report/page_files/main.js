// The page: navigation, filters, and the view that the address names.
const WITH_SHOWN = DATA.examples.some((example) => example.p.some((prediction) => "shown" in prediction));
const VIEWS = { scores: "Scores", errors: "Errors", examples: "Examples", ...(WITH_SHOWN ? { inside: "Inside" } : {}), about: "The run" };
const main = document.getElementById("main");

const labelled = (name, label, control) => h("div", { class: "field" }, h("label", { for: `by-${name}` }, label), control);
const chooser = (name, label, options) => {
  const state = readState();
  return labelled(name, label, h("select", { name, id: `by-${name}` }, options.map(([value, text]) => h("option", { value, selected: String(value) === state[name] }, text))));
};
const runChooser = () => DATA.runs.length > 1 && chooser("run", "Run", DATA.runs.map((run, i) => [i, run.name]));
const flipChooser = () => FLIPS.size > 0 && chooser("flip", "Flips between runs", [["", "all"], ...[...FLIPS].map(([name, flip]) => [name, flip.text])]);

const examplesView = () => {
  const status = h("p", { role: "status", "aria-live": "polite", class: "dim" });
  const detail = h("div", { id: "detail" });
  const row = (place) => {
    const example = DATA.examples[place], prediction = example.p[Number(readState().run)];
    const counts = new Map();
    for (const [, kind] of prediction.findings || []) if (kind !== RIGHT) counts.set(kind, (counts.get(kind) || 0) + 1);
    const told = [...counts].map(([kind, number]) => h("span", { class: kindClass(kind) }, `${number} ${DATA.kinds[kind]}  `));
    return [h("div", {}, example.text || "(no text)"), h("div", { class: "dim" }, told.length ? told : h("span", { class: "right" }, "no error  "), example.id)];
  };
  const list = virtualList("Examples", row, (place) => {
    detail.replaceChildren();
    if (place === null) { detail.append(h("p", {}, "No example fits these filters.")); return; }
    replaceState({ id: DATA.examples[place].id });
    detail.append(exampleView(place, Number(readState().run)));
  });
  const refresh = () => {
    const state = readState(), found = chosen(state);
    status.textContent = `${many(found.length)} of ${many(DATA.examples.length)} examples`;
    list.set(found, DATA.examples.findIndex((example) => example.id === state.id));
  };
  const state = readState();
  const field = (name, label, properties) => labelled(name, label, h("input", { name, id: `by-${name}`, value: state[name], ...properties }));
  const sorts = [["worst", "worst first"], ["unsure", "least sure first"], ["file", "order of the file"], ...(WITH_CHANGE ? [["change", "what the photo changed"]] : [])];
  const form = h("form", { role: "search", "aria-label": "Filters", onsubmit: (event) => event.preventDefault() },
    field("q", "Search in texts and ids", { type: "search" }),
    chooser("kind", "Kind of error", [["", "all"], ["error", "any error"], ...DATA.kinds.map((kind) => [kind, kind])]),
    chooser("label", "Label", [["", "all"], ...allLabels().map((label) => [label, label])]),
    field("from", "Score from", { type: "number", min: 0, max: 1, step: 0.05 }),
    field("to", "Score to", { type: "number", min: 0, max: 1, step: 0.05 }),
    flipChooser(), chooser("sort", "Order", sorts), runChooser());
  const changed = () => {
    replaceState(Object.fromEntries([...new FormData(form)]));
    refresh();
    navigation();
  };
  form.addEventListener("input", changed);
  main.replaceChildren(h("h2", { class: "hidden" }, "Examples"), form, status, h("div", { class: "browser" }, list.box, detail));
  refresh();
};

const navigation = () => {
  const { view } = readState();
  document.getElementById("views").replaceChildren(...Object.entries(VIEWS).map(([name, text]) =>
    h("a", { href: linkTo({ view: name }), "aria-current": name === view ? "page" : null }, text)));
};

const show = () => {
  const state = readState(), number = Number(state.run), run = DATA.runs[number];
  navigation();
  if (state.view === "examples") { examplesView(); return; }
  const views = { about: () => aboutView(run), errors: () => errorsView(run, number), scores: scoresView, inside: meansView };
  const form = !["scores", "inside"].includes(state.view) && DATA.runs.length > 1 && h("form", {}, runChooser());
  if (form) form.addEventListener("input", (event) => { location.hash = linkTo({ run: event.target.value }); });
  main.replaceChildren(...[form, (views[state.view] || views.scores)()].flat(9).filter(Boolean));
};
document.getElementById("skip").addEventListener("click", (event) => { event.preventDefault(); main.focus(); });
window.addEventListener("hashchange", show);
show();
