// The data, and the state of the page, which is in the address: every view has a link.
const DATA = JSON.parse(document.getElementById("data").textContent);
const [RIGHT, MISSED, SPURIOUS] = ["right", "missed", "spurious"].map((kind) => DATA.kinds.indexOf(kind));
const STARTING = { view: "scores", run: "0", kind: "", label: "", from: "", to: "", flip: "", q: "", sort: "worst", id: "" };
const ALL_EXAMPLES = { view: "examples", kind: "", label: "", from: "", to: "", flip: "", q: "" }; // a number leads to what it counts
const WITH_CHANGE = DATA.examples.some((example) => "change" in example);
const SEARCHED = DATA.examples.map((example) => `${example.id}\n${example.text}`.toLowerCase());

// What can be asked about two runs, by its name in the address: "0not1" is right in run 0 and wrong in run 1, "0or1" is
// right in one of them alone. Many runs (a report with blank images has each twice) are paired with the first alone.
const FLIPS = new Map(DATA.runs.flatMap((one, i) => DATA.runs.flatMap((other, j) => (i < j && (i === 0 || DATA.runs.length <= 4) ? [
  [`${i}not${j}`, { right: i, wrong: j, text: `right in ${one.name}, wrong in ${other.name}` }],
  [`${j}not${i}`, { right: j, wrong: i, text: `right in ${other.name}, wrong in ${one.name}` }],
  [`${i}or${j}`, { right: i, wrong: j, either: true, text: `right in ${one.name} or ${other.name}, not in both` }],
] : []))));
const isRight = (example, run) => example.p[run].errors === 0;
const flips = (example, { right, wrong, either }) => isRight(example, right) !== isRight(example, wrong) && (either || isRight(example, right));

const readState = () => {
  const given = new URLSearchParams(location.hash.slice(1));
  const state = { ...STARTING };
  for (const name of Object.keys(STARTING)) if (given.has(name)) state[name] = given.get(name);
  if (!DATA.runs[state.run]) state.run = "0";
  if (!FLIPS.has(state.flip)) state.flip = "";
  return state;
};
const linkTo = (changes) => {
  const state = { ...readState(), ...changes };
  const told = Object.entries(state).filter(([name, value]) => name === "view" || String(value) !== STARTING[name]);
  return `#${new URLSearchParams(told.map(([name, value]) => [name, String(value)]))}`;
};
// Change the address without an entry in the history, for changes that come with each key.
const replaceState = (changes) => history.replaceState(null, "", linkTo(changes));

const kindClass = (kind) => (kind === RIGHT ? "right" : kind === MISSED ? "missed" : kind === SPURIOUS ? "spurious" : "wrong");

const nameOfKind = ([what, kind]) => (what === "link" && DATA.kinds[kind] === "wrong label" ? "wrong entity" : DATA.kinds[kind]);

// A finding is [what, kind, gold, predicted, score]; its items and labels are those of the example and the prediction.
const itemsOf = (example, prediction, [what, , gold, said]) => {
  const list = what === "span" ? "spans" : "relations";
  if (what === "link") return { gold: example.entity, said: said === null ? null : prediction.links[0] };
  return { gold: gold === null ? null : example[list][gold], said: said === null ? null : prediction[list][said] };
};
const labelsOf = (example, prediction, finding) => {
  if (finding[0] === "link") return [];
  const { gold, said } = itemsOf(example, prediction, finding);
  return [gold, said].filter(Boolean).map((item) => item[item.length - 1]);
};
const allLabels = () => {
  const found = new Set();
  for (const example of DATA.examples) for (const prediction of example.p) {
    for (const list of [example.spans, example.relations, prediction.spans, prediction.relations]) {
      for (const item of list || []) found.add(item[item.length - 1]);
    }
  }
  return [...found].sort();
};

// The positions of the examples that fit the filters, in the chosen order.
const chosen = (state) => {
  const run = Number(state.run), words = state.q.toLowerCase();
  const [low, high] = [parseFloat(state.from), parseFloat(state.to)];
  const flip = FLIPS.get(state.flip);
  const byFinding = state.kind !== "" || state.label !== "" || !isNaN(low) || !isNaN(high);
  const fits = (example, prediction) => (prediction.findings || []).some((finding) => {
    const [, kind, , , score] = finding;
    if (state.kind === "error" ? kind === RIGHT : state.kind !== "" && DATA.kinds[kind] !== state.kind) return false;
    if (state.label !== "" && !labelsOf(example, prediction, finding).includes(state.label)) return false;
    if (!isNaN(low) && !(score !== null && score >= low)) return false;
    return isNaN(high) || (score !== null && score <= high);
  });
  const found = [];
  DATA.examples.forEach((example, i) => {
    if (words && !SEARCHED[i].includes(words)) return;
    if (flip && !flips(example, flip)) return;
    if (!byFinding || fits(example, example.p[run])) found.push(i);
  });
  const of = (i) => DATA.examples[i].p[run];
  const orders = {
    worst: (a, b) => of(b).errors - of(a).errors || of(b).surety - of(a).surety || a - b,
    unsure: (a, b) => (of(a).least ?? 2) - (of(b).least ?? 2) || a - b,
    change: (a, b) => (DATA.examples[b].change ?? 0) - (DATA.examples[a].change ?? 0) || a - b,
    file: (a, b) => a - b,
  };
  return found.sort(orders[state.sort] || orders.worst);
};
