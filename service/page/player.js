// Plays all stems of a separation together; each can be muted, turned down, or heard alone, while it plays.

import { BufferVoices, ElementVoices } from "./voices.js";

/** @typedef {import("./types").Lane} Lane */

export class Player extends EventTarget {
  /** @type {import("./voices.js").Voices} */
  #voices;
  /** @type {Set<number>} */
  #muted = new Set();
  /** @type {Set<number>} */
  #solo = new Set();
  /** @type {number[]} */
  #volumes;
  /** Which voice is the recording as it was. @type {number | null} */
  #original;
  #isOriginal = false;
  #closed = false;
  /** @type {{start: number, end: number} | null} */
  loop = null;

  /**
   * Fires "change" when it starts, stops or is heard differently, "move" when the position moves, and "failed".
   * @param {Lane[]} lanes
   * @param {import("./listening.js").Sound | null} original the recording as it was; null where the lanes add up to it
   * @param {number} seconds
   */
  constructor(lanes, original, seconds) {
    super();
    this.seconds = seconds;
    this.#volumes = lanes.map(() => 1);
    this.#original = original ? lanes.length : null;
    const sounds = original ? [...lanes, original] : lanes;
    this.#voices = sounds.every((sound) => sound.buffer) ? new BufferVoices(sounds) : new ElementVoices(sounds);
    if (original) this.#voices.setLevel(lanes.length, 0);
    this.#voices.onended = () => {
      if (this.loop) return void this.#again();
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
      if (this.loop && (this.time < this.loop.start || this.time >= this.loop.end)) this.seek(this.loop.start);
      await this.#voices.play();
    } catch (error) {
      // That one is a pause which came at once.
      if (!(error instanceof DOMException && error.name === "AbortError")) this.#fail(error);
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

  /** @param {number} seconds */
  seek(seconds) {
    this.#voices.seek(Math.min(this.seconds, Math.max(0, seconds)));
    this.#tell("move");
  }

  /** @param {number} index */
  isMuted(index) {
    return this.#muted.has(index);
  }

  /** @param {number} index */
  isSolo(index) {
    return this.#solo.has(index);
  }

  /** @param {number} index */
  isHeard(index) {
    if (this.#isOriginal) return true;
    return this.#solo.size ? this.#solo.has(index) : !this.#muted.has(index);
  }

  /** Whether the recording is heard as it was. */
  get isOriginal() {
    return this.#isOriginal;
  }

  set isOriginal(on) {
    this.#isOriginal = on;
    this.#apply();
  }

  /** @param {number} index */
  toggleMute(index) {
    this.#isOriginal = false;
    this.#toggle(this.#muted, index);
  }

  /** @param {number} index */
  toggleSolo(index) {
    this.#isOriginal = false;
    this.#toggle(this.#solo, index);
  }

  /** @param {number} index @param {number} volume 0 to 1 */
  setVolume(index, volume) {
    this.#volumes[index] = volume;
    this.#apply();
  }

  hearAll() {
    this.#muted.clear();
    this.#solo.clear();
    this.#isOriginal = false;
    this.#apply();
  }

  close() {
    this.#closed = true;
    this.#voices.close();
  }

  /** @param {Set<number>} set @param {number} index */
  #toggle(set, index) {
    if (!set.delete(index)) set.add(index);
    this.#apply();
  }

  #apply() {
    const together = this.#original === null ? 1 : 0;
    this.#volumes.forEach((volume, index) => {
      this.#voices.setLevel(index, this.#isOriginal ? together : this.isHeard(index) ? volume : 0);
    });
    if (this.#original !== null) this.#voices.setLevel(this.#original, this.#isOriginal ? 1 : 0);
    this.#tell("change");
  }

  #again() {
    this.seek(this.loop?.start ?? 0);
    return this.play();
  }

  #follow() {
    if (!this.playing || this.#closed) return;
    if (this.loop && this.time >= this.loop.end) this.seek(this.loop.start);
    this.#tell("move");
    requestAnimationFrame(() => this.#follow());
  }

  /** @param {unknown} error */
  #fail(error) {
    this.dispatchEvent(new CustomEvent("failed", { detail: error }));
  }

  /** @param {string} name */
  #tell(name) {
    if (!this.#closed) this.dispatchEvent(new Event(name));
  }
}
