import assert from "node:assert/strict";
import { test } from "node:test";

import { EventParser, Live, refusal, wait } from "../../herd/web/live.js";

const STREAM =
  ': here\r\n\r\nevent: status\ndata: {"a":1}\n\nid: 7\rdata:x\rdata: y:z\r\revent: nothing\n\ndata\n\n: here\n\n';
const EVENTS = [
  { topic: "status", data: '{"a":1}' },
  { topic: "message", data: "x\ny:z" },
  { topic: "message", data: "" },
];

test("events are the same however the stream is cut", () => {
  assert.deepEqual(new EventParser().push(STREAM), EVENTS);
  const one = new EventParser();
  assert.deepEqual(
    [...STREAM].flatMap((letter) => one.push(letter)),
    EVENTS,
  );
  for (let cut = 0; cut <= STREAM.length; cut += 1) {
    const parser = new EventParser();
    assert.deepEqual(
      [STREAM.slice(0, cut), "", STREAM.slice(cut)].flatMap((piece) => parser.push(piece)),
      EVENTS,
    );
  }
});

test("an event that has not ended is none yet", () => {
  const parser = new EventParser();
  assert.deepEqual(parser.push("data: x\n"), []);
  assert.deepEqual(parser.push("\n"), [{ topic: "message", data: "x" }]);
});

test("a line without an end is not kept without end", () => {
  const parser = new EventParser();
  const much = "x".repeat(2 ** 24);
  assert.throws(() => [1, 2, 3].forEach(() => parser.push(much)), /without an end/);
});

test("a refusal is told in the router's words, whatever its form", () => {
  assert.equal(refusal(403, '{"error":"no"}'), "no");
  assert.equal(refusal(401, '{"error":{"message":"wrong key"}}'), "wrong key");
  assert.equal(refusal(404, "404 page not found\n"), "404 page not found");
  assert.equal(refusal(502, "null"), "null");
  assert.equal(refusal(502, ""), "the router answers with 502");
});

test("each try waits longer than the one before, up to ten seconds, or as long as the router says", () => {
  assert.deepEqual(
    [0, 1, 2, 9, 900].map((failures) => wait(failures, 1)),
    [500, 1000, 2000, 10000, 10000],
  );
  assert.deepEqual([wait(0, 0), wait(9, 0)], [250, 5000]);
  assert.equal(wait(0, 0, 30), 30000);
});

// A Live whose router answers as it is told, and what it says, one thing at a time.
function told(t, ...answers) {
  t.mock.timers.enable({ apis: ["setTimeout"] }); // so that it also rests for ever once the test is over
  const said = [];
  let more = () => {};
  const asked = [];
  t.mock.method(globalThis, "fetch", async (url, options) => {
    asked.push(options.headers);
    const answer = answers.shift() ?? new Promise(() => {});
    return typeof answer === "function" ? answer() : answer;
  });
  const say = (...words) => {
    said.push(words);
    more();
  };
  let key = "";
  const headers = () => ({ key });
  const live = new Live(
    "/events",
    headers,
    (...words) => say("heard", ...words),
    (...words) => say("stands", ...words),
  );
  const next = async () => {
    while (said.length === 0) await new Promise((done) => (more = done));
    return said.shift();
  };
  live.run();
  return { live, next, asked, use: (value) => (key = value) };
}

const stream = (text) => new Response(text, { headers: { "Content-Type": "text/event-stream" } });

test("it comes back by itself, and says when it is not there and why", async (t) => {
  const twice = "event: status\ndata: {}\n\nevent: status\ndata: {}\n\n";
  const gone = () => {
    throw new TypeError("network error");
  };
  const busy = new Response("too many", { status: 503, headers: { "Retry-After": "20" } });
  const { next } = told(t, stream(twice), gone, busy, stream(twice));
  assert.deepEqual(await next(), ["stands", "live", ""]);
  assert.deepEqual(await next(), ["heard", "status", {}, true]);
  assert.deepEqual(await next(), ["heard", "status", {}, false]);
  assert.deepEqual(await next(), ["stands", "lost", "the router has ended the connection"]);
  t.mock.timers.tick(10_000);
  assert.deepEqual(await next(), ["stands", "lost", "the router does not answer"]);
  t.mock.timers.tick(10_000);
  assert.deepEqual(await next(), ["stands", "lost", "too many"]);
  t.mock.timers.tick(20_000);
  assert.deepEqual(await next(), ["stands", "live", ""]);
  assert.deepEqual(await next(), ["heard", "status", {}, true]);
});

test("a router that wants a key is asked again when there is one", async (t) => {
  const locked = new Response('{"error":"a key"}', { status: 401 });
  const { live, next, asked, use } = told(t, locked, stream("event: status\ndata: {}\n\n"));
  assert.deepEqual(await next(), ["stands", "locked", "a key"]);
  use("secret");
  live.retry();
  assert.deepEqual(await next(), ["stands", "live", ""]);
  assert.deepEqual(asked, [{ key: "" }, { key: "secret" }]);
});

test("a page that nobody looks at hangs up until somebody does", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  let asked = 0;
  t.mock.method(globalThis, "fetch", async (_, { signal }) => {
    asked += 1;
    const start = (stream) => {
      stream.enqueue(new TextEncoder().encode("event: status\ndata: {}\n\n"));
      signal.addEventListener("abort", () => stream.error(signal.reason));
    };
    return new Response(new ReadableStream({ start }));
  });
  let said = () => {};
  const next = () => new Promise((done) => (said = done));
  const live = new Live(
    "/events",
    () => ({}),
    () => {},
    (state, text) => said([state, text]),
  );
  live.leave();
  live.run();
  t.mock.timers.tick(60_000);
  assert.equal(asked, 0);
  const first = next();
  live.retry();
  assert.deepEqual(await first, ["live", ""]);
  const left = next();
  live.leave();
  assert.deepEqual(await left, ["lost", "nobody looked at this page"]);
  t.mock.timers.tick(60_000);
  assert.equal(asked, 1);
  const again = next();
  live.retry();
  assert.deepEqual(await again, ["live", ""]);
});

test("a router that has fallen silent is left", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  let stop;
  const silent = new ReadableStream({ start: (controller) => (stop = controller) });
  t.mock.method(globalThis, "fetch", async (_, { signal }) => {
    signal.addEventListener("abort", () => stop.error(signal.reason));
    stop.enqueue(new TextEncoder().encode("event: status\ndata: {}\n\n"));
    return new Response(silent);
  });
  const lost = new Promise((done) => {
    const live = new Live(
      "/events",
      () => ({}),
      () => setImmediate(() => t.mock.timers.tick(40_000)),
      (state, text) => state === "lost" && done(text),
    );
    live.run();
  });
  assert.equal(await lost, "nothing came from the router for 40 s");
});
