// From a file to a recording that is kept, or to a job that is done: checks it, sends it, waits, and says how far it is.

import { BUSY, Failure, isAbort, JobEnded, pause } from "./api.js";
import { asWav, duration } from "./sound_file.js";
import { lasting, percent, size } from "./words.js";

/** @typedef {{recording: import("./types").Recording} | {job: string, manifest: import("./types").Manifest}} Opened */
/** @typedef {{stage: string, done: number | null, detail: string}} Report */
/** @typedef {{report: (report: Report) => void, busy: (seconds: number) => void, accepted: (id: string) => void}} Tell */

/** For what is done in the background. @type {Tell} */
export const QUIET = { report() {}, busy() {}, accepted() {} };

const AGAIN_MS = 2000;
// Of a recording that is refused for these, a job can be made.
const AS_JOB = ["deadline_exceeded", "recording_too_long", "recording_too_large", "decoding_too_costly", "upload_too_large"];
// What the browser may be able to read where the server is not.
const UNREAD = ["format_unsupported", "audio_unreadable"];

/** One recording on its way. What it has begun on the server ends with it. */
export class Opening {
  jobIsDone = false;

  /**
   * @param {import("./api.js").Api} api
   * @param {import("./types").Settings} settings
   * @param {AbortSignal} signal
   * @param {Tell} tell
   */
  constructor(api, settings, signal, tell) {
    this.api = api;
    this.settings = settings;
    this.signal = signal;
    this.tell = tell;
  }

  /**
   * @param {File} file
   * @returns {Promise<Opened>}
   */
  async open(file) {
    const seconds = await duration(file);
    this.signal.throwIfAborted();
    this.#check(file, seconds);
    if (this.settings.needs_key) await this.api.checkKey();
    const isLong = file.size > this.settings.max_request_bytes || (seconds ?? 0) > this.settings.max_request_seconds;
    if (!isLong) {
      try {
        return { recording: await this.keep(file) };
      } catch (error) {
        if (!(error instanceof Failure) || !AS_JOB.includes(error.code ?? "")) throw error;
      }
    }
    return this.asJob(file, {});
  }

  /**
   * Have it separated as a job, whatever its length.
   * @param {File} file
   * @param {Record<string, string>} fields how, where not by default
   */
  async asJob(file, fields) {
    const job = await this.#patiently(() =>
      this.api.createJob(file, fields, this.#sending("Waiting"), this.signal),
    );
    // Whoever cancels in this very moment does not leave a job behind.
    if (this.signal.aborted) await this.api.removeJob(job.id).catch(() => {});
    this.signal.throwIfAborted();
    this.tell.accepted(job.id);
    return { job: job.id, manifest: await this.follow(job.id) };
  }

  /**
   * Send it, in whatever form the server takes it.
   * @param {File} file
   */
  async keep(file) {
    const send = (/** @type {File} */ sent) =>
      this.#patiently(() => this.api.keep(sent, this.#sending("Listening to it"), this.signal));
    try {
      return await send(file);
    } catch (error) {
      if (!(error instanceof Failure) || !UNREAD.includes(error.code ?? "")) throw error;
      this.tell.report({ stage: "Reading the file in the browser", done: null, detail: "" });
      const decoded = await asWav(file);
      this.signal.throwIfAborted();
      if (!decoded) throw error;
      return send(decoded);
    }
  }

  /**
   * Wait for a job, this one's or an earlier one.
   * @param {string} id
   */
  async follow(id) {
    for (;;) {
      const status = await this.#finished(id);
      if (status?.state === "failed") {
        throw new JobEnded("The recording cannot be separated.", String(status.problem?.detail ?? ""));
      }
      if (status?.state === "done") break;
      await pause(AGAIN_MS, this.signal); // the server was restarted, perhaps; jobs survive that
    }
    // From here on, cancelling ends the fetching, not the job.
    this.jobIsDone = true;
    this.tell.report({ stage: "Fetching the sounds", done: null, detail: "" });
    return this.api.manifest(id, this.signal);
  }

  /** @param {File} file @param {number | null} seconds */
  #check(file, seconds) {
    const { max_job_bytes: bytes, max_job_seconds: longest } = this.settings;
    if (file.size === 0) throw new Failure("The file is empty.", "Choose one with a recording in it.");
    if (file.size > bytes) {
      throw new Failure("The file is too large.", `It has ${size(file.size)}; this server takes up to ${size(bytes)}.`);
    }
    if (seconds !== null && seconds > longest) {
      const words = `It lasts ${lasting(seconds)}; this server takes up to ${lasting(longest)}.`;
      throw new Failure("The recording is too long.", words);
    }
  }

  /** @param {string} then */
  #sending(then) {
    return (/** @type {number} */ share) => {
      if (share < 1) this.tell.report({ stage: "Sending", done: share, detail: percent(share) });
      else this.tell.report({ stage: then, done: null, detail: "" });
    };
  }

  /**
   * Again when the server says so: it is busy, not broken.
   * @template T
   * @param {() => Promise<T>} request
   * @returns {Promise<T>}
   */
  async #patiently(request) {
    for (;;) {
      try {
        return await request();
      } catch (error) {
        if (!(error instanceof Failure) || !BUSY.includes(error.code ?? "")) throw error;
        const seconds = error.retryAfter ?? 5;
        this.tell.busy(seconds);
        await pause(1000 * seconds, this.signal);
      }
    }
  }

  /**
   * The job's last state; undefined when the connection broke before it.
   * @param {string} id
   * @returns {Promise<import("./types").JobStatus | undefined>}
   */
  async #finished(id) {
    try {
      for await (const { name, data } of this.api.events(id, this.signal)) {
        if (name === "deleted") throw new JobEnded("The recording was deleted.", "Open it again.");
        if (data.state === "done" || data.state === "failed") return data;
        this.tell.report(inWords(data));
      }
    } catch (error) {
      if (isAbort(error) || error instanceof JobEnded) throw error;
      if (error instanceof Failure && error.problem && !BUSY.includes(error.code ?? "")) throw error;
      this.tell.report({ stage: "The connection broke off; trying again", done: null, detail: "The recording is safe." });
    }
    return undefined;
  }
}

/** @param {import("./types").JobStatus} status @returns {Report} */
function inWords(status) {
  const left = status.time_left_s === null ? "" : `about ${lasting(Math.max(1, status.time_left_s))} left`;
  if (status.state === "queued") {
    const before = status.position === 1 ? "1 recording comes first" : `${status.position} recordings come first`;
    return { stage: "Waiting", done: null, detail: status.position ? before : "" };
  }
  const detail = [percent(status.progress), left].filter(Boolean).join(", ");
  return { stage: "Separating", done: status.progress, detail };
}
