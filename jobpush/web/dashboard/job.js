// The page of one job or array: what is known of it, how it came to that, and an array's tasks.

import { h, replace } from "./dom.js";
import { NotFound, get, load } from "./server.js";
import { keyOf } from "./store.js";
import { colour, telling, waits } from "./states.js";
import { timeline } from "./timeline.js";
import { clock, lasting, stateWord, word } from "./words.js";

// More tasks than these share a square.
const SQUARES = 2000;

const FACTS = [
  ["name", "name"], ["user", "user"], ["account", "account"], ["queue", "queue"], ["nodes", "nodes"], ["reason", "reason"],
  ["workdir", "workdir"], ["comment", "comment"],
];

export function stateMark(state) {
  return h("span", { class: "state" }, h("span", { class: "dot", "--colour": colour(state), "aria-hidden": "true" }), stateWord(state));
}

export class JobPage {
  constructor(section, watching) {
    this.section = section;
    this.watching = watching;
    this.wanted = null;
    this.tasks = new Map();
    new ResizeObserver(() => this.draw()).observe(section);
  }

  show(cluster, id) {
    this.wanted = `${cluster}/${id}`;
    this.cluster = cluster;
    this.id = id;
    this.answer = null;
    this.problem = null;
    this.tasks = new Map();
    replace(this.section, h("p", { class: "note" }, "…"));
    return this.fetch();
  }

  hide() {
    this.wanted = null;
    this.aborter?.abort();
  }

  async fetch() {
    this.aborter?.abort();
    const aborter = new AbortController();
    this.aborter = aborter;
    const path = `v1/jobs/${encodeURIComponent(this.cluster)}/${encodeURIComponent(this.id)}`;
    try {
      this.answer = await get(path, this.answer ? {} : { wait: 5 }, aborter.signal);
      this.problem = null;
      if (this.answer.job?.counts && !this.tasks.size) {
        await load({ job: `${this.cluster}/${this.answer.job.id}` }, (jobs) => jobs.forEach((job) => this.task(job)), aborter.signal);
      }
    } catch (error) {
      if (aborter.signal.aborted) return;
      this.problem = error instanceof NotFound ? word("unknownJob", { job: this.wanted }) : word("error", { why: error.message });
    }
    this.draw();
  }

  task(job) {
    if (job.task_index !== undefined) this.tasks.set(job.task_index, job);
  }

  // A change has come over the stream.
  changed(event) {
    if (!this.wanted || !event.job) return;
    const mine = this.answer?.job;
    if (mine && event.job.cluster === mine.cluster && event.job.parent === mine.id) {
      this.task(event.job);
      this.later();
    }
    const names = [keyOf(event.job), ...event.job.aliases.map((alias) => `${event.job.cluster}/${alias}`)];
    if (names.includes(this.wanted) || (mine && keyOf(event.job) === keyOf(mine))) this.later();
  }

  later() {
    this.timer ??= setTimeout(() => {
      this.timer = undefined;
      if (this.wanted) this.fetch();
    }, 200);
  }

  speak() {
    this.draw();
  }

  draw() {
    if (!this.wanted) return;
    if (!this.answer?.job) {
      if (this.problem) replace(this.section, h("p", {}, h("a", { href: "#/" }, `← ${word("back")}`)), h("h1", {}, this.wanted), h("p", { class: "wrong", role: "alert" }, this.problem));
      return;
    }
    const { job, history } = this.answer;
    const focused = this.section.contains(document.activeElement) ? document.activeElement.id : "";
    replace(
      this.section,
      h("p", {}, h("a", { href: "#/" }, `← ${word("back")}`)),
      h("div", { class: "titled" }, h("h1", {}, keyOf(job)), stateMark(job.state), this.watchButton(job)),
      this.problem && h("p", { class: "wrong", role: "alert" }, this.problem),
      this.facts(job),
      job.counts && this.array(job),
      h("h2", {}, word("history")),
      h("div", { class: "card" }, timeline(job, history, Math.max(280, this.section.clientWidth - 64)), this.history(job, history)),
      h("h2", {}, word("native")),
      h("div", { class: "card scrolls" }, h("dl", { class: "facts" }, Object.entries(job.native).map(([name, value]) => [h("div", {}, h("dt", {}, name), h("dd", {}, value))]))),
    );
    document.title = `${stateWord(job.state)} ${keyOf(job)} - jobpush`;
    if (focused) document.getElementById(focused)?.focus();
  }

  watchButton(job) {
    if (job.phase === "DONE" && job.settled) return null;
    const key = keyOf(job);
    const on = this.watching.has(key);
    const press = async () => {
      await this.watching.toggle(key);
      this.draw();
    };
    return h("button", { type: "button", id: "watch", "aria-pressed": String(on), onclick: press }, on ? word("watching") : word("watch"));
  }

  facts(job) {
    const rows = FACTS.filter(([name]) => job[name]).map(([name, label]) => [word(label), job[name]]);
    const times = [["submitted", job.submitted_at], ["started", job.started_at], ["endedAt", job.ended_at]];
    for (const [label, time] of times) if (time) rows.push([word(label), clock(time)]);
    if (job.exit_code !== null) rows.push([word("exit"), String(job.exit_code)]);
    if (job.signal !== null) rows.push([word("signal"), String(job.signal)]);
    if (job.time_limit_s !== null) rows.push([word("limit"), lasting(job.time_limit_s)]);
    if (job.attempt) rows.push([word("attempt"), String(job.attempt + 1)]);
    if (job.flags.length) rows.push([word("flags"), job.flags.join(", ")]);
    const parts = rows.map(([label, value]) => h("div", {}, h("dt", {}, label), h("dd", {}, value)));
    if (job.parent !== undefined) {
      const link = h("a", { href: `#/job/${encodeURIComponent(job.cluster)}/${encodeURIComponent(job.parent)}` }, `${job.cluster}/${job.parent}`);
      parts.push(h("div", {}, h("dt", {}, word("parent")), h("dd", {}, link)));
    }
    return h("div", { class: "card" }, h("dl", { class: "facts" }, parts));
  }

  history(job, history) {
    const steps = history.map((step, place) => {
      const until = history[place + 1]?.at;
      const took = until ? lasting((Date.parse(until) - Date.parse(step.at)) / 1000) : "";
      return h("tr", {}, h("td", {}, stateMark(step.state)), h("td", {}, clock(step.at)), h("td", {}, took), h("td", {}, word(step.confidence)));
    });
    const head = h("thead", {}, h("tr", {}, ["state", "when", "lasted", "knownBy"].map((name) => h("th", { scope: "col" }, word(name)))));
    return h("div", { class: "scrolls" }, h("table", { class: "plain" }, head, h("tbody", {}, steps)));
  }

  // A square for each task; where they are many, one for several, in the colour of what most needs to be seen.
  array(job) {
    const waiting = ranges(job.pending_tasks);
    const tasks = [...this.tasks.values()].map((task) => ({ from: task.task_index, to: task.task_index, state: task.state, job: task }));
    const waitingState = job.counts.HELD && !job.counts.QUEUED ? "HELD" : "QUEUED";
    for (const [from, to] of waiting) for (let index = from; index <= to && tasks.length < 200_000; index += 1) if (!this.tasks.has(index)) tasks.push({ from: index, to: index, state: waitingState });
    tasks.sort((a, b) => a.from - b.from);
    const each = Math.ceil(tasks.length / SQUARES);
    const squares = [];
    for (let place = 0; place < tasks.length; place += each) {
      const some = tasks.slice(place, place + each);
      const state = telling(new Set(some.map((task) => task.state)));
      const told = some.find((task) => task.state === state);
      const label = some.length === 1
        ? word("taskOf", { task: some[0].from, state: stateWord(state) })
        : word("tasksOf", { from: some[0].from, to: some.at(-1).to, state: stateWord(state) });
      const id = told.job?.id ?? taskId(job, told.from, this.tasks);
      squares.push(h("a", { href: `#/job/${encodeURIComponent(job.cluster)}/${encodeURIComponent(id)}`, class: waits(state) ? "waits" : null, "--colour": colour(state), title: label, "aria-label": label }));
    }
    const counts = Object.entries(job.counts).map(([state, count]) => h("span", { class: "state" }, h("span", { class: "dot", "--colour": colour(state), "aria-hidden": "true" }), `${count} ${stateWord(state)}`));
    return [h("h2", {}, word("tasks")), h("div", { class: "card" }, h("div", { class: "titled" }, counts), h("div", { class: "tasks" }, squares))];
  }
}

// "1-3,7" as pairs.
function ranges(text) {
  return (text ?? "").split(",").filter(Boolean).map((part) => {
    const [from, to] = part.split("-").map(Number);
    return [from, to ?? from];
  });
}

// How this scheduler writes a task: as its other tasks are written, else by the form of the array's id.
function taskId(job, index, tasks) {
  const other = tasks.values().next().value;
  if (other) return other.id.replace(/\d+(?=\D*$)/, String(index));
  if (job.id.includes("[]")) return job.id.replace("[]", `[${index}]`);
  return `${job.id}${job.source.startsWith("qstat") ? "." : "_"}${index}`;
}
