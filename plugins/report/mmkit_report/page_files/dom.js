// Elements. Data become text nodes and attributes only: there is no way from a string to markup in this file.
const SVG = "http://www.w3.org/2000/svg";

const filled = (element, properties, children) => {
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  for (const child of children.flat(3)) {
    if (child !== null && child !== undefined && child !== false) element.append(child);
  }
  return element;
};
const h = (tag, properties = {}, ...children) => filled(document.createElement(tag), properties, children);
const s = (tag, properties = {}, ...children) => filled(document.createElementNS(SVG, tag), properties, children);

const percent = (value) => (value === null || value === undefined ? "–" : (100 * value).toFixed(2));
const many = (number) => number.toLocaleString("en");

// A table with a caption. Cells are texts, numbers or elements; columns of numbers are shown on the right. `marks` gives
// the class of a cell.
const NUMERIC = /^([+-]?[\d.,]+( \([\d.]+ to [\d.]+\))?|–)$/;
const table = (caption, header, rows, marks = () => "") => {
  const numeric = header.map((_, column) => column > 0 && rows.every((row) => NUMERIC.test(String(row[column]))) && !TEXT_COLUMNS.has(header[column]));
  const cell = (tag, value, row, column) => h(tag, {
    class: [numeric[column] ? "number" : "", marks(row, column)].join(" ").trim() || null,
    scope: tag === "th" ? (row < 0 ? "col" : "row") : null,
  }, typeof value === "number" ? many(value) : value);
  return h("div", { class: "scroll", tabindex: 0, role: "group", "aria-label": caption },
    h("table", {}, h("caption", {}, caption),
      h("thead", {}, h("tr", {}, header.map((name, i) => cell("th", name, -1, i)))),
      h("tbody", {}, rows.map((row, i) => h("tr", {}, row.map((value, j) => cell(j ? "td" : "th", value, i, j)))))));
};
const TEXT_COLUMNS = new Set(["value", "version"]);
