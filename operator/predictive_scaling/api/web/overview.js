// The start page: a summary, the policies page by page, coming events and the last decisions.

import { get } from "./api.js";
import { dataTable, h, section, tiles } from "./dom.js";
import { date, number, percent, relative } from "./format.js";

const PAGE_SIZE = 50;
const SHOWN = 12;

export const policyHref = (namespace, name) => `#/policies/${encodeURIComponent(namespace)}/${encodeURIComponent(name)}`;

const readiness = (policy) => policy.conditions.find(({ type }) => type === "Ready");
const problemOf = (policy) => {
  const stalled = policy.conditions.find(({ type, status }) => type === "Stalled" && status === "True");
  if (stalled) return `Stalled: ${stalled.reason}`;
  const ready = readiness(policy);
  return ready && ready.status !== "True" ? `Not ready: ${ready.reason}` : policy.limited ? "Limited by its maximum" : "OK";
};

export const decisionColumns = (withPolicy) => [
  { title: "Time", text: ({ created_at: at }) => date(at) },
  ...(withPolicy ? [{ title: "Policy", text: ({ namespace, policy }) => `${namespace}/${policy}`, href: ({ namespace, policy }) => policyHref(namespace, policy) }] : []),
  { title: "Replicas", number: true, text: (decision) => `${decision.from_replicas} → ${decision.to_replicas}`, kind: ({ decision_type: type }) => type },
  { title: "Status", text: ({ status }) => status.replace("_", " "), kind: ({ status }) => (["failed", "rolled_back"].includes(status) ? "bad" : "") },
  { title: "Reason", text: ({ reason }) => reason },
  { title: "Why", text: ({ message, outcome }) => (outcome ? `${message} ${outcome}` : message) },
];

export const eventColumns = [
  { title: "Event", text: ({ namespace, name }) => `${namespace}/${name}` },
  { title: "Starts", text: ({ start_time: at }) => `${date(at)} (${relative(at)})` },
  { title: "Ends", text: ({ end_time: at }) => date(at) },
  { title: "Expected", text: (event) => expectation(event) },
  { title: "Policies", text: ({ policies }) => (policies.length > 3 ? `${policies.slice(0, 3).join(", ")} and ${policies.length - 3} more` : policies.join(", ") || "none") },
];

function expectation({ multiplier, min_replicas: minimum, learned_multiplier: learned }) {
  if (known(multiplier)) return `${number(multiplier)} × demand`;
  if (known(minimum)) return `at least ${minimum} replicas`;
  return known(learned) ? `learned: ${number(learned)} × demand` : "to be learned";
}
const known = (value) => value !== null && value !== undefined;

/** Return the view. `refresh(change)`: reads what changed again, everything without an argument. */
export function overview({ signal, report }) {
  const filters = { search: "", mode: "", source: "", limited: "" };
  const cursors = [null];
  let nextCursor = null;
  const summary = tiles("Summary of all policies");
  const policies = dataTable("Policies", [
    { title: "Policy", text: ({ namespace, policy }) => `${namespace}/${policy}`, href: ({ namespace, policy }) => policyHref(namespace, policy) },
    { title: "Mode", text: ({ mode }) => mode },
    { title: "Floor", number: true, text: ({ floor }) => floor },
    { title: "Ready of replicas", number: true, text: ({ ready_replicas: ready, current_replicas: current }) => `${ready ?? "–"} of ${current ?? "–"}` },
    { title: "Limits", number: true, text: ({ min_replicas: low, max_replicas: high }) => `${low ?? "–"} to ${high ?? "–"}` },
    { title: "Source", text: ({ source }) => source, kind: ({ source }) => (source === "Fallback" ? "bad" : "") },
    { title: "State", text: problemOf, kind: (policy) => (problemOf(policy) === "OK" ? "" : policy.limited ? "warn" : "bad") },
    { title: "Last decision", text: ({ last_decision_at: at }) => relative(at) },
  ], { empty: "No policy matches." });
  const decisions = dataTable("Last decisions", decisionColumns(true), { empty: "No decision yet." });
  const events = dataTable("Coming events", eventColumns, { empty: "No event in the next 30 days." });
  const position = h("span", { class: "note", role: "status" });
  const back = h("button", { type: "button", onclick: () => turn(-1) }, "Previous page");
  const forward = h("button", { type: "button", onclick: () => turn(1) }, "Next page");

  const element = h("div", {}, h("h1", {}, "Policies"), summary.element,
    section("policies", "All policies", filterForm(), policies.element, h("p", { class: "buttons" }, back, forward, position)),
    section("events", "Coming events", events.element),
    section("decisions", "Last decisions", decisions.element));

  function filterForm() {
    const search = h("input", { type: "search", id: "search", placeholder: "namespace/name or service", autocomplete: "off", maxlength: 200 });
    let timer = 0;
    search.addEventListener("input", () => {
      clearTimeout(timer);
      timer = setTimeout(() => choose("search", search.value.trim()), 250);
    });
    const select = (name, label, options) => [h("label", { for: name }, label), h("select", { id: name, onchange: (event) => choose(name, event.target.value) },
      h("option", { value: "" }, "any"), options.map(([value, text]) => h("option", { value }, text)))];
    const named = (...values) => values.map((value) => [value, value]);
    return h("form", { role: "search", "aria-label": "Policies", class: "filters", onsubmit: (event) => event.preventDefault() },
      h("label", { for: "search" }, "Search"), search,
      select("mode", "Mode", named("Auto", "Recommend", "Off")),
      select("source", "Source", named("Forecast", "Event", "Minimum", "Fallback", "Reactive")),
      select("limited", "Limited", [["true", "yes"], ["false", "no"]]));
  }

  function choose(name, value) {
    filters[name] = value;
    cursors.splice(0, cursors.length, null);
    report(readPolicies());
  }

  function turn(direction) {
    if (direction > 0) cursors.push(nextCursor);
    else cursors.pop();
    report(readPolicies());
  }

  let newest = 0;
  async function readPolicies() {
    const turnNumber = ++newest;
    const cursor = cursors.at(-1);
    const body = await get("scaling/status", { limit: PAGE_SIZE, cursor, ...filters }, signal);
    if (turnNumber !== newest) return;
    nextCursor = body.next_cursor;
    policies.update(body.policies);
    back.disabled = cursors.length === 1;
    forward.disabled = nextCursor === null;
    const first = (cursors.length - 1) * PAGE_SIZE + 1;
    position.textContent = body.policies.length ? `${first} to ${first + body.policies.length - 1}` : "";
    showSummary(body.summary);
  }

  function showSummary(counts) {
    const alarming = (count) => (count > 0 ? "bad" : "");
    summary.update([
      { name: "Policies", value: number(counts.policies), note: `${number(counts.auto)} in mode Auto` },
      { name: "Limited by maximum", value: number(counts.limited), kind: counts.limited > 0 ? "warn" : "" },
      { name: "In fallback", value: number(counts.fallback), kind: alarming(counts.fallback) },
      { name: "Stuck decisions", value: number(counts.stuck_decisions), kind: alarming(counts.stuck_decisions) },
      { name: "Succeeded in 24 h", value: percent(counts.success_rate_24h), kind: counts.success_rate_24h !== null && counts.success_rate_24h < 0.9 ? "bad" : "" },
    ]);
  }

  async function readDecisions() {
    decisions.update((await get("scaling/decisions", { limit: SHOWN }, signal)).decisions);
  }

  async function readEvents() {
    events.update((await get("events", { limit: SHOWN, from: new Date().toISOString() }, signal)).events);
  }

  async function refresh(change = null) {
    const wants = (kind) => change === null || kind in change;
    await Promise.all([
      wants("policies") || wants("decisions") ? report(readPolicies()) : null,
      wants("decisions") ? report(readDecisions()) : null,
      wants("events") ? report(readEvents()) : null,
    ]);
  }

  return { element, title: "Policies", refresh };
}
