// The studio: one recording, its player, pictures, map and number of sounds, held together.

import { isAbort } from "./api.js";
import { Audition } from "./audition.js";
import { fillLanes, fillTable, label, markHeard } from "./lanes.js";
import { SoundMap } from "./map.js";
import { at, button, input, select } from "./page.js";
import { Player } from "./player.js";
import { Stage } from "./stage.js";
import { channelsUsed, clock, counted, pitch } from "./words.js";
import { inWorker } from "./workshop.js";

/** @typedef {import("./session.js").Session} Session */
/** @typedef {import("./types").Box} Box */
/** @typedef {import("./types").Event_} Happening */

const TELEPHONE = "as on a telephone";
const DRAG_PX = 5; // less is a click
const UNSURE = 0.3;

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
  /** @type {{box: Box | null, points: number[]} | null} */
  selection = null;

  /**
   * @param {(event: Happening) => void} tell
   * @param {(error: unknown) => void} fail
   * @param {(index: number) => void} save
   * @param {() => void} noted told when there is something to remember: a name, a number
   * @param {(options: import("./types").ChannelOptions) => void} again separate the file again, as a job
   */
  constructor(tell, fail, save, noted, again) {
    this.tell = tell;
    this.fail = (/** @type {unknown} */ error) => void (isAbort(error) || fail(error));
    this.save = save;
    this.noted = noted;
    this.again = again;
    this.map = new SoundMap(/** @type {HTMLCanvasElement} */ (at("map")), this.fail);
    this.stage.onview = () => this.#place();
    this.map.onselect = (points) => this.select(points.length ? { box: null, points } : null);
    this.audition.onend = () => (button("hear").textContent = "Hear selection");
    this.#wireTransport();
    this.#wirePicture();
    this.#wireSelection();
    at("numbers").addEventListener("change", (event) => {
      this.number(Number(/** @type {HTMLInputElement} */ (event.target).value));
    });
    for (const id of ["channels", "spatial"]) at(id).addEventListener("change", () => this.#changeChannels());
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
    at("number-card").hidden = !session.recording;
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
    if (session.recording) this.#fillNumbers();
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
    this.select(null);
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
    return this.#change(session.wishFor(number), { number });
  }

  #changeChannels() {
    const session = /** @type {Session} */ (this.session);
    const options = /** @type {import("./types").ChannelOptions} */ ({
      channels: select("channels").value,
      spatial: select("spatial").value,
    });
    // Channels one by one are other recordings to the network: that is a job. So is all that is asked of a job.
    if (session.job || options.channels === "separate") {
      this.#markChannels();
      return this.again(options);
    }
    session.options = options;
    return this.#change({ ...session.wish }, { number: session.wish.number });
  }

  /** @param {import("./types").Wish} wish @param {{number: number | null}} shown */
  async #change(wish, shown) {
    const session = /** @type {Session} */ (this.session);
    const { address } = session;
    session.choose(wish);
    this.tell({ type: "changing", shown });
    this.audition.stop();
    this.select(null);
    this.#markNumber();
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
    const player = new Player(session.lanes, session.seconds);
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
    this.#fillMerge();
    this.#markChannels();
    input("position").max = String(session.seconds);
    player.addEventListener("move", () => this.#place());
    player.addEventListener("change", () => this.#heard());
    player.addEventListener("failed", (event) => this.fail(/** @type {CustomEvent} */ (event).detail));
    player.seek(second);
    this.#heard();
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
    this.#fillMerge();
    this.noted();
  }

  #fillNumbers() {
    const { recording, manifest } = /** @type {Session} */ (this.session);
    if (!recording) return;
    const chance = recording.numbers[recording.num_sources - 1]?.chance ?? null;
    const isTelephone = (manifest?.warnings ?? []).some((text) => text.includes(TELEPHONE));
    at("number-words").textContent = counted(recording.num_sources, chance, isTelephone);
    at("numbers").replaceChildren(
      ...recording.numbers.map(({ num_sources: number, clarity }) => {
        const choice = document.createElement("label");
        const radio = Object.assign(document.createElement("input"), { type: "radio", name: "number", value: String(number) });
        const isCounted = number === recording.num_sources;
        radio.setAttribute("aria-label", `${number}, clarity ${Math.round(100 * clarity)} %${isCounted ? ", counted" : ""}`);
        const bar = document.createElement("i");
        bar.style.setProperty("--clarity", String(clarity));
        const face = document.createElement("span");
        face.append(bar, Object.assign(document.createElement("b"), { textContent: String(number) }));
        choice.className = isCounted ? "number counted" : "number";
        choice.append(radio, face);
        return choice;
      }),
    );
    this.#markNumber();
  }

  #markNumber() {
    const number = this.session?.wish.number ?? null;
    for (const radio of /** @type {NodeListOf<HTMLInputElement>} */ (at("numbers").querySelectorAll("input"))) {
      radio.checked = Number(radio.value) === number;
    }
  }

  /** How several channels are used, and what came of it. */
  #markChannels() {
    const { channels, options, file, manifest, job } = /** @type {Session} */ (this.session);
    at("channels-card").hidden = channels < 2 || !manifest;
    if (!manifest) return;
    at("channels-words").textContent = channelsUsed(manifest, channels);
    select("channels").value = options.channels;
    select("spatial").value = options.spatial;
    select("spatial").disabled = options.channels === "separate" || Boolean(job && !file);
    select("channels").disabled = Boolean(job && !file);
    for (const option of select("channels").options) option.disabled = option.value === "separate" && !file;
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
    if (this.player) this.player.isOriginal = on;
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

  /** In the picture a click moves the position, a drag selects a box in time and pitch. */
  #wirePicture() {
    const picture = at("picture");
    /** @type {{x: number, y: number} | null} */
    let from = null;
    const part = (/** @type {PointerEvent} */ { clientX, clientY }) => {
      const box = picture.getBoundingClientRect();
      const within = (/** @type {number} */ value) => Math.min(1, Math.max(0, value));
      return { x: within((clientX - box.left) / box.width), y: within((clientY - box.top) / box.height), box };
    };
    picture.addEventListener("pointerdown", (event) => {
      picture.setPointerCapture(event.pointerId);
      from = part(event);
    });
    const boxTo = (/** @type {PointerEvent} */ event) => {
      if (!from || !this.session?.bandHz.length) return null;
      const to = part(event);
      const isDrag = Math.abs(to.x - from.x) * to.box.width > DRAG_PX || Math.abs(to.y - from.y) * to.box.height > DRAG_PX;
      if (!isDrag) return null;
      const [left, right] = [from.x, to.x].sort((a, b) => a - b);
      const [top, bottom] = [from.y, to.y].sort((a, b) => a - b);
      const { stage } = this;
      return {
        start_s: stage.secondAt(left),
        end_s: Math.max(stage.secondAt(right), stage.secondAt(left) + 0.02),
        low_hz: stage.hzAt(bottom),
        high_hz: Math.max(stage.hzAt(top), stage.hzAt(bottom) + 50),
      };
    };
    picture.addEventListener("pointermove", (event) => {
      const box = boxTo(event);
      if (!box) return;
      this.stage.box = box;
      this.stage.dots = [];
      this.stage.redraw();
    });
    picture.addEventListener("pointerup", (event) => {
      const box = boxTo(event);
      const x = part(event).x;
      if (box) this.#selectBox(box);
      else if (from) {
        this.select(null);
        this.player?.seek(this.stage.secondAt(x));
      }
      from = null;
    });
    picture.addEventListener("pointercancel", () => (from = null));
  }

  /** @param {Box} box */
  #selectBox(box) {
    const { points } = this.map;
    const bands = this.session?.bandHz ?? [];
    const chosen = [];
    for (let p = 0; p < (points?.count ?? 0); p++) {
      const second = points?.seconds[p] ?? 0;
      const hz = bands[points?.bands[p] ?? 0];
      if (second >= box.start_s && second <= box.end_s && hz >= box.low_hz && hz <= box.high_hz) chosen.push(p);
    }
    this.select({ box, points: chosen });
  }

  /** @param {{box: Box | null, points: number[]} | null} selection */
  select(selection) {
    this.audition.stop();
    this.selection = selection;
    const { points } = this.map;
    this.map.selected = selection ? new Set(selection.points) : null;
    this.map.draw();
    this.stage.box = selection?.box ?? null;
    this.stage.dots =
      selection && !selection.box && points
        ? selection.points.map((p) => /** @type {[number, number]} */ ([points.seconds[p], points.bands[p]]))
        : [];
    this.stage.redraw();
    at("selected").textContent = this.#selectedWords();
    const some = Boolean(selection?.points.length);
    button("hear").disabled = !selection || !(selection.box || some);
    button("unselect").disabled = !selection;
    for (const id of ["make", "merge"]) button(id).disabled = !some;
    select("merge-into").disabled = !some;
  }

  #selectedWords() {
    const { selection, map } = this;
    if (!selection) return "Nothing is selected.";
    const count = `${selection.points.length} of ${map.points?.count ?? 0} points`;
    if (selection.box) {
      const { start_s, end_s, low_hz, high_hz } = selection.box;
      return `Selected: ${start_s.toFixed(1)} to ${end_s.toFixed(1)} s, ${pitch(low_hz)} to ${pitch(high_hz)}; ${count}.`;
    }
    const mean = selection.points.reduce((sum, p) => sum + map.certainty[p], 0) / Math.max(1, selection.points.length);
    return `Selected: ${count}${mean < UNSURE ? ", where the network is unsure" : ""}.`;
  }

  #fillMerge() {
    const { session } = this;
    const options = (session?.lanes ?? []).flatMap((lane, index) =>
      lane.source === null ? [] : [new Option(session?.laneNames[index], String(lane.source))],
    );
    select("merge-into").replaceChildren(...options);
  }

  #wireSelection() {
    at("hear").addEventListener("click", () => this.hear().catch(this.fail));
    at("make").addEventListener("click", () => this.#addSelection(null).catch(this.fail));
    at("merge").addEventListener("click", () => this.#addSelection(Number(select("merge-into").value)).catch(this.fail));
    at("unselect").addEventListener("click", () => this.select(null));
    at("select-unsure").addEventListener("click", () => {
      const unsure = [...this.map.certainty.keys()].filter((p) => this.map.certainty[p] < UNSURE);
      this.select({ box: null, points: unsure });
    });
    at("by-numbers").addEventListener("submit", (event) => {
      event.preventDefault();
      const given = new FormData(/** @type {HTMLFormElement} */ (at("by-numbers")));
      const value = (/** @type {string} */ name, /** @type {number} */ otherwise) =>
        given.get(name) === "" ? otherwise : Number(given.get(name));
      const box = {
        start_s: value("start_s", 0),
        end_s: value("end_s", this.session?.seconds ?? 0),
        low_hz: value("low_hz", 0),
        high_hz: value("high_hz", 8000),
      };
      if (box.start_s < box.end_s && box.low_hz < box.high_hz) this.#selectBox(box);
      else this.tell({ type: "notice", text: "That part is empty: From must be before To, and Lowest below Highest." });
    });
  }

  /** Hear the selection once; again, stop it. */
  async hear() {
    const { session, selection } = this;
    if (this.audition.playing) return this.audition.stop();
    if (!session || !selection) return;
    this.player?.pause();
    button("hear").textContent = "Stop";
    try {
      const request = session.requestOf(session.wish);
      /** @type {[number, number]} */
      let span = [0, session.seconds];
      let buffer;
      if (selection.box) {
        const { start_s, end_s, low_hz, high_hz } = selection.box;
        span = [start_s, end_s];
        const part = { start_s, end_s, low_hz, high_hz };
        buffer = await session.excerpt({ ...request, num_sources: 1, centroids: null, groups: null, selection: part }, () => 1);
      } else {
        const wish = await this.#withSelection(null);
        if (!wish || !this.map.points) return this.audition.onend();
        const group = Math.max(...wish.groups);
        buffer = await session.excerpt(session.requestOf(wish), ({ sources }) => 1 + sources.indexOf(group));
        const seconds = selection.points.map((p) => this.map.points?.seconds[p] ?? 0);
        span = [Math.max(0, Math.min(...seconds) - 0.2), Math.min(session.seconds, Math.max(...seconds) + 0.2)];
      }
      if (buffer && session === this.session && selection === this.selection) await this.audition.play(buffer, ...span);
      else this.audition.onend();
    } catch (error) {
      this.audition.onend();
      throw error;
    }
  }

  /**
   * The wish with the middle of the selection as one more centroid, of a sound of its own or of another one.
   * @param {number | null} into
   */
  async #withSelection(into) {
    const { session, selection } = this;
    const centroid = selection && (await inWorker("middle", { chosen: selection.points }));
    if (!session || !centroid || session !== this.session) return null;
    const { centroids, groups } = session.wish;
    const group = into ?? Math.max(...groups) + 1;
    if (group >= 8 || centroids.length >= 16) {
      this.tell({ type: "notice", text: "There are as many sounds as there can be. Choose a smaller number first." });
      return null;
    }
    return { number: null, centroids: [...centroids, centroid], groups: [...groups, group] };
  }

  /** @param {number | null} into */
  async #addSelection(into) {
    const wish = await this.#withSelection(into);
    if (wish) await this.#change(wish, { number: null });
  }
}
