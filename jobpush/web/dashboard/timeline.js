// A job's history as a picture: a bar of its states over time. The same stands beside it as a table, for everybody.

import { s } from "./dom.js";
import { colour } from "./states.js";
import { lasting, shortClock, stateWord, word } from "./words.js";

const TOP = 20;
const HEIGHT = 26;

// The steps by the clock. What jobpush came too late to see, the scheduler's own times tell.
function stepsOf(job, history) {
  const steps = history.map((step) => ({ state: step.state, at: Date.parse(step.at) })).sort((a, b) => a.at - b.at);
  if (!steps.length || job.attempt) return steps;
  const [submitted, started, ended] = [job.submitted_at, job.started_at, job.ended_at].map((time) => (time ? Date.parse(time) : null));
  if (job.phase === "DONE" && ended !== null && ended < steps.at(-1).at) steps.at(-1).at = Math.max(ended, steps.at(-2)?.at ?? 0);
  const first = steps[0].at;
  const before = [];
  if (submitted !== null && submitted < first) before.push({ state: "QUEUED", at: submitted });
  if (started !== null && started < first && (submitted ?? 0) <= started) before.push({ state: "RUNNING", at: started });
  return [...before, ...steps];
}

export function timeline(job, history, width, now = Date.now()) {
  const steps = stepsOf(job, history);
  if (!steps.length) return null;
  const done = job.phase === "DONE";
  const begin = steps[0].at;
  const end = Math.max(done ? steps.at(-1).at : now, begin + 1000);
  const x = (at) => ((at - begin) / (end - begin)) * width;
  const day = end - begin > 36 * 3600 * 1000 || new Date(begin).toDateString() !== new Date(end).toDateString();
  const picture = s("svg", { class: "timeline", viewBox: `0 0 ${width} 74`, role: "img", "aria-label": word("timelineOf", { job: job.id }) });
  let free = 0;
  steps.forEach((step, place) => {
    const until = steps[place + 1]?.at ?? end;
    const last = place === steps.length - 1 && done;
    const left = last ? Math.min(x(step.at), width - 6) : x(step.at);
    const wide = last ? 6 : Math.max(2, x(until) - left);
    const title = s("title", {}, `${stateWord(step.state)}: ${shortClock(step.at, day)}${last ? "" : `, ${lasting((until - step.at) / 1000)}`}`);
    picture.append(s("rect", { x: left, y: TOP, width: wide, height: HEIGHT, rx: 3, fill: colour(step.state) }, title));
    const label = stateWord(step.state);
    const needs = label.length * 7.2 + 10;
    const at = last ? width - needs : left;
    if (at >= free && (last || wide > needs * 0.55)) {
      picture.append(s("text", { x: last ? width : left, y: 14, "text-anchor": last ? "end" : "start" }, label));
      free = at + needs;
    }
  });
  picture.append(s("text", { x: 0, y: 66 }, shortClock(begin, day)));
  picture.append(s("text", { x: width, y: 66, "text-anchor": "end" }, done ? shortClock(end, day) : word("now")));
  return picture;
}
