// Several files: a list that is worked through, one after the other.

import { at } from "./page.js";
import { explained } from "./words.js";

/** @typedef {import("./types").Recording} Recording */
/** @typedef {import("./types").Listed} Listed */

export class Listing {
  /** Recordings that are kept, by their place in the list. @type {Map<number, {recording: Recording, file: File}>} */
  #kept = new Map();
  #abort = new AbortController();

  /**
   * @param {() => Listed[]} listed
   * @param {(listed: Listed[]) => void} tell of a change
   * @param {(file: File, recording: Recording) => void} open one that is chosen
   */
  constructor(listed, tell, open) {
    this.listed = listed;
    this.tell = tell;
    at("listed").addEventListener("click", (event) => {
      const found = this.#kept.get(Number(/** @type {HTMLElement} */ (event.target).dataset.listed ?? -1));
      if (found) open(found.file, found.recording);
    });
  }

  /** A new list takes the place of an earlier one. @param {File[]} files */
  begin(files) {
    this.#abort.abort();
    this.#abort = new AbortController();
    this.#kept.clear();
    this.tell(files.map((file) => ({ name: file.name, state: "waiting", id: null, detail: "" })));
    this.mark(0, "working");
  }

  /** @param {number} index @param {Listed["state"]} now @param {string} [detail] */
  mark(index, now, detail = "") {
    this.tell(this.listed().map((entry, i) => (i === index ? { ...entry, state: now, detail } : entry)));
  }

  /** @param {number} index @param {File} file @param {Recording} recording */
  ready(index, file, recording) {
    this.#kept.set(index, { recording, file });
    this.mark(index, "ready");
  }

  /**
   * The rest of the list, after the first.
   * @param {File[]} files
   * @param {(file: File, signal: AbortSignal) => Promise<Recording>} keep
   */
  async workThrough(files, keep) {
    const { signal } = this.#abort;
    for (const [offset, file] of files.entries()) {
      this.mark(offset + 1, "working");
      try {
        const recording = await keep(file, signal);
        if (signal.aborted) return;
        this.ready(offset + 1, file, recording);
      } catch (error) {
        if (signal.aborted) return;
        this.mark(offset + 1, "failed", explained(error).title);
      }
    }
  }
}
