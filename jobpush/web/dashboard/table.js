// A table of any length: only the rows in sight are elements.

import { h, replace } from "./dom.js";
import { whyOf } from "./store.js";
import { colour } from "./states.js";
import { lasting, stateWord, word } from "./words.js";

const ROW = 32;
const SPARE = 12;
const FRESH_MS = 1600;
const COLUMNS = ["job", "name", "user", "state", "queue", "since", "why"];
const SORTABLE = new Set(["job", "name", "user", "state", "queue", "since"]);

export class Table {
  constructor(parent, store, { open, sorted }) {
    this.parent = parent;
    this.store = store;
    this.open = open;
    this.sorted = sorted;
    this.chosen = -1;
    this.head = h("div", { class: "row head", role: "row", "aria-rowindex": "1" });
    this.body = h("div", { class: "body", role: "rowgroup" });
    this.grid = h("div", { class: "grid", role: "grid", tabindex: "0", "aria-colcount": COLUMNS.length }, h("div", { role: "rowgroup" }, this.head), this.body);
    this.grid.addEventListener("keydown", (event) => this.key(event));
    parent.append(this.grid);
    parent.addEventListener("scroll", () => this.draw(), { passive: true });
    new ResizeObserver(() => this.draw()).observe(parent);
    this.speak();
  }

  speak() {
    this.grid.setAttribute("aria-label", word("jobs"));
    replace(this.head, COLUMNS.map((name) => this.title(name)));
    this.draw();
  }

  title(name) {
    const { by, down } = this.store.sort;
    const sorted = by !== name ? "none" : down ? "descending" : "ascending";
    const inside = SORTABLE.has(name) ? h("button", { type: "button", onclick: () => this.order(name) }, word(name)) : word(name);
    return h("div", { role: "columnheader", "aria-sort": SORTABLE.has(name) ? sorted : null }, inside);
  }

  order(name) {
    const { sort } = this.store;
    this.store.sort = { by: name, down: sort.by === name ? !sort.down : false };
    this.speak();
    this.sorted();
  }

  draw() {
    const rows = this.store.shown;
    const height = this.parent.clientHeight || 400;
    const top = Math.max(0, this.parent.scrollTop - ROW);
    const first = Math.max(0, Math.floor(top / ROW) - SPARE);
    const last = Math.min(rows.length, Math.ceil((top + height) / ROW) + SPARE);
    this.grid.setAttribute("aria-rowcount", rows.length + 1);
    this.body.style.height = `${rows.length * ROW}px`;
    this.first = first;
    const now = Date.now();
    const drawn = [];
    for (let place = first; place < last; place += 1) drawn.push(this.row(rows[place], place, now));
    // What has the focus keeps it.
    const focused = this.body.contains(document.activeElement) ? document.activeElement.dataset.key : null;
    replace(this.body, drawn);
    this.place();
    if (focused) this.body.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus();
  }

  row({ job, key, since, changed }, place, now) {
    const why = whyOf(job, { word, state: stateWord });
    const age = job.phase === "DONE" && job.started_at && job.ended_at
      ? (Date.parse(job.ended_at) - Date.parse(job.started_at)) / 1000
      : since ? (now - since) / 1000 : null;
    const cells = [
      h("a", { href: `#/job/${encodeURIComponent(job.cluster)}/${encodeURIComponent(job.id)}`, "data-key": key, title: key, tabindex: "-1" }, key),
      h("span", { title: job.name }, job.name ?? ""),
      h("span", {}, job.user ?? ""),
      h("span", { class: "state" }, h("span", { class: "dot", "--colour": colour(job.state), "aria-hidden": "true" }), stateWord(job.state)),
      h("span", {}, job.queue ?? ""),
      h("span", { class: "number" }, age === null ? "" : lasting(age)),
      h("span", { title: why }, why),
    ];
    const fresh = now - changed < FRESH_MS;
    return h(
      "div",
      { class: `row${fresh ? " fresh" : ""}${place === this.chosen ? " chosen" : ""}`, role: "row", "aria-rowindex": place + 2, id: `row-${place}`, onclick: (event) => this.click(event, place) },
      cells.map((cell) => h("div", { role: "gridcell" }, cell)),
    );
  }

  place() {
    for (const row of this.body.children) row.style.top = `${(Number(row.getAttribute("aria-rowindex")) - 2) * ROW}px`;
  }

  click(event, place) {
    if (event.target.closest("a")) return;
    this.choose(place);
  }

  choose(place) {
    this.chosen = Math.max(0, Math.min(this.store.shown.length - 1, place));
    const top = this.chosen * ROW;
    const view = this.parent.clientHeight - ROW;
    if (top < this.parent.scrollTop) this.parent.scrollTop = top;
    else if (top + ROW > this.parent.scrollTop + view) this.parent.scrollTop = top + ROW - view;
    this.draw();
    this.grid.setAttribute("aria-activedescendant", `row-${this.chosen}`);
  }

  key(event) {
    if (event.target !== this.grid) return;
    const page = Math.max(1, Math.floor(this.parent.clientHeight / ROW) - 2);
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity };
    if (event.key in steps) {
      const step = steps[event.key];
      this.choose(step === Infinity ? this.store.shown.length - 1 : step === -Infinity ? 0 : this.chosen + step);
    } else if (event.key === "Enter" && this.store.shown[this.chosen]) {
      this.open(this.store.shown[this.chosen].key);
    } else {
      return;
    }
    event.preventDefault();
  }
}
