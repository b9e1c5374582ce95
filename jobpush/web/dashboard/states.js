// What the page knows of states: their order and their colours.

const COLOURS = {
  QUEUED: "queued", HELD: "held", STARTING: "starting", RUNNING: "running", SUSPENDED: "suspended", FINISHING: "finishing",
  UNKNOWN: "unknown", COMPLETED: "completed", FAILED: "failed", CANCELLED: "cancelled", TIMEOUT: "timeout", OUT_OF_MEMORY: "failed",
  NODE_FAIL: "failed", LAUNCH_FAIL: "failed", DEADLINE: "timeout", PREEMPTED: "timeout", MOVED: "cancelled", LOST: "failed",
};

export const STATES = Object.keys(COLOURS);
export const ORDER = Object.fromEntries([
  "RUNNING", "FINISHING", "STARTING", "SUSPENDED", "QUEUED", "HELD", "UNKNOWN", "FAILED", "OUT_OF_MEMORY", "NODE_FAIL", "LAUNCH_FAIL",
  "TIMEOUT", "DEADLINE", "PREEMPTED", "LOST", "CANCELLED", "MOVED", "COMPLETED",
].map((state, place) => [state, place]));

const WORST_FIRST = [
  "FAILED", "OUT_OF_MEMORY", "NODE_FAIL", "LAUNCH_FAIL", "LOST", "TIMEOUT", "DEADLINE", "PREEMPTED", "CANCELLED", "RUNNING", "FINISHING",
  "STARTING", "SUSPENDED", "UNKNOWN", "HELD", "QUEUED", "MOVED", "COMPLETED",
];

export function colour(state) {
  return `var(--s-${COLOURS[state] ?? "unknown"})`;
}

export function waits(state) {
  return state === "QUEUED" || state === "HELD";
}

export function telling(states) {
  return WORST_FIRST.find((state) => states.has(state)) ?? "UNKNOWN";
}
