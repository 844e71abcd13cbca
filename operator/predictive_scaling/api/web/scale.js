// Pure arithmetic of charts: ticks and paths.

const MINUTE = 60000;
const STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720, 1440, 2880].map((minutes) => minutes * MINUTE);

/** Return round numbers from 0 to at least `maximum`. */
export function valueTicks(maximum, count = 4) {
  if (!(maximum > 0)) return [0, 1];
  const raw = maximum / count;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].map((factor) => factor * power).find((size) => size >= raw * (1 - 1e-9));
  return Array.from({ length: Math.ceil(maximum / step - 1e-9) + 1 }, (_, index) => index * step);
}

/** Return round local times in [since, until] (milliseconds), at most `count` of them. */
export function timeTicks(since, until, count = 8) {
  const step = STEPS.find((size) => (until - since) / size <= count) ?? STEPS.at(-1);
  const offset = new Date(since).getTimezoneOffset() * MINUTE;
  const ticks = [];
  for (let at = Math.ceil((since - offset) / step) * step + offset; at <= until; at += step) ticks.push(at);
  return ticks;
}

/** Return the path of a line through [x, y] points; it breaks where y is null. */
export function linePath(points) {
  let isOpen = false;
  return points.map(([x, y]) => {
    const command = y === null ? "" : `${isOpen ? "L" : "M"}${round(x)} ${round(y)}`;
    isOpen = y !== null;
    return command;
  }).join("");
}

/** Return the path of a line that keeps each value until the next point, and the last one until `end`. */
export function stepPath(points, end) {
  return points.map(([x, y], index) => {
    if (y === null) return "";
    const before = index > 0 ? points[index - 1][1] : null;
    const next = index + 1 < points.length ? points[index + 1][0] : end;
    const start = before === null ? `M${round(x)} ${round(y)}` : `V${round(y)}`;
    return `${start}H${round(next)}`;
  }).join("");
}

/** Return the path of the area between two lines over the same x. */
export function areaPath(points) {
  if (points.length === 0) return "";
  const upper = points.map(([x, , high]) => `${round(x)} ${round(high)}`);
  const lower = points.map(([x, low]) => `${round(x)} ${round(low)}`).reverse();
  return `M${[...upper, ...lower].join("L")}Z`;
}

/** Return the last item at or before a time; undefined before the first. Items are ordered by `at`. */
export function lastAt(items, at, maximumAge = Infinity) {
  let low = 0;
  let high = items.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (items[middle].at <= at) low = middle + 1;
    else high = middle;
  }
  const item = items[low - 1];
  return item && at - item.at <= maximumAge ? item : undefined;
}

const round = (value) => Math.round(value * 10) / 10;
