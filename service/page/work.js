// From a file to its separation: sends it, waits, and says how far it is.

import { Failure, JobEnded } from "./api.js";
import { Separation } from "./separation.js";
import { lasting, percent, size } from "./words.js";

// Up to here a recording is separated while the request waits; longer ones become jobs, which can tell their progress.
const SHORT_S = 60;
const SHORT_BYTES = 4e6; // where the browser cannot tell how long it lasts
const AGAIN_MS = 2000;
const LATER = [429, 503]; // of a server that is busy, stopping or starting: a job waits for better times
// A request that is refused for these goes through as a job.
const AS_JOB = ["server_full", "deadline_exceeded", "recording_too_long", "recording_too_large", "decoding_too_costly"];

/** One recording on its way. `report({stage, done, detail})` is told how far it is; done is null where nobody knows. */
export class Work {
  #abort = new AbortController();
  jobId = null;

  constructor(api, settings, report) {
    this.api = api;
    this.settings = settings;
    this.report = report;
  }

  /** @param onJob told the job's id, as soon as it is accepted */
  async run(file, numSources, onJob) {
    const seconds = await duration(file);
    this.#check(file, seconds);
    if (this.settings.needs_key) await this.api.checkKey();
    if (this.#isShort(file, seconds)) {
      try {
        const archive = await this.api.separate(file, numSources, this.#sending("Separating"), this.#abort.signal);
        return await Separation.fromArchive(archive, file.name);
      } catch (error) {
        if (!AS_JOB.includes(error.problem?.code)) throw error;
      }
    }
    const job = await this.api.createJob(file, numSources, this.#sending("Waiting"), this.#abort.signal);
    onJob(job.id);
    return await this.follow(job.id, file.name);
  }

  /** Wait for a job, this one's or an earlier one. */
  async follow(id, name) {
    this.jobId = id;
    for (;;) {
      const status = await this.#finished(id);
      if (status?.state === "failed") throw new JobEnded("The recording cannot be separated.", status.problem.detail);
      if (status?.state === "done") break;
      await this.#pause(AGAIN_MS); // the server was restarted, perhaps; jobs survive that
    }
    this.report({ stage: "Fetching the sounds", done: null, detail: "" });
    return Separation.fromJob(this.api, id, name, this.#abort.signal);
  }

  /** Stop, wherever it is. A job is deleted, and with it the recording. */
  async cancel() {
    this.#abort.abort();
    if (this.jobId) await this.api.remove(this.jobId);
  }

  get cancelled() {
    return this.#abort.signal.aborted;
  }

  #isShort(file, seconds) {
    if (file.size > this.settings.max_request_bytes) return false;
    return seconds === null ? file.size <= SHORT_BYTES : seconds <= Math.min(SHORT_S, this.settings.max_request_seconds);
  }

  #check(file, seconds) {
    const { max_job_bytes: bytes, max_job_seconds: longest } = this.settings;
    if (file.size === 0) throw new Failure("The file is empty.", "Choose one with a recording in it.");
    if (file.size > bytes) {
      throw new Failure("The file is too large.", `It has ${size(file.size)}; this server takes up to ${size(bytes)}.`);
    }
    if (seconds > longest) {
      throw new Failure(
        "The recording is too long.",
        `It lasts ${lasting(seconds)}; this server takes up to ${lasting(longest)}.`,
      );
    }
  }

  #sending(then) {
    return (share) => {
      if (share < 1) this.report({ stage: "Sending", done: share, detail: percent(share) });
      else this.report({ stage: then, done: null, detail: "" });
    };
  }

  /** The job's last state; undefined when the connection broke before it. */
  async #finished(id) {
    try {
      for await (const { name, data } of this.api.events(id, this.#abort.signal)) {
        if (name === "deleted") throw new JobEnded("The recording was deleted.", "Send it again.");
        if (data.state === "done" || data.state === "failed") return data;
        this.report(inWords(data));
      }
    } catch (error) {
      if (error.name === "AbortError" || error instanceof JobEnded) throw error;
      if (error.problem && !LATER.includes(error.problem.status)) throw error;
      this.report({ stage: "The connection broke off; trying again", done: null, detail: "The recording is safe." });
    }
    return undefined;
  }

  #pause(ms) {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(resolve, ms);
      this.#abort.signal.addEventListener("abort", () => {
        clearTimeout(timer);
        reject(new DOMException("cancelled", "AbortError"));
      });
    });
  }
}

function inWords(status) {
  const left = status.time_left_s === null ? "" : `about ${lasting(Math.max(1, status.time_left_s))} left`;
  if (status.state === "queued") {
    const before = status.position === 1 ? "1 recording comes first" : `${status.position} recordings come first`;
    return { stage: "Waiting", done: null, detail: status.position ? before : "" };
  }
  const detail = [percent(status.progress), left].filter(Boolean).join(", ");
  return { stage: "Separating", done: status.progress, detail };
}

/** Seconds of a file, as far as this browser can tell. */
function duration(file) {
  return new Promise((resolve) => {
    const address = URL.createObjectURL(file);
    const probe = new Audio();
    const finish = () => {
      clearTimeout(timer);
      URL.revokeObjectURL(address);
      resolve(Number.isFinite(probe.duration) ? probe.duration : null);
    };
    const timer = setTimeout(finish, 3000);
    probe.onloadedmetadata = probe.onerror = finish;
    probe.preload = "metadata";
    probe.src = address;
  });
}
