// What the parts of a model computed of an example: tables whose cells are darker the higher their number is.
const heatTable = (caption, first, { rows, columns, values }) => {
  const numbers = values.flat().filter((value) => value !== null);
  const low = Math.min(0, ...numbers), high = Math.max(1, ...numbers);
  const shown = values.map((row, i) => [rows[i], ...row.map((value) => (value === null ? "–" : value.toFixed(3)))]);
  const element = table(caption, [first, ...columns], shown);
  element.classList.add("heat");
  [...element.querySelectorAll("tbody tr")].forEach((line, i) => [...line.querySelectorAll("td")].forEach((cell, j) => {
    const value = values[i][j];
    if (value !== null) cell.style.setProperty("--heat", `${Math.round((100 * (value - low)) / (high - low))}%`);
  }));
  return element;
};

// Of one example: the same table of all runs side by side.
const shownOf = (views) => {
  const names = new Set(views.flatMap((view) => Object.keys(view.prediction.shown || {})));
  return names.size > 0 && h("section", {}, h("h3", {}, "What the parts computed"), [...names].map((name) => h("div", { class: "beside" },
    views.map((view) => {
      const found = (view.prediction.shown || {})[name];
      return found && heatTable(DATA.runs.length > 1 ? `${name}: ${view.name}` : name, found.by_token ? "word" : "row", found);
    }))));
};

// The means of all examples. Tables of one row become rows of one table.
const meansView = () => {
  const parts = DATA.runs.filter((run) => run.shown.length).map((run) => h("section", {},
    DATA.runs.length > 1 && h("h2", {}, run.name),
    run.shown.map(({ name, tables }) => {
      const named = ({ group, count }) => `${group} (${many(count)})`;
      const title = h("h3", {}, name);
      if (tables[0].rows.length !== 1) {
        const [all, ...others] = tables.map((one) => heatTable(`Mean, ${named(one)}`, "row", one));
        return h("section", {}, title, all, others.length > 0 && h("details", {}, h("summary", {}, "By gold label"), h("div", { class: "cards" }, others)));
      }
      const joined = { columns: tables[0].columns, rows: tables.map(named), values: tables.map((one) => one.values[0]) };
      return h("section", {}, title, heatTable("Mean", "of", joined));
    })));
  return [h("h2", {}, "What the parts computed"),
    h("p", {}, "Means over examples, and over the examples (or words) with each gold label. In brackets: how many. Each example shows its own numbers."),
    parts.length ? parts : h("p", { class: "dim" }, "The numbers of different examples have no rows and columns in common, so there is no mean.")];
};
