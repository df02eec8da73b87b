// Plays a part of a recording once: the selection.

export class Audition {
  /** @type {AudioContext | null} */
  #context = null;
  /** @type {AudioBufferSourceNode | null} */
  #source = null;
  onend = () => {};

  get playing() {
    return this.#source !== null;
  }

  /** @param {AudioBuffer} buffer @param {number} start @param {number} end seconds */
  async play(buffer, start, end) {
    this.stop();
    this.#context ??= new AudioContext();
    await this.#context.resume();
    const source = new AudioBufferSourceNode(this.#context, { buffer });
    source.connect(this.#context.destination);
    source.start(0, start, Math.max(0.05, end - start));
    source.onended = () => this.stop();
    this.#source = source;
  }

  stop() {
    const source = this.#source;
    this.#source = null;
    if (!source) return;
    source.onended = null;
    source.stop();
    source.disconnect();
    this.onend();
  }
}
