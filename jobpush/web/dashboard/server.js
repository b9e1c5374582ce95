// Exchanges with the server: pages of jobs, one object, and the stream of changes with all that keeps it alive.

const SILENCE_MS = 95_000; // a bookmark comes every minute at least
const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 30_000;

export class NotFound extends Error {}

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
  const response = await fetch(address(path, parameters), { headers: { accept: "application/json" }, cache: "no-store", signal });
  const fields = await response.json().catch(() => ({}));
  if (response.status === 404) throw new NotFound(fields.detail ?? "404");
  if (!response.ok && path !== "readyz") throw new Error(fields.detail ?? `HTTP ${response.status}`);
  return fields;
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

// What a stream must be opened with where the server asks who is there: EventSource can send no header, so there will be a ticket
// that is used once. There is no authentication yet, and no ticket.
async function ticket() {
  return {};
}

// The changes after a cursor, for ever: over restarts of the server, lost networks and a laptop's sleep.
export class Stream {
  constructor(filters, cursor, { event, reset, state }) {
    this.filters = filters;
    this.cursor = cursor;
    this.told = { event, reset, state };
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
      const parameters = { ...this.filters, ...(await ticket()), last_event_id: this.cursor };
      if (this.closed) return;
      source = new EventSource(address("v1/events", parameters));
    } catch {
      this.retry();
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
