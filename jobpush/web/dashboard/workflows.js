// The pages of workflows: which there are, and one of them with its jobs over time.

import { h, replace, s } from "./dom.js";
import { stateMark } from "./job.js";
import { NotFound, get } from "./server.js";
import { ORDER, colour } from "./states.js";
import { clock, number, percent, shortClock, stateWord, word } from "./words.js";

const ROWS = 500;
const LINE = 24;

function bar(workflow) {
  const total = Object.values(workflow.counts).reduce((sum, count) => sum + count, 0) || 1;
  const states = Object.keys(workflow.counts).sort((a, b) => (ORDER[b] ?? 0) - (ORDER[a] ?? 0));
  const parts = states.map((state) => {
    const span = h("span", { "--colour": colour(state), title: `${workflow.counts[state]} ${stateWord(state)}` });
    span.style.width = `${(100 * workflow.counts[state]) / total}%`;
    return span;
  });
  return h("div", { class: "progress", role: "progressbar", "aria-valuenow": Math.round(100 * workflow.progress), "aria-valuemin": "0", "aria-valuemax": "100", "aria-label": workflow.name }, parts);
}

function counts(workflow) {
  return Object.entries(workflow.counts).map(([state, count]) => h("span", { class: "state" }, h("span", { class: "dot", "--colour": colour(state), "aria-hidden": "true" }), `${number(count)} ${stateWord(state)}`));
}

// The address of a workflow by its name as it is told: one without an owner is nobody's, and not the reader's own.
function pathOf(name) {
  return (/[/@]/.test(name) ? name : `-/${name}`).split("/").map(encodeURIComponent).join("/");
}

export function workflowLink(name) {
  return `#/workflow/${encodeURIComponent(name)}`;
}

export class WorkflowsPage {
  constructor(section) {
    this.section = section;
    this.known = new Map();
    this.open = false;
  }

  async show() {
    this.open = true;
    this.draw();
    try {
      const known = new Map();
      let after;
      do {
        const answer = await get("v1/workflows", { limit: 2000, after });
        for (const workflow of answer.workflows) known.set(workflow.name, workflow);
        after = answer.after;
      } while (after !== undefined);
      this.known = known;
      this.loaded = true;
      this.problem = null;
    } catch (error) {
      this.problem = word("error", { why: error.message });
    }
    this.draw();
  }

  hide() {
    this.open = false;
  }

  changed(event) {
    if (!event.workflow) return;
    if (event.workflow.deleted) this.known.delete(event.workflow.name);
    else this.known.set(event.workflow.name, event.workflow);
    if (this.open) {
      this.timer ??= setTimeout(() => {
        this.timer = undefined;
        this.draw();
      }, 250);
    }
  }

  speak() {
    this.draw();
  }

  draw() {
    if (!this.open) return;
    const order = [...this.known.values()].sort((a, b) => (a.phase === "DONE") - (b.phase === "DONE") || Date.parse(b.started_at ?? 0) - Date.parse(a.started_at ?? 0));
    const cards = order.slice(0, ROWS).map((workflow) => h(
      "div", { class: "card" },
      h("div", { class: "titled" }, h("h2", {}, h("a", { href: workflowLink(workflow.name) }, workflow.name)), stateMark(workflow.state), h("span", { class: "note" }, word("progress", { percent: percent(workflow.progress) }))),
      bar(workflow), h("div", { class: "titled" }, counts(workflow)),
    ));
    document.title = `${word("workflows")} - jobpush`;
    replace(
      this.section, h("div", { class: "titled" }, h("h1", {}, word("workflows"))),
      this.problem && h("p", { class: "wrong", role: "alert" }, this.problem),
      this.loaded && !order.length && h("p", { class: "note" }, word("noWorkflows")), cards,
      order.length > ROWS && h("p", { class: "note" }, word("more", { n: number(order.length - ROWS) })),
    );
  }
}

export class WorkflowPage {
  constructor(section) {
    this.section = section;
    this.name = null;
    new ResizeObserver(() => this.draw()).observe(section);
  }

  show(name) {
    this.name = name;
    this.workflow = null;
    this.problem = null;
    replace(this.section, h("p", { class: "note" }, "…"));
    clearInterval(this.clock);
    this.clock = setInterval(() => this.workflow?.phase !== "DONE" && this.draw(), 5000);
    return this.fetch();
  }

  hide() {
    this.name = null;
    clearInterval(this.clock);
  }

  async fetch() {
    const { name } = this;
    try {
      const workflow = await get(`v1/workflows/${pathOf(name)}`, this.workflow ? {} : { wait: 5 });
      if (name !== this.name) return;
      this.workflow = workflow;
      this.problem = null;
    } catch (error) {
      if (name !== this.name) return;
      this.problem = error instanceof NotFound ? word("unknownWorkflow", { name }) : word("error", { why: error.message });
    }
    this.draw();
  }

  changed(event) {
    if (!this.name) return;
    const mine = event.workflow?.name === this.name || (event.job && this.workflow?.jobs.some((job) => job.job === `${event.job.cluster}/${event.job.id}`));
    if (mine) {
      this.timer ??= setTimeout(() => {
        this.timer = undefined;
        if (this.name) this.fetch();
      }, 300);
    }
  }

  speak() {
    this.draw();
  }

  draw() {
    if (!this.name) return;
    const back = h("p", {}, h("a", { href: "#/workflows" }, `← ${word("workflows")}`));
    const { workflow } = this;
    if (!workflow) {
      if (this.problem) replace(this.section, back, h("h1", {}, this.name), h("p", { class: "wrong", role: "alert" }, this.problem));
      return;
    }
    const failure = workflow.first_failure;
    document.title = `${stateWord(workflow.state)} ${workflow.name} - jobpush`;
    replace(
      this.section, back,
      h("div", { class: "titled" }, h("h1", {}, workflow.name), stateMark(workflow.state), h("span", { class: "note" }, word("progress", { percent: percent(workflow.progress) }))),
      this.problem && h("p", { class: "wrong", role: "alert" }, this.problem),
      h(
        "div", { class: "card" }, bar(workflow), h("div", { class: "titled" }, counts(workflow)),
        failure && h("p", {}, `${word("firstFailure")}: `, h("a", { href: jobLink(failure.job) }, failure.job), ` ${stateWord(failure.state)} ${failure.exit_code === null ? "" : word("code", { code: failure.exit_code })} ${failure.reason ?? ""} ${clock(failure.at)}`),
      ),
      h("h2", {}, word("gantt")),
      h("div", { class: "card scrolls" }, gantt(workflow, Math.max(480, this.section.clientWidth - 64))),
      workflow.jobs.length > ROWS && h("p", { class: "note" }, word("more", { n: number(workflow.jobs.length - ROWS) })),
    );
  }
}

function jobLink(key) {
  const [cluster, ...rest] = key.split("/");
  return `#/job/${encodeURIComponent(cluster)}/${encodeURIComponent(rest.join("/"))}`;
}

// A line for each job: pale while it waited, full while it ran; and who follows whom.
function gantt(workflow, width) {
  const jobs = workflow.jobs.slice(0, ROWS);
  const now = Date.now();
  const time = (text) => (text ? Date.parse(text) : null);
  const times = jobs.flatMap((job) => [time(job.submitted_at), time(job.started_at), time(job.ended_at)]).filter((at) => at !== null);
  if (!times.length) return h("p", { class: "note" }, word("nothing"));
  const begin = Math.min(...times);
  const running = workflow.phase !== "DONE";
  const end = Math.max(running ? now : Math.max(...times), begin + 1000);
  const left = Math.min(240, width * 0.35);
  const x = (at) => left + ((Math.min(Math.max(at, begin), end) - begin) / (end - begin)) * (width - left - 12);
  const height = jobs.length * LINE + 30;
  const day = end - begin > 36 * 3600 * 1000;
  const picture = s("svg", { class: "gantt", width, height, viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": word("gantt") });
  const rows = new Map(jobs.map((job, place) => [job.job, { job, place }]));
  for (const [before, after] of workflow.edges) {
    const one = rows.get(before);
    const two = rows.get(after);
    if (!one || !two) continue;
    const from = x(time(one.job.ended_at) ?? now);
    const to = x(time(two.job.started_at) ?? now);
    const [y1, y2] = [one, two].map((row) => row.place * LINE + LINE / 2);
    picture.append(s("path", { d: `M${from} ${y1} C${from + 14} ${y1}, ${to - 14} ${y2}, ${to} ${y2}` }));
  }
  jobs.forEach((job, place) => {
    const y = place * LINE;
    const [submitted, started, ended] = [time(job.submitted_at), time(job.started_at), time(job.ended_at)];
    const label = job.name ? `${job.job.split("/").slice(1).join("/")} ${job.name}` : job.job;
    const text = s("text", { x: 0, y: y + 16 }, label.length > left / 7 ? `${label.slice(0, Math.floor(left / 7) - 1)}…` : label);
    picture.append(s("a", { href: jobLink(job.job) }, s("title", {}, `${job.job} ${job.name ?? ""} ${stateWord(job.state)}`), text));
    if (submitted !== null) {
      const until = started ?? ended ?? now;
      picture.append(s("rect", { class: "wait", x: x(submitted), y: y + 8, width: Math.max(1, x(until) - x(submitted)), height: 8, fill: colour("QUEUED") }, s("title", {}, word("waited"))));
    }
    if (started !== null) {
      const title = s("title", {}, `${stateWord(job.state)} ${shortClock(started, day)}`);
      picture.append(s("rect", { x: x(started), y: y + 4, width: Math.max(2, x(ended ?? now) - x(started)), height: 16, rx: 3, fill: colour(job.state) }, title));
    }
  });
  if (running) picture.append(s("line", { class: "now", x1: x(now), x2: x(now), y1: 0, y2: height - 26 }));
  picture.append(s("text", { x: left, y: height - 8 }, shortClock(begin, day)));
  picture.append(s("text", { x: width - 12, y: height - 8, "text-anchor": "end" }, running ? word("now") : shortClock(end, day)));
  return picture;
}
