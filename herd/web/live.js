// The way to the router: server-sent events by `fetch`, for an EventSource can send no key.

const LONGEST_LINE = 32 * 1024 * 1024; // characters: some ten times the status of a thousand nodes
const SILENCE_MS = 40_000; // the router says every 15 s that it is there: twice missed, and it is not
const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 10_000; // nobody who looks at a page waits longer for it

// Events out of text that comes in pieces, cut anywhere (https://html.spec.whatwg.org/#event-stream-interpretation).
export class EventParser {
  #rest = "";
  #returned = false; // the last piece ended in "\r": a "\n" that follows belongs to it
  #topic = "";
  #data = [];

  push(text) {
    if (text === "") return [];
    const piece = this.#returned && text.startsWith("\n") ? text.slice(1) : text;
    this.#returned = text.endsWith("\r");
    const lines = (this.#rest + piece).split(/\r\n|\r|\n/);
    this.#rest = lines.pop();
    if (this.#rest.length > LONGEST_LINE) throw new Error("the router sends a line without an end");
    return lines.flatMap((line) => this.#take(line));
  }

  #take(line) {
    if (line === "") {
      const event = { topic: this.#topic || "message", data: this.#data.join("\n") };
      const whole = this.#data.length > 0;
      this.#topic = "";
      this.#data = [];
      return whole ? [event] : [];
    }
    const [, field, value] = /^([^:]*):? ?(.*)$/s.exec(line);
    if (field === "event") this.#topic = value;
    if (field === "data") this.#data.push(value);
    return []; // what begins with a colon is a comment
  }
}

// What the router says of a refusal, whatever form it has.
export function refusal(status, body) {
  try {
    const { error } = JSON.parse(body);
    return String(error.message ?? error);
  } catch {
    return body.trim() || `the router answers with ${status}`;
  }
}

// Milliseconds until the next try: longer each time, and not the same for all pages that lost one router.
export function wait(failures, chance, retryAfter = 0) {
  const longest = Math.min(FIRST_WAIT_MS * 2 ** failures, LONGEST_WAIT_MS);
  return Math.max(longest * (0.5 + chance / 2), retryAfter * 1000);
}

class Refused extends Error {
  constructor(answer, body) {
    super(refusal(answer.status, body));
    this.locked = answer.status === 401;
    this.retryAfter = Number(answer.headers.get("Retry-After")) || 0;
  }
}

// A stream of events that comes back by itself.
//   headers: of each request; heard(topic, document, fresh): an event, `fresh` when it is the connection's first of its
//   topic; stands(state, text): "live", "lost" (and why) or "locked" (it wants a key: `retry` once there is one).
export class Live {
  #wake = () => {};
  #hangUp = () => {};
  #left = false; // until somebody looks again

  constructor(url, headers, heard, stands) {
    Object.assign(this, { url, headers, heard, stands });
  }

  retry() {
    this.#left = false;
    this.#wake();
  }

  // Nobody looks: hang up until `retry`. A browser has six connections to a router, and a router 64 that watch it.
  leave() {
    this.#left = true;
    this.#hangUp();
  }

  async run() {
    for (let failures = 0; ; failures += 1) {
      if (this.#left) await this.#rest(null);
      let ended = new Error("the router has ended the connection");
      try {
        await this.#listen(() => {
          failures = 0;
          this.stands("live", "");
        });
      } catch (error) {
        ended = error;
      }
      // A browser says only "network error" of a router that is away.
      const text = ended instanceof TypeError ? "the router does not answer" : ended.message;
      this.stands(ended.locked ? "locked" : "lost", text);
      await this.#rest(ended.locked || this.#left ? null : wait(failures, Math.random(), ended.retryAfter));
    }
  }

  #rest(milliseconds) {
    return new Promise((done) => {
      this.#wake = done;
      if (milliseconds !== null) setTimeout(done, milliseconds);
    });
  }

  async #listen(live) {
    const end = new AbortController();
    const giveUp = () => end.abort(new Error(`nothing came from the router for ${SILENCE_MS / 1000} s`));
    this.#hangUp = () => end.abort(new Error("nobody looked at this page"));
    let timer = setTimeout(giveUp, SILENCE_MS);
    try {
      const answer = await fetch(this.url, { headers: this.headers(), cache: "no-store", signal: end.signal });
      if (!answer.ok) throw new Refused(answer, await answer.text());
      const parser = new EventParser();
      const seen = new Set();
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      for (let piece = await reader.read(); !piece.done; piece = await reader.read()) {
        clearTimeout(timer);
        timer = setTimeout(giveUp, SILENCE_MS);
        for (const { topic, data } of parser.push(piece.value)) {
          if (seen.size === 0) live();
          this.heard(topic, JSON.parse(data), !seen.has(topic));
          seen.add(topic);
        }
      }
    } finally {
      clearTimeout(timer);
      end.abort();
    }
  }
}
