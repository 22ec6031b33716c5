"use strict";
/* Long tables: unpacked from the block in the page, of which only the rows in sight are elements; sorted, filtered and printed. */
const MISSING = 2 ** 31 - 1, INFINITE = 2 ** 31 - 2, SPAN = 10000, BIAS = 400, ROW_HEIGHT = 24, BEYOND = 8;
const SETTINGS = JSON.parse(document.getElementById("settings").textContent);
const page = {};  // tables by name, once they are unpacked

/** A table's column: integers, and what they mean; see rdtools/report/packed.py. */
class Column {
  constructor(header, codes) { Object.assign(this, header); this.codes = codes; }
  number(row) {
    const code = this.codes[row];
    if (code === MISSING) return NaN;
    if (Math.abs(code) === INFINITE) return Math.sign(code) * Infinity;
    return this.scientific ? Number(this.text(row)) : code / 10 ** this.digits;
  }
  text(row) {
    const code = this.codes[row];
    if (this.values) return this.values[code];
    if (code === MISSING) return "–";
    if (Math.abs(code) === INFINITE) return code > 0 ? "∞" : "−∞";
    const sign = code < 0 ? "-" : "", size = Math.abs(code);
    if (!this.scientific) {
      const digits = String(size).padStart(this.digits + 1, "0"), point = digits.length - this.digits;
      return sign + digits.slice(0, point) + (this.digits ? "." + digits.slice(point) : "");
    }
    if (!code) return "0";
    const exponent = Math.floor(size / SPAN) - BIAS, mantissa = String(size % SPAN);
    return `${sign}${mantissa[0]}.${mantissa.slice(1)}e${exponent < 0 ? "-" : "+"}${String(Math.abs(exponent)).padStart(2, "0")}`;
  }
}

async function unpack(base64) {
  const packed = Uint8Array.from(atob(base64.trim()), (c) => c.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  const bytes = new Uint8Array(await new Response(stream).arrayBuffer());
  const length = new DataView(bytes.buffer).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(4, 4 + length)));
  let at = 4 + length;
  for (const [name, table] of Object.entries(header)) {
    const n = table.length;
    table.columns = table.columns.map((column) => {
      const codes = new Int32Array(n);
      for (let i = 0, sum = 0; i < n; i++) {
        const word = (bytes[at + i] | bytes[at + n + i] << 8 | bytes[at + 2 * n + i] << 16 | bytes[at + 3 * n + i] << 24) >>> 0;
        const value = word & 1 ? -(word >>> 1) - 1 : word >>> 1;
        codes[i] = column.delta ? sum += value : value;
      }
      at += 4 * n;
      return new Column(column, codes);
    });
    table.column = (wanted) => table.columns.find((c) => c.name === wanted);
    page[name] = table;
  }
}

/** Rows in the order of a column; what is missing comes last either way. */
function sorted(rows, column, descending) {
  const n = column.codes.length, keys = new Float64Array(rows.length), last = 2 ** 32;
  for (let i = 0; i < rows.length; i++) {
    const code = column.codes[rows[i]];
    const key = code === MISSING && !column.values ? last : descending ? -code : code;
    keys[i] = key * n + rows[i];  // exact: below 2 ** 53 for 2 ** 21 rows; equal ones keep their order
  }
  keys.sort();
  return Uint32Array.from(keys, (key) => ((key % n) + n) % n);
}

function shortLayer(name) { return name.startsWith(SETTINGS.start) ? name.slice(SETTINGS.start.length) : name; }
function layerLink(name) {
  const link = document.createElement("a");
  link.href = "#layer=" + encodeURIComponent(name);
  link.textContent = shortLayer(name);
  link.title = name;
  return link;
}
function cell(column, row, first) {
  const element = document.createElement(first ? "th" : "td"), text = column.text(row);
  if (first) element.scope = "row";
  if (column.name === "layer") element.append(layerLink(text));
  else element.textContent = text;
  if (column.values) { element.className = "text"; if (text.length > 24) element.title = text; }
  return element;
}

/** A long table: its columns, the rows that are shown, and the elements of those in sight. */
class LongTable {
  constructor(id, table, start, choices, searched) {
    this.box = document.getElementById(id);
    Object.assign(this, { id, table, choices, searched, shown: start, start, first: -1 });
    this.body = this.box.querySelector("tbody");
    this.count = document.getElementById(id + "-count");
    this.layOut();
    this.offerChoices();
    this.box.addEventListener("scroll", () => this.draw(), { passive: true });
    new ResizeObserver(() => this.draw()).observe(this.box);
    this.show();
  }
  layOut() {
    const element = this.box.querySelector("table"), group = document.createElement("colgroup"), step = Math.ceil(this.table.length / 500);
    this.heads = [...element.querySelectorAll("thead th")];
    let total = 0;
    this.table.columns.forEach((column, i) => {
      const head = this.heads[i], button = document.createElement("button"), words = Math.max(...column.heading.split(/[ -]/).map((w) => w.length));
      let width = words + 2;
      for (let row = 0; row < this.table.length; row += step) width = Math.max(width, (column.name === "layer" ? shortLayer(column.text(row)) : column.text(row)).length);
      width = Math.min(width, column.name === "message" ? 90 : 34) * 7.7 + 22;
      total += width;
      const col = document.createElement("col");
      col.style.width = width + "px";
      group.append(col);
      button.type = "button";
      button.append(...head.childNodes);
      button.addEventListener("click", () => this.sort(i));
      head.append(button);
      head.setAttribute("aria-sort", "none");
      if (column.values) head.className = "text";
    });
    element.style.width = total + "px";
    element.querySelector("caption").after(group);
  }
  offerChoices() {
    const tools = document.getElementById(this.id + "-tools");
    const add = (label, control) => { const l = document.createElement("label"); l.append(label, control); tools.append(l); };
    this.selects = this.choices.map((name) => this.table.column(name)).filter(Boolean).map((column) => {
      const select = document.createElement("select");
      select.append(new Option("all", ""), ...column.values.map((text, code) => new Option(text, code)));
      select.name = column.name;
      add(column.heading, select);
      select.addEventListener("change", () => this.filter());
      return { column, select };
    });
    this.search = document.createElement("input");
    this.search.type = "search";
    this.search.placeholder = "part of a name or note";
    add("contains", this.search);
    this.search.addEventListener("input", () => this.filter());
  }
  filter() {
    const masks = this.selects.filter((s) => s.select.value !== "").map((s) => [s.column.codes, Number(s.select.value)]);
    const wanted = this.search.value.trim().toLowerCase();
    const texts = wanted ? this.searched.map((name) => this.table.column(name)).filter(Boolean).map((c) => [c.codes, c.values.map((t) => t.toLowerCase().includes(wanted))]) : [];
    this.kept = this.start.filter((row) => masks.every(([codes, code]) => codes[row] === code) && (!wanted || texts.some(([codes, hit]) => hit[codes[row]])));
    this.order();
  }
  sort(i) {
    const old = this.heads[i].getAttribute("aria-sort");
    for (const head of this.heads) head.setAttribute("aria-sort", "none");
    this.heads[i].setAttribute("aria-sort", old === "ascending" ? "descending" : "ascending");
    this.order();
  }
  order() {
    const rows = this.kept ?? this.start, i = this.heads.findIndex((h) => h.getAttribute("aria-sort") !== "none");
    this.shown = i < 0 ? rows : sorted(rows, this.table.columns[i], this.heads[i].getAttribute("aria-sort") === "descending");
    this.box.scrollTop = 0;
    this.show();
  }
  show() {
    this.first = -1;
    this.count.textContent = `${this.shown.length} of ${this.table.length} rows`;
    this.box.querySelector("table").setAttribute("aria-rowcount", this.shown.length + 1);
    this.draw();
  }
  /** Make the rows in sight, between two fillers that are as high as those above and below. */
  draw() {
    const above = Math.max(0, this.box.scrollTop - this.body.offsetTop), room = Math.ceil((this.box.clientHeight || 600) / ROW_HEIGHT);
    const first = Math.max(0, Math.min(Math.floor(above / ROW_HEIGHT), this.shown.length - room) - BEYOND), end = Math.min(this.shown.length, first + room + 2 * BEYOND);
    if (first === this.first && end === this.end) return;
    const focused = this.body.contains(document.activeElement) ? document.activeElement.closest("tr").dataset.row : null;
    Object.assign(this, { first, end });
    const filler = (count) => {
      const row = document.createElement("tr"), blank = document.createElement("td");
      row.className = "filler";
      row.setAttribute("aria-hidden", "true");
      row.style.height = blank.style.height = count * ROW_HEIGHT + "px";
      blank.colSpan = this.heads.length;
      row.append(blank);
      return row;
    };
    const rows = [filler(first)];
    for (let i = first; i < end; i++) {
      const row = document.createElement("tr"), index = this.shown[i];
      row.setAttribute("aria-rowindex", i + 2);
      row.dataset.row = index;
      row.append(...this.table.columns.map((column, k) => cell(column, index, !k)));
      rows.push(row);
    }
    this.body.replaceChildren(...rows, filler(this.shown.length - end));
    if (focused !== null) (this.body.querySelector(`tr[data-row="${focused}"] a`) ?? this.box).focus({ preventScroll: true });
  }
  /** All rows as one table for the printer: those of a layer below its name, and a note below its row. */
  print() {
    if (this.table.length > SETTINGS.printed) return;
    const grouped = this.id === "rows", notes = this.table.column("message");
    const columns = this.table.columns.slice(grouped ? 2 : 0).filter((column) => column !== notes);
    const element = document.createElement("table"), names = this.table.columns[0];
    element.className = "printed";
    element.append(this.box.querySelector("caption").cloneNode(true));
    const head = element.createTHead().insertRow();
    for (const column of columns) {
      const th = document.createElement("th");
      th.scope = "col";
      th.textContent = column.heading;
      if (column.values) th.className = "text";
      head.append(th);
    }
    const body = element.createTBody();
    let before = -1;
    for (const row of this.start) {
      if (grouped && names.codes[row] !== before) {
        const th = document.createElement("th");
        before = names.codes[row];
        th.colSpan = columns.length;
        th.textContent = names.text(row);
        const group = body.insertRow();
        group.className = "group";
        group.append(th);
      }
      body.insertRow().append(...columns.map((column) => { const td = cell(column, row, false); if (column.name === "layer") td.textContent = column.text(row); return td; }));
      if (notes?.text(row)) {
        const note = body.insertRow(), td = note.insertCell();
        note.className = "note";
        td.colSpan = columns.length;
        td.textContent = notes.text(row);
      }
    }
    this.box.after(element);
  }
}

const tables = [];
addEventListener("beforeprint", () => tables.forEach((table) => table.print()));
addEventListener("afterprint", () => document.querySelectorAll(".printed").forEach((element) => element.remove()));

async function begin() {
  await unpack(document.getElementById("block").textContent);
  document.getElementById("block").remove();
  const every = (n) => Uint32Array.from({ length: n }, (_, i) => i);
  const rows = page.rows;
  if (rows.length) {
    tables.push(new LongTable("layers", page.layers, every(page.layers.length), ["layer_type"], ["layer"]));
    tables.push(new LongTable("rows", rows, sorted(every(rows.length), rows.column("layer"), false), ["layer_type", "method", "target_bpw", "status"], ["layer", "message"]));
  }
}
page.ready = begin();
