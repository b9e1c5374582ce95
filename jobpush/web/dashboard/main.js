// The page: what the address asks for is shown, and follows the server.

import { byId, h, replace } from "./dom.js";
import { JobPage } from "./job.js";
import { Stream, Unknown, get, load, signIn, ticket, token, whoAsks } from "./server.js";
import { STATES, colour } from "./states.js";
import { Store } from "./store.js";
import { Table } from "./table.js";
import { Watching, read, write } from "./watching.js";
import { WorkflowPage, WorkflowsPage } from "./workflows.js";
import { lasting, number, speak, stateWord, word } from "./words.js";

// The filters that the server knows: what others hear is not even sent here. State and search are the page's own.
const SERVER_FILTERS = ["user", "cluster", "workflow"];
const ARRANGE_MS = 250;
const HEALTH_MS = 10_000;

const store = new Store();
const watching = new Watching();
const pages = {
  job: new JobPage(byId("page-job"), watching),
  workflows: new WorkflowsPage(byId("page-workflows")),
  workflow: new WorkflowPage(byId("page-workflow")),
};
const table = new Table(byId("table"), store, { open: openJob, sorted: () => { remember(); arrange(); } });
let serverFilters = {};
let stream = null;
let loading = null;
let connection = "connecting";
let health = null;

// -- the address

function readAddress() {
  const given = new URLSearchParams(location.search);
  byId("search").value = given.get("q") ?? "";
  byId("filter-user").value = given.get("user") ?? "";
  byId("filter-workflow").value = given.get("workflow") ?? "";
  clusterChoice = given.get("cluster") ?? "";
  store.filters.search = given.get("q") ?? "";
  store.filters.tasks = given.get("tasks") === "1";
  store.filters.states = new Set((given.get("state") ?? "").split(",").filter((state) => STATES.includes(state)));
  const sort = given.get("sort");
  if (sort) store.sort = { by: sort.replace("-", ""), down: sort.startsWith("-") };
}

let clusterChoice = "";

function remember() {
  const given = new URLSearchParams();
  const { search, states, tasks } = store.filters;
  if (search) given.set("q", search);
  for (const name of SERVER_FILTERS) if (serverFilters[name]) given.set(name, serverFilters[name]);
  if (states.size) given.set("state", [...states].join(","));
  if (tasks) given.set("tasks", "1");
  if (store.sort.by !== "state" || store.sort.down) given.set("sort", `${store.sort.down ? "-" : ""}${store.sort.by}`);
  const text = given.toString().replaceAll("%2C", ",");
  history.replaceState(null, "", `${location.pathname}${text ? `?${text}` : ""}${location.hash}`);
}

function wantedFilters() {
  return { user: byId("filter-user").value.trim(), cluster: clusterChoice, workflow: byId("filter-workflow").value.trim() };
}

function openJob(key) {
  const [cluster, ...rest] = key.split("/");
  location.hash = `#/job/${encodeURIComponent(cluster)}/${encodeURIComponent(rest.join("/"))}`;
}

function route() {
  const parts = location.hash.replace(/^#\/?/, "").split("/").map(decode);
  const page = parts[0] === "job" && parts.length > 2 ? "job" : parts[0] === "workflows" ? "workflows" : parts[0] === "workflow" && parts[1] ? "workflow" : "jobs";
  for (const [name, other] of Object.entries(pages)) if (name !== page) other.hide();
  for (const name of ["jobs", "job", "workflows", "workflow"]) byId(`page-${name}`).hidden = name !== page;
  byId("nav-jobs").toggleAttribute("aria-current", false);
  byId("nav-workflows").toggleAttribute("aria-current", false);
  byId(page === "jobs" || page === "job" ? "nav-jobs" : "nav-workflows").setAttribute("aria-current", "page");
  if (page === "job") pages.job.show(parts[1], parts.slice(2).join("/"));
  else if (page === "workflows") pages.workflows.show();
  else if (page === "workflow") pages.workflow.show(parts[1]);
  else {
    document.title = "jobpush";
    arrange();
  }
}

function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

// -- jobs

async function begin() {
  loading?.abort();
  const aborter = new AbortController();
  loading = aborter;
  stream?.close();
  stream = null;
  serverFilters = wantedFilters();
  remember();
  setConnection("connecting");
  let failures = 0;
  while (!aborter.signal.aborted) {
    try {
      const found = [];
      const cursor = await load(serverFilters, (jobs) => { found.push(...jobs); summary(found.length); }, aborter.signal);
      if (aborter.signal.aborted) return;
      store.clear();
      for (const job of found) {
        store.put(job);
        watching.changed(job);
      }
      wrong("");
      arrange();
      if (byId("page-job").hidden === false) pages.job.fetch();
      if (byId("page-workflow").hidden === false) pages.workflow.fetch();
      if (byId("page-workflows").hidden === false) pages.workflows.show();
      stream = new Stream(serverFilters, cursor, { event: changed, reset: begin, state: setConnection, unknown: askWho });
      document.body.classList.toggle("signed-in", Boolean(token()));
      loading = null;
      return;
    } catch (error) {
      if (aborter.signal.aborted) return;
      if (error instanceof Unknown) {
        askWho(error);
        return;
      }
      failures += 1;
      setConnection("away");
      wrong(word("error", { why: error.message }));
      await new Promise((resolve) => setTimeout(resolve, Math.random() * Math.min(30_000, 500 * 2 ** failures)));
    }
  }
}

// -- who is there

// The server asks who that is: the jobs of before are not shown any more, and a token is asked for.
function askWho(error) {
  loading?.abort();
  loading = null;
  stream?.close();
  stream = null;
  store.clear();
  arrange();
  setConnection("away");
  wrong("");
  byId("sign-in-why").textContent = token() ? word("refused", { why: error.message }) : "";
  signIn("");
  byId("sign-in").hidden = false;
  byId("sign-out").hidden = true;
  byId("token").focus();
}

// With a token the page opens on the jobs of its owner, unless the address says otherwise.
async function takeToken(text) {
  signIn(text);
  byId("token").value = "";
  try {
    const { user } = await ticket({});
    byId("sign-in").hidden = true;
    byId("sign-out").hidden = false;
    byId("sign-out").title = user;
    showOwn(user);
    begin();
    look();
  } catch (error) {
    askWho(error);
  }
}

// The jobs of whoever that is first, unless the address says otherwise.
function showOwn(user) {
  if (user && !new URLSearchParams(location.search).has("user")) byId("filter-user").value = user;
}

byId("sign-in").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = byId("token").value.trim();
  if (text) takeToken(text);
});
byId("sign-out").addEventListener("click", () => {
  signIn("");
  location.reload();
});

function changed(event) {
  if (event.job) {
    store.put(event.job, Date.now());
    watching.changed(event.job);
    arrangeSoon();
  }
  for (const page of Object.values(pages)) page.changed(event);
}

let due;
function arrangeSoon() {
  due ??= setTimeout(() => {
    due = undefined;
    if (!byId("page-jobs").hidden) arrange();
  }, ARRANGE_MS);
}

function arrange() {
  if (byId("page-jobs").hidden) return;
  store.arrange();
  table.draw();
  strip();
  summary();
}

function summary(n) {
  const text = n !== undefined ? word("loading", { n: number(n) })
    : store.shown.length ? word("shown", { shown: number(store.shown.length), total: number(store.total) }) : word("nothing");
  if (byId("summary").textContent !== text) byId("summary").textContent = text;
}

function strip() {
  const states = STATES.filter((state) => store.counts.has(state) || store.filters.states.has(state));
  const focused = document.activeElement?.dataset?.state;
  replace(byId("strip"), states.map((state) => h(
    "button", { type: "button", "data-state": state, "aria-pressed": String(store.filters.states.has(state)), onclick: () => toggleState(state) },
    h("span", { class: "dot", "--colour": colour(state), "aria-hidden": "true" }), stateWord(state), h("span", { class: "count" }, number(store.counts.get(state) ?? 0)),
  )), h("button", { type: "button", "data-state": "tasks", "aria-pressed": String(store.filters.tasks), onclick: toggleTasks }, word("tasks")));
  if (focused) byId("strip").querySelector(`[data-state="${CSS.escape(focused)}"]`)?.focus();
  const users = [...store.users.keys()].sort();
  if (users.length !== byId("users").childElementCount) replace(byId("users"), users.slice(0, 500).map((user) => h("option", { value: user })));
}

function toggleState(state) {
  if (!store.filters.states.delete(state)) store.filters.states.add(state);
  remember();
  arrange();
}

function toggleTasks() {
  store.filters.tasks = !store.filters.tasks;
  remember();
  arrange();
}

// -- the top of the page

function setConnection(state) {
  connection = state;
  const element = byId("connection");
  if (element.textContent !== word(state)) element.textContent = word(state);
  element.classList.toggle("away", state === "away");
}

let complaint = "";

function wrong(text) {
  complaint = text;
  banner();
}

function banner() {
  const mock = Object.entries(health?.queues ?? {}).filter(([, queue]) => queue.type === "mock").map(([name]) => name);
  const text = complaint || (mock.length ? word("mock", { cluster: mock.join(", ") }) : "");
  const element = byId("banner");
  if (element.textContent !== text) element.textContent = text;
  element.hidden = !text;
}

async function look() {
  if (document.hidden && health) return;
  try {
    health = await get("readyz");
    health.at = Date.now();
  } catch {
    // the connection says so
  }
  clusters();
  banner();
}

function clusters() {
  if (!health?.queues) return;
  const passed = (Date.now() - health.at) / 1000;
  const chips = Object.entries(health.queues).map(([cluster, queue]) => {
    const age = queue.stale_s === null ? "" : lasting(queue.stale_s + passed);
    const kind = queue.stale_s === null ? "never" : queue.health === "blind" ? "blind" : queue.health === "ok" && queue.stale_s + passed < 60 ? "seen" : "stale";
    return h("span", { class: `chip${kind === "seen" ? "" : " stale"}`, title: queue.missing.join("\n") }, word(kind, { cluster, age }));
  });
  replace(byId("clusters"), chips);
  const choice = byId("filter-cluster");
  const names = Object.keys(health.queues);
  if (choice.childElementCount !== names.length + 1 || choice.dataset.language !== document.documentElement.lang) {
    choice.dataset.language = document.documentElement.lang;
    replace(choice, h("option", { value: "" }, word("all")), names.map((name) => h("option", { value: name }, name)));
    choice.value = clusterChoice;
  }
}

function theme(name) {
  document.documentElement.dataset.theme = name;
  const other = name === "dark" ? "light" : "dark";
  const button = byId("theme");
  button.textContent = word(other);
  button.setAttribute("aria-label", word("theme", { theme: word(other) }));
  button.onclick = () => {
    write("jobpush.theme", other);
    theme(other);
  };
}

function sound() {
  const button = byId("sound");
  button.textContent = word(watching.sound ? "soundOn" : "soundOff");
  button.setAttribute("aria-pressed", String(watching.sound));
  button.title = word("sound");
}

function say(language) {
  speak(language);
  byId("language").value = document.documentElement.lang;
  theme(document.documentElement.dataset.theme);
  sound();
  setConnection(connection);
  table.speak();
  banner();
  clusters();
  for (const page of Object.values(pages)) page.speak();
  if (!byId("page-jobs").hidden) arrange();
}

// -- what people do

let typing;
byId("search").addEventListener("input", (event) => {
  store.filters.search = event.target.value;
  clearTimeout(typing);
  typing = setTimeout(() => {
    remember();
    byId("table").scrollTop = 0;
    arrange();
  }, 120);
});
for (const id of ["filter-user", "filter-workflow"]) byId(id).addEventListener("change", begin);
byId("filter-cluster").addEventListener("change", (event) => {
  clusterChoice = event.target.value;
  begin();
});
byId("filters").addEventListener("submit", (event) => {
  event.preventDefault();
  begin();
});
byId("clear").addEventListener("click", () => {
  for (const id of ["search", "filter-user", "filter-workflow", "filter-cluster"]) byId(id).value = "";
  clusterChoice = "";
  store.filters.search = "";
  store.filters.states.clear();
  begin();
});
byId("language").addEventListener("change", (event) => {
  write("jobpush.language", event.target.value);
  say(event.target.value);
});
byId("sound").addEventListener("click", () => {
  watching.setSound(!watching.sound);
  sound();
});
document.addEventListener("keydown", (event) => {
  const typingHere = event.target.matches("input, select, textarea");
  if (event.key === "/" && !typingHere) {
    location.hash = "#/";
    byId("search").focus();
    event.preventDefault();
  } else if (event.key === "Escape") {
    if (typingHere) event.target.blur();
    else if (location.hash.length > 2) location.hash = "#/";
  }
});
watching.told = (text) => {
  const before = document.title;
  document.title = `● ${text}`;
  window.addEventListener("focus", () => { document.title = before; }, { once: true });
};
window.addEventListener("hashchange", route);
window.addEventListener("popstate", () => {
  readAddress();
  arrange();
});

readAddress();
theme(read("jobpush.theme", matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light"));
say(read("jobpush.language", (navigator.languages ?? [navigator.language]).some((code) => code.toLowerCase().startsWith("ko")) ? "ko" : "en"));
route();
if (token()) takeToken(token());
else {
  showOwn(await whoAsks());
  begin();
  look();
}
setInterval(look, HEALTH_MS);
setInterval(() => {
  clusters();
  if (!byId("page-jobs").hidden && !document.hidden) table.draw();
}, 1000);
