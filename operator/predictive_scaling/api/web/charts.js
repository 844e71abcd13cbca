// Charts over time and the frontier as SVG, each with a cursor for keyboards and a table with the same numbers.

import { h, s, dataTable } from "./dom.js";
import { date, dayOf, number, percent, time } from "./format.js";
import { areaPath, lastAt, linePath, stepPath, timeTicks, valueTicks } from "./scale.js";

const HEIGHT = 240;
const EDGE = { left: 52, right: 14, top: 12, bottom: 26 };
const TABLE_ROWS = 60;
let charts = 0;

/**
 * Return a chart over time; `update(data)` draws it.
 * series: [{key, label, kind: line | step | dashed, from}]: `data[from]` has points {at, [key]}.
 * band: {from, low, high, label}. data: since, until, now (milliseconds), spans [{start, end, name}], summary.
 */
export function timeChart(title, series, { band = null } = {}) {
  const id = `chart-${++charts}`;
  const drawing = h("div", { class: "drawing" });
  const readout = h("output", { class: "readout", for: `${id}-cursor` });
  const cursor = h("input", { type: "range", id: `${id}-cursor`, "aria-label": `${title}: time`, oninput: () => show() });
  const table = dataTable(`${title} as a table`, columnsOf(series, band), { empty: "No data in this span." });
  const element = h("figure", { class: "chart" },
    h("figcaption", {}, h("h3", {}, title), legend(series, band)),
    drawing, h("div", { class: "cursor-row" }, cursor, readout),
    h("details", {}, h("summary", {}, "Show as a table"), table.element));
  let data = null;
  let place = null;

  drawing.addEventListener("pointermove", (event) => {
    if (!place) return;
    const at = place.time(event.clientX - drawing.getBoundingClientRect().left);
    cursor.value = String(at);
    show();
  });
  new ResizeObserver(() => data && draw()).observe(drawing);

  function update(next) {
    const follows = !data || Number(cursor.value) >= data.now - data.step;
    data = next;
    Object.assign(cursor, { min: data.since, max: data.until, step: data.step });
    if (follows) cursor.value = String(data.now);
    draw();
    table.update(rowsOf(series, band, data));
  }

  function draw() {
    const width = Math.max(280, drawing.clientWidth || 900);
    place = placement(width, data, highest(series, band, data));
    drawing.replaceChildren(picture(id, title, width, place, series, band, data));
    show();
  }

  function show() {
    if (!data || !place) return;
    const at = Number(cursor.value);
    const values = valuesAt(series, band, data, at);
    const text = `${dayOf(at)} ${time(at)}: ${values.map(([label, value]) => `${label} ${value}`).join(", ") || "no data"}`;
    readout.textContent = text;
    cursor.setAttribute("aria-valuetext", text);
    drawing.querySelector(".cursor")?.setAttribute("d", `M${place.x(at)} ${EDGE.top}V${HEIGHT - EDGE.bottom}`);
  }

  return { element, update };
}

function placement(width, { since, until }, maximum) {
  const ticks = valueTicks(maximum);
  const [inner, tall] = [width - EDGE.left - EDGE.right, HEIGHT - EDGE.top - EDGE.bottom];
  return {
    ticks,
    x: (at) => EDGE.left + ((at - since) / (until - since)) * inner,
    y: (value) => EDGE.top + (1 - value / ticks.at(-1)) * tall,
    time: (x) => since + Math.min(1, Math.max(0, (x - EDGE.left) / inner)) * (until - since),
  };
}

function picture(id, title, width, { x, y, ticks }, series, band, data) {
  const bottom = HEIGHT - EDGE.bottom;
  const inside = (at) => Math.min(Math.max(at, data.since), data.until);
  const parts = data.spans.map((span) => s("rect", {
    class: "event", x: x(inside(span.start)), y: EDGE.top, width: Math.max(1, x(inside(span.end)) - x(inside(span.start))), height: bottom - EDGE.top,
  }, s("title", {}, span.name)));
  for (const tick of ticks) {
    parts.push(s("path", { class: "grid", d: `M${EDGE.left} ${y(tick)}H${width - EDGE.right}` }),
      s("text", { class: "tick-y", x: EDGE.left - 8, y: y(tick) + 4 }, number(tick)));
  }
  const spanIsLong = data.until - data.since > 2 * 86400000;
  for (const tick of timeTicks(data.since, data.until, width < 560 ? 4 : 8)) {
    parts.push(s("text", { class: "tick-x", x: x(tick), y: HEIGHT - 7 }, spanIsLong ? dayOf(tick) : time(tick)));
  }
  if (band) {
    const points = data[band.from].map((point) => [x(point.at), y(point[band.low]), y(point[band.high])]);
    parts.push(s("path", { class: "band", d: areaPath(points) }));
  }
  for (const { key, kind, from } of series) {
    const points = data[from].map((point) => [x(inside(point.at)), point[key] === null ? null : y(point[key])]);
    const path = kind === "step" ? stepPath(points, x(inside(Math.min(data.now, data.until)))) : linePath(points);
    parts.push(s("path", { class: `line ${key}`, d: path }));
  }
  if (data.now > data.since && data.now < data.until) {
    parts.push(s("path", { class: "now", d: `M${x(data.now)} ${EDGE.top}V${bottom}` }), s("text", { class: "tick-now", x: x(data.now) + 4, y: EDGE.top + 9 }, "now"));
  }
  parts.push(s("path", { class: "cursor", d: "" }));
  return s("svg", { role: "img", "aria-labelledby": `${id}-t ${id}-d`, viewBox: `0 0 ${width} ${HEIGHT}`, height: HEIGHT, width },
    s("title", { id: `${id}-t` }, title), s("desc", { id: `${id}-d` }, data.summary), ...parts);
}

function highest(series, band, data) {
  const values = series.flatMap(({ key, from }) => data[from].map((point) => point[key] ?? 0));
  if (band) values.push(...data[band.from].map((point) => point[band.high] ?? 0));
  return values.reduce((most, value) => Math.max(most, value), 0) * 1.04;
}

function valuesAt(series, band, data, at) {
  const values = [];
  for (const { key, label, from, kind } of series) {
    const age = kind === "line" || kind === "dashed" ? Math.max(data.step, 15 * 60000) : Infinity;
    const isKnown = at <= data.now || kind === "dashed";
    const point = isKnown ? lastAt(data[from], at, age) : undefined;
    if (point && point[key] !== null) values.push([label, number(point[key])]);
  }
  const point = band && lastAt(data[band.from], at, 15 * 60000);
  if (point) values.push([band.label, `${number(point[band.low])} to ${number(point[band.high])}`]);
  return values;
}

function rowsOf(series, band, data) {
  const times = [...new Set([...series.map(({ from }) => from), ...(band ? [band.from] : [])].flatMap((from) => data[from].map((point) => point.at)))]
    .filter((at) => at >= data.since).sort((one, other) => other - one);
  const every = Math.ceil(times.length / TABLE_ROWS) || 1;
  return times.filter((_, index) => index % every === 0).map((at) => ({ at, values: new Map(valuesAt(series, band, data, at)) }));
}

function columnsOf(series, band) {
  const labels = [...series.map(({ label }) => label), ...(band ? [band.label] : [])];
  return [{ title: "Time", text: ({ at }) => date(at) }, ...labels.map((label) => ({ title: label, number: true, text: ({ values }) => values.get(label) }))];
}

function legend(series, band) {
  const keys = series.map(({ key, label }) => h("li", {}, h("span", { class: `key ${key}`, "aria-hidden": "true" }), label));
  if (band) keys.push(h("li", {}, h("span", { class: "key band", "aria-hidden": "true" }), band.label));
  return h("ul", { class: "legend" }, keys);
}

/** Return the frontier as a scatter chart; `update(frontier)` draws it. */
export function frontierChart() {
  const drawing = h("div", { class: "drawing" });
  const table = dataTable("Settings of the frontier", [
    { title: "Quantile", text: ({ quantile }) => number(quantile) },
    { title: "HPA target", number: true, text: (point) => percent(point.hpa_target) },
    { title: "Minutes short", number: true, text: (point) => number(point.under_provisioned_minutes) },
    { title: "Replica-hours", number: true, text: (point) => number(point.replica_hours) },
    { title: "", text: noteOf, kind: (point) => (point.in_use ? "good" : "") },
  ]);
  const element = h("figure", { class: "chart" }, drawing, h("ul", { class: "legend" },
    ["in-use", "recommended", "efficient", "hpa-only"].map((kind) => h("li", {}, h("span", { class: `key dot-${kind}`, "aria-hidden": "true" }), LABELS[kind]))),
  h("details", {}, h("summary", {}, "Show as a table"), table.element));
  let frontier = null;
  new ResizeObserver(() => frontier && draw()).observe(drawing);

  function update(next) {
    frontier = next;
    draw();
    table.update(frontier.points);
  }

  function draw() {
    const width = Math.max(280, drawing.clientWidth || 600);
    const points = [...frontier.points.map((point) => ({ ...point, kind: kindOf(point) })), { ...frontier.hpa_only, kind: "hpa-only" }]
      .sort((one, other) => Object.keys(LABELS).indexOf(other.kind) - Object.keys(LABELS).indexOf(one.kind));
    const hours = points.map((point) => point.replica_hours);
    const [low, high] = [Math.min(...hours) * 0.98, Math.max(...hours) * 1.02 || 1];
    const ticks = valueTicks(Math.max(...points.map((point) => point.under_provisioned_minutes)) * 1.04);
    const x = (value) => EDGE.left + ((value - low) / (high - low)) * (width - EDGE.left - EDGE.right);
    const y = (value) => EDGE.top + (1 - value / ticks.at(-1)) * (HEIGHT - EDGE.top - EDGE.bottom - 14);
    const used = frontier.points.find((point) => point.in_use);
    const summary = used ? `In use: ${number(used.under_provisioned_minutes)} minutes short at ${number(used.replica_hours)} replica-hours. ` : "";
    drawing.replaceChildren(s("svg", { role: "img", "aria-label": `Frontier. ${summary}${frontier.message}`, viewBox: `0 0 ${width} ${HEIGHT}`, height: HEIGHT, width },
      ticks.map((tick) => [s("path", { class: "grid", d: `M${EDGE.left} ${y(tick)}H${width - EDGE.right}` }), s("text", { class: "tick-y", x: EDGE.left - 8, y: y(tick) + 4 }, number(tick))]),
      [low, (low + high) / 2, high].map((tick, index) => s("text", { class: ["tick-start", "tick-x", "tick-y"][index], x: x(tick), y: HEIGHT - 20 }, number(Math.round(tick)))),
      s("text", { class: "tick-x", x: width / 2, y: HEIGHT - 4 }, "replica-hours (up: minutes short)"),
      points.map((point) => s("circle", { class: `dot-${point.kind}`, cx: x(point.replica_hours), cy: y(point.under_provisioned_minutes), r: point.in_use || point.recommended ? 6 : 4 },
        s("title", {}, describe(point))))));
  }

  return { element, update };
}

const LABELS = { "in-use": "in use", recommended: "recommended", "hpa-only": "HPA alone", efficient: "efficient", other: "other" };
const kindOf = (point) => (point.in_use ? "in-use" : point.recommended ? "recommended" : point.efficient ? "efficient" : "other");
const noteOf = (point) => [point.in_use && "in use", point.recommended && "recommended", point.efficient && "efficient"].filter(Boolean).join(", ");
const describe = (point) => `${point.quantile === undefined ? "HPA alone" : `quantile ${number(point.quantile)}, HPA target ${percent(point.hpa_target)}`}: ${number(point.under_provisioned_minutes)} minutes short, ${number(point.replica_hours)} replica-hours`;
