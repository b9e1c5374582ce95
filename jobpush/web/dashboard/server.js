// Exchanges with the server: pages of jobs, one object, and the stream of changes with all that keeps it alive.

const SILENCE_MS = 95_000; // a bookmark comes every minute at least
const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 30_000;

// The token that somebody has signed in with: for this tab alone, and gone when it is closed. What is in localStorage stays after
// that, for every tab and whoever sits there next.
const TOKEN = "jobpush.token";

export class NotFound extends Error {}

// Whoever asks must say who he is, or has not said so.
export class Unknown extends Error {}

export function token() {
  try {
    return sessionStorage.getItem(TOKEN) ?? "";
  } catch {
    return signedIn;
  }
}

let signedIn = "";

export function signIn(text) {
  signedIn = text;
  try {
    if (text) sessionStorage.setItem(TOKEN, text);
    else sessionStorage.removeItem(TOKEN);
  } catch {
    // where nothing may be kept, the page itself remembers it
  }
}

function headers(more = {}) {
  const shown = token();
  return { accept: "application/json", ...(shown ? { authorization: `Bearer ${shown}` } : {}), ...more };
}

export function address(path, parameters = {}) {
  const url = new URL(path, document.baseURI);
  url.hash = "";
  url.search = "";
  for (const [name, value] of Object.entries(parameters)) {
    for (const one of Array.isArray(value) ? value : [value]) {
      if (one !== null && one !== undefined && one !== "") url.searchParams.append(name, one);
    }
  }
  return url;
}

export async function get(path, parameters = {}, signal = undefined) {
  const response = await fetch(address(path, parameters), { headers: headers(), cache: "no-store", signal });
  const fields = await response.json().catch(() => ({}));
  if (response.status === 401) throw new Unknown(fields.detail ?? "401");
  if (response.status === 404) throw new NotFound(fields.detail ?? "404");
  if (!response.ok && path !== "readyz") throw new Error(fields.detail ?? `HTTP ${response.status}`);
  return fields;
}

// Who asks, where the server knows it without a token: by a proxy that signs users in. Else nothing.
export async function whoAsks() {
  const response = await fetch(address("v1/jobs", { limit: 1 }), { headers: headers(), cache: "no-store" }).catch(() => null);
  return response?.ok ? response.headers.get("jobpush-user") : null;
}

// All jobs that match, a page at a time; the cursor from which to follow them.
export async function load(filters, page, signal) {
  let after;
  for (;;) {
    const answer = await get("v1/jobs", { ...filters, limit: 2000, after }, signal);
    page(answer.jobs);
    after = answer.after;
    if (after === undefined) return answer.cursor;
  }
}

// What a stream is opened with by who has signed in: EventSource can send no header, so it is a ticket, which opens one stream.
export async function ticket(filters) {
  if (!token()) return {};
  const fields = Object.fromEntries(Object.entries(filters).filter(([, value]) => value).map(([name, value]) => [name === "workflow" ? "workflows" : name, value]));
  const response = await fetch(address("v1/tickets"), {
    method: "POST", headers: headers({ "content-type": "application/json" }), body: JSON.stringify(fields), cache: "no-store",
  });
  const answer = await response.json().catch(() => ({}));
  if (response.status === 401) throw new Unknown(answer.detail ?? "401");
  if (!response.ok) throw new Error(answer.detail ?? `HTTP ${response.status}`);
  return answer;
}

// The changes after a cursor, for ever: over restarts of the server, lost networks and a laptop's sleep.
export class Stream {
  constructor(filters, cursor, { event, reset, state, unknown }) {
    this.filters = filters;
    this.cursor = cursor;
    this.told = { event, reset, state, unknown };
    this.failures = 0;
    this.heard = Date.now();
    this.closed = false;
    this.wake = () => this.look();
    document.addEventListener("visibilitychange", this.wake);
    window.addEventListener("online", this.wake);
    this.watchdog = setInterval(this.wake, 5_000);
    this.open();
  }

  async open() {
    clearTimeout(this.timer);
    this.source?.close();
    this.told.state(this.failures ? "away" : "connecting");
    let source;
    try {
      const opens = (await ticket(this.filters)).ticket;
      if (this.closed) return;
      source = new EventSource(address("v1/events", { ...this.filters, ticket: opens, last_event_id: this.cursor }));
    } catch (error) {
      if (error instanceof Unknown) this.told.unknown(error);
      else this.retry();
      return;
    }
    this.source = source;
    this.heard = Date.now();
    source.addEventListener("open", () => {
      this.failures = 0;
      this.heard = Date.now();
      this.told.state("live");
    });
    for (const kind of ["job", "workflow", "bookmark", "reset"]) {
      source.addEventListener(kind, (message) => {
        if (source !== this.source) return;
        this.heard = Date.now();
        if (message.lastEventId) this.cursor = message.lastEventId;
        if (kind === "reset") this.told.reset();
        else if (kind !== "bookmark") this.told.event(JSON.parse(message.data));
      });
    }
    // The browser's own retries end at the first answer that is not 200: take them over.
    source.addEventListener("error", () => {
      if (source === this.source) this.retry();
    });
  }

  retry() {
    this.source?.close();
    this.source = null;
    this.failures += 1;
    this.told.state("away");
    const pause = Math.random() * Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** Math.min(this.failures, 10));
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.open(), this.closed ? 0 : pause);
  }

  // After a sleep the connection may be dead without anybody having said so.
  look() {
    if (this.closed) return;
    if (!this.source && !document.hidden && navigator.onLine !== false && this.failures > 3) {
      this.failures = 1;
      this.open();
    } else if (this.source && Date.now() - this.heard > SILENCE_MS) {
      this.failures += 1;
      this.open();
    }
  }

  close() {
    this.closed = true;
    clearTimeout(this.timer);
    clearInterval(this.watchdog);
    document.removeEventListener("visibilitychange", this.wake);
    window.removeEventListener("online", this.wake);
    this.source?.close();
  }
}
