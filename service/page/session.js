// One recording that is open: what the server keeps of it, the sounds that are shown, and one AbortController for all.

import { Failure, isAbort } from "./api.js";
import { keptColours } from "./plane.js";
import { inWorker } from "./workshop.js";

/** @typedef {import("./types").Wish} Wish */
/** @typedef {import("./types").Lane} Lane */
/** @typedef {import("./types").Recording} Recording */
/** @typedef {import("./types").Manifest} Manifest */
/** @typedef {import("./types").SeparationRequest} SeparationRequest */
/** @typedef {import("./types").ChannelOptions} ChannelOptions */

// Up to here stems are decoded into memory, so that they play in exact synchrony.
const IN_MEMORY_BYTES = 256 * 2 ** 20;
// What is listened to: exact, a third of the size, and played by every browser.
const LISTENING = "format=flac&subtype=PCM_16";

export class Session {
  #abort = new AbortController();
  #changing = new AbortController();
  /** @type {string[]} */
  #addresses = [];
  /** @type {Lane[]} */
  lanes = [];
  /** @type {Manifest | null} */
  manifest = null;
  /** @type {import("./types").Separation | null} */
  separation = null;
  /** @type {Wish} */
  wish = { number: null, centroids: [], groups: [] };
  /** Colour of each sound. @type {number[]} */
  colours = [];
  /** Those of an earlier visit, for the number of sounds that it ended with. @type {number[]} */
  earlierColours = [];
  /** Names of the sounds by colour, where they were given any. @type {Record<number, string>} */
  names = {};
  /** @type {ChannelOptions} */
  options = { channels: "keep", spatial: "auto" };
  /** Channels of the file, where that was known before it was separated as a job. */
  channelsBefore = 1;
  /** What there is of a job's map. @type {import("./types").JobMap | null} */
  map = null;

  /**
   * @param {import("./api.js").Api} api
   * @param {string} name of the file
   * @param {Recording | null} recording that is kept
   * @param {string | null} job that it became instead
   * @param {File | null} file to send again, should the server have forgotten it
   */
  constructor(api, name, recording, job, file) {
    this.api = api;
    this.name = name;
    this.recording = recording;
    this.job = job;
    this.file = file;
  }

  get signal() {
    return this.#abort.signal;
  }

  /** The name without the format. */
  get title() {
    return this.name.replace(/\.[^.]+$/, "") || "recording";
  }

  get seconds() {
    return this.recording?.seconds ?? this.manifest?.seconds ?? 0;
  }

  /** Where the server has it. */
  get address() {
    return this.recording ? `recordings/${this.recording.id}` : `jobs/${this.job}`;
  }

  /** Centre of each band of the picture; none where there is no picture. */
  get bandHz() {
    return this.recording?.band_hz ?? this.map?.band_hz ?? [];
  }

  /** Channels of the recording, as far as that is known. */
  get channels() {
    const { channels = 1, spatial, reference } = this.manifest ?? {};
    return this.recording?.channels ?? Math.max(this.channelsBefore, channels, ...(spatial?.channels ?? []), reference ?? 1);
  }

  /** The recording on the server, kept again where it was forgotten. @type {(() => Promise<Recording>) | null} */
  renew = null;

  /**
   * A number of sounds, as a wish.
   * @param {number} number
   * @returns {Wish}
   */
  wishFor(number) {
    const centroids = this.recording?.numbers[number - 1]?.centroids ?? [];
    return { number, centroids, groups: centroids.map((_, index) => index) };
  }

  /**
   * Take over a wish: colours follow at once, sounds when they are there.
   * @param {Wish} wish
   */
  choose(wish) {
    const before = this.wish;
    // Sounds of several centroids are told by the first of them.
    const first = (/** @type {Wish} */ of) =>
      [...new Set(of.groups)].sort((a, b) => a - b).map((group) => of.centroids[of.groups.indexOf(group)]);
    this.wish = wish;
    if (before.centroids.length) this.colours = keptColours(first(before), this.colours, first(wish));
    else this.colours = this.#hasEarlier ? [...this.earlierColours] : first(wish).map((_, index) => index);
  }

  get #hasEarlier() {
    return this.wish.number !== null && this.earlierColours.length === this.wish.number;
  }

  /** Colour of each centroid. */
  get centroidColours() {
    return this.wish.groups.map((group) => this.colours[group]);
  }

  /**
   * Separate it as was chosen; an earlier separation that is still on its way ends. True where lanes have changed.
   * @returns {Promise<void>}
   */
  async separate() {
    this.#changing.abort();
    this.#changing = new AbortController();
    const signal = AbortSignal.any([this.#abort.signal, this.#changing.signal]);
    const isFirst = this.separation === null;
    const separation = await this.#asked(this.requestOf(this.wish), signal);
    if (isFirst && this.wish.number !== null && !this.#hasEarlier) {
      // The loudest gets the first colour; from then on sounds keep theirs.
      separation.sources.forEach((source, index) => {
        this.colours[source] = index;
      });
    }
    const lanes = await this.#laned(separation, signal);
    this.#freeAddresses();
    this.separation = separation;
    this.manifest = separation.manifest;
    this.lanes = lanes;
  }

  /**
   * @param {SeparationRequest} request
   * @param {AbortSignal} signal
   */
  async #asked(request, signal) {
    const recording = /** @type {Recording} */ (this.recording);
    try {
      return await this.api.separate(recording.id, request, signal);
    } catch (error) {
      if (!(error instanceof Failure) || error.code !== "recording_unknown" || !this.renew) throw error;
      this.recording = await this.renew(); // its lease has expired
      return this.api.separate(this.recording.id, request, signal);
    }
  }

  /**
   * @param {import("./types").Separation} separation
   * @param {AbortSignal} signal
   */
  async #laned(separation, signal) {
    const recording = /** @type {Recording} */ (this.recording);
    const { manifest } = separation;
    const names = [...manifest.stems.map((stem) => stem.file), ...(manifest.background ? [manifest.background] : [])];
    const bytes = 4 * recording.samples * manifest.channels * names.length;
    const rate = Math.min(96_000, Math.max(8_000, recording.sample_rate));
    const decoder = bytes <= IN_MEMORY_BYTES ? new OfflineAudioContext(1, 1, rate) : null;
    return Promise.all(
      names.map(async (_, index) => {
        const address = `recordings/${recording.id}/separations/${separation.id}/stems/${index + 1}?${LISTENING}`;
        /** @type {Lane} */
        const lane = {
          number: index + 1,
          source: separation.sources[index] ?? null,
          colour: this.colours[separation.sources[index]] ?? -1,
          entry: manifest.stems[index] ?? null,
          buffer: null,
          address,
          otherwise: null,
          outline: null,
        };
        if (decoder) {
          const blob = await this.api.blob(address, signal);
          lane.buffer = await decoded(decoder, blob);
        } else if (this.api.key) {
          // A player cannot send an API key.
          lane.address = this.#addressOf(await this.api.blob(address, signal));
        }
        return lane;
      }),
    );
  }

  /**
   * The sounds of a job that is done; long stems stay on the server, and are played from there.
   * @param {Manifest} manifest
   */
  async showJob(manifest) {
    this.manifest = manifest;
    if (manifest.reference !== null) this.options.channels = "reference";
    const apart = manifest.stems.some((stem) => stem.channel !== null);
    if (apart) this.options.channels = "separate";
    this.map = apart ? null : await this.#jobMap();
    const sources = this.map?.sources ?? manifest.stems.map((_, index) => index);
    sources.forEach((source, index) => {
      this.colours[source] = index;
    });
    this.wish = { number: sources.length, centroids: this.map?.centroids ?? [], groups: [...sources.keys()] };
    const count = manifest.stems.length + (manifest.background ? 1 : 0);
    for (let number = 1; number <= count; number++) {
      const entry = manifest.stems[number - 1] ?? null;
      const [source, colour] = entry ? [sources[number - 1], number - 1] : [null, -1];
      this.lanes.push({ number, source, colour, entry, buffer: null, ...(await this.#ofJob(number)), outline: null });
    }
  }

  /** Where a stem of a job is played from. @param {number} number */
  async #ofJob(number) {
    const stem = `jobs/${this.job}/stems/${number}`;
    // Encoding takes room on the server, which it may not have; what is there already can always be had.
    const [address, otherwise] = [`${stem}?${LISTENING}`, `${stem}?format=wav`];
    if (!this.api.key) return { address, otherwise };
    const blob = await this.api.blob(address, this.signal).catch((error) => {
      if (isAbort(error)) throw error;
      return this.api.blob(otherwise, this.signal);
    });
    return { address: this.#addressOf(blob), otherwise: null };
  }

  /** Jobs of an earlier version have no map. */
  async #jobMap() {
    try {
      const json = await this.api.view(this.address, "points", {}, this.signal);
      return await inWorker("points", { json, frame_s: null });
    } catch (error) {
      if (error instanceof Failure && error.code === "not_found") return null;
      throw error;
    }
  }

  /** @param {Wish} wish @returns {SeparationRequest} */
  requestOf({ number, centroids, groups }) {
    const isPlain = number !== null;
    const { channels, spatial } = this.options;
    return {
      num_sources: isPlain ? number : null,
      centroids: isPlain ? null : centroids,
      groups: isPlain ? null : groups,
      selection: null,
      masks: "soft",
      background: null,
      channels: channels === "separate" ? "keep" : channels,
      spatial,
      enhance: false,
    };
  }

  /**
   * A part of the recording as sounds of its own, decoded: the selection, to be heard once.
   * @param {SeparationRequest} request
   * @param {(separation: import("./types").Separation) => number} which stem of it
   * @returns {Promise<AudioBuffer | null>}
   */
  async excerpt(request, which) {
    const recording = /** @type {Recording} */ (this.recording);
    const separation = await this.#asked(request, this.signal);
    const address = `recordings/${recording.id}/separations/${separation.id}/stems/${which(separation)}?${LISTENING}`;
    const rate = Math.min(96_000, Math.max(8_000, recording.sample_rate));
    return decoded(new OfflineAudioContext(1, 1, rate), await this.api.blob(address, this.signal));
  }

  /**
   * A stem in some format, as the server writes it.
   * @param {Lane} lane
   * @param {string} format
   * @param {string} subtype
   */
  async saved(lane, format, subtype) {
    const fetched = () => {
      const stems = this.recording ? `${this.address}/separations/${this.separation?.id}/stems` : `${this.address}/stems`;
      return this.api.blob(`${stems}/${lane.number}?format=${format}&subtype=${subtype}`, this.signal);
    };
    try {
      return await fetched();
    } catch (error) {
      if (!(error instanceof Failure) || !["recording_unknown", "separation_unknown"].includes(error.code ?? "")) throw error;
      this.separation = await this.#asked(this.requestOf(this.wish), this.signal); // it made room for later ones
      return fetched();
    }
  }

  /** @param {number} colour @param {number} index */
  nameOf(colour, index) {
    return this.names[colour] || `Sound ${index + 1}`;
  }

  /** Names of the lanes, as they are shown. */
  get laneNames() {
    return this.lanes.map((lane, index) =>
      lane.source === null ? "Background" : this.nameOf(lane.colour, index),
    );
  }

  /** End whatever is on its way, and free the memory. */
  close() {
    this.#abort.abort();
    this.#changing.abort();
    this.#freeAddresses();
    for (const lane of this.lanes) lane.buffer = null;
    this.lanes = [];
  }

  /** @param {Blob} blob */
  #addressOf(blob) {
    const address = URL.createObjectURL(blob);
    this.#addresses.push(address);
    return address;
  }

  #freeAddresses() {
    for (const address of this.#addresses) URL.revokeObjectURL(address);
    this.#addresses = [];
  }
}

/** @param {OfflineAudioContext} decoder @param {Blob} blob */
async function decoded(decoder, blob) {
  try {
    return await decoder.decodeAudioData(await blob.arrayBuffer());
  } catch {
    return null; // more channels than this browser takes, for instance: it may still play them, and can save them
  }
}
