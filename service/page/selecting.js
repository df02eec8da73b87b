// What is selected, on the map or in the picture: shown, heard, made a sound or merged into one.

import { at, button, select } from "./page.js";
import { pitch } from "./words.js";
import { inWorker } from "./workshop.js";

/** @typedef {import("./types").Box} Box */

const DRAG_PX = 5; // less is a click
const UNSURE = 0.3;

export class Selecting {
  /** @type {{box: Box | null, points: number[]} | null} */
  selection = null;

  /** @param {import("./studio.js").Studio} studio */
  constructor(studio) {
    this.studio = studio;
    studio.map.onselect = (points) => this.select(points.length ? { box: null, points } : null);
    studio.audition.onend = () => (button("hear").textContent = "Hear selection");
    this.#wirePicture();
    this.#wireSelection();
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
      if (!from || !this.studio.session?.bandHz.length) return null;
      const to = part(event);
      const isDrag = Math.abs(to.x - from.x) * to.box.width > DRAG_PX || Math.abs(to.y - from.y) * to.box.height > DRAG_PX;
      if (!isDrag) return null;
      const [left, right] = [from.x, to.x].sort((a, b) => a - b);
      const [top, bottom] = [from.y, to.y].sort((a, b) => a - b);
      const { stage } = this.studio;
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
      this.studio.stage.box = box;
      this.studio.stage.dots = [];
      this.studio.stage.redraw();
    });
    picture.addEventListener("pointerup", (event) => {
      const box = boxTo(event);
      const x = part(event).x;
      if (box) this.#selectBox(box);
      else if (from) {
        this.select(null);
        this.studio.player?.seek(this.studio.stage.secondAt(x));
      }
      from = null;
    });
    picture.addEventListener("pointercancel", () => (from = null));
  }

  /** @param {Box} box */
  #selectBox(box) {
    const { points } = this.studio.map;
    const bands = this.studio.session?.bandHz ?? [];
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
    this.studio.audition.stop();
    this.selection = selection;
    const { points } = this.studio.map;
    this.studio.map.selected = selection ? new Set(selection.points) : null;
    this.studio.map.draw();
    this.studio.stage.box = selection?.box ?? null;
    this.studio.stage.dots =
      selection && !selection.box && points
        ? selection.points.map((p) => /** @type {[number, number]} */ ([points.seconds[p], points.bands[p]]))
        : [];
    this.studio.stage.redraw();
    at("selected").textContent = this.#selectedWords();
    const some = Boolean(selection?.points.length);
    button("hear").disabled = !selection || !(selection.box || some);
    button("unselect").disabled = !selection;
    for (const id of ["make", "merge"]) button(id).disabled = !some;
    select("merge-into").disabled = !some;
  }

  #selectedWords() {
    const { selection } = this;
    const { map } = this.studio;
    if (!selection) return "Nothing is selected.";
    const count = `${selection.points.length} of ${map.points?.count ?? 0} points`;
    if (selection.box) {
      const { start_s, end_s, low_hz, high_hz } = selection.box;
      return `Selected: ${start_s.toFixed(1)} to ${end_s.toFixed(1)} s, ${pitch(low_hz)} to ${pitch(high_hz)}; ${count}.`;
    }
    const mean = selection.points.reduce((sum, p) => sum + map.certainty[p], 0) / Math.max(1, selection.points.length);
    return `Selected: ${count}${mean < UNSURE ? ", where the network is unsure" : ""}.`;
  }

  /** Sounds that a selection can be merged into. */
  fillMerge() {
    const { session } = this.studio;
    const options = (session?.lanes ?? []).flatMap((lane, index) =>
      lane.source === null ? [] : [new Option(session?.laneNames[index], String(lane.source))],
    );
    select("merge-into").replaceChildren(...options);
  }

  #wireSelection() {
    at("hear").addEventListener("click", () => this.hear().catch(this.studio.fail));
    at("make").addEventListener("click", () => this.#addSelection(null).catch(this.studio.fail));
    at("merge").addEventListener("click", () => this.#addSelection(Number(select("merge-into").value)).catch(this.studio.fail));
    at("unselect").addEventListener("click", () => this.select(null));
    at("select-unsure").addEventListener("click", () => {
      const unsure = [...this.studio.map.certainty.keys()].filter((p) => this.studio.map.certainty[p] < UNSURE);
      this.select({ box: null, points: unsure });
    });
    at("by-numbers").addEventListener("submit", (event) => {
      event.preventDefault();
      const given = new FormData(/** @type {HTMLFormElement} */ (at("by-numbers")));
      const value = (/** @type {string} */ name, /** @type {number} */ otherwise) =>
        given.get(name) === "" ? otherwise : Number(given.get(name));
      const box = {
        start_s: value("start_s", 0),
        end_s: value("end_s", this.studio.session?.seconds ?? 0),
        low_hz: value("low_hz", 0),
        high_hz: value("high_hz", 8000),
      };
      if (box.start_s < box.end_s && box.low_hz < box.high_hz) this.#selectBox(box);
      else this.studio.tell({ type: "notice", text: "That part is empty: From must be before To, and Lowest below Highest." });
    });
  }

  /** Hear the selection once; again, stop it. */
  async hear() {
    const { selection } = this;
    const { session } = this.studio;
    if (this.studio.audition.playing) return this.studio.audition.stop();
    if (!session || !selection) return;
    this.studio.player?.pause();
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
        if (!wish || !this.studio.map.points) return this.studio.audition.onend();
        const group = Math.max(...wish.groups);
        buffer = await session.excerpt(session.requestOf(wish), ({ sources }) => 1 + sources.indexOf(group));
        const seconds = selection.points.map((p) => this.studio.map.points?.seconds[p] ?? 0);
        span = [Math.max(0, Math.min(...seconds) - 0.2), Math.min(session.seconds, Math.max(...seconds) + 0.2)];
      }
      if (buffer && session === this.studio.session && selection === this.selection) await this.studio.audition.play(buffer, ...span);
      else this.studio.audition.onend();
    } catch (error) {
      this.studio.audition.onend();
      throw error;
    }
  }

  /**
   * The wish with the middle of the selection as one more centroid, of a sound of its own or of another one.
   * @param {number | null} into
   */
  async #withSelection(into) {
    const { selection } = this;
    const { session } = this.studio;
    const centroid = selection && (await inWorker("middle", { chosen: selection.points }));
    if (!session || !centroid || session !== this.studio.session) return null;
    const { centroids, groups } = session.wish;
    const group = into ?? Math.max(...groups) + 1;
    if (group >= 8 || centroids.length >= 16) {
      this.studio.tell({ type: "notice", text: "There are as many sounds as there can be. Choose a smaller number first." });
      return null;
    }
    return { number: null, centroids: [...centroids, centroid], groups: [...groups, group] };
  }

  /** @param {number | null} into */
  async #addSelection(into) {
    const wish = await this.#withSelection(into);
    if (wish) await this.studio.change(wish, { number: null });
  }
}
