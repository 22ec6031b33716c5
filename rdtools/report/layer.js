"use strict";
/* One layer: its curves and spectrum, its rows and its claims. */
const view = document.getElementById("layer-view"), nameBox = document.getElementById("layer-name");
const ROW_COLUMNS = ["method", "target_bpw", "status", "total_bpw", "rate_gap_total_bpw", "rate_gap_total_rowvar_bpw", "sqnr_db", "overhead_bpw", "message"];
const BOUND_COLORS = ["#7f7f7f", "#8c6d31", "#a55194", "#637939", "#393b79"], SPECTRUM_COLORS = ["#0072B2", "#D55E00"];
let shownLayer = -1, charts = [];

function style(name) { return getComputedStyle(document.documentElement).getPropertyValue(name).trim(); }

/** SQNR less what every bit is worth at high rate, so that curves are level there. */
function levelled(rate, sqnr) { return sqnr - 20 * Math.log10(2) * rate; }

/** A colour of the figures; black is that of the page's text, and grey its own. */
function onPage(color) { return { "#000000": style("--ink"), "#555555": style("--grey") }[color] ?? color; }

/** Series of a subject, each with its kind and points. */
function seriesOf(name, subject) {
  const [subjects, kinds, counts] = page[name].columns, [x, y] = page[name + "_points"].columns, found = [];
  page[name].starts ??= counts.codes.reduce((starts, count) => (starts.push(starts.at(-1) + count), starts), [0]);
  for (let i = 0; i < page[name].length; i++) {
    if (subjects.codes[i] !== subject) continue;
    const at = page[name].starts[i], points = Array.from({ length: counts.codes[i] }, (_, k) => [x.number(at + k), y.number(at + k)]);
    points.sort((a, b) => a[0] - b[0]);
    found.push({ label: kinds.text(i), x: points.map((p) => p[0]), y: points.map((p) => p[1]) });
  }
  return found;
}

function chart(id, series, options) {
  const place = document.getElementById(id);
  place.replaceChildren();
  if (!series.length) { place.textContent = options.none; return; }
  const ink = style("--ink"), line = style("--line"), axis = (label) => ({ label, stroke: ink, grid: { stroke: line, width: 1 }, ticks: { stroke: line }, labelSize: 22, size: 46 });
  const data = uPlot.join(series.map((s) => [s.x, s.y]));
  charts.push({ place, plot: new uPlot({
    width: place.clientWidth || 480, height: 320, cursor: { drag: { x: true, y: true } },
    scales: { x: { time: false, distr: options.logX ? 3 : 1, log: 10 }, y: { range: options.range } },
    axes: [axis(options.x), { ...axis(options.y), size: 54, values: options.values }],
    series: [{ label: options.x }, ...series.map((s) => ({ spanGaps: true, value: (_, v) => v === null ? "–" : (options.legend ?? ((w) => w.toFixed(2)))(v), ...s.look, label: s.label }))],
  }, data, place) });
  place.querySelector(".u-legend").setAttribute("role", "presentation");  // a list of names, which is laid out as a table
}

function curves(layer) {
  const lines = seriesOf("curves", layer).map((s, i) => {
    const own = SETTINGS.looks[s.label.split(" ")[0]], bound = s.label === "rd_bound";  // a prediction has the colour of its method
    const look = { stroke: bound ? style("--ink") : onPage(own?.color ?? BOUND_COLORS[i % BOUND_COLORS.length]), width: bound ? 2 : 1, points: { show: false } };
    look.dash = bound ? [] : own ? [s.label.includes(" ") ? 8 : 4, 3] : [[2, 3], [8, 3, 2, 3]][i % 2];
    return { label: SETTINGS.curves[s.label] ?? s.label, x: s.x, y: s.y.map((y, k) => levelled(s.x[k], y)), look };
  });
  const rows = rowsOf(layer), method = page.rows.column("method"), rate = page.rows.column("total_bpw"), sqnr = page.rows.column("sqnr_db"), measured = new Map();
  for (const row of rate && sqnr ? rows : []) {
    if (Number.isFinite(rate.number(row)) && Number.isFinite(sqnr.number(row))) {
      const name = method.text(row);
      if (!measured.has(name)) measured.set(name, []);
      measured.get(name).push([rate.number(row), sqnr.number(row)]);
    }
  }
  const dots = [...measured].map(([label, points]) => {
    points.sort((a, b) => a[0] - b[0]);
    const { color, hollow } = SETTINGS.looks[label], stroke = onPage(color);
    return { label, x: points.map((p) => p[0]), y: points.map((p) => levelled(...p)), look: { stroke, paths: () => null, points: { show: true, size: 7, stroke, fill: hollow ? style("--paper") : stroke } } };
  });
  chart("layer-curve", [...lines, ...dots], { x: "total rate (bpw)", y: "SQNR − 6.02 dB × rate", none: "No row of this layer was measured." });
}

function spectrum(layer) {
  const hessian = page.hessian_of_layer.columns[0].codes[layer], found = hessian < 0 ? [] : seriesOf("spectra", hessian);
  const series = found.map((s, i) => ({ ...s, look: { stroke: SPECTRUM_COLORS[i], width: 2, points: { show: false } } }));
  const [subjects, targets, levels] = page.water_levels.columns;
  for (let i = 0; series.length && i < page.water_levels.length; i++) {
    if (subjects.codes[i] === hessian) series.push({ label: `water level, ${targets.text(i)} bits`, x: [1, Math.max(...found[0].x)], y: [levels.number(i), levels.number(i)], look: { stroke: style("--soft"), width: 1, dash: [4, 4], points: { show: false } } });
  }
  const power = (v) => (Number.isInteger(v) ? `1e${v}` : "");
  chart("layer-spectrum", series, { x: "rank", y: "eigenvalue, ℓ²", logX: true, values: (_, ticks) => ticks.map(power), legend: (v) => (10 ** v).toExponential(2), none: "The run has no spectrum of this layer." });
}

function rowsOf(layer) {
  const { codes } = page.rows.column("layer");
  return page.rows.ofLayer?.[layer] ?? (page.rows.ofLayer = Array.from(codes).reduce((lists, code, row) => ((lists[code] ??= []).push(row), lists), []))[layer] ?? [];
}

function fillRows(layer) {
  const element = document.getElementById("layer-rows"), columns = ROW_COLUMNS.map((name) => page.rows.column(name)).filter(Boolean);
  const head = document.createElement("tr");
  for (const column of columns) { const th = document.createElement("th"); th.scope = "col"; th.textContent = column.heading; th.title = column.about; if (column.values) th.className = "text"; head.append(th); }
  element.tHead.replaceChildren(head);
  element.tBodies[0].replaceChildren(...rowsOf(layer).map((row) => { const tr = document.createElement("tr"); tr.append(...columns.map((column, k) => cell(column, row, !k))); return tr; }));
}

function fillClaims(layer) {
  const element = document.getElementById("layer-claims"), claims = page.claims, rows = [];
  for (let i = 0; claims && i < claims.length; i++) {
    if (claims.column("subject").codes[i] !== layer) continue;
    const text = (name) => claims.column(name).text(i), tr = document.createElement("tr");
    for (const word of [text("claim"), text("status"), text("lhs"), text("relation"), text("rhs"), text("unit"), text("assumption")]) tr.insertCell().textContent = word;
    rows.push(tr);
  }
  element.parentElement.hidden = !rows.length;
  element.tBodies[0].replaceChildren(...rows);
}

function showLayer(layer, focus) {
  const names = page.layers.column("layer");
  shownLayer = layer;
  nameBox.value = names.values[layer];
  if (focus) view.classList.add("chosen");  // one that nobody chose is not printed
  const title = document.getElementById("layer-title");
  title.textContent = names.values[layer];
  document.getElementById("layer-facts").textContent = page.layers.columns.filter((c) => c !== names && c.text(layer) !== "–").map((c) => `${c.heading} ${c.text(layer)}`).join(" · ");
  fillRows(layer);
  fillClaims(layer);
  drawCharts();
  if (focus) { document.getElementById("one-layer").scrollIntoView(); title.focus({ preventScroll: true }); }
}

function drawCharts() {
  charts.forEach((c) => c.plot.destroy());
  charts = [];
  curves(shownLayer);
  spectrum(shownLayer);
}

function choose(name) {
  const names = page.layers.column("layer").values, layer = names.indexOf(name);
  if (layer >= 0) location.hash = "layer=" + encodeURIComponent(names[layer]);
}

function fromAddress() {
  if (!location.hash.startsWith("#layer=")) return;
  const layer = page.layers.column("layer").values.indexOf(decodeURIComponent(location.hash.slice(7)));
  if (layer >= 0) showLayer(layer, true);
}

page.ready.then(() => {
  if (!page.layers.length) return;
  const names = page.layers.column("layer").values;
  view.hidden = false;
  document.getElementById("layer-names").append(...names.map((name) => new Option(name)));
  nameBox.addEventListener("change", () => choose(nameBox.value));
  const step = (by) => choose(names[(shownLayer + by + names.length) % names.length]);
  document.getElementById("layer-before").addEventListener("click", () => step(-1));
  document.getElementById("layer-after").addEventListener("click", () => step(1));
  addEventListener("hashchange", fromAddress);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => shownLayer >= 0 && drawCharts());
  addEventListener("resize", () => charts.forEach((c) => c.plot.setSize({ width: c.place.clientWidth, height: 320 })));
  if (location.hash.startsWith("#layer=")) fromAddress();
  else showLayer(0, false);
});
