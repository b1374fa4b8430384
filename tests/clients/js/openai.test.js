// The official `openai` client for JavaScript.

import assert from "node:assert/strict";
import test from "node:test";

import OpenAI, { NotFoundError } from "openai";

import * as q from "./questions.js";

const client = new OpenAI({ baseURL: `${q.url}/v1`, apiKey: "none", maxRetries: 0 });
const short = { model: q.chat, messages: q.messages, max_tokens: 12 };

test("models are listed", async () => {
  const ids = [];
  for await (const model of client.models.list()) ids.push(model.id);
  assert.ok(ids.includes(q.chat) && ids.includes(q.vectors));
});

test("one model is shown", async () => {
  assert.equal((await client.models.retrieve(q.chat)).id, q.chat);
});

test("a chat is answered", async () => {
  const answer = await client.chat.completions.create(short);
  assert.ok(answer.choices[0].message.content);
  assert.ok(answer.usage.completion_tokens > 0);
});

test("a chat is streamed", async () => {
  const stream = await client.chat.completions.create({
    ...short,
    stream: true,
    stream_options: { include_usage: true },
  });
  let text = "";
  let last;
  for await (const chunk of stream) {
    text += chunk.choices[0]?.delta?.content ?? "";
    last = chunk;
  }
  assert.ok(text.trim());
  assert.ok(last.usage.completion_tokens > 0);
});

test("a tool is called", async () => {
  const call = await q.called(async (messages) => {
    const answer = await client.chat.completions.create({
      model: q.chat,
      messages,
      tools: [q.weather],
      tool_choice: "required",
      parallel_tool_calls: false,
      logit_bias: { "{": 100 }, // the real one begins no call by itself
      max_tokens: 100,
    });
    return answer.choices[0].message.tool_calls?.[0];
  });
  q.checkWeather(call.function.name, JSON.parse(call.function.arguments));
});

test("an answer keeps to a schema", async () => {
  const answer = await client.chat.completions.create({
    model: q.chat,
    messages: q.messages,
    response_format: { type: "json_schema", json_schema: { name: "light", schema: q.schema, strict: true } },
  });
  q.checkSchema(answer.choices[0].message.content);
});

test("texts become vectors", async () => {
  const answer = await client.embeddings.create({ model: q.vectors, input: ["one", "two"] });
  assert.deepEqual(
    answer.data.map((item) => item.embedding.length),
    [q.dimensions, q.dimensions],
  );
});

test("a response is given", async () => {
  const answer = await client.responses.create({ model: q.chat, input: "Say hello.", max_output_tokens: 12 });
  assert.ok(answer.output_text);
});

test("a model that nobody has is not found", async () => {
  await assert.rejects(client.chat.completions.create({ ...short, model: "nothing:1b" }), (error) => {
    assert.ok(error instanceof NotFoundError);
    assert.match(error.message, /model 'nothing:1b' not found/);
    return true;
  });
});
