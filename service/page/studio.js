// The studio: one recording, its player, pictures, map and number of sounds, held together.

import { isAbort } from "./api.js";
import { Audition } from "./audition.js";
import { markChannels, wireChannels } from "./channels.js";
import { fillLanes, fillTable, label, markHeard } from "./lanes.js";
import { SoundMap } from "./map.js";
import { fillNumbers, markNumber, wireNumbers } from "./numbers.js";
import { at, button, input } from "./page.js";
import { Player } from "./player.js";
import { markQuality, wireQuality } from "./quality.js";
import { Selecting } from "./selecting.js";
import { Stage } from "./stage.js";
import { clock } from "./words.js";
import { inWorker } from "./workshop.js";

/** @typedef {import("./session.js").Session} Session */
/** @typedef {import("./types").Event_} Happening */

export class Studio {
  stage = new Stage(
    /** @type {HTMLCanvasElement} */ (at("spectrogram")),
    /** @type {HTMLCanvasElement} */ (at("overlay")),
  );
  map;
  audition = new Audition();
  /** @type {Session | null} */
  session = null;
  /** @type {Player | null} */
  player = null;
  /** @type {HTMLElement[]} */
  #rows = [];
  /** That the server has. @type {import("./types").Quality[]} */
  qualities = [];

  /**
   * @param {(event: Happening) => void} tell
   * @param {(error: unknown) => void} fail
   * @param {(index: number) => void} save
   * @param {() => void} noted told when there is something to remember: a name, a number
   * @param {(options: import("./types").Options) => void} again separate the file again, as a job
   */
  constructor(tell, fail, save, noted, again) {
    this.tell = tell;
    this.fail = (/** @type {unknown} */ error) => void (isAbort(error) || fail(error));
    this.save = save;
    this.noted = noted;
    this.again = again;
    this.map = new SoundMap(/** @type {HTMLCanvasElement} */ (at("map")), this.fail);
    this.stage.onview = () => this.#place();
    this.selecting = new Selecting(this);
    this.#wireTransport();
    wireNumbers((number) => this.number(number));
    wireChannels((options) => this.#changeOptions(options));
    wireQuality((options) => this.#changeOptions(options));
  }

  /**
   * Show a recording whose sounds are there.
   * @param {Session} session
   * @param {number} [second] at which it stands
   */
  show(session, second = 0) {
    this.close();
    this.session = session;
    this.stage.show(session);
    this.map.show(null);
    this.#present(second);
    at("title").textContent = `Sounds in ${session.title}`;
    at("map-card").hidden = !session.bandHz.length;
    // A job's embeddings are gone, but for a sample: it can be looked at.
    at("selection-actions").classList.toggle("to-look-at", !session.recording);
    at("map-do").textContent = session.recording
      ? "Draw round some here, or a box in the picture, to hear just those."
      : "Draw round some here, or a box in the picture, to see where they are.";
    at("job-card").hidden = !session.job;
    at("legend").textContent = session.bandHz.length
      ? "Colour: which sound. Brightness: how loud. Grey: the network cannot tell."
      : "Who is heard when.";
    at("spectrogram").setAttribute(
      "aria-label",
      session.bandHz.length ? "Spectrogram, coloured by sound" : "Who is heard when; also as a table below",
    );
    fillNumbers(session);
    this.stage.refresh().catch(this.fail);
    if (session.bandHz.length) this.#showPoints(session).catch(this.fail);
  }

  /** Leave nothing behind. */
  close() {
    this.audition.stop();
    this.player?.close();
    this.player = null;
    this.session?.close();
    this.session = null;
    this.#rows = [];
    at("lanes").replaceChildren();
    this.selecting.select(null);
    this.stage.show(null);
  }

  /** @param {Session} session */
  async #showPoints(session) {
    let points = session.map;
    if (session.recording) {
      const json = await session.api.view(session.address, "points", { most: 6000 }, session.signal);
      points = await inWorker("points", { json, frame_s: session.recording.frame_s });
    }
    if (session !== this.session) return;
    this.map.show(points);
    await this.map.arrange(session.wish.centroids, session.centroidColours);
  }

  /** Another number of sounds: colours and map follow at once. @param {number} number */
  number(number) {
    const session = this.session;
    if (!session?.recording) return;
    return this.change(session.wishFor(number), { number });
  }

  /** @param {Partial<import("./types").Options>} changed */
  #changeOptions(changed) {
    const session = /** @type {Session} */ (this.session);
    const options = { ...session.options, ...changed };
    // Channels one by one are other recordings to the network: that is a job. So is all that is asked of a job.
    if (session.job || options.channels === "separate") {
      this.#markOptions(session);
      return this.again(options);
    }
    session.options = options;
    return this.change({ ...session.wish }, { number: session.wish.number });
  }

  /** @param {import("./types").Wish} wish @param {{number: number | null}} shown */
  async change(wish, shown) {
    const session = /** @type {Session} */ (this.session);
    const { address } = session;
    session.choose(wish);
    this.tell({ type: "changing", shown });
    this.audition.stop();
    this.selecting.select(null);
    markNumber(session);
    this.map.arrange(wish.centroids, session.centroidColours).catch(this.fail);
    try {
      // What ails it is met below, by what is waited for; a recording that was forgotten is sent again there.
      const followed = this.stage.refreshPicture().catch(() => {});
      await session.separate();
      if (session !== this.session || wish !== session.wish) return;
      const sounds = session.manifest?.stems.length ?? 0;
      const [second, playing] = [this.player?.time ?? 0, this.player?.playing ?? false];
      this.player?.close();
      this.#present(second);
      if (playing) await this.player?.play();
      this.stage.refreshOutlines().catch(this.fail);
      // Sounds that somebody made have a picture once they are separated; a recording that was sent again, too.
      if (wish.number === null || session.address !== address) this.stage.refreshPicture().catch(this.fail);
      await followed;
      if (session !== this.session || wish !== session.wish) return;
      const id = session.recording?.id ?? "";
      this.tell({ type: "changed", shown: { ...shown, id }, said: `${sounds} ${sounds === 1 ? "sound" : "sounds"}.` });
      this.noted();
    } catch (error) {
      if (session === this.session && wish === session.wish) this.fail(error);
    }
  }

  /** Lanes and player for the sounds that are there. @param {number} second */
  #present(second) {
    const session = /** @type {Session} */ (this.session);
    const player = new Player(session.lanes, session.original, session.seconds);
    this.player = player;
    this.#rows = fillLanes(at("lanes"), /** @type {HTMLTemplateElement} */ (at("lane-template")), session, player, {
      save: this.save,
      rename: (index, name) => this.#rename(index, name),
      scrub: (event, element) => this.#scrub(event, element),
    });
    this.stage.setLanes(this.#rows);
    fillTable(/** @type {HTMLElement} */ (at("when").querySelector("tbody")), session);
    const warnings = session.manifest?.warnings ?? [];
    at("warnings").hidden = !warnings.length;
    at("warnings").replaceChildren(
      ...warnings.map((text) => Object.assign(document.createElement("li"), { textContent: text })),
    );
    this.selecting.fillMerge();
    this.#markOptions(session);
    button("original").disabled = !session.hasOriginal;
    input("position").max = String(session.seconds);
    player.addEventListener("move", () => this.#place());
    player.addEventListener("change", () => this.#heard());
    player.addEventListener("failed", (event) => this.fail(/** @type {CustomEvent} */ (event).detail));
    player.seek(second);
    this.#heard();
  }

  /** @param {Session} session */
  #markOptions(session) {
    markChannels(session);
    markQuality(session, this.qualities);
  }

  #heard() {
    const player = this.player;
    if (!player) return;
    at("play").classList.toggle("playing", player.playing);
    at("play-word").textContent = player.playing ? "Pause" : "Play";
    button("original").setAttribute("aria-pressed", String(player.isOriginal));
    button("separated").setAttribute("aria-pressed", String(!player.isOriginal));
    button("loop").setAttribute("aria-pressed", String(player.loop !== null));
    markHeard(this.#rows, player);
  }

  #place() {
    const { player, session, stage } = this;
    if (!player || !session) return;
    const { start, end } = stage.view;
    const across = (player.time - start) / (end - start);
    at("studio").style.setProperty("--played", String(across < 0 || across > 1 ? -1 : across));
    input("position").value = String(player.time);
    const words = `${clock(player.time)} of ${clock(session.seconds)}`;
    input("position").setAttribute("aria-valuetext", words);
    at("time").textContent = words;
    const digits = end - start < 10 ? 2 : 0;
    const exact = (/** @type {number} */ s) => (digits ? `${s.toFixed(digits)} s` : clock(s));
    at("axis-from").textContent = exact(start);
    at("axis-to").textContent = exact(end);
  }

  /** @param {number} index @param {string} name */
  #rename(index, name) {
    const session = /** @type {Session} */ (this.session);
    const { source, colour } = session.lanes[index];
    if (source === null) return;
    if (name) session.names[colour] = name;
    else delete session.names[colour];
    const names = session.laneNames;
    const field = /** @type {HTMLInputElement} */ (this.#rows[index].querySelector(".name input"));
    field.value = names[index];
    label(this.#rows[index], names[index], session.lanes[index]);
    fillTable(/** @type {HTMLElement} */ (at("when").querySelector("tbody")), session);
    this.selecting.fillMerge();
    this.noted();
  }

  #wireTransport() {
    at("play").addEventListener("click", () => this.toggle());
    at("original").addEventListener("click", () => this.setOriginal(true));
    at("separated").addEventListener("click", () => this.setOriginal(false));
    at("loop").addEventListener("click", () => this.toggleLoop());
    at("zoom-in").addEventListener("click", () => this.zoom(0.5));
    at("zoom-out").addEventListener("click", () => this.zoom(2));
    const position = input("position");
    position.addEventListener("input", () => this.player?.seek(Number(position.value)));
    // The browser's own steps are a hundredth of the whole, or nothing: too coarse for hours, too fine for seconds.
    position.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -10, PageUp: 10 }[event.key];
      if (!step) return;
      event.preventDefault();
      event.stopPropagation();
      this.seekBy(step);
    });
  }

  toggle() {
    this.audition.stop();
    return this.player?.toggle();
  }

  /** @param {boolean} on */
  setOriginal(on) {
    if (this.player && this.session?.hasOriginal) this.player.isOriginal = on;
  }

  /** @param {number} steps */
  seekBy(steps) {
    const { player, session } = this;
    if (player && session) player.seek(player.time + steps * Math.max(0.5, Math.min(5, session.seconds / 20)));
  }

  /** Again and again: the selection, or what is seen. */
  toggleLoop() {
    if (!this.player) return;
    const { view, box } = this.stage;
    const part = box ? { start: box.start_s, end: box.end_s } : view;
    this.player.loop = this.player.loop ? null : { ...part };
    this.#heard();
  }

  /** @param {number} factor */
  zoom(factor) {
    const { stage, player } = this;
    const length = (stage.view.end - stage.view.start) * factor;
    const middleOf = stage.box ? (stage.box.start_s + stage.box.end_s) / 2 : (player?.time ?? 0);
    stage.zoomTo({ start: middleOf - length / 2, end: middleOf + length / 2 }, this.fail);
  }

  /** Drag over a lane: the position follows. @param {PointerEvent} event @param {HTMLElement} element */
  #scrub(event, element) {
    element.setPointerCapture(event.pointerId);
    const go = (/** @type {PointerEvent} */ { clientX }) => {
      const box = element.getBoundingClientRect();
      this.player?.seek(this.stage.secondAt((clientX - box.left) / box.width));
    };
    go(event);
    element.onpointermove = go;
    element.onpointerup = element.onpointercancel = () => (element.onpointermove = null);
  }
}
