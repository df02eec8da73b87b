// Calls of the server. Every function throws a Failure, or an AbortError when its signal says so.

export class Failure extends Error {
  /** @param problem the server's problem details (RFC 9457), where it sent some */
  constructor(title, message, problem = null) {
    super(message);
    this.title = title;
    this.problem = problem;
  }
}

/** A job that will not be done. */
export class JobEnded extends Failure {}

const unreachable = () =>
  new Failure("The server does not answer.", "Is it still running, and are you connected? Then try again.");

export class Api {
  key = "";

  get #headers() {
    return this.key ? { Authorization: `Bearer ${this.key}` } : {};
  }

  /** A response that is good. */
  async #get(path, options = {}) {
    let response;
    try {
      response = await fetch(path, { ...options, headers: { ...this.#headers, ...options.headers } });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw unreachable();
    }
    if (!response.ok) throw failureOf(response.status, await response.text());
    return response;
  }

  async settings() {
    return (await this.#get("page/settings")).json();
  }

  async checkKey() {
    await this.#get("page/key");
  }

  /** A short recording -> its stems, as a ZIP. */
  separate(file, numSources, onSent, signal) {
    return this.#send("separate", file, numSources, "blob", onSent, signal);
  }

  /** A long recording -> the job that it becomes. */
  createJob(file, numSources, onSent, signal) {
    return this.#send("jobs", file, numSources, "json", onSent, signal);
  }

  async job(id) {
    return (await this.#get(`jobs/${id}`)).json();
  }

  /** The job's states until it is finished; ends early when the connection breaks. */
  async *events(id, signal) {
    const response = await this.#get(`jobs/${id}/events`, { signal });
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let text = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const messages = (text + value).split("\n\n");
      text = messages.pop();
      for (const message of messages) {
        const fields = Object.fromEntries(message.split("\n").map((line) => line.split(/: ?(.*)/s)));
        if (fields.event) yield { name: fields.event, data: JSON.parse(fields.data) };
      }
    }
  }

  async manifest(id) {
    return (await this.#get(`jobs/${id}/manifest`)).json();
  }

  stemAddress(id, number) {
    return `jobs/${id}/result?stem=${number}`;
  }

  archiveAddress(id) {
    return `jobs/${id}/result`;
  }

  /** What lies at one of these addresses. */
  async blob(address, signal) {
    return (await this.#get(address, { signal })).blob();
  }

  async remove(id) {
    await this.#get(`jobs/${id}`, { method: "DELETE" });
  }

  /** POST a recording. XMLHttpRequest, because fetch does not tell how much has been sent. */
  #send(path, file, numSources, type, onSent, signal) {
    const form = new FormData();
    form.append("num_sources", numSources);
    form.append("file", file, file.name);
    return new Promise((resolve, reject) => {
      const request = new XMLHttpRequest();
      const stop = () => request.abort();
      signal.addEventListener("abort", stop, { once: true });
      const finish = (act) => (value) => {
        signal.removeEventListener("abort", stop);
        act(value);
      };
      const [resolved, rejected] = [finish(resolve), finish(reject)];
      request.upload.onprogress = (event) => event.lengthComputable && onSent(event.loaded / event.total);
      request.upload.onload = () => onSent(1);
      request.onerror = () => rejected(unreachable());
      request.onabort = () => rejected(new DOMException("cancelled", "AbortError"));
      request.onload = async () => {
        const good = request.status >= 200 && request.status < 300;
        const body = request.response;
        if (!good) return rejected(failureOf(request.status, await body.text()));
        return resolved(type === "json" ? JSON.parse(await body.text()) : body);
      };
      request.open("POST", path);
      request.responseType = "blob";
      for (const [name, value] of Object.entries(this.#headers)) request.setRequestHeader(name, value);
      request.send(form);
    });
  }
}

function failureOf(status, text) {
  try {
    const problem = JSON.parse(text);
    if (problem.title && problem.code) return new Failure(problem.title, problem.detail, problem);
  } catch {
    // not from this server: a proxy in between has its own words
  }
  return new Failure(`The answer was an error (${status}).`, "Something between here and the server refused it.");
}

