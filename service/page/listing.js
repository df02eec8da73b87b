// Several files: a list that is worked through, one after the other.

import { at } from "./page.js";
import { explained } from "./words.js";

/** @typedef {import("./opening.js").Opened} Opened */
/** @typedef {import("./types").Listed} Listed */

export class Listing {
  /** Those that are ready, by their place in the list. @type {Map<number, {file: File, opened: Opened}>} */
  #ready = new Map();
  #abort = new AbortController();

  /**
   * @param {() => Listed[]} listed
   * @param {(listed: Listed[]) => void} tell of a change
   * @param {(file: File, opened: Opened) => void} open one that is chosen
   */
  constructor(listed, tell, open) {
    this.listed = listed;
    this.tell = tell;
    at("listed").addEventListener("click", (event) => {
      const found = this.#ready.get(Number(/** @type {HTMLElement} */ (event.target).dataset.listed ?? -1));
      if (found) open(found.file, found.opened);
    });
  }

  /** A new list takes the place of an earlier one. @param {File[]} files */
  begin(files) {
    this.#abort.abort();
    this.#abort = new AbortController();
    this.#ready.clear();
    this.tell(files.map((file) => ({ name: file.name, state: "waiting", id: null, detail: "" })));
    this.mark(0, { state: "working" });
  }

  /** @param {number} index @param {Partial<Listed>} change */
  mark(index, change) {
    this.tell(this.listed().map((entry, i) => (i === index ? { ...entry, ...change } : entry)));
  }

  /** @param {number} index @param {File} file @param {Opened} opened */
  ready(index, file, opened) {
    this.#ready.set(index, { file, opened });
    this.mark(index, { state: "ready", id: "recording" in opened ? opened.recording.id : opened.job });
  }

  /**
   * The rest of the list, after the first.
   * @param {File[]} files
   * @param {(file: File, signal: AbortSignal) => Promise<Opened>} open
   */
  async workThrough(files, open) {
    const { signal } = this.#abort;
    for (const [offset, file] of files.entries()) {
      this.mark(offset + 1, { state: "working" });
      try {
        const opened = await open(file, signal);
        if (signal.aborted) return;
        this.ready(offset + 1, file, opened);
      } catch (error) {
        if (signal.aborted) return;
        this.mark(offset + 1, { state: "failed", detail: explained(error).title });
      }
    }
  }
}
