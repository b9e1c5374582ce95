// The jobs that the page knows, which of them are shown, and in which order.

import { ORDER } from "./states.js";

const DONE = "DONE";

export function keyOf(job) {
  return `${job.cluster}/${job.id}`;
}

// When the state began that it is in, in milliseconds.
export function sinceOf(job) {
  return Date.parse(job.ended_at ?? job.started_at ?? job.submitted_at ?? job.observed_at) || 0;
}

export function whyOf(job, words) {
  if (job.counts) return Object.entries(job.counts).map(([state, count]) => `${count} ${words.state(state)}`).join(", ");
  const parts = [];
  if (job.phase === DONE && job.signal !== null) parts.push(words.word("bySignal", { signal: job.signal }));
  else if (job.phase === DONE && job.exit_code) parts.push(words.word("code", { code: job.exit_code }));
  if (job.reason && job.phase !== "RUNNING" && job.outcome !== "COMPLETED") parts.push(job.reason);
  return parts.join(", ");
}

function text(job) {
  return `${job.cluster}/${job.id} ${job.aliases.join(" ")} ${job.name ?? ""} ${job.user ?? ""} ${job.reason ?? ""} ${job.nodes ?? ""} ${job.queue ?? ""} ${job.comment ?? ""}`.toLowerCase();
}

const SORTS = {
  job: (a, b) => byKey(a, b),
  name: (a, b) => compare(a.job.name ?? "", b.job.name ?? "") || byKey(a, b),
  user: (a, b) => compare(a.job.user ?? "", b.job.user ?? "") || byKey(a, b),
  state: (a, b) => (ORDER[a.job.state] ?? 99) - (ORDER[b.job.state] ?? 99) || b.since - a.since || byKey(a, b),
  queue: (a, b) => compare(a.job.queue ?? "", b.job.queue ?? "") || byKey(a, b),
  since: (a, b) => b.since - a.since || byKey(a, b),
};

function compare(a, b) {
  return a < b ? -1 : a > b ? 1 : 0;
}

function byKey(a, b) {
  return compare(a.job.cluster, b.job.cluster) || b.order - a.order || compare(a.job.id, b.job.id);
}

export class Store {
  constructor() {
    this.rows = new Map();
    this.sort = { by: "state", down: false };
    this.filters = { search: "", states: new Set(), tasks: false };
    this.shown = [];
    this.counts = new Map();
    this.users = new Map();
  }

  clear() {
    this.rows.clear();
    this.users.clear();
  }

  put(job, at = 0) {
    const key = keyOf(job);
    const row = this.rows.get(key) ?? { key, order: parseInt(job.id, 10) || 0 };
    row.job = job;
    row.text = text(job);
    row.since = sinceOf(job);
    row.changed = at;
    this.rows.set(key, row);
    if (job.user) this.users.set(job.user, true);
    return row;
  }

  get(key) {
    return this.rows.get(key)?.job;
  }

  // What is shown, and how many there are of each state, whichever states are shown.
  arrange() {
    const words = this.filters.search.toLowerCase().split(/\s+/).filter(Boolean);
    const { states, tasks } = this.filters;
    const counts = new Map();
    const shown = [];
    let total = 0;
    for (const row of this.rows.values()) {
      const { job } = row;
      if (job.parent !== undefined && !tasks) continue;
      total += 1;
      if (words.length && !words.every((word) => row.text.includes(word))) continue;
      counts.set(job.state, (counts.get(job.state) ?? 0) + 1);
      if (states.size === 0 || states.has(job.state)) shown.push(row);
    }
    const order = SORTS[this.sort.by] ?? SORTS.state;
    shown.sort(this.sort.down ? (a, b) => order(b, a) : order);
    this.shown = shown;
    this.counts = counts;
    this.total = total;
  }
}
