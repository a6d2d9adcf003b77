// Live curves of one run, or of several over each other or side by side, drawn by uPlot.
"use strict";
const PANELS = [
  { title: "Loss", lines: { loss: "training", test_loss: "val" }, scale: true, text: value => value.toPrecision(4) },
  { title: "Accuracy on val", lines: { accuracy: "accuracy" }, best: true, text: value => `${(100 * value).toFixed(2)}%` },
  { title: "Learning rate", lines: { lr: "rate" }, scale: true, text: value => String(+value.toPrecision(4)) },
];
const place = document.querySelector(".charts");
const names = JSON.parse(place.dataset.charts);
const runs = Object.fromEntries(names.map(name => [name, { loss: [[], []], accuracy: [[], []], test_loss: [[], []], lr: [[], []] }]));
const scale = document.getElementById("log-scale");
const beside = () => document.querySelector("[name=stand]:checked")?.value === "beside";
const colour = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const CURVES = 6;
const DASHES = [[], [6, 4], [2, 3]];
let charts = [];
let axis = { all: [], at: new Map() };
let zoomed = false;

function linesOf(panel, of) {
  const lines = [];
  for (const run of of)
    for (const [key, word] of Object.entries(panel.lines)) {
      const several = of.length > 1 ? (Object.keys(panel.lines).length > 1 ? `${run}, ${word}` : run) : word;
      const number = of.length > 1 || beside() ? names.indexOf(run) : lines.length;
      lines.push({ run, key, label: several, number, dashed: (of.length > 1 || beside()) && key === "test_loss" });
    }
  return lines;
}

const bestOf = ([, values]) => values.reduce((best, value, i) => (value !== null && (best < 0 || value > values[best]) ? i : best), -1);

// All charts have the iterations of all curves, so that one place is the same iteration everywhere.
function measure() {
  const at = new Map();
  for (const run of Object.values(runs)) for (const [iterations] of Object.values(run)) for (const each of iterations) at.set(each, 0);
  const all = [...at.keys()].sort((a, b) => a - b);
  all.forEach((each, i) => at.set(each, i));
  axis = { all, at };
}

// As uPlot wants them: undefined where a curve has no point, null where it has a gap.
function columns(chart) {
  const { all, at } = axis, found = [];
  for (const line of chart.lines) {
    const [iterations, values] = runs[line.run][line.key];
    const column = new Array(all.length);
    iterations.forEach((each, i) => { column[at.get(each)] = chart.log && values[i] <= 0 ? null : values[i]; });
    found.push(column);
    if (chart.panel.best) {
      const star = new Array(all.length), best = bestOf([iterations, values]);
      if (best >= 0) star[at.get(iterations[best])] = values[best];
      found.push(star);
    }
  }
  return [all, ...found];
}

function series(chart) {
  const { panel } = chart;
  const value = (_, v) => (v == null ? "–" : panel.text(v));
  const made = [{ label: "iteration", value: (_, v) => (v == null ? "–" : v.toLocaleString("en")) }];
  for (const line of chart.lines) {
    const stroke = () => colour(`--curve-${line.number % CURVES}`);
    const dash = line.dashed ? [4, 4] : DASHES[Math.floor(line.number / CURVES) % DASHES.length];
    made.push({ label: line.label, stroke, width: 1.7, dash, value, points: { size: 4 }, spanGaps: false });
    if (panel.best) made.push({ label: "its best", stroke, value, paths: () => null, points: { show: true, size: 10, width: 2 } });
  }
  return made;
}

function draw(chart, width) {
  const { panel } = chart;
  chart.log = panel.scale && scale.checked;
  const look = { stroke: () => colour("--soft"), grid: { stroke: () => colour("--line"), width: 1 }, ticks: { stroke: () => colour("--line"), width: 1 }, font: "12px system-ui, sans-serif" };
  const scales = { x: { time: false }, y: { distr: chart.log ? 3 : 1 } };
  if (beside()) scales.y.range = (_, low, high) => shared(panel, low, high, chart.log);
  const numbers = (_, ticks) => ticks.map(v => (v == null ? "" : panel.best ? `${+(100 * v).toFixed(1)}%` : String(+v.toPrecision(6))));
  chart.plot?.destroy();
  chart.plot = new uPlot({
    width, height: chart.height, scales,
    axes: [{ ...look, values: (_, ticks) => ticks.map(v => v.toLocaleString("en")) }, { ...look, size: 62, values: numbers }],
    series: series(chart),
    cursor: { sync: { key: "iterations" }, drag: { x: true, y: false, setScale: true }, points: { size: 7 } },
    hooks: { setSelect: [plot => { zoomed ||= plot.select.width > 0; }] },
  }, columns(chart), chart.node);
  chart.plot.over.addEventListener("dblclick", () => { zoomed = false; });
}

// The range of a panel over all runs, so that charts side by side can be compared.
function shared(panel, low, high, log) {
  for (const run of Object.values(runs))
    for (const key of Object.keys(panel.lines))
      for (const value of run[key][1]) if (value !== null && !(log && value <= 0)) {
        low = Math.min(low ?? value, value);
        high = Math.max(high ?? value, value);
      }
  return log ? uPlot.rangeLog(low ?? 0.1, high ?? 1, 10, true) : uPlot.rangeNum(low ?? 0, high ?? 1, 0.1, true);
}

function build() {
  for (const chart of charts) chart.plot?.destroy();
  charts = [];
  zoomed = false;
  place.replaceChildren();
  place.classList.toggle("beside", beside());
  place.style.setProperty("--across", Math.min(names.length, 3));
  const groups = beside() ? names.map(name => [name]) : [names];
  for (const panel of PANELS)
    for (const of of groups) {
      const figure = document.createElement("figure"), caption = document.createElement("figcaption");
      caption.textContent = beside() ? `${panel.title}, ${of[0]}` : panel.title;
      figure.append(caption);
      figure.tabIndex = 0;
      figure.setAttribute("role", "group");
      figure.setAttribute("aria-label", `${caption.textContent} against iterations; arrow keys read the values`);
      place.append(figure);
      const chart = { panel, lines: linesOf(panel, of), node: figure, height: panel.title === "Learning rate" ? 170 : 240 };
      figure.addEventListener("keydown", event => walk(chart, event));
      charts.push(chart);
      draw(chart, figure.clientWidth);
    }
}

// The keyboard: along the curves, and back to their whole length.
function walk({ plot }, event) {
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (event.key === "Escape") whole();
  if (!step || !plot.data[0].length) return;
  event.preventDefault();
  const at = plot.cursor.idx ?? (step > 0 ? -1 : plot.data[0].length);
  const next = Math.min(Math.max(at + step, 0), plot.data[0].length - 1);
  plot.setCursor({ left: plot.valToPos(plot.data[0][next], "x"), top: plot.over.clientHeight / 2 });
}

function whole() {
  zoomed = false;
  for (const chart of charts) chart.plot.setData(columns(chart));
}

document.addEventListener("news", ({ detail }) => {
  let changed = false;
  for (const [name, { curves }] of Object.entries(detail.runs ?? {})) {
    if (!curves || !(name in runs)) continue;
    changed = true;
    for (const [key, [iterations, values]] of Object.entries(runs[name])) {
      if (curves.anew) iterations.length = values.length = 0;
      const [more, found] = curves.points[key] ?? [[], []];
      more.forEach((each, i) => { iterations.push(each); values.push(found[i]); });
    }
  }
  if (!changed) return;
  measure();
  for (const chart of charts) {
    chart.plot.setData(columns(chart), !zoomed);
    if (zoomed) chart.plot.redraw();
  }
});

scale.addEventListener("change", build);
document.getElementById("whole").addEventListener("click", whole);
for (const stand of document.querySelectorAll("[name=stand]")) stand.addEventListener("change", build);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", build);
new ResizeObserver(() => {
  for (const chart of charts) if (chart.node.clientWidth) chart.plot.setSize({ width: chart.node.clientWidth, height: chart.height });
}).observe(place);
build();
