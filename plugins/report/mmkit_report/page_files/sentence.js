// A sentence with gold spans above it and predicted ones below it, and relations as arcs.
const sentence = (example, views) => {
  const sides = [{ name: "gold", spans: example.spans, all: example.spans, findings: views[0].findings, style: "gold" }, ...views.map((view) => ({ ...view, spans: [...view.spans, ...mentionOf(example, view)], style: "said" }))];
  const lanes = sides.flatMap((side) => lanesOf(side.spans).map((spans) => ({ ...side, spans })));
  const box = h("div", { class: "sentence", "aria-hidden": "true" });
  const segments = [];
  example.offsets.forEach(([from, to], start) => {
    const end = start + 1;
    const next = end < example.offsets.length ? example.offsets[end][0] : example.text.length;
    const goesOn = lanes.some((side) => side.spans.some((span) => span[0] <= start && end < span[1]));
    const words = example.text.slice(start === 0 ? 0 : from, goesOn ? next : to);
    // A label lies over its whole span if it is shorter than the words; else it widens the first of them.
    const fits = (label, span) => label && label.length < example.offsets[span[1] - 1][1] - from;
    const lane = (side) => {
      const at = side.spans.findIndex((span) => span[0] <= start && end <= span[1]);
      const span = side.spans[at];
      const kind = span ? kindOfSpan(side, span) : null;
      const label = span && span[0] === start ? `${span[2]}${span.length > 3 ? ` ${span[3]}` : scoreOfSpan(side, span)}`.trim() : "";
      const shown = label ? badge(span[2], label) : "\u00a0";
      return h("div", { class: `lane ${side.style} ${span ? kindClass(kind) : "none"}` }, h("span", { class: fits(label, span) ? "over" : null }, shown));
    };
    const element = h("span", { class: "segment" }, lanes.filter((side) => side.style === "gold").map(lane), h("span", {}, words), lanes.filter((side) => side.style === "said").map(lane));
    segments.push({ start, end, element });
    box.append(element, h("span", { class: "gap" }, goesOn ? "" : example.text.slice(to, next)));
  });
  const relations = relationsOf(example, views);
  if (relations.length) {
    box.classList.add("arcs");
    box.style.paddingTop = `${24 + ARC * relations.length}px`;
    new ResizeObserver(() => drawArcs(box, segments, relations)).observe(box);
  }
  return box;
};

// A text in the colours of a label, which are those of a notebook.
const badge = (label, text) => {
  const element = h("span", { class: "label" }, text);
  Object.assign(element.style, { background: DATA.colours[label], color: DATA.ink });
  return element;
};

const ARC = 17; // pixels between arcs

// Spans in as few lanes as they need not to overlap.
const lanesOf = (spans) => {
  const lanes = [];
  for (const span of [...spans].sort((a, b) => a[0] - b[0] || b[1] - a[1])) {
    const lane = lanes.find((other) => other[other.length - 1][1] <= span[0]);
    if (lane) lane.push(span); else lanes.push([span]);
  }
  return lanes.length ? lanes : [[]];
};
const findingOfSpan = (side, span) => {
  const place = side.style === "gold" ? 2 : 3;
  return (side.findings || []).find((finding) => finding[0] === "span" && finding[place] !== null && side.all[finding[place]] === span);
};
// The mention of a link is a span with the best entity: [start, end, label, entity].
const mentionOf = (example, view) => (example.at ? [[...example.at, view.prediction.links?.[0] || ""]] : []);
const kindOfSpan = (side, span) => (span.length > 3 ? (side.findings || []).find((finding) => finding[0] === "link") : findingOfSpan(side, span))?.[1] ?? RIGHT;
const scoreOfSpan = (side, span) => {
  const score = side.style === "said" ? findingOfSpan(side, span)?.[4] : null;
  return score === null || score === undefined ? "" : ` ${score.toFixed(2)}`;
};

// Gold relations and those that are predicted, each once: [hStart, hEnd, tStart, tEnd, label].
const relationsOf = (example, views) => {
  const found = [];
  for (const view of views) {
    for (const finding of view.findings || []) {
      if (finding[0] !== "relation") continue;
      const { gold, said } = itemsOf(example, view.prediction, finding);
      if (gold && view === views[0]) found.push({ item: gold, style: "gold", kind: finding[1] });
      if (said && finding[1] !== RIGHT) found.push({ item: said, style: "said", kind: finding[1] });
    }
  }
  return found;
};
const drawArcs = (box, segments, relations) => {
  box.querySelector("svg")?.remove();
  const frame = box.getBoundingClientRect();
  const middle = (place) => {
    const segment = segments.find((one) => one.start <= place && place < one.end);
    if (!segment) return null;
    const at = segment.element.getBoundingClientRect();
    return [at.left + at.width / 2 - frame.left, at.top - frame.top];
  };
  const arcs = relations.map(({ item, style, kind }, i) => {
    const [from, to] = [middle(item[0]), middle(item[2])];
    if (!from || !to) return null;
    const high = Math.min(from[1], to[1]) - 12 - ARC * i; // where the arc is highest
    const top = (4 * high - Math.min(from[1], to[1])) / 3; // its control points, for that
    const path = `M${from[0]},${from[1]} C${from[0]},${top} ${to[0]},${top} ${to[0]},${to[1]}`;
    const tip = `M${to[0] - 4},${to[1] - 7} L${to[0]},${to[1]} L${to[0] + 4},${to[1] - 7}`;
    return s("g", { class: kindClass(kind) }, s("path", { class: `arc ${style}`, d: path }), s("path", { class: "arc", d: tip }),
      s("text", { x: (from[0] + to[0]) / 2, y: high + 3, "text-anchor": "middle" }, item[4]));
  });
  box.append(s("svg", {}, arcs));
};
