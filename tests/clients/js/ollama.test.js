// The official `ollama` client for JavaScript.

import assert from "node:assert/strict";
import test from "node:test";

import { Ollama } from "ollama";

import * as q from "./questions.js";

const client = new Ollama({ host: q.url });
const short = { model: q.chat, messages: q.messages, options: { num_predict: 12 } };

test("models are listed", async () => {
  const names = (await client.list()).models.map((model) => model.model);
  assert.ok(names.includes(q.chat) && names.includes(q.vectors));
});

test("a model is shown", async () => {
  assert.ok((await client.show({ model: q.chat })).capabilities.includes("completion"));
});

test("a chat is answered, and its model is listed as loaded", { timeout: 20000 }, async () => {
  const answer = await client.chat(short);
  assert.ok(answer.message.content);
  assert.ok(answer.eval_count > 0);
  const loaded = async () => (await client.ps()).models.some((model) => model.model === q.chat);
  while (!(await loaded())) await new Promise((resolve) => setTimeout(resolve, 50)); // the agent looks every two seconds
});

test("a chat is streamed", async () => {
  let text = "";
  let last;
  for await (const piece of await client.chat({ ...short, stream: true })) {
    text += piece.message.content;
    last = piece;
  }
  assert.ok(text.trim());
  assert.ok(last.done);
});

test("a prompt is continued", async () => {
  const answer = await client.generate({ model: q.chat, prompt: "Once upon a time", options: { num_predict: 12 } });
  assert.ok(answer.response);
});

test("a tool is called", { skip: !q.simulated && "the real model begins no call by itself" }, async () => {
  const call = await q.called(
    async (messages) => (await client.chat({ model: q.chat, messages, tools: [q.weather] })).message.tool_calls?.[0],
  );
  q.checkWeather(call.function.name, call.function.arguments);
});

test("an answer keeps to a schema", async () => {
  q.checkSchema((await client.chat({ model: q.chat, messages: q.messages, format: q.schema })).message.content);
});

test("texts become vectors", async () => {
  const answer = await client.embed({ model: q.vectors, input: ["one", "two"] });
  assert.deepEqual(
    answer.embeddings.map((vector) => vector.length),
    [q.dimensions, q.dimensions],
  );
});

test("a model that nobody has is not found", async () => {
  await assert.rejects(client.chat({ ...short, model: "nothing:1b" }), (error) => {
    assert.equal(error.status_code, 404);
    assert.match(error.message, /model 'nothing:1b' not found/);
    return true;
  });
});
