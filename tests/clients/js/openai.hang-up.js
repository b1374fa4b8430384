import OpenAI from "openai";

import { chat, hangUp, story, url } from "./questions.js";

const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: "none", maxRetries: 0 });

await hangUp(async () => {
  const stream = await client.chat.completions.create({ model: chat, messages: story, max_tokens: 1900, stream: true });
  for await (const _ of stream) break; // which aborts it
});
