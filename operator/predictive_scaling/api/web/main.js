// Routes, live updates and signing in.

import { onUnauthorized, Problem, readChanges, setToken, token } from "./api.js";
import { h } from "./dom.js";
import { overview } from "./overview.js";
import { policyView } from "./policy.js";

const RETRY_MS = 1000;
const MAX_RETRY_MS = 30000;
const REFRESH_MS = 1000;
const content = document.getElementById("content");
const problems = h("div", { id: "problems", role: "alert" });
const dialog = document.getElementById("token-dialog");
let view = null;
let leaving = null;
let stream = null;

/** Show the view of the address. Data of the previous one that arrives later is dropped. */
function navigate() {
  leaving?.abort();
  leaving = new AbortController();
  const context = { signal: leaving.signal, report };
  const [, kind, namespace, name] = location.hash.split("/").map(decodeURIComponent);
  view = kind === "policies" && name ? policyView(namespace, name, context) : overview(context);
  document.title = `${view.title} · Predictive scaling`;
  problems.replaceChildren();
  content.replaceChildren(problems, view.element);
  return view.refresh();
}

/** Show the error of a request, and return its result otherwise. */
async function report(work) {
  try {
    return await work;
  } catch (error) {
    if (error.name !== "AbortError" && !(error instanceof Problem && error.status === 401)) showProblem(error.message);
    return undefined;
  }
}

function showProblem(message) {
  if ([...problems.children].some((line) => line.textContent === message)) return;
  problems.append(h("p", { class: "problem" }, message));
}

// Changes within a second are read together: a tick of the operator changes many policies.
let pending = {};
let timer = 0;
function addChange(change) {
  for (const [kind, names] of Object.entries(change)) {
    const known = pending[kind];
    pending[kind] = names === null || known === null ? null : [...new Set([...(known ?? []), ...names])];
  }
  timer ||= setTimeout(() => {
    const changed = pending;
    pending = {};
    timer = 0;
    view.refresh(changed);
  }, REFRESH_MS);
}

/** Read changes while the page is visible. A stream ends after 45 s; what was missed in between is read at `ready`. */
async function follow() {
  let wait = RETRY_MS;
  let isFirst = true;
  while (!document.hidden) {
    stream = new AbortController();
    try {
      await readChanges((name, data) => {
        wait = RETRY_MS;
        setConnection("live", "Live");
        if (name === "changed") addChange(data);
        else if (!isFirst) refreshAll();
        isFirst = false;
      }, stream.signal);
    } catch (error) {
      if (error.name === "AbortError") break;
      if (error instanceof Problem && error.status === 401) return setConnection("lost", "Signed out");
      if (error instanceof Problem && error.status === 403) return setConnection("lost", "Not allowed");
      setConnection("lost", "Not connected: shown data may be old");
      wait = Math.min(2 * wait, MAX_RETRY_MS);
    }
    await new Promise((resolve) => setTimeout(resolve, wait));
  }
  return setConnection("paused", "Paused while hidden");
}

function refreshAll() {
  problems.replaceChildren();
  view.refresh();
}

let following = null;
function startFollowing() {
  following ??= follow().finally(() => {
    following = null;
    if (!document.hidden && !dialog.open && document.getElementById("connection").className === "paused") startFollowing();
  });
}

function setConnection(state, text) {
  const connection = document.getElementById("connection");
  const words = document.getElementById("connection-text");
  connection.className = state;
  if (words.textContent !== text) words.textContent = text;
}

function askForToken(reason) {
  document.getElementById("sign-in").hidden = false;
  document.getElementById("token-reason").textContent = reason;
  if (!dialog.open) dialog.showModal();
}

document.getElementById("token-form").addEventListener("submit", (event) => {
  const field = document.getElementById("token");
  setToken(event.submitter?.value === "forget" ? null : field.value.trim());
  field.value = "";
  stream?.abort();
  setTimeout(() => {
    navigate();
    startFollowing();
  });
});
document.getElementById("sign-in").addEventListener("click", () => askForToken("This API needs a token."));
document.getElementById("skip").addEventListener("click", (event) => {
  event.preventDefault();
  content.focus();
});
document.addEventListener("visibilitychange", () => {
  if (document.hidden) stream?.abort();
  else startFollowing();
});
window.addEventListener("hashchange", () => {
  navigate();
  content.focus();
  window.scrollTo(0, 0);
});
onUnauthorized(askForToken);
if (token()) document.getElementById("sign-in").hidden = false;
navigate();
startFollowing();
