import assert from "node:assert/strict";
import { test } from "node:test";

import * as words from "../../herd/web/words.js";

const GIB = 2 ** 30;
const NODE = {
  name: "studio",
  state: "ready",
  reasons: [],
  models: [],
  running: 0,
  waiting: 0,
  cpu: 0.254,
  memory_total: 64 * GIB,
  memory_free: 16 * GIB,
  machine: { os: "linux", arch: "x86_64", cpu: "Ryzen", cores: 16, memory_total: 64 * GIB },
  gpus: [],
  workload: "light",
  owner_load: 0.2,
  thermal: "nominal",
  dedicated: false,
  availability: 0.8,
  trend: 8,
  tokens_per_s: 3,
};
const gpu = { name: "RTX", memory_total: 24 * GIB, memory_free: 2 * GIB, unified: false };
const REQUEST = {
  id: "q",
  model: "m",
  client: "ada",
  arrived: 0,
  node: "studio",
  outcome: "served",
  status: 200,
  waited_s: 0.3,
  first_token_s: 0.5,
  total_s: 2.5,
  attempts: 1,
  score: 80,
  prompt: 12,
  completion: 40,
  predicted_s: null,
  served_model: null,
};

test("a stranger's text stays on its line, is shown whole where it hides something, and is not endless", () => {
  assert.equal(words.printable("Größe 猫 👍"), "Größe 猫 👍");
  assert.equal(words.printable("a\n\u202eb\u0000"), "a\\u{a}\\u{202e}b\\u{0}");
  assert.equal(words.printable("👍".repeat(1000)), `${"👍".repeat(300)}…`);
  assert.equal(words.printable(null), "");
});

test("numbers have their units", () => {
  assert.deepEqual([0.0123, 2.414, 59.999, 200, null].map(words.seconds), [
    "0.012 s",
    "2.41 s",
    "60.00 s",
    "3 min 20 s",
    "–",
  ]);
  assert.deepEqual([0, 3.14159, null, undefined].map(words.rate), ["0.0", "3.1", "–", "–"]);
  assert.deepEqual([1.25 * GIB, 64 * GIB].map(words.gib), ["1.3", "64"]);
  assert.deepEqual([words.count(1, "node"), words.count(0, "node")], ["1 node", "0 nodes"]);
});

test("a moment is the time of its day, behind its date where that is not today's", () => {
  const noon = new Date(2026, 5, 2, 12, 30, 5).getTime() / 1000;
  assert.equal(words.clock(noon, noon + 60), "12:30:05");
  assert.equal(words.clock(noon, noon + 86400), "06-02 12:30:05");
  assert.equal(words.clock(1e300), "at no time");
});

test("why a node does not take requests is told with its times", () => {
  const noon = new Date().setHours(12, 0, 0, 0) / 1000;
  const reasons = [
    { text: "is in a meeting: its camera: x", since: noon, until: noon + 60 },
    { text: "is\nodd", since: null, until: null },
  ];
  const meeting = "is in a meeting since 12:00:00 until 12:01:00: its camera: x";
  assert.deepEqual(words.reasons({ reasons, breaker: null }), [meeting, "is\\u{a}odd"]);
  const breaker = { state: "open", failures: 3, since: noon, until: null };
  assert.deepEqual(words.reasons({ reasons: [], breaker }), ["is left alone, for its link fails since 12:00:00"]);
  assert.deepEqual(words.reasons({ reasons: [], breaker: { ...breaker, state: "closed" } }), []);
});

test("a machine has bars for its memory, for its GPUs and for its processor", () => {
  assert.deepEqual(words.bars(NODE), [
    ["memory", 0.75, "48 of 64 GB"],
    ["CPU", 0.254, "25 %"],
  ]);
  assert.deepEqual(words.bars({ ...NODE, gpus: [gpu] })[1], ["GPU", 22 / 24, "22 of 24 GB"]);
  assert.deepEqual(
    words.bars({ ...NODE, gpus: [gpu, gpu] }).map(([what]) => what),
    ["memory", "GPU 1", "GPU 2", "CPU"],
  );
  assert.equal(words.bars({ ...NODE, memory_total: 0, memory_free: 0 })[0][1], 0);
  assert.equal(words.machine(NODE), "Ryzen · 16 cores · 64 GB · linux/x86_64");
  assert.equal(words.machine({ ...NODE, gpus: [gpu, gpu] }), "Ryzen · 16 cores · 64 GB · 2 × RTX · linux/x86_64");
  assert.equal(words.machine({ ...NODE, gpus: [{ ...gpu, name: "Ryzen" }] }), words.machine(NODE));
  assert.equal(words.machine({ gpus: [], machine: { os: "", arch: "", cpu: "", cores: 0, memory_total: 0 } }), "");
});

test("what its owner leaves is told for now and for the next hour", () => {
  assert.equal(words.ahead(NODE), "available 80 %, next hour 80 %; its owner takes 20 % (light)");
  assert.equal(
    words.ahead({ ...NODE, trend: 3, thermal: "throttled" }),
    "available 80 %, next hour 30 % ↘; its owner takes 20 % (light); throttled",
  );
  assert.equal(words.ahead({ ...NODE, trend: 10, owner_load: null }), "available 80 %, next hour 100 % ↗");
  assert.equal(words.ahead({ ...NODE, trend: 5, owner_load: null }), "available 80 %, next hour unknown");
  assert.match(words.ahead({ ...NODE, dedicated: true }), /no owner/);
});

test("a model shows how much of its limit is in use, and what is special about it", () => {
  const model = { name: "m:1b", limit: 4, pinned: false, breaker: null };
  assert.equal(words.model(model), "m:1b 0/4");
  const open = { ...model, pinned: true, breaker: { state: "open" } };
  assert.equal(words.stored(model), "m:1b");
  assert.equal(words.stored(open), "m:1b (pinned, breaker open)");
  assert.equal(words.model(open, { running: 2, waiting: 3 }), "m:1b 2/4, 3 waiting, pinned, breaker open");
});

test("a model that does not chat shows what it is for", () => {
  const model = (name, ...capabilities) => ({ name, limit: 1, pinned: false, breaker: null, capabilities });
  assert.equal(words.model(model("whisper-1", "audio"), { running: 1 }), "whisper-1 1/1, speech");
  assert.equal(words.stored(model("z-image-turbo", "image")), "z-image-turbo (images)");
  assert.equal(words.stored(model("bge-m3", "embedding")), "bge-m3 (embeddings)");
  assert.equal(words.stored(model("voxtral", "completion", "audio")), "voxtral");
});

test("a model that makes an image shows how far it is", () => {
  const model = { name: "z-image-turbo", limit: 1, pinned: false, breaker: null, capabilities: ["image"] };
  assert.equal(words.model({ ...model, step: 4, steps: 9 }, { running: 1 }), "z-image-turbo 1/1, step 4 of 9, images");
  assert.equal(words.model({ ...model, step: 0, steps: 0 }, { running: 1 }), "z-image-turbo 1/1, images");
});

test("nodes are sorted by what the visitor wants to see first, and by name where that is the same", () => {
  const nodes = [
    { ...NODE, name: "box10", running: 1 },
    { ...NODE, name: "box2", state: "paused", gpus: [gpu] },
    { ...NODE, name: "box1", state: "offline", tokens_per_s: 9 },
  ];
  const names = (order) => words.sorted(nodes, order).map((node) => node.name);
  assert.deepEqual(names("name"), ["box1", "box2", "box10"]);
  assert.deepEqual(names("state"), ["box1", "box2", "box10"]);
  assert.deepEqual(names("work"), ["box10", "box1", "box2"]);
  assert.deepEqual(names("speed"), ["box1", "box2", "box10"]);
  nodes[0].gpus = [{ ...gpu, unified: true }]; // of the memory that counts already
  assert.deepEqual(names("memory"), ["box2", "box1", "box10"]);
});

test("each word that is typed has to be somewhere", () => {
  assert.ok(words.matches("", "studio"));
  assert.ok(words.matches("STUD  pau", "studio", "paused"));
  assert.ok(!words.matches("studio ready", "studio", "paused"));
});

test("a request is told in a sentence", () => {
  assert.equal(words.speed(REQUEST), 20);
  assert.deepEqual(
    [{ first_token_s: null }, { completion: null }, { first_token_s: 2.5 }].map((one) =>
      words.speed({ ...REQUEST, ...one }),
    ),
    [null, null, null],
  );
  assert.match(
    words.heading(REQUEST),
    /^m for ada, .*: served by studio, 2\.50 s; waited 0\.300 s; first token after 0\.500 s; 12 tokens in, 40 out$/,
  );
  const drawn = { ...REQUEST, prompt: null, completion: null, work: { unit: "kilopixel-step", amount: 4195 } };
  assert.match(words.heading(drawn), /; 4\.2 megapixel-steps$/);
  const failed = {
    ...REQUEST,
    outcome: "expired",
    status: 503,
    node: null,
    attempts: 3,
    prompt: null,
    served_model: "n",
    predicted_s: 4,
  };
  assert.match(
    words.heading(failed),
    /^m, by n for .*: given up, 2\.50 s; .*; 3 attempts; HTTP 503; predicted 4\.00 s$/,
  );
  assert.equal(words.outcome({ outcome: null }), "under way");
  assert.equal(words.outcome({ outcome: "eaten" }), "eaten");
});

test("a story tells what was looked at and why, and what it does not know by its name", () => {
  const events = [
    {
      kind: "placed",
      at: 0.001,
      node: "studio",
      candidates_left_out: 1,
      eliminated_left_out: 0,
      candidates: [
        { node: "studio", score: 62, signals: { thermal: 50, affinity: 12, odd: -1.26, none: 0.01 } },
        { node: "den", score: 7.5, signals: {}, seconds: { load: 2.5 } },
      ],
      eliminated: [{ node: "<b>", reason: { kind: "x", text: "is\npaused" } }],
    },
    { kind: "opened", at: 0.1, node: "studio", attempt: 1, edits: [{ field: "keep_alive", value: -1 }] },
    { kind: "failed", at: 0.2, node: "studio", attempt: 1, reason: { kind: "x", text: "broke" } },
    { kind: "brand-new", at: 0.3 },
    { kind: "ended", at: 2.5, outcome: "failed", text: "nobody answers" },
  ];
  const [placed, opened, failed, odd, ended] = words.story(events);
  assert.equal(placed.text, "4 machines looked at: studio is the best");
  assert.deepEqual(placed.ranking, [
    ["studio", "62.0", "readiness of the model +50.0, same conversation +12.0, odd -1.3"],
    ["den", "7.5", "loading 2.5 s"],
    ["<b>", "out", "is\\u{a}paused"],
    ["…", "", "and 1 more"],
  ]);
  assert.equal(opened.text, "attempt 1: sent to studio; keep_alive set to -1");
  assert.deepEqual([failed.text, failed.bad], ["studio: attempt 1 failed: broke", true]);
  assert.equal(odd.text, "brand-new");
  assert.deepEqual([ended.at, ended.text, ended.bad], ["2.500 s", "over: failed: nobody answers", true]);
});

test("a batch that is served in parts tells how, and what became of them", () => {
  const events = [
    {
      kind: "split",
      at: 0.001,
      parts: [
        { id: "r-1", node: "studio", inputs: 96 },
        { id: "r-2", node: "den", inputs: 32 },
      ],
      predicted_s: 1.2,
      alone_s: 1.6,
    },
    { kind: "part", at: 1.1, id: "r-1", part: 1, node: "studio", status: 200, attempts: 1 },
    { kind: "part", at: 1.2, id: "r-2", part: 2, node: "den", status: 500, attempts: 3 },
    { kind: "unsplit", at: 1.2, text: "a part failed" },
  ];
  const told = words.story(events).map((event) => event.text);
  assert.match(told[0], /^in 2 parts, of its inputs 96 to studio, 32 to den; predicted 1\.20* s, in one piece 1\.60* s$/);
  assert.deepEqual(told.slice(1), [
    "r-1 answered by studio",
    "r-2 answered by den (HTTP 500)",
    "begun again in one piece: a part failed",
  ]);
});
