// What the clients ask, and what they must get; see ../questions.py. Where Herd is, is in the environment.

import assert from "node:assert/strict";

export const { HERD_URL: url, HERD_CHAT: chat, HERD_VECTORS: vectors } = process.env;
export const dimensions = Number(process.env.HERD_DIMENSIONS);
export const simulated = process.env.HERD_SIMULATED === "1";

export const messages = [{ role: "user", content: "Say hello in one short sentence." }];
export const story = [{ role: "user", content: "Tell me a very long story." }];

const parameters = {
  type: "object",
  properties: { city: { type: "string", enum: ["Oslo", "Lima"] } },
  required: ["city"],
};
export const weather = {
  type: "function",
  function: { name: "weather", description: "The weather in a city.", parameters },
};

export const schema = {
  type: "object",
  properties: { colour: { type: "string", enum: ["red", "green"] }, bright: { type: "boolean" } },
  required: ["colour", "bright"],
  additionalProperties: false,
};

// Every second question makes a simulated model call a tool; of so many one does, or none ever will.
export async function called(ask) {
  for (let number = 0; number < 16; number++) {
    const content = `What is the weather in the city of district ${number}?`;
    const call = await ask([{ role: "user", content }]);
    if (call) return call;
  }
  assert.fail("the model never calls a tool");
}

export function checkWeather(name, args) {
  assert.equal(name, "weather");
  assert.ok(["Oslo", "Lima"].includes(args.city));
}

export function checkSchema(text) {
  const value = JSON.parse(text);
  assert.deepEqual(Object.keys(value).sort(), ["bright", "colour"]);
  assert.ok(["red", "green"].includes(value.colour));
  assert.equal(typeof value.bright, "boolean");
}

// Have `leave` begin an answer and hang up; then stay alive, so that the hang-up is the client's and not the process's.
export async function hangUp(leave) {
  await leave();
  process.stdout.write("left\n");
  process.stdin.resume();
}
