// One policy: charts over time, events, decisions, accuracy, shadow account and frontier.

import { get, Problem } from "./api.js";
import { frontierChart, timeChart } from "./charts.js";
import { dataTable, h, section, tiles } from "./dom.js";
import { date, number, percent, relative, signed } from "./format.js";
import { decisionColumns, eventColumns } from "./overview.js";

const HOUR = 3600000;
const SPANS = [["2 hours", 2, 1], ["6 hours", 6, 1], ["24 hours", 24, 2], ["6 days", 144, 4]];
const DECISIONS = 20;

/** Return the view of a policy. `refresh(change)`: reads again what changed, everything without an argument. */
export function policyView(namespace, name, { signal, report }) {
  const path = `policies/${encodeURIComponent(namespace)}/${encodeURIComponent(name)}`;
  const state = tiles("State of the policy");
  const accuracy = tiles("Accuracy of the last 24 hours");
  const shadow = tiles("Shadow account of the last seven days");
  const demand = timeChart("Demand and forecast", [
    { key: "value", label: "demand", kind: "line", from: "demand" },
    { key: "p50", label: "forecast (p50)", kind: "dashed", from: "forecast" },
  ], { band: { from: "forecast", low: "p10", high: "p95", label: "band p10 to p95" } });
  const replicas = timeChart("Floor and replicas", [
    { key: "floor", label: "floor", kind: "step", from: "replicas" },
    { key: "current_replicas", label: "replicas", kind: "step", from: "replicas" },
    { key: "ready_replicas", label: "ready", kind: "step", from: "replicas" },
  ]);
  const frontier = frontierChart();
  const frontierNote = h("p", { class: "note" });
  const shadowNote = h("p", { class: "note" });
  const largest = dataTable("Hours with the largest differences", [
    { title: "Hour", text: ({ time: at }) => date(at) },
    { title: "Minutes short avoided", number: true, text: (hour) => number(hour.minutes_short_avoided) },
    { title: "Replica-hours added", number: true, text: (hour) => signed(hour.replica_hours_added) },
  ], { empty: "" });
  const decisions = dataTable("Decisions of the policy", decisionColumns(false), { empty: "No decision yet." });
  const events = dataTable("Coming events of the policy", eventColumns, { empty: "No event in the next 30 days." });
  const conditions = dataTable("Conditions", [
    { title: "Condition", text: ({ type }) => type },
    { title: "Status", text: ({ status }) => status, kind: ({ type, status }) => (isBad(type, status) ? "bad" : "") },
    { title: "Reason", text: ({ reason }) => reason },
    { title: "Message", text: ({ message }) => message },
  ], { empty: "No condition yet." });
  let span = SPANS[1];
  let shownEvents = [];
  let serviceName = null;

  const choice = h("select", { id: "span", onchange: () => {
    span = SPANS[choice.selectedIndex];
    report(readTimeline());
  } }, SPANS.map(([label]) => h("option", { selected: label === span[0] }, label)));
  const shadowBody = h("div", {}, shadow.element, largest.element);
  const element = h("div", {},
    h("p", {}, h("a", { href: "#/" }, "All policies")), h("h1", {}, `${namespace}/${name}`), state.element,
    section("timeline", "Over time", h("p", { class: "filters" }, h("label", { for: "span" }, "Past"), choice), demand.element, replicas.element),
    section("decisions", "Decisions and their reasons", decisions.element),
    section("events", "Coming events", events.element),
    h("div", { class: "pair" },
      section("accuracy", "Accuracy of the forecasts", accuracy.element),
      section("shadow", "Shadow account: what Auto would have done", shadowNote, shadowBody)),
    section("frontier", "Frontier: minutes short against replica-hours", frontierNote, frontier.element),
    section("conditions", "Conditions", conditions.element));

  async function readPolicy() {
    const policy = await get(path, {}, signal);
    serviceName = policy.service_name;
    state.update([
      { name: "Mode", value: policy.mode ?? "–", note: policy.target ?? "" },
      { name: "Floor", value: number(policy.floor), note: `from ${policy.source ?? "–"}, ${policy.min_replicas ?? "–"} to ${policy.max_replicas ?? "–"}`, kind: policy.limited ? "warn" : "" },
      { name: "Ready replicas", value: number(policy.ready_replicas), note: `of ${policy.current_replicas ?? "–"}`, kind: policy.ready_replicas < policy.current_replicas ? "warn" : "" },
      { name: "Model", value: policy.forecast?.model ?? "–", note: policy.forecast?.generatedAt ? `forecast ${relative(policy.forecast.generatedAt)}` : "" },
      { name: "Last decision", value: relative(policy.last_decision_at), note: policy.last_decision_at ? date(policy.last_decision_at) : "" },
    ]);
    conditions.update(policy.conditions);
    showShadow(policy.shadow);
  }

  function showShadow(account) {
    shadowBody.hidden = !account;
    shadowNote.textContent = account
      ? `${number(account.covered_hours)} hours with known demand since ${date(account.since)}; ${number(account.decisions)} decisions were recommended.`
      : "There is an account in mode Recommend, a quarter of an hour after the first decision.";
    if (!account) return;
    shadow.update([
      { name: "Minutes short", value: number(account.minutes_short), note: "as it happened" },
      { name: "Avoided in Auto", value: number(account.minutes_short_avoided), kind: account.minutes_short_avoided > 0 ? "good" : "" },
      { name: "Replica-hours", value: number(account.replica_hours), note: `${signed(account.replica_hours_added)} in Auto` },
    ]);
    largest.update(account.largest);
  }

  async function readTimeline() {
    const [, past, ahead] = span;
    const now = Date.now();
    const body = await get(`${path}/timeline`, { from: new Date(now - past * HOUR).toISOString(), to: new Date(now + ahead * HOUR).toISOString() }, signal);
    const data = timelineData(body, shownEvents);
    demand.update({ ...data, summary: demandSummary(data) });
    replicas.update({ ...data, summary: replicaSummary(data, body) });
  }

  async function readEvents() {
    const body = await get("events", { namespace, limit: 100, from: new Date(Date.now() - SPANS.at(-1)[1] * HOUR).toISOString() }, signal);
    shownEvents = body.events.filter(({ policies }) => policies.includes(name));
    events.update(shownEvents.filter(({ end_time: end }) => new Date(end) > Date.now()));
  }

  async function readDecisions() {
    decisions.update((await get("scaling/decisions", { namespace, policy: name, limit: DECISIONS }, signal)).decisions);
  }

  async function readAccuracy() {
    if (!serviceName) return accuracy.update([]);
    const { accuracy: scores } = await get("metrics/accuracy", { namespace, service: serviceName, window: "24h" }, signal);
    const coverage = Object.entries(scores.coverage).map(([quantile, share]) => `p${number(100 * quantile)}: ${percent(share)}`).join(", ");
    accuracy.update([
      { name: "WAPE", value: percent(scores.wape), kind: scores.wape > 0.25 ? "bad" : scores.wape > 0.15 ? "warn" : "" },
      { name: "MAPE", value: percent(scores.mape) },
      { name: "Bias", value: scores.bias === null ? "–" : `${signed(100 * scores.bias)} %`, note: "positive: too high" },
      { name: "Coverage", value: percent(scores.coverage["0.9"] ?? null), note: coverage || "no scored forecast" },
    ]);
    return undefined;
  }

  async function readFrontier() {
    try {
      const body = await get(`${path}/frontier`, {}, signal);
      frontierNote.textContent = `${capitalized(body.message)}. Tuned ${relative(body.tuned_at)}.`;
      frontier.element.hidden = false;
      frontier.update(body);
    } catch (error) {
      if (!(error instanceof Problem) || error.status !== 404) throw error;
      frontier.element.hidden = true;
      frontierNote.textContent = `${capitalized(error.message)}.`;
    }
  }

  async function refresh(change = null) {
    const key = `${namespace}/${name}`;
    const wants = (kind) => change === null || (kind in change && (change[kind] === null || kind === "events" || change[kind].includes(key)));
    if (wants("events")) await report(readEvents());
    await Promise.all([
      wants("policies") ? report(readPolicy().then(() => (change === null ? readAccuracy() : null))) : null,
      wants("policies") || wants("events") ? report(readTimeline()) : null,
      wants("decisions") ? report(readDecisions()) : null,
      change === null ? report(readFrontier()) : null,
    ]);
  }

  return { element, title: `${namespace}/${name}`, refresh };
}

/** Return the data of both charts: times in milliseconds. */
export function timelineData(body, events = []) {
  const at = (text) => Date.parse(text);
  const pointsOf = (points) => points.map((point) => ({ ...point, at: at(point.time) }));
  const [since, until] = [at(body.since), at(body.until)];
  return {
    since, until, now: at(body.now), step: body.step_seconds * 1000,
    demand: withGaps(pointsOf(body.demand), 5 * body.step_seconds * 1000),
    forecast: pointsOf(body.forecast),
    replicas: pointsOf(body.replicas),
    spans: events.map((event) => ({ start: at(event.start_time), end: at(event.end_time), name: event.name })).filter(({ start, end }) => start < until && end > since),
  };
}

/** Return the points with a gap where neighbours are further apart, so that no line covers missing data. */
export function withGaps(points, distance) {
  return points.flatMap((point, index) => {
    const next = points[index + 1];
    return next && next.at - point.at > distance ? [point, { at: point.at + 1, value: null }] : [point];
  });
}

function demandSummary({ demand, forecast, now }) {
  const values = demand.map(({ value }) => value).filter((value) => value !== null);
  const ahead = forecast.filter(({ at }) => at >= now);
  const peak = ahead.reduce((most, point) => (point.p95 > (most?.p95 ?? -1) ? point : most), null);
  const past = values.length ? `Demand is ${number(values.at(-1))}, at most ${number(Math.max(...values))} in this span.` : "No demand in this span.";
  return peak ? `${past} The forecast reaches ${number(peak.p95)} (p95) at ${date(peak.at)}.` : `${past} No forecast ahead.`;
}

function replicaSummary({ replicas }, body) {
  const last = replicas.at(-1);
  return `The floor is ${number(last?.floor)}, ${number(last?.ready_replicas)} of ${number(last?.current_replicas)} replicas are ready; limits ${body.min_replicas ?? "–"} to ${body.max_replicas ?? "–"}.`;
}

const isBad = (type, status) => (type === "Ready" ? status !== "True" : status === "True" && ["Stalled", "Conflict", "Degraded"].includes(type));
const capitalized = (text) => text.charAt(0).toUpperCase() + text.slice(1);
