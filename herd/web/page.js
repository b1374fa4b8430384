// The page: what came from the router, what the visitor chose, and one frame drawn of both.

import { Live, refusal } from "./live.js";
import * as view from "./view.js";
import { clock, printable } from "./words.js";

const { by, write } = view;

const KEPT = 100; // happenings: as many as the router tells at first
const KEY = "herd-key"; // in the session's storage: closed with the tab
const MEANS = {
  drain: "It gets nothing new until it is resumed: what runs there ends, what waits goes elsewhere.",
  pause: "It gets nothing new for some time: what runs there ends, what waits goes elsewhere.",
  resume: "It takes requests again, unless its owner's programs keep it from that.",
};

const now = { status: null, requests: [], happenings: [], drawn: true, last: null, story: null, order: null };
let key = sessionStorage.getItem(KEY) ?? "";

const headers = () => (key ? { Authorization: `Bearer ${key}` } : {});

// The router's answer to one question. Throws an Error with its own words.
async function ask(path, method = "GET") {
  const answer = await fetch(path, { method, headers: headers(), cache: "no-store" }).catch(() => {
    throw new Error("the router does not answer");
  });
  const body = await answer.text();
  if (!answer.ok) throw new Error(refusal(answer.status, body));
  return JSON.parse(body);
}

// --- drawing ---------------------------------------------------------------------------------------------------------

function draw() {
  now.drawn = true;
  const filter = by("filter").value.trim();
  view.happenings(now.happenings, filter);
  view.requests(now.requests, filter);
  if (now.status === null) return;
  view.totals(now.status);
  view.nodes(now.status, by("sort").value, filter);
  view.queues(now.status, filter);
}

// However much comes, it is drawn once a frame, and not at all where nobody sees it.
function changed() {
  if (now.drawn) requestAnimationFrame(draw);
  now.drawn = false;
}

function heard(topic, told, fresh) {
  now.last = Date.now() / 1000;
  if (topic === "status") now.status = told;
  if (topic === "requests") {
    now.requests = told.requests;
    if (now.story !== null && now.story.outcome === null) tell(now.story.id);
  }
  if (topic === "happenings") {
    const kept = [...(fresh ? [] : now.happenings), ...told.happenings]; // a router that starts anew counts anew
    now.happenings = kept.sort((one, other) => other.number - one.number).slice(0, KEPT);
  }
  document.querySelector("main").hidden = false;
  changed();
}

function stands(state, text) {
  const since = now.last === null ? "" : ` since ${clock(now.last)}`;
  document.body.dataset.link = state;
  by("again").hidden = state !== "lost";
  write(by("link"), { live: "live", locked: "not let in", lost: `not live${since}: ${printable(text)}` }[state]);
  if (state === "locked") askForKey(text);
}

const live = new Live("/herd/v1/events?topics=status,requests,happenings", headers, heard, stands);

// --- the key ---------------------------------------------------------------------------------------------------------

function askForKey(why) {
  write(by("key-why"), printable(why));
  by("key-form").hidden = false;
  by("key").focus();
}

by("change-key").addEventListener("click", () =>
  by("key-form").hidden ? askForKey("") : (by("key-form").hidden = true),
);

by("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const given = by("key").value.trim();
  if (/[^\x21-\x7e]/.test(given)) return write(by("key-why"), "a key consists of ASCII letters, digits and signs");
  key = given;
  sessionStorage.setItem(KEY, key);
  by("key").value = "";
  by("key-form").hidden = true;
  live.retry();
});

// --- orders ----------------------------------------------------------------------------------------------------------

by("nodes").addEventListener("click", ({ target }) => {
  const { order, node, name } = target.dataset;
  if (order === undefined) return;
  now.order = { order, node };
  write(by("order-title"), `${target.textContent} ${name}?`);
  write(by("order-go"), target.textContent);
  write(by("order-means"), MEANS[order]);
  write(by("order-refused"), "");
  by("order-for").hidden = order !== "pause";
  by("order").showModal();
});

by("order").addEventListener("submit", async (event) => {
  event.preventDefault();
  const { order, node } = now.order;
  const lasts = order === "pause" ? by("order-for").querySelector("select").value : "";
  by("order-go").disabled = true;
  try {
    await ask(`/herd/v1/nodes/${encodeURIComponent(node)}/${order}${lasts ? `?for=${lasts}` : ""}`, "POST");
    by("order").close();
  } catch (error) {
    write(by("order-refused"), printable(error.message));
  } finally {
    by("order-go").disabled = false;
  }
});

// --- stories ---------------------------------------------------------------------------------------------------------

by("requests").addEventListener("click", ({ target }) => {
  const id = target.closest("li")?.dataset.id;
  if (id === undefined) return;
  write(by("story-title"), `Request ${printable(id)}`);
  write(by("story-heading"), "");
  by("story-events").hidden = true;
  by("story").showModal();
  tell(id);
});

async function tell(id) {
  now.story = { id, outcome: "asked" }; // one question at a time
  try {
    const document = await ask(`/herd/v1/requests/${encodeURIComponent(id)}`);
    if (now.story?.id !== id) return; // closed meanwhile
    now.story = document;
    view.story(document);
    by("story-events").hidden = false;
  } catch (error) {
    write(by("story-heading"), printable(error.message));
  }
}

by("story").addEventListener("close", () => (now.story = null));

// --- the visitor -----------------------------------------------------------------------------------------------------

for (const button of document.querySelectorAll("[data-close]")) {
  button.addEventListener("click", () => button.closest("dialog").close());
}
by("filter").addEventListener("input", changed);
by("sort").addEventListener("change", changed);
by("again").addEventListener("click", () => live.retry());
addEventListener("online", () => live.retry());
const looked = () => (document.hidden ? live.leave() : live.retry());
document.addEventListener("visibilitychange", looked);
looked();
live.run();
