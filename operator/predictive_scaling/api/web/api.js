// Requests to the API. The token of a caller is kept in this tab only, and is sent in a header, never in an address.

const KEY = "predictive-scaling.token";
const listeners = new Set();

/** An error as the API explains it: `status` and the detail of its problem document. */
export class Problem extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

export const token = () => sessionStorage.getItem(KEY);
export function setToken(value) {
  if (value) sessionStorage.setItem(KEY, value);
  else sessionStorage.removeItem(KEY);
}

/** Call `listener(detail)` when a request needs another token. */
export const onUnauthorized = (listener) => listeners.add(listener);

async function request(path, { signal, accept }) {
  const headers = { Accept: accept };
  if (token()) headers.Authorization = `Bearer ${token()}`;
  const response = await fetch(`api/v1/${path}`, { headers, signal, cache: "no-cache" });
  if (response.ok) return response;
  const problem = await response.json().catch(() => ({}));
  const detail = problem.detail ?? `the API answered ${response.status}`;
  if (response.status === 401) listeners.forEach((listener) => listener(detail));
  throw new Problem(response.status, detail);
}

/** Return the JSON at a path below /api/v1. Parameters: those without a value are left out. */
export async function get(path, parameters = {}, signal = undefined) {
  const given = Object.entries(parameters).filter(([, value]) => value !== null && value !== undefined && value !== "");
  const query = new URLSearchParams(given).toString();
  return (await request(query ? `${path}?${query}` : path, { signal, accept: "application/json" })).json();
}

/** Read the stream of changes until it ends. `onEvent(name, data)`: ready, and changed with what changed. */
export async function readChanges(onEvent, signal) {
  const response = await request("changes", { signal, accept: "text/event-stream" });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let buffer = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const blocks = (buffer + value).split("\n\n");
    buffer = blocks.pop();
    blocks.map(parseEvent).filter((event) => event.name).forEach((event) => onEvent(event.name, event.data));
  }
}

/** Return name and data of a block of server-sent events; no name for comments. */
export function parseEvent(block) {
  const fields = Object.fromEntries(block.split("\n").filter((line) => line.includes(": ")).map((line) => {
    const at = line.indexOf(": ");
    return [line.slice(0, at), line.slice(at + 2)];
  }));
  return { name: fields.event, data: fields.data ? JSON.parse(fields.data) : null };
}
