// What the page says: pure functions, from the router's documents to words.

const LONGEST = 300; // characters of a text that a stranger chose
const GIB = 2 ** 30;

export const STATES = {
  offline: "○",
  draining: "▽",
  paused: "‖",
  degraded: "◐",
  joining: "…",
  ready: "●", // those that need a look first
};

// What a score is made of; a part that is not in it keeps its name.
const PARTS = {
  thermal: "readiness of the model",
  memory_fit: "memory to spare",
  queue_depth: "work there already",
  estimated_wait: "expected wait",
  role_affinity: "fit of sizes",
  availability_trend: "the owner's habits",
  context_fit: "room for the prompt",
  overflow: "sooner elsewhere",
  degraded: "fallen silent",
  affinity: "same conversation",
  wait: "waiting",
  load: "loading",
  prefill: "reading the prompt",
  decode: "answering",
  doubt: "benefit of the doubt",
  eviction: "loads of what has to go",
  owner: "the owner's part",
};

// Text on one line, with what would steer the reader's screen shown and not obeyed.
export function printable(text) {
  const letters = [...String(text ?? "")];
  const shown = letters.length > LONGEST ? `${letters.slice(0, LONGEST).join("")}…` : letters.join("");
  return shown.replace(/[\p{C}\p{Zl}\p{Zp}]/gu, (sign) => `\\u{${sign.codePointAt(0).toString(16)}}`);
}

export function count(number, thing) {
  return `${number} ${thing}${number === 1 ? "" : "s"}`;
}

export function percent(share) {
  return `${Math.round(100 * share)} %`;
}

export function gib(bytes) {
  const size = bytes / GIB;
  return size < 10 ? size.toFixed(1) : size.toFixed(0);
}

export function seconds(value) {
  if (value === null || value === undefined) return "–";
  if (value < 60) return `${value.toFixed(value < 1 ? 3 : 2)} s`;
  return `${Math.floor(value / 60)} min ${Math.floor(value % 60)} s`;
}

export function rate(value) {
  return value === null || value === undefined ? "–" : value.toFixed(1);
}

// A moment in seconds since the Unix epoch: the time of day, behind its date where that is not today's.
export function clock(moment, now = Date.now() / 1000) {
  const [then, today] = [new Date(moment * 1000), new Date(now * 1000)];
  if (Number.isNaN(then.getTime())) return "at no time";
  const two = (number) => String(number).padStart(2, "0");
  const time = [then.getHours(), then.getMinutes(), then.getSeconds()].map(two).join(":");
  const near = then.toDateString() === today.toDateString();
  return near ? time : `${two(then.getMonth() + 1)}-${two(then.getDate())} ${time}`;
}

// --- nodes -----------------------------------------------------------------------------------------------------------

// Why a node is not ready, or is left alone.
export function reasons({ reasons: told, breaker }) {
  const link = breaker && breaker.state !== "closed" ? [{ text: "is left alone, for its link fails", ...breaker }] : [];
  return [...told, ...link].map(({ text, since, until }) => {
    const times = [
      ["since", since],
      ["until", until],
    ].filter(([, moment]) => typeof moment === "number");
    const [what, ...cause] = printable(text).split(": ");
    return [what + times.map(([word, moment]) => ` ${word} ${clock(moment)}`).join(""), ...cause].join(": ");
  });
}

export function machine({ machine: { cpu, cores, memory_total, os, arch }, gpus, dedicated }) {
  const names = [...new Set(gpus.map((gpu) => gpu.name))].filter((name) => name !== cpu);
  const cards = names.map((name) => [gpus.filter((gpu) => gpu.name === name).length, name]);
  const parts = [
    cpu,
    cores && count(cores, "core"),
    memory_total && `${gib(memory_total)} GB`,
    ...cards.map(([number, name]) => (number > 1 ? `${number} × ${name}` : name)),
    [os, arch].filter(Boolean).join("/"),
    dedicated && "dedicated",
  ];
  return parts.filter(Boolean).map(printable).join(" · ");
}

// The bars of a node: [what, share, figures].
export function bars(node) {
  const used = (total, free) => [total ? (total - free) / total : 0, `${gib(total - free)} of ${gib(total)} GB`];
  return [
    ["memory", ...used(node.memory_total, node.memory_free)],
    ...node.gpus.map((gpu, n) => [
      node.gpus.length > 1 ? `GPU ${n + 1}` : "GPU",
      ...used(gpu.memory_total, gpu.memory_free),
    ]),
    ["CPU", node.cpu, percent(node.cpu)],
  ];
}

// What the owner leaves, now and in the next hour; 5 of 10 points say that nothing is known.
export function ahead({ dedicated, availability, trend, owner_load, workload, thermal }) {
  if (dedicated) return "it has no owner: all of it is there for requests";
  const later = trend === 5 ? "unknown" : percent(trend / 10);
  const change =
    trend === 5 || Math.abs(trend / 10 - availability) < 0.1 ? "" : trend / 10 > availability ? " ↗" : " ↘";
  const takes =
    owner_load === null ? [] : [`its owner takes ${percent(owner_load)}${workload ? ` (${workload})` : ""}`];
  const hot = thermal && thermal !== "nominal" ? [thermal] : [];
  return [`available ${percent(availability)}, next hour ${later}${change}`, ...takes, ...hot]
    .map(printable)
    .join("; ");
}

// What a model is for that does not chat; its server's words are those of Ollama.
const KINDS = [
  ["image", "images"],
  ["audio", "speech"],
  ["embedding", "embeddings"],
];
const kind = (can = []) => !can.includes("completion") && KINDS.find(([word]) => can.includes(word))?.[1];

const special = ({ pinned, breaker, capabilities }) =>
  [
    kind(capabilities),
    pinned && "pinned",
    breaker && breaker.state !== "closed" && `breaker ${breaker.state}`,
  ].filter(Boolean);

// A model in memory and how much of its limit is in use.
export function model(shown, queue) {
  const waiting = queue?.waiting ? `, ${queue.waiting} waiting` : "";
  const made = shown.steps ? [`step ${shown.step} of ${shown.steps}`] : [];
  return [`${printable(shown.name)} ${queue?.running ?? 0}/${shown.limit}${waiting}`, ...made, ...special(shown)].join(
    ", ",
  );
}

// A model on disk.
export function stored(shown) {
  const said = special(shown).join(", ");
  return printable(shown.name) + (said ? ` (${said})` : "");
}

const free = (node) => node.memory_free + node.gpus.reduce((sum, gpu) => sum + (gpu.unified ? 0 : gpu.memory_free), 0);
const ORDERS = {
  state: (one, other) => Object.keys(STATES).indexOf(one.state) - Object.keys(STATES).indexOf(other.state),
  work: (one, other) => other.running + other.waiting - one.running - one.waiting,
  speed: (one, other) => (other.tokens_per_s ?? 0) - (one.tokens_per_s ?? 0),
  memory: (one, other) => free(other) - free(one),
};

export function sorted(nodes, order) {
  const by = ORDERS[order] ?? (() => 0);
  return [...nodes].sort(
    (one, other) => by(one, other) || one.name.localeCompare(other.name, undefined, { numeric: true }),
  );
}

// Whether each word that was typed is in one of the texts.
export function matches(typed, ...texts) {
  const all = texts.join("\n").toLowerCase();
  return typed
    .toLowerCase()
    .split(/\s+/)
    .every((word) => all.includes(word));
}

// --- requests --------------------------------------------------------------------------------------------------------

const OUTCOMES = {
  served: "served",
  failed: "failed",
  cancelled: "cancelled",
  expired: "given up",
  rejected: "refused",
};

export function outcome(request) {
  return request.outcome === null ? "under way" : (OUTCOMES[request.outcome] ?? printable(request.outcome));
}

export function asked({ model, served_model }) {
  return printable(served_model ? `${model}, by ${served_model}` : model);
}

// Tokens a second of an answer that came in pieces; null where that cannot be told.
export function speed({ completion, first_token_s, total_s }) {
  const took = total_s - first_token_s;
  return completion > 1 && first_token_s !== null && took > 0.01 ? completion / took : null;
}

// Work that is not counted in tokens.
function work({ unit, amount }) {
  if (unit === "kilopixel-step") return `${(amount / 1000).toFixed(1)} megapixel-steps`;
  return unit === "audio-frame" ? `${(amount / 100).toFixed(0)} s of sound` : `${amount} ${printable(unit)}s`;
}

export function heading(request) {
  const place =
    request.node === null ? "" : `${request.outcome === "served" ? " by" : ", at"} ${printable(request.node)}`;
  const details = [
    `${outcome(request)}${place}, ${seconds(request.total_s)}`,
    `waited ${seconds(request.waited_s)}`,
    request.first_token_s !== null && `first token after ${seconds(request.first_token_s)}`,
    request.attempts > 1 && count(request.attempts, "attempt"),
    request.status !== null && request.status !== 200 && `HTTP ${request.status}`,
    request.prompt !== null && `${request.prompt} tokens in, ${request.completion} out`,
    request.work?.amount > 0 && work(request.work),
    request.predicted_s !== null && `predicted ${seconds(request.predicted_s)}`,
  ];
  const question = `${asked(request)} for ${printable(request.client)}, ${clock(request.arrived)}`;
  return `${question}: ${details.filter(Boolean).join("; ")}`;
}

const WOKEN = {
  unlocked: "the fleet has changed in a way that may help: looks again",
  expired: "nothing has changed: looks once more",
  full: "not held: the router holds as many requests as it may",
  closed: "not held any longer: the router is shutting down",
};

const EVENTS = {
  held: (event) => `waits for a machine that can serve it, for at most ${seconds(event.wait_s)}`,
  woken: (event) => `after ${seconds(event.waited_s)}: ${WOKEN[event.by] ?? event.by}`,
  queued: (event) => `asks for its turn at ${event.node}`,
  moved: (event) => `after ${seconds(event.waited_s)} moved to ${event.candidate.node}, which serves it sooner`,
  refused: (event) => `not taken, after ${seconds(event.waited_s)}: ${event.node} ${event.reason.text}`,
  granted: (event) => `its turn at ${event.node}, after ${seconds(event.waited_s)}`,
  opened: (event) =>
    [
      `attempt ${event.attempt}: sent to ${event.node}`,
      ...event.edits.map((one) => `${one.field} set to ${one.value}`),
    ].join("; "),
  "first-byte": (event) => `the answer begins to reach the client (HTTP ${event.status})`,
  failed: (event) =>
    [event.node, event.attempt ? `attempt ${event.attempt} failed` : "could not be reached", event.reason.text].join(
      ": ",
    ),
  served: ({ node, work: other, prompt, completion }) =>
    `${node} has answered: ${other ? work(other) : `${prompt} tokens in, ${completion} out`}`,
  split: ({ parts, predicted_s, alone_s }) => {
    const shares = parts.map((part) => `${part.inputs} to ${part.node}`).join(", ");
    const instead = `predicted ${seconds(predicted_s)}, in one piece ${seconds(alone_s)}`;
    return [`in ${count(parts.length, "part")}, of its inputs ${shares}`, instead].join("; ");
  },
  part: ({ id, node, status }) => `${id} answered by ${node}${status === 200 ? "" : ` (HTTP ${status})`}`,
  unsplit: (event) => `begun again in one piece: ${event.text}`,
  ended: (event) => ["over", outcome(event), event.text].filter(Boolean).join(": "),
  "left-out": (event) => `… ${event.events} events are left out here …`,
};

function placed({ node, candidates, eliminated, candidates_left_out, eliminated_left_out }) {
  const looked = candidates.length + eliminated.length + candidates_left_out + eliminated_left_out;
  const verdict = node === null ? "none can serve it now" : `${node} is the best`;
  return `${count(looked, "machine")} looked at: ${looked ? verdict : "none has joined"}`;
}

// The machines that a placement looked at: [name, score, why].
function ranking({ candidates, eliminated, candidates_left_out, eliminated_left_out }) {
  const made = ({ signals, seconds: parts }) =>
    Object.entries(parts ?? signals)
      .filter(([, value]) => Math.abs(value) >= 0.05)
      .map(
        ([name, value]) =>
          `${PARTS[name] ?? name} ${value > 0 && !parts ? "+" : ""}${value.toFixed(1)}${parts ? " s" : ""}`,
      )
      .join(", ");
  const left = candidates_left_out + eliminated_left_out;
  return [
    ...candidates.map((one) => [one.node, one.score.toFixed(1), made(one)]),
    ...eliminated.map((one) => [one.node, "out", one.reason.text]),
    ...(left ? [["…", "", `and ${left} more`]] : []),
  ].map((row) => row.map(printable));
}

// The events of a request: { at, text, bad, ranking }.
export function story(events) {
  return events.map((event) => ({
    at: `${event.at.toFixed(3)} s`,
    text: printable(event.kind === "placed" ? placed(event) : (EVENTS[event.kind]?.(event) ?? event.kind)),
    bad: event.kind === "failed" || event.kind === "refused" || (event.kind === "ended" && event.outcome !== "served"),
    ranking: event.kind === "placed" ? ranking(event) : [],
  }));
}
