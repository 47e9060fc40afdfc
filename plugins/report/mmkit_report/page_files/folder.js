// A page about a folder that is no run: sections of texts, commands, tables and charts, as a plugin gives them.
const DATA = JSON.parse(document.getElementById("data").textContent);

const linkOr = (cell) => (cell !== null && typeof cell === "object" ? h("a", { href: cell.href }, cell.text) : cell);
const blocks = {
  text: (block) => h("p", {}, block.text),
  link: (block) => h("p", {}, linkOr(block)),
  command: (block) => h("pre", { class: "scroll", tabindex: 0, role: "group", "aria-label": "Command" }, h("code", {}, block.text)),
  table: (block) => table(block.caption, block.header, block.rows.map((row) => row.map(linkOr))),
  chart: (block) => lineChart(block.title, block.lines, block.x),
};
const headings = DATA.sections.map((section, i) => [`section-${i}`, section.heading]);
document.getElementById("views").replaceChildren(...headings.map(([id, heading]) => h("a", { href: `#${id}` }, heading)));
document.getElementById("main").replaceChildren(...DATA.sections.map((section, i) => h("section", { "aria-labelledby": headings[i][0] },
  h("h2", { id: headings[i][0] }, section.heading), section.blocks.map((block) => blocks[block.kind](block)))));
document.getElementById("skip").addEventListener("click", (event) => { event.preventDefault(); document.getElementById("main").focus(); });
