"use strict";
/* The page: asks the server it came from, and nobody else. */

const $ = (id) => document.getElementById(id);
const state = { runs: [], photos: [], found: null, blank: false, asking: 0 };

/* ---- the server ---- */

function headers() {
  const key = $("key").value.trim();
  return key ? { Authorization: `Bearer ${key}` } : {};
}

async function ask(path, options = {}) {
  const response = await fetch(path, { ...options, headers: { ...headers(), ...options.headers } });
  const type = response.headers.get("content-type") || "";
  const body = type.includes("json") ? await response.json() : null;
  if (response.ok) return body;
  const error = body && body.error ? body.error : { what: `the server answered ${response.status}` };
  if (response.status === 401) { $("access").open = true; $("key").focus(); }
  throw new Error([error.what, error.where, error.hint].filter(Boolean).join(" — "));
}

function say(text, wrong = false) {
  $("status").textContent = text;
  $("status").classList.toggle("wrong", wrong);
}

/* ---- runs and their inputs ---- */

async function loadRuns() {
  const { runs } = await ask("v1/runs");
  state.runs = runs;
  const option = (run) => new Option(`${run.name} (${run.task})`, run.name);
  $("run").replaceChildren(...runs.map(option));
  $("other").replaceChildren(new Option("nothing", ""), ...runs.map(option));
  showRun();
  say("");
}

const chosen = () => state.runs.find((run) => run.name === $("run").value);
const compared = () => state.runs.find((run) => run.name === $("other").value);

function showRun() {
  const run = chosen();
  if (!run) return;
  const labels = Object.entries(run.labels)
    .filter(([kind, names]) => Array.isArray(names) && !(kind === "tags" && run.labels.types))
    .map(([kind, names]) => `${kind}: ${names.slice(0, 12).join(", ")}${names.length > 12 ? ", …" : ""}`);
  $("about").textContent = [`version ${run.version}`, ...labels].join(" · ");
  const wanted = [...run.inputs, ...(compared() ? compared().inputs : [])];
  const before = Object.fromEntries([...$("inputs").querySelectorAll("input")].map((i) => [i.name, i.value]));
  const fields = new Map(wanted.map((input) => [input.name, input]));
  $("inputs").replaceChildren(...[...fields.values()].map((input) => {
    const label = document.createElement("label");
    const field = document.createElement("input");
    Object.assign(field, { name: input.name, value: before[input.name] || "", required: input.required });
    field.title = input.help;
    label.append(`${input.name}${input.many ? " (separated by spaces)" : ""}`, field);
    return label;
  }));
}

/* ---- photos ---- */

function addPhotos(files) {
  for (const file of files) {
    if (file.type.startsWith("image/")) state.photos.push({ file, url: URL.createObjectURL(file) });
    else say(`${file.name} is not an image`, true);
  }
  showPhotos();
}

function showPhotos() {
  $("photos").replaceChildren(...state.photos.map((photo, at) => {
    const item = document.createElement("li");
    const image = document.createElement("img");
    Object.assign(image, { src: photo.url, alt: photo.file.name || `photo ${at + 1}` });
    const remove = document.createElement("button");
    Object.assign(remove, { type: "button", textContent: "Remove" });
    remove.setAttribute("aria-label", `Remove ${image.alt}`);
    remove.addEventListener("click", () => {
      URL.revokeObjectURL(photo.url);
      state.photos.splice(at, 1);
      showPhotos();
      $("files").focus();
    });
    item.append(image, remove);
    return item;
  }));
}

/* ---- asking ---- */

function given(run) {
  const fields = [...$("inputs").querySelectorAll("input")];
  const named = (name) => fields.find((field) => field.name === name).value.trim();
  return run.inputs.flatMap((input) => {
    const value = named(input.name);
    if (!value) return [];
    const values = input.many ? value.split(/\s+/) : [value];
    return values.map((one) => [input.name, one]);
  });
}

function bodyFor(run, blank) {
  const form = new FormData();
  form.append("text", $("text").value);
  for (const [name, value] of given(run)) form.append(name, value);
  if (!blank) for (const { file } of state.photos) form.append("images", file, file.name || "photo");
  return form;
}

const predict = (run, blank) =>
  ask(`v1/runs/${run.name}/predict?html=true`, { method: "POST", body: bodyFor(run, blank) });

async function find() {
  const number = ++state.asking;
  const asked = [chosen(), compared()].filter(Boolean);
  say("Asking …");
  try {
    const both = async (run) => {
      const photo = predict(run, false);
      const blank = state.photos.length ? predict(run, true) : photo;
      const [told, without] = await Promise.all([photo, blank]);
      return { run, photo: told, blank: without };
    };
    const found = await Promise.all(asked.map(both));
    if (number !== state.asking) return; // another question was asked meanwhile
    state.found = found;
    show();
  } catch (error) {
    if (number === state.asking) say(error.message, true);
  }
}

/* ---- showing ---- */

function show() {
  const { found } = state;
  $("json").disabled = $("curl").disabled = !found;
  if (!found) return;
  $("results").replaceChildren(...found.map((one) => article(one)));
  const without = state.blank ? "without the photos" : "with the photos";
  const counts = found.map((one) => `${one.run.name}: ${count(current(one))} found`).join("; ");
  say(`${counts}${state.photos.length ? `, ${without}` : ""}`);
}

const current = (one) => (state.blank ? one.blank : one.photo).answer;

const best = (answer) => answer.links.slice(0, 5);

const count = (answer) => (answer.links ? best(answer) : items(answer)).length;

/* What was found, as rows that can be compared: [words, label, score, a key]. */
function items(answer) {
  const rows = [];
  for (const span of answer.entities || [])
    rows.push([span.text, span.label, span.score, `${span.start}:${span.end}:${span.label}`]);
  for (const relation of answer.relations || []) {
    const words = `${relation.head.text} → ${relation.tail.text}`;
    const bounds = [relation.head, relation.tail].map((span) => `${span.start}:${span.end}`);
    rows.push([words, relation.label, relation.score, `${bounds.join(":")}:${relation.label}`]);
  }
  return rows;
}

function article(one) {
  const answer = current(one);
  const box = document.createElement("article");
  const title = document.createElement("h2");
  title.textContent = `${one.run.name}${state.blank ? ", blank photo" : ""}`;
  box.append(title);
  const shown = document.createElement("div");
  shown.innerHTML = (state.blank ? one.blank : one.photo).html; // made and escaped by the server
  const inner = shown.querySelector("article");
  const part = document.createElement("div");
  part.className = "mmkit-answer";
  part.append(...(inner || shown).childNodes);
  for (const mark of part.querySelectorAll("mark")) mark.setAttribute("aria-label", `${mark.textContent}: ${mark.title}`);
  box.append(part);
  const rows = items(answer);
  if (answer.relations?.length) part.querySelector("ul")?.remove(); // the table has them too
  if (answer.links) part.querySelector("ol")?.remove();
  if (answer.links) box.append(entities(one.run, best(answer), differing(one)));
  if (rows.length) box.append(table(rows, differing(one)));
  if (state.photos.length) {
    const note = document.createElement("p");
    note.className = "remark";
    note.textContent = changed(one) ? "The photos change what is found." : "The photos change nothing that is found.";
    box.append(note);
  }
  return box;
}

function changed(one) {
  return JSON.stringify(keys(one.photo.answer)) !== JSON.stringify(keys(one.blank.answer));
}

/* What was found, without scores: of linked entities the best. */
const keys = (answer) => [...items(answer).map((row) => row[3]), ...(answer.links || []).slice(0, 1).map((link) => link.entity)];

/* The keys of what only one of two compared runs has found. */
function differing(one) {
  const others = state.found.filter((other) => other !== one);
  if (!others.length) return new Set();
  const theirs = new Set(keys(current(others[0])));
  return new Set(keys(current(one)).filter((key) => !theirs.has(key)));
}

function table(rows, different) {
  const made = document.createElement("table");
  const cell = (kind, text) => Object.assign(document.createElement(kind), { textContent: text });
  const head = made.createTHead().insertRow();
  for (const name of ["found", "label", "score"]) {
    const column = cell("th", name);
    column.scope = "col";
    head.append(column);
  }
  const body = made.createTBody();
  for (const [words, label, score, key] of rows) {
    const row = body.insertRow();
    row.append(cell("td", words), cell("td", label), cell("td", score.toFixed(3)));
    if (different.has(key)) mark(row.cells[0]);
  }
  return made;
}

function mark(element) {
  element.classList.add("changed");
  element.title = "only this run finds it";
}

function entities(run, links, different) {
  const list = Object.assign(document.createElement("ol"), { className: "entities" });
  for (const link of links) {
    const item = document.createElement("li");
    const image = Object.assign(document.createElement("img"), { alt: "", loading: "lazy" });
    const words = document.createElement("div");
    const name = Object.assign(document.createElement("b"), { textContent: link.name || link.entity });
    if (different.has(link.entity)) mark(name);
    const meter = document.createElement("meter");
    Object.assign(meter, { min: 0, max: 1, value: link.score });
    meter.setAttribute("aria-label", "score");
    words.append(name, ` (${link.entity}, ${link.score.toFixed(3)})`, document.createElement("br"), meter,
      document.createElement("br"), link.description || "");
    item.append(image, words);
    list.append(item);
    showEntity(run, link.entity, image);
  }
  return list;
}

async function showEntity(run, id, image) {
  const path = `v1/runs/${run.name}/entity-image?id=${encodeURIComponent(id)}`;
  const response = await fetch(path, { headers: headers() });
  if (response.status !== 200) { image.style.visibility = "hidden"; return; }
  const url = URL.createObjectURL(await response.blob());
  image.onload = () => URL.revokeObjectURL(url);
  image.src = url;
}

/* ---- copying ---- */

const quoted = (text) => `'${text.replaceAll("'", `'\\''`)}'`;

/* `--form-string` takes a text as it is; -F would open a file for a text that begins with @. */
function curlOf(run) {
  const parts = [["text", $("text").value], ...given(run)].map(([k, v]) => `--form-string ${quoted(`${k}=${v}`)}`);
  const photos = state.photos.map(({ file }) => `-F ${quoted(`images=@"${file.name || "photo"}"`)}`);
  const key = $("key").value.trim() ? [`-H "Authorization: Bearer $MMKIT_SERVE_KEY"`] : [];
  const url = new URL(`v1/runs/${run.name}/predict`, document.baseURI);
  return ["curl", ...key, ...parts, ...(state.blank ? [] : photos), quoted(url.href)].join(" \\\n  ");
}

async function copy(text, what) {
  try {
    await navigator.clipboard.writeText(text);
    say(`${what} copied`);
  } catch {
    const area = Object.assign(document.createElement("textarea"), { value: text });
    area.setAttribute("aria-label", `${what} to copy`);
    $("results").append(area); // without https a browser may refuse: the text is there to be copied by hand
    area.select();
    say(`${what} is selected below: copy it`);
  }
}

/* ---- events ---- */

$("form").addEventListener("submit", (event) => { event.preventDefault(); find(); });
$("form").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); $("form").requestSubmit(); }
});
$("run").addEventListener("change", showRun);
$("other").addEventListener("change", showRun);
$("files").addEventListener("change", () => { addPhotos($("files").files); $("files").value = ""; });
document.addEventListener("paste", (event) => {
  const files = [...(event.clipboardData?.files || [])];
  if (files.length) { event.preventDefault(); addPhotos(files); }
});
for (const kind of ["dragenter", "dragover"])
  document.addEventListener(kind, (event) => { event.preventDefault(); $("drop").classList.add("over"); });
for (const kind of ["dragleave", "drop"])
  document.addEventListener(kind, () => $("drop").classList.remove("over"));
document.addEventListener("drop", (event) => { event.preventDefault(); addPhotos(event.dataTransfer.files); });
$("blank").addEventListener("click", () => {
  state.blank = !state.blank;
  $("blank").setAttribute("aria-pressed", String(state.blank));
  show();
});
$("json").addEventListener("click", () => {
  const found = state.found.map((one) => ({ run: one.run.name, version: one.run.version, answer: current(one) }));
  copy(JSON.stringify(found.length > 1 ? found : found[0], null, 2), "JSON");
});
$("curl").addEventListener("click", () => copy(state.found.map((one) => curlOf(one.run)).join("\n"), "curl"));
$("key").addEventListener("change", () => loadRuns().catch((error) => say(error.message, true)));

loadRuns().catch((error) => say(error.message, true));
