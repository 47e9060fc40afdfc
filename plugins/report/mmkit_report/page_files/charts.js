// Charts, each with its numbers in a table for those who do not see it.
const COLOURS = ["var(--link)", "var(--wrong)", "var(--right)", "var(--spurious)", "var(--mark)", "var(--dim)"];

const scaled = (low, high, from, to) => (value) => (high === low ? (from + to) / 2 : from + ((value - low) / (high - low)) * (to - from));
const shortNumber = (value) => (Math.abs(value) >= 1000 || Number.isInteger(value) ? many(value) : value.toPrecision(3));

// Lines: [{name, points: [[x, y], ...]}].
const lineChart = (title, lines, xName) => {
  const [width, height, left, bottom] = [520, 240, 46, 30];
  const xs = lines.flatMap((line) => line.points.map((point) => point[0]));
  const ys = lines.flatMap((line) => line.points.map((point) => point[1]));
  if (!xs.length) return null;
  const range = (values) => values.reduce(([low, high], value) => [Math.min(low, value), Math.max(high, value)], [Infinity, -Infinity]);
  const [xLow, xHigh] = range(xs), [yLow, yHigh] = range(ys);
  const x = scaled(xLow, xHigh, left, width - 10), y = scaled(yLow, yHigh, height - bottom, 12);
  const svg = s("svg", { class: "chart", viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" },
    s("line", { class: "axis", x1: left, x2: width - 10, y1: height - bottom, y2: height - bottom }),
    s("line", { class: "axis", x1: left, x2: left, y1: 12, y2: height - bottom }),
    [yLow, yHigh].map((value) => s("text", { x: left - 5, y: y(value) + 4, "text-anchor": "end" }, shortNumber(value))),
    [xLow, xHigh].map((value, i) => s("text", { x: x(value), y: height - bottom + 15, "text-anchor": i ? "end" : "start" }, many(value))),
    s("text", { x: (left + width) / 2, y: height - 4, "text-anchor": "middle" }, xName),
    lines.map((line, i) => s("polyline", {
      fill: "none", stroke: COLOURS[i % COLOURS.length], "stroke-width": 2,
      points: line.points.map((point) => `${x(point[0]).toFixed(1)},${y(point[1]).toFixed(1)}`).join(" "),
    })));
  const legend = h("ul", { class: "legend", "aria-hidden": "true" }, lines.map((line, i) => {
    const swatch = h("span", { class: "swatch" });
    swatch.style.background = COLOURS[i % COLOURS.length];
    return h("li", {}, swatch, line.name);
  }));
  const steps = [...new Set(xs)].sort((a, b) => a - b);
  const at = lines.map((line) => new Map(line.points));
  const rows = steps.map((step) => [step, ...at.map((values) => (values.has(step) ? shortNumber(values.get(step)) : "–"))]);
  return h("section", {}, h("h3", {}, title), svg, legend,
    h("details", {}, h("summary", {}, "As a table"), table(title, [xName, ...lines.map((line) => line.name)], rows)));
};

// Calibration: a bar for each bin, against the diagonal.
const calibrationChart = (found) => {
  const size = 240, margin = 34;
  const at = scaled(0, 1, margin, size - 8), up = scaled(0, 1, size - margin, 8);
  return s("svg", { class: "chart square", viewBox: `0 0 ${size} ${size}`, "aria-hidden": "true" },
    found.bins.map((bin) => s("rect", {
      x: at(bin.low) + 1, width: Math.max(1, at(bin.high) - at(bin.low) - 2), y: up(bin.right), height: up(0) - up(bin.right), fill: "var(--bar)",
    })),
    s("line", { x1: at(0), y1: up(0), x2: at(1), y2: up(1), stroke: "currentColor", "stroke-dasharray": "4 3" }),
    s("line", { class: "axis", x1: at(0), x2: at(1), y1: up(0), y2: up(0) }),
    s("line", { class: "axis", x1: at(0), x2: at(0), y1: up(0), y2: up(1) }),
    s("text", { x: at(0.5), y: size - 6, "text-anchor": "middle" }, "score that the model gave"),
    s("text", { x: 6, y: 14 }, "share that is right"),
    [0, 1].map((value) => s("text", { x: at(value), y: up(0) + 14, "text-anchor": "middle" }, value)));
};
