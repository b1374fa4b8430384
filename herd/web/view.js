// From words to elements. A row is made once for each thing that it shows, and only what differs is touched: a hundred
// nodes that tell of themselves every second cost no layout. Texts are text, whoever wrote them: nothing here is HTML.

import * as words from "./words.js";

const rows = new WeakMap(); // of a list: its rows by their keys
const parts = new WeakMap(); // of a row: its elements by what they are

export const by = (id) => document.getElementById(id);

export function write(element, text) {
  if (element.textContent !== String(text)) element.textContent = text;
}

function set(element, name, value) {
  if (element.getAttribute(name) !== String(value)) element.setAttribute(name, value);
}

function hide(element, hidden) {
  if (element.hidden !== hidden) element.hidden = hidden;
}

function part(row, name) {
  if (!parts.has(row)) {
    const found = [row, ...row.querySelectorAll("[data-is]")].filter((one) => one.dataset.is);
    parts.set(row, new Map(found.map((one) => [one.dataset.is, one])));
  }
  return parts.get(row).get(name);
}

function fill(row, texts) {
  for (const [name, text] of Object.entries(texts)) write(part(row, name), text);
}

// Have a list show these things, a row of the template for each, in their order.
function list(parent, template, things, keyOf, show) {
  const had = rows.get(parent) ?? new Map();
  const keys = things.map((thing, place) => String(keyOf(thing, place)));
  const wanted = new Set(keys);
  for (const [key, row] of had) {
    if (!wanted.has(key)) {
      row.remove();
      had.delete(key);
    }
  }
  let at = parent.firstElementChild;
  things.forEach((thing, place) => {
    let row = had.get(keys[place]);
    if (row === undefined) {
      row = by(template).content.firstElementChild.cloneNode(true);
      had.set(keys[place], row);
    }
    show(row, thing, place);
    if (row === at) at = at.nextElementSibling;
    else if (row.isConnected && parent.moveBefore)
      parent.moveBefore(row, at); // it keeps the focus
    else parent.insertBefore(row, at);
  });
  rows.set(parent, had);
}

// --- the parts of the page -------------------------------------------------------------------------------------------

export function totals({ nodes, totals: all, router }) {
  const speed = nodes.reduce((sum, node) => sum + (node.tokens_per_s ?? 0), 0);
  write(
    by("totals"),
    [
      `${all.serving} of ${words.count(all.nodes, "node")} serve`,
      words.count(all.models, "model"),
      `${all.running} running`,
      `${all.waiting} waiting`,
      `${all.held} held`,
      `${words.rate(speed)} tokens/s`,
      `version ${words.printable(router.version)}`,
    ].join(" · "),
  );
  document.title = `${all.serving}/${all.nodes} serve, ${all.running} running – Herd`;
}

export function nodes(status, order, filter) {
  const queues = new Map(status.queues.map((queue) => [`${queue.node}\n${queue.model}`, queue]));
  const wanted = status.nodes.filter((node) =>
    words.matches(
      filter,
      node.name,
      node.state,
      ...node.models.map((model) => model.name),
      ...node.reasons.map((reason) => reason.text),
    ),
  );
  list(
    by("nodes"),
    "node-row",
    words.sorted(wanted, order),
    (node) => node.id,
    (row, node) => card(row, node, queues),
  );
}

function card(row, node, queues) {
  const name = words.printable(node.name);
  const [resident, others] = [true, false].map((loaded) => node.models.filter((model) => model.resident === loaded));
  const state = words.printable(node.state);
  set(row, "data-state", node.state);
  fill(row, {
    name,
    state,
    sign: words.STATES[node.state] ?? "?",
    machine: words.machine(node),
    why: words.reasons(node).join("; "),
    running: node.running,
    waiting: node.waiting,
    speed: words.rate(node.tokens_per_s),
    ahead: words.ahead(node),
    more: `${others.length} more on disk`,
    others: others.map(words.stored).join(", "),
  });
  hide(part(row, "more").parentElement, others.length === 0);
  list(part(row, "bars"), "bar-row", words.bars(node), (_, place) => place, bar);
  list(
    part(row, "models"),
    "model-row",
    resident,
    (model) => model.name,
    (item, model) => fill(item, { text: words.model(model, queues.get(`${node.name}\n${model.name}`)) }),
  );
  const stopped = node.reasons.some((reason) => reason.kind === "drained" || reason.kind === "manual");
  for (const button of row.querySelectorAll("[data-order]")) {
    const { order } = button.dataset;
    hide(button, order === "resume" ? !stopped : node.reasons.some((reason) => reason.kind === "drained"));
    set(button, "aria-label", `${button.textContent} ${name}`);
    set(button, "data-node", node.id);
    set(button, "data-name", name);
  }
}

function bar(row, [what, share, figures]) {
  fill(row, { what, figures });
  const meter = part(row, "bar");
  const filled = Math.round(100 * Math.min(Math.max(share, 0), 1));
  if (meter.getAttribute("aria-valuenow") === String(filled)) return;
  set(meter, "aria-label", what);
  set(meter, "aria-valuenow", filled);
  meter.style.setProperty("--filled", `${filled}%`);
  meter.classList.toggle("full", filled >= 90);
}

export function queues(status, filter) {
  const busy = status.queues.filter(
    (queue) => queue.running + queue.waiting > 0 && words.matches(filter, queue.node, queue.model),
  );
  busy.sort((one, other) => other.waiting - one.waiting || other.running - one.running);
  list(
    by("queues"),
    "queue-row",
    busy,
    (queue) => `${queue.node}\n${queue.model}`,
    (row, queue) =>
      fill(row, {
        model: words.printable(queue.model),
        node: `at ${words.printable(queue.node)}`,
        figures: `${queue.running} of ${queue.limit} running, ${queue.waiting} waiting`,
      }),
  );
}

export function happenings(kept, filter) {
  const wanted = kept.filter((one) => words.matches(filter, one.node, one.model, one.text, one.kind));
  list(
    by("happenings"),
    "happening-row",
    wanted,
    (one) => one.number,
    (row, one) => fill(row, { time: words.clock(one.at), text: words.printable(one.text) }),
  );
}

export function requests(entries, filter) {
  const wanted = entries.filter((one) =>
    words.matches(filter, one.id, words.asked(one), one.client, one.node ?? "", words.outcome(one)),
  );
  list(
    by("requests"),
    "request-row",
    wanted,
    (one) => `${one.id}\n${one.arrived}`,
    (row, one) => {
      fill(row, {
        when: words.clock(one.arrived),
        model: words.asked(one),
        node: one.node === null ? "at no node yet" : `at ${words.printable(one.node)}`,
        outcome: words.outcome(one),
        score: words.rate(one.score),
        waited: words.seconds(one.waited_s),
        first: words.seconds(one.first_token_s),
        speed: words.rate(words.speed(one)),
        total: words.seconds(one.total_s),
      });
      set(row, "data-outcome", one.outcome ?? "running");
      set(row, "data-id", one.id);
      set(part(row, "model"), "aria-label", `${words.asked(one)}: story of request ${words.printable(one.id)}`);
    },
  );
}

export function story(document) {
  write(by("story-heading"), words.heading(document));
  list(
    by("story-events"),
    "event-row",
    words.story(document.events),
    (_, place) => place,
    (row, event) => {
      fill(row, { at: event.at, text: event.text });
      row.classList.toggle("bad", event.bad);
      list(
        part(row, "ranking"),
        "ranking-row",
        event.ranking,
        (_, place) => place,
        (line, [node, score, why]) => fill(line, { node, score, why }),
      );
    },
  );
}
