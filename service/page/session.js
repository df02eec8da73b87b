// One recording that is open: what the server keeps of it, the sounds that are shown, and one AbortController for all.

import { Failure } from "./api.js";
import { Listening } from "./listening.js";
import { keptColours } from "./plane.js";
import { inWorker } from "./workshop.js";

/** @typedef {import("./types").Wish} Wish */
/** @typedef {import("./types").Lane} Lane */
/** @typedef {import("./types").Recording} Recording */
/** @typedef {import("./types").Manifest} Manifest */
/** @typedef {import("./types").SeparationRequest} SeparationRequest */
/** @typedef {import("./types").Options} Options */

export class Session {
  #abort = new AbortController();
  #changing = new AbortController();
  #listening;
  /** @type {Lane[]} */
  lanes = [];
  /** The recording as it was, where the lanes do not add up to it. @type {import("./listening.js").Sound | null} */
  original = null;
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
  /** @type {Options} */
  options = { channels: "keep", spatial: "auto", enhance: false, quality: "fast" };
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
    this.#listening = new Listening(api);
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

  /** Whether the recording as it was can be heard. */
  get hasOriginal() {
    return this.original !== null || !this.manifest?.spatial?.enhanced;
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
   * Separate it as was chosen; an earlier separation that is still on its way ends.
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
    const listening = new Listening(this.api);
    try {
      const lanes = await this.#laned(listening, separation, signal);
      const original = separation.manifest.spatial?.enhanced ? await this.#recorded(listening, separation, signal) : null;
      signal.throwIfAborted();
      this.#listening.free();
      this.#listening = listening;
      this.separation = separation;
      this.manifest = separation.manifest;
      this.lanes = lanes;
      this.original = original;
    } catch (error) {
      listening.free();
      throw error;
    }
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
   * @param {Listening} listening
   * @param {import("./types").Separation} separation
   * @param {AbortSignal} signal
   * @returns {Promise<Lane[]>}
   */
  #laned(listening, separation, signal) {
    const recording = /** @type {Recording} */ (this.recording);
    const { manifest } = separation;
    const inMemory = listening.fits(recording, separation);
    const entries = [...manifest.stems, ...(manifest.background ? [null] : [])];
    return Promise.all(
      entries.map(async (entry, index) => ({
        number: index + 1,
        source: separation.sources[index] ?? null,
        colour: this.colours[separation.sources[index]] ?? -1,
        entry,
        outline: null,
        ...(await listening.stem(recording, separation, index + 1, inMemory, signal)),
      })),
    );
  }

  /**
   * The recording as it was: all of it as one sound.
   * @param {Listening} listening
   * @param {import("./types").Separation} beside
   * @param {AbortSignal} signal
   */
  async #recorded(listening, beside, signal) {
    const recording = /** @type {Recording} */ (this.recording);
    const request = { ...this.requestOf(this.wishFor(1)), background: /** @type {const} */ ("share"), enhance: false };
    const separation = await this.api.separate(recording.id, request, signal);
    return listening.stem(recording, separation, 1, listening.fits(recording, beside), signal);
  }

  /**
   * The sounds of a job that is done; long stems stay on the server, and are played from there.
   * @param {Manifest} manifest
   */
  async showJob(manifest) {
    this.manifest = manifest;
    if (manifest.reference !== null) this.options.channels = "reference";
    this.options.enhance = manifest.spatial?.enhanced ?? false;
    this.options.quality = manifest.quality;
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
      const sound = await this.#listening.stemOfJob(this.job ?? "", number, this.signal);
      this.lanes.push({ number, source, colour, entry, outline: null, ...sound });
    }
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
    const { channels, spatial, enhance, quality } = this.options;
    return {
      num_sources: isPlain ? number : null,
      centroids: isPlain ? null : centroids,
      groups: isPlain ? null : groups,
      selection: null,
      masks: "soft",
      background: null,
      channels: channels === "separate" ? "keep" : channels,
      spatial,
      enhance,
      quality,
    };
  }

  /**
   * A part of the recording as sounds of its own, decoded: the selection, to be heard once.
   * @param {SeparationRequest} request
   * @param {(separation: import("./types").Separation) => number} which stem of it
   * @returns {Promise<AudioBuffer | null>}
   */
  async excerpt(request, which) {
    const separation = await this.#asked(request, this.signal);
    const recording = /** @type {Recording} */ (this.recording);
    return (await this.#listening.stem(recording, separation, which(separation), true, this.signal)).buffer;
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
    this.#listening.free();
    for (const sound of [...this.lanes, this.original]) if (sound) sound.buffer = null;
    this.lanes = [];
    this.original = null;
  }
}
