// Numbers and times as people read them, in the language and time zone of the browser.

const compact = new Intl.NumberFormat(undefined, { maximumFractionDigits: 1 });
const precise = new Intl.NumberFormat(undefined, { maximumSignificantDigits: 4 });
const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const day = new Intl.DateTimeFormat(undefined, { weekday: "short", day: "numeric", month: "short" });
const full = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });

export const known = (value) => value !== null && value !== undefined && Number.isFinite(value);
export const number = (value) => (known(value) ? (Math.abs(value) < 10 ? precise : compact).format(value) : "–");
export const percent = (ratio) => (known(ratio) ? `${compact.format(100 * ratio)} %` : "–");
export const signed = (value) => (known(value) ? `${value > 0 ? "+" : ""}${compact.format(value)}` : "–");
export const time = (text) => (text ? clock.format(new Date(text)) : "–");
export const date = (text) => (text ? full.format(new Date(text)) : "–");
export const dayOf = (text) => day.format(new Date(text));

/** Return a span of time, such as `in 2 h` or `5 min ago`. */
export function relative(text, now = Date.now()) {
  if (!text) return "–";
  const minutes = Math.round((new Date(text) - now) / 60000);
  const size = Math.abs(minutes);
  const words = size < 1 ? null : size < 60 ? `${size} min` : size < 2880 ? `${Math.round(size / 60)} h` : `${Math.round(size / 1440)} days`;
  if (words === null) return "now";
  return minutes > 0 ? `in ${words}` : `${words} ago`;
}
