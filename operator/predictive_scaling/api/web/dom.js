// Elements without a framework: builders, and tables whose rows are updated in place so that the focus stays.

const SVG = "http://www.w3.org/2000/svg";

/** Return an HTML element. Attributes: `on…` are listeners, false and null are left out. Children: nodes or texts. */
export function h(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** Return an SVG element. */
export function s(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return element;
}

/** Return a section with a heading; `body` is its content. */
export function section(id, title, ...body) {
  return h("section", { "aria-labelledby": `${id}-title`, class: "card", id }, h("h2", { id: `${id}-title` }, title), ...body);
}

/** Return a table. Columns: {title, text(row), href(row)?, kind(row)?, number?}; `update(rows)` replaces its rows. */
export function dataTable(caption, columns, { empty = "Nothing to show." } = {}) {
  const body = h("tbody");
  const note = h("p", { class: "note", hidden: true }, empty);
  const head = columns.map((column) => h("th", { scope: "col", class: column.number ? "number" : null }, column.title));
  const table = h("table", {}, h("caption", {}, caption), h("thead", {}, h("tr", {}, head)), body);
  const element = h("div", { class: "scroll", tabindex: 0, role: "group", "aria-label": caption }, table, note);

  function update(rows) {
    note.hidden = rows.length > 0;
    table.hidden = rows.length === 0;
    while (body.rows.length > rows.length) body.deleteRow(-1);
    while (body.rows.length < rows.length) body.append(newRow(columns));
    rows.forEach((row, index) => columns.forEach((column, place) => updateCell(body.rows[index].cells[place], column, row)));
  }

  return { element, update };
}

function newRow(columns) {
  return h("tr", {}, columns.map((column, place) =>
    h(place === 0 ? "th" : "td", { scope: place === 0 ? "row" : null, class: column.number ? "number" : null })));
}

function updateCell(cell, column, row) {
  const text = String(column.text(row) ?? "–");
  const kind = column.kind?.(row) ?? "";
  const href = column.href?.(row);
  let holder = cell.firstElementChild;
  if (holder === null || (holder.tagName === "A") !== Boolean(href)) {
    holder = href ? h("a") : h("span");
    cell.replaceChildren(holder);
  }
  if (holder.textContent !== text) holder.textContent = text;
  if (href && holder.getAttribute("href") !== href) holder.setAttribute("href", href);
  if (holder.className !== kind) holder.className = kind;
}

/** Return tiles; `update([{name, value, note, kind}])` replaces them. */
export function tiles(label) {
  const element = h("dl", { class: "tiles", "aria-label": label });
  function update(items) {
    element.replaceChildren(...items.map(({ name, value, note, kind }) =>
      h("div", { class: `tile ${kind ?? ""}` }, h("dt", {}, name), h("dd", {}, h("strong", {}, value), note ? h("span", { class: "note" }, note) : null))));
  }
  return { element, update };
}
