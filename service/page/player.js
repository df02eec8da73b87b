// Plays all stems of a separation together; each can be muted, or heard alone, while it plays.

import { BufferVoices, ElementVoices } from "./voices.js";

export class Player extends EventTarget {
  #voices;
  #muted = new Set();
  #solo = new Set();

  /** Fires "change" when it starts, stops or is heard differently, "move" when the position moves, and "failed". */
  constructor(separation) {
    super();
    this.seconds = separation.seconds;
    this.count = separation.stems.length;
    const exact = separation.stems.every((stem) => stem.buffer);
    this.#voices = exact ? new BufferVoices(separation.stems) : new ElementVoices(separation.stems);
    this.#voices.onended = () => {
      this.#voices.seek(0);
      this.#tell("change");
      this.#tell("move");
    };
    this.#voices.onfailed = (error) => this.#fail(error);
  }

  get playing() {
    return this.#voices.playing;
  }

  get time() {
    return Math.min(this.#voices.time, this.seconds);
  }

  async play() {
    try {
      await this.#voices.play();
    } catch (error) {
      if (error.name !== "AbortError") this.#fail(error); // that one is a pause which came at once
      return;
    }
    this.#tell("change");
    this.#follow();
  }

  pause() {
    this.#voices.pause();
    this.#tell("change");
  }

  toggle() {
    return this.playing ? this.pause() : this.play();
  }

  seek(seconds) {
    this.#voices.seek(Math.min(this.seconds, Math.max(0, seconds)));
    this.#tell("move");
  }

  isMuted(index) {
    return this.#muted.has(index);
  }

  isSolo(index) {
    return this.#solo.has(index);
  }

  isHeard(index) {
    return this.#solo.size ? this.#solo.has(index) : !this.#muted.has(index);
  }

  setMuted(index, on) {
    this.#mark(this.#muted, index, on);
  }

  setSolo(index, on) {
    this.#mark(this.#solo, index, on);
  }

  /** All of them again: the recording as it was, since stems add up to it. */
  hearAll() {
    this.#muted.clear();
    this.#solo.clear();
    this.#apply();
  }

  close() {
    this.#voices.close();
  }

  #mark(set, index, on) {
    if (on) set.add(index);
    else set.delete(index);
    this.#apply();
  }

  #apply() {
    for (let index = 0; index < this.count; index++) this.#voices.setHeard(index, this.isHeard(index));
    this.#tell("change");
  }

  #follow() {
    if (!this.playing) return;
    this.#tell("move");
    requestAnimationFrame(() => this.#follow());
  }

  #fail(error) {
    this.dispatchEvent(new CustomEvent("failed", { detail: error }));
  }

  #tell(name) {
    this.dispatchEvent(new Event(name));
  }
}
