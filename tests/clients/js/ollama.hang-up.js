import { Ollama } from "ollama";

import { chat, hangUp, story, url } from "./questions.js";

const client = new Ollama({ host: url });

await hangUp(async () => {
  const stream = await client.chat({ model: chat, messages: story, options: { num_predict: 1900 }, stream: true });
  for await (const _ of stream) break;
  stream.abort();
});
