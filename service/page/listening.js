// What is listened to: stems decoded into memory, so that they play in exact synchrony, or where to play them from.

import { isAbort } from "./api.js";

/** @typedef {import("./types").Lane} Lane */
/** @typedef {import("./types").Recording} Recording */
/** @typedef {import("./types").Separation} Separation */

// What the page decodes into memory at most.
const IN_MEMORY_BYTES = 256 * 2 ** 20;
// Exact, a third of the size, and played by every browser.
const COMPRESSED = "format=flac&subtype=PCM_16";

/** @typedef {Pick<Lane, "buffer" | "address" | "otherwise">} Sound */

export class Listening {
  /** @type {string[]} */
  #addresses = [];

  /** @param {import("./api.js").Api} api */
  constructor(api) {
    this.api = api;
  }

  /**
   * Whether all stems of a separation fit into memory.
   * @param {Recording} recording
   * @param {Separation} separation
   */
  fits({ samples }, { manifest }) {
    const stems = manifest.stems.length + (manifest.background ? 1 : 0);
    return 4 * samples * manifest.channels * stems <= IN_MEMORY_BYTES;
  }

  /**
   * A stem of a kept recording.
   * @param {Recording} recording
   * @param {Separation} separation
   * @param {number} number from 1
   * @param {boolean} inMemory
   * @param {AbortSignal} signal
   * @returns {Promise<Sound>}
   */
  async stem(recording, separation, number, inMemory, signal) {
    const address = `recordings/${recording.id}/separations/${separation.id}/stems/${number}?${COMPRESSED}`;
    if (inMemory) {
      const blob = await this.api.blob(address, signal);
      return { address, otherwise: null, buffer: await decoded(blob, recording.sample_rate) };
    }
    if (!this.api.key) return { address, otherwise: null, buffer: null };
    // A player cannot send an API key.
    return { address: this.#addressOf(await this.api.blob(address, signal)), otherwise: null, buffer: null };
  }

  /**
   * A stem of a job; it stays on the server, and is played from there.
   * @param {string} job
   * @param {number} number from 1
   * @param {AbortSignal} signal
   * @returns {Promise<Sound>}
   */
  async stemOfJob(job, number, signal) {
    const stem = `jobs/${job}/stems/${number}`;
    // Encoding takes room on the server, which it may not have; the WAV is there already.
    const [address, otherwise] = [`${stem}?${COMPRESSED}`, `${stem}?format=wav`];
    if (!this.api.key) return { address, otherwise, buffer: null };
    const blob = await this.api.blob(address, signal).catch((error) => {
      if (isAbort(error)) throw error;
      return this.api.blob(otherwise, signal);
    });
    return { address: this.#addressOf(blob), otherwise: null, buffer: null };
  }

  /** Free what addresses stand for. */
  free() {
    for (const address of this.#addresses) URL.revokeObjectURL(address);
    this.#addresses = [];
  }

  /** @param {Blob} blob */
  #addressOf(blob) {
    const address = URL.createObjectURL(blob);
    this.#addresses.push(address);
    return address;
  }
}

/** @param {Blob} blob @param {number} rate */
async function decoded(blob, rate) {
  const decoder = new OfflineAudioContext(1, 1, Math.min(96_000, Math.max(8_000, rate)));
  try {
    return await decoder.decodeAudioData(await blob.arrayBuffer());
  } catch {
    return null; // more channels than this browser takes, for instance: it may still play them, and can save them
  }
}
