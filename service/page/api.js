// Calls of the server. Every function throws a Failure, or an AbortError when its signal says so.

/** @typedef {import("./types").Problem} Problem */

export class Failure extends Error {
  /**
   * @param {string} title
   * @param {string} message
   * @param {Problem | null} problem the server's problem details (RFC 9457), where it sent some
   * @param {number | null} retryAfter seconds after which it may go
   */
  constructor(title, message, problem = null, retryAfter = null) {
    super(message);
    this.title = title;
    this.problem = problem;
    this.retryAfter = retryAfter;
  }

  get code() {
    return this.problem?.code ?? null;
  }
}

/** A job that will not be done. */
export class JobEnded extends Failure {}

const unreachable = () =>
  new Failure("The server does not answer.", "Is it still running, and are you connected? Then try again.");

/** @param {unknown} error */
export const isAbort = (error) => error instanceof DOMException && error.name === "AbortError";

/** Codes of problems that pass. */
export const BUSY = ["server_full", "key_busy", "not_ready", "rate_limited"];
const MOST_TRIES = 5;

export class Api {
  key = "";
  /** Told how long a busy server makes it wait, in seconds, and null when it has answered. @type {(seconds: number | null) => void} */
  onbusy = () => {};

  /** @returns {Record<string, string>} */
  get #headers() {
    return this.key ? { Authorization: `Bearer ${this.key}` } : {};
  }

  /**
   * A response that is good.
   * @param {string} path
   * @param {RequestInit} [options]
   */
  async #get(path, options = {}) {
    let response;
    try {
      response = await fetch(path, { ...options, headers: { ...this.#headers, ...options.headers } });
    } catch (error) {
      if (isAbort(error)) throw error;
      throw unreachable();
    }
    if (!response.ok) {
      throw failureOf(response.status, await response.text(), response.headers.get("Retry-After"));
    }
    return response;
  }

  /**
   * `#get`, and again when a busy server says so.
   * @param {string} path
   * @param {RequestInit & {signal: AbortSignal}} options
   */
  async #getPatiently(path, options) {
    for (let attempt = 1; ; attempt++) {
      try {
        const response = await this.#get(path, options);
        if (attempt > 1) this.onbusy(null);
        return response;
      } catch (error) {
        const isBusy = error instanceof Failure && BUSY.includes(error.code ?? "");
        if (!isBusy || !error.retryAfter || attempt === MOST_TRIES) throw error;
        this.onbusy(error.retryAfter);
        await pause(1000 * error.retryAfter, options.signal);
      }
    }
  }

  /**
   * @param {string} path
   * @param {AbortSignal} [signal]
   */
  async #json(path, signal) {
    return (await this.#get(path, { signal })).json();
  }

  /** @returns {Promise<import("./types").Settings>} */
  settings() {
    return this.#json("page/settings");
  }

  async checkKey() {
    await this.#get("page/key");
  }

  /**
   * A recording -> what is known of it, kept on the server.
   * @param {File} file
   * @param {(share: number) => void} onSent
   * @param {AbortSignal} signal
   * @returns {Promise<import("./types").Recording>}
   */
  keep(file, onSent, signal) {
    return this.#send("recordings", file, {}, onSent, signal);
  }

  /**
   * @param {string} id
   * @param {AbortSignal} signal
   * @returns {Promise<import("./types").Recording>}
   */
  recording(id, signal) {
    return this.#json(`recordings/${id}`, signal);
  }

  /**
   * Forget a recording, also when the page is left.
   * @param {string} id
   */
  async forget(id) {
    await this.#get(`recordings/${id}`, { method: "DELETE", keepalive: true });
  }

  /**
   * @param {string} id
   * @param {import("./types").SeparationRequest} wish
   * @param {AbortSignal} signal
   * @returns {Promise<import("./types").Separation>}
   */
  async separate(id, wish, signal) {
    const body = JSON.stringify(wish);
    const headers = { "Content-Type": "application/json" };
    return (await this.#getPatiently(`recordings/${id}/separations`, { method: "POST", body, headers, signal })).json();
  }

  /**
   * Something to look at: a picture of masks, points of the map, the outline of a waveform.
   * @param {string} address of a recording or a job
   * @param {"masks" | "points" | "peaks"} what
   * @param {Record<string, string | number>} query
   * @param {AbortSignal} signal
   */
  view(address, what, query, signal) {
    return this.blob(`${address}/${what}?${parameters(query)}`, signal);
  }

  /**
   * A long recording -> the job that it becomes.
   * @param {File} file
   * @param {Record<string, string>} fields how to separate it
   * @param {(share: number) => void} onSent
   * @param {AbortSignal} signal
   * @returns {Promise<import("./types").JobStatus>}
   */
  createJob(file, fields, onSent, signal) {
    return this.#send("jobs", file, fields, onSent, signal);
  }

  /**
   * The job's states until it is finished; ends early when the connection breaks.
   * @param {string} id
   * @param {AbortSignal} signal
   */
  async *events(id, signal) {
    const response = await this.#get(`jobs/${id}/events`, { signal });
    if (!response.body) return;
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let text = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const messages = (text + value).split("\n\n");
      text = messages.pop() ?? "";
      for (const message of messages) {
        const fields = Object.fromEntries(message.split("\n").map((line) => line.split(/: ?(.*)/s)));
        if (fields.event) yield { name: fields.event, data: JSON.parse(fields.data) };
      }
    }
  }

  /**
   * @param {string} id
   * @param {AbortSignal} signal
   * @returns {Promise<import("./types").Manifest>}
   */
  manifest(id, signal) {
    return this.#json(`jobs/${id}/manifest`, signal);
  }

  /**
   * What lies at one of the server's addresses.
   * @param {string} address
   * @param {AbortSignal} signal
   */
  async blob(address, signal) {
    return (await this.#getPatiently(address, { signal })).blob();
  }

  /** @param {string} id */
  async removeJob(id) {
    await this.#get(`jobs/${id}`, { method: "DELETE" });
  }

  /**
   * POST a recording. XMLHttpRequest, because fetch does not tell how much has been sent.
   * @param {string} path
   * @param {File} file
   * @param {Record<string, string>} fields
   * @param {(share: number) => void} onSent
   * @param {AbortSignal} signal
   * @returns {Promise<any>}
   */
  #send(path, file, fields, onSent, signal) {
    const form = new FormData();
    for (const [name, value] of Object.entries(fields)) form.append(name, value);
    form.append("file", file, file.name);
    return new Promise((resolve, reject) => {
      const request = new XMLHttpRequest();
      const stop = () => request.abort();
      if (signal.aborted) return reject(aborted());
      signal.addEventListener("abort", stop, { once: true });
      request.onloadend = () => signal.removeEventListener("abort", stop);
      request.upload.onprogress = (event) => event.lengthComputable && onSent(event.loaded / event.total);
      request.upload.onload = () => onSent(1);
      request.onerror = () => reject(unreachable());
      request.onabort = () => reject(aborted());
      request.onload = () => {
        const good = request.status >= 200 && request.status < 300;
        if (good) resolve(JSON.parse(request.responseText));
        else reject(failureOf(request.status, request.responseText, request.getResponseHeader("Retry-After")));
      };
      request.open("POST", path);
      for (const [name, value] of Object.entries(this.#headers)) request.setRequestHeader(name, value);
      request.send(form);
    });
  }
}

/** @param {number} ms @param {AbortSignal} signal @returns {Promise<void>} */
export function pause(ms, signal) {
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(aborted());
    const stop = () => {
      clearTimeout(timer);
      reject(aborted());
    };
    const timer = setTimeout(() => {
      signal.removeEventListener("abort", stop);
      resolve();
    }, ms);
    signal.addEventListener("abort", stop, { once: true });
  });
}

export const aborted = () => new DOMException("cancelled", "AbortError");

/** @param {Record<string, string | number>} query */
const parameters = (query) =>
  new URLSearchParams(Object.entries(query).map(([name, value]) => [name, String(value)])).toString();

/** @param {number} status @param {string} text @param {string | null} retryAfter */
function failureOf(status, text, retryAfter) {
  const wait = retryAfter === null ? null : Number(retryAfter) || null;
  try {
    const problem = JSON.parse(text);
    if (problem.title && problem.code) return new Failure(problem.title, problem.detail, problem, wait);
  } catch {
    // not from this server: a proxy in between has its own words
  }
  return new Failure(`The answer was an error (${status}).`, "Something between here and the server refused it.", null, wait);
}
