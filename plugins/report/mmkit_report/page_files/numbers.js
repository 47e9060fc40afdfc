// The views of numbers: how a run was made, scores, errors.
const aboutView = (run) => {
  const facts = Object.entries(run.facts).map(([name, value]) => [name, typeof value === "number" ? String(value) : value]);
  const settings = Object.entries(run.settings).map(([name, value]) => [name, JSON.stringify(value)]);
  const files = run.files.map((file) => [file.split, file.file, file.variant || "unknown", (file.sha256 || "").slice(0, 16)]);
  return [
    h("h2", {}, "How the run was made"),
    run.alarms.map((alarm) => h("p", { class: "wrong" }, `Alarm: ${alarm}`)),
    h("div", { class: "cards" },
      table("Run", ["fact", "value"], facts),
      table("Versions", ["package", "version"], Object.entries(run.versions))),
    table("Data files", ["split", "file", "variant", "sha256"], files),
    h("details", {}, h("summary", {}, "Recipe, with all settings"), table("Recipe", ["setting", "value"], settings)),
    h("h2", {}, "Training"), curves(run),
  ];
};
const curves = (run) => {
  const train = run.curves.filter((curve) => curve.split === "train");
  const others = run.curves.filter((curve) => curve.split !== "train");
  if (!run.curves.length) return h("p", { class: "dim" }, "The run has no log of its training.");
  const named = (list) => list.map((curve) => ({ name: `${curve.split} ${curve.name}`, points: curve.points }));
  return h("div", { class: "cards" }, lineChart("Losses", named(train), "update"), lineChart("Scores", named(others), "update"));
};

const scoresView = () => {
  const names = [...new Set(DATA.runs.flatMap((run) => run.figures.map((figure) => figure.name)))];
  const told = (figure) => (/mean_rank/.test(figure.name) ? figure.value.toFixed(2) : percent(figure.value));
  const shown = (figure) => (!figure ? "–" : told(figure) + (figure.interval ? ` (${figure.interval.map(percent).join(" to ")})` : ""));
  const rows = names.map((name) => [name, ...DATA.runs.map((run) => shown(run.figures.find((figure) => figure.name === name)))]);
  return [
    h("h2", {}, `Scores on ${DATA.split}`),
    h("p", {}, `${many(DATA.examples.length)} examples. In brackets: 95 % interval (bootstrap over examples).`),
    table(names.some((name) => /mean_rank/.test(name)) ? "Scores in %; mean ranks as they are" : "Scores in %", ["score", ...DATA.runs.map((run) => run.name)], rows),
    flipTable(),
    DATA.runs.map((run, i) => h("section", {}, DATA.runs.length > 1 && h("h2", {}, run.name), run.items.map((items) => labelSection(items, i)))),
  ];
};
// As `mmkit compare` counts: each run against the first.
const flipTable = () => {
  const [base, ...others] = DATA.runs.map((run) => run.name);
  const number = (flip) => {
    const found = DATA.examples.filter((example) => flips(example, FLIPS.get(flip)));
    return h("a", { href: linkTo({ ...ALL_EXAMPLES, flip }) }, many(found.length));
  };
  return others.length > 0 && table(`Examples that flip, against ${base}`, ["run", "became right", "became wrong"],
    others.map((name, i) => [name, number(`${i + 1}not0`), number(`0not${i + 1}`)]));
};
const rates = (row) => [row.group, row.gold, row.predicted, row.correct, percent(row.precision), percent(row.recall), percent(row.f1)];
const RATES = ["gold", "predicted", "right", "precision", "recall", "F1"];

const labelSection = (items, run) => items.labels.length > 0 && h("section", {}, h("h3", {}, `Labels of ${items.what}s`),
  table("Scores of each label, %", ["label", ...RATES], items.labels.map((row) => {
    const [label, ...rest] = rates(row);
    return [h("a", { href: linkTo({ ...ALL_EXAMPLES, label, run, kind: "error" }) }, label), ...rest];
  })));

const errorsView = (run, number) => [
  h("h2", {}, "Errors"),
  run.items.map((items) => h("section", {},
    table(`Kinds, ${items.what}s`, ["kind", "number"], DATA.kinds.filter((kind) => kind in items.kinds).map((kind) => [
      h("a", { href: linkTo({ ...ALL_EXAMPLES, kind, run: number }) }, kind), items.kinds[kind],
    ])),
    items.confusion && table(`Labels of ${items.what}s: rows are gold, columns are predicted`, ["gold", ...items.confusion.columns],
      items.confusion.counts.map((row, i) => [items.confusion.rows[i], ...row]),
      (row, column) => (row >= 0 && items.confusion.rows[row] === items.confusion.columns[column - 1] ? "diagonal" : "")),
    h("div", { class: "cards" },
      table("By the length of the sentence (tokens)", ["tokens", ...RATES], items.lengths.map(rates)),
      items.seen && table("Found, by how often the words were in the training data", ["times", "gold", "found", "recall"],
        items.seen.frequencies.map((row) => [row.group, row.gold, row.correct, percent(row.recall)])),
      items.seen && table("Found, by whether the words were in the training data", ["words", "gold", "found", "recall"],
        items.seen.groups.map((row) => [row.group, row.gold, row.correct, percent(row.recall)])),
      items.calibration && h("section", {}, h("h3", {}, "Calibration"),
        h("p", {}, `Expected calibration error: ${percent(items.calibration.error)} %`),
        calibrationChart(items.calibration),
        h("details", {}, h("summary", {}, "As a table"), table("Calibration", ["scores", "number", "mean score", "right, %"],
          items.calibration.bins.map((bin) => [`${bin.low.toFixed(1)}–${bin.high.toFixed(1)}`, bin.count, bin.score.toFixed(3), percent(bin.right)])))))))
];
