// The large picture and the lanes' pictures: drawn, zoomed, and in step.

import { css, SOUNDS } from "./colours.js";
import { inWorker } from "./workshop.js";

/** @typedef {import("./session.js").Session} Session */
/** @typedef {import("./types").Box} Box */
/** @typedef {{start: number, end: number}} Range */

const COLUMNS = 1400;
const OUTLINE_PARTS = 1000;
const FINE_MS = 220; // after a zoom, until the finer picture is asked for

export class Stage {
  #orders = 0;
  /** @type {Session | null} */
  #session = null;
  /** @type {ImageBitmap[]} of the whole, then of each colour */
  #bitmaps = [];
  /** Colours of the bitmaps; null of the whole. @type {(number | null)[]} */
  #painted = [];
  /** @type {Range} that the bitmaps show */
  #shown = { start: 0, end: 1 };
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  #drawing = 0;
  /** @type {Range} */
  view = { start: 0, end: 1 };
  /** @type {Box | null} */
  box = null;
  /** Places of the points that are selected: seconds and band. @type {[number, number][]} */
  dots = [];
  /** @type {HTMLElement[]} */
  #lanes = [];
  /** @type {() => void} */
  onview = () => {};

  /** @param {HTMLCanvasElement} spectrogram @param {HTMLCanvasElement} overlay */
  constructor(spectrogram, overlay) {
    this.spectrogram = spectrogram;
    this.overlay = overlay;
    // One observer for the page's life: results come and go without leaving any behind.
    new ResizeObserver(() => this.redraw()).observe(spectrogram);
  }

  /** @param {Session | null} session */
  show(session) {
    clearTimeout(this.#timer);
    this.#session = session;
    this.#free();
    this.view = { start: 0, end: Math.max(0.001, session?.seconds ?? 1) };
    this.box = null;
    this.dots = [];
    this.#lanes = [];
    this.#original = null;
    this.redraw();
  }

  /** @param {HTMLElement[]} lanes elements, in the order of the session's lanes */
  setLanes(lanes) {
    this.#lanes = lanes;
    this.redraw();
  }

  /** Bring the picture of who is heard where, of the part that is seen; and the outlines of the lanes. */
  async refresh() {
    await Promise.all([this.refreshPicture(), this.refreshOutlines()]);
  }

  /** Bring the picture alone, which is there before the sounds are. */
  async refreshPicture() {
    const session = this.#session;
    if (!session?.bandHz.length) return;
    const view = { ...this.view };
    /** @type {Record<string, string | number>} */
    const query = { start_s: view.start, end_s: view.end, width: COLUMNS };
    const wish = session.wish;
    if (session.recording && wish.number !== null) query.num_sources = wish.number;
    else if (session.separation) query.separation = session.separation.id;
    else if (session.recording) return;
    const png = await session.api.view(session.address, "masks", query, session.signal);
    if (session !== this.#session || wish !== session.wish) return;
    await this.#paint(session, view, png);
  }

  /** @param {Session} session @param {Range} shown @param {Blob} png */
  async #paint(session, shown, png) {
    const only = [null, ...session.colours];
    const id = ++this.#orders;
    const bitmaps = await inWorker("paint", { png, colours: session.centroidColours, only });
    if (session !== this.#session || id !== this.#orders) {
      for (const bitmap of bitmaps) bitmap.close();
      return;
    }
    this.#free();
    this.#bitmaps = bitmaps;
    this.#painted = only;
    this.#shown = shown;
    this.redraw();
  }

  /** Bring the outlines of the lanes alone. */
  async refreshOutlines() {
    const session = this.#session;
    if (!session) return;
    const view = { ...this.view };
    const { separation, lanes, recording, api, signal } = session;
    const part = { start_s: view.start, end_s: view.end, parts: OUTLINE_PARTS };
    const outline = async (/** @type {Record<string, string | number>} */ of) =>
      inWorker("outline", { json: await api.view(session.address, "peaks", { ...part, ...of }, signal) });
    const stems = lanes.map((lane) =>
      outline(separation ? { separation: separation.id, stem: lane.number } : { stem: lane.number }),
    );
    // Of a job, the recording is all of its stems together.
    const [original, ...others] = await Promise.all([outline(recording ? {} : { stem: 0 }), ...stems]);
    if (session !== this.#session || lanes !== session.lanes) return;
    this.#original = original;
    this.#outlined = view;
    lanes.forEach((lane, index) => {
      lane.outline = others[index];
    });
    this.redraw();
  }
  /** What the outlines show. @type {Range} */
  #outlined = { start: 0, end: 1 };
  /** Outline of the recording. @type {import("./types").Outline | null} */
  #original = null;

  /**
   * See another part; what is there is stretched until there is a finer picture.
   * @param {Range} view
   * @param {(error: unknown) => void} failed
   */
  zoomTo(view, failed) {
    const seconds = this.#session?.seconds ?? 1;
    const length = Math.min(seconds, Math.max(0.05, view.end - view.start));
    const start = Math.min(Math.max(0, view.start), seconds - length);
    this.view = { start, end: start + length };
    this.redraw();
    this.onview();
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.refresh().catch(failed), FINE_MS);
  }

  /** Draw all with the next frame, however often this is called before. */
  redraw() {
    if (this.#drawing) return;
    this.#drawing = requestAnimationFrame(() => {
      this.#drawing = 0;
      this.#drawPicture();
      this.#drawOverlay();
      for (const [index, element] of this.#lanes.entries()) this.#drawLane(element, index);
    });
  }

  #drawPicture() {
    const context = fitted(this.spectrogram);
    if (!context) return;
    const { width, height } = this.spectrogram;
    context.fillStyle = "#05070a";
    context.fillRect(0, 0, width, height);
    if (this.#bitmaps.length) this.#stretch(context, this.#bitmaps[0], width, height);
    else if (this.#session && !this.#session.bandHz.length) this.#drawStretches(context, width, height);
  }

  /** Where there is no picture: who is heard when, instead. @param {CanvasRenderingContext2D} context @param {number} width @param {number} height */
  #drawStretches(context, width, height) {
    const session = /** @type {Session} */ (this.#session);
    const rows = session.lanes.length;
    session.lanes.forEach((lane, row) => {
      context.fillStyle = css(lane.colour);
      for (const { start_s, end_s } of lane.entry?.active ?? []) {
        const [left, right] = [this.#across(start_s) * width, this.#across(end_s) * width];
        context.fillRect(left, ((row + 0.2) * height) / rows, Math.max(1, right - left), (0.6 * height) / rows);
      }
    });
  }

  #drawOverlay() {
    const context = fitted(this.overlay);
    if (!context) return;
    const { width, height } = this.overlay;
    context.clearRect(0, 0, width, height);
    if (!this.box && !this.dots.length) return;
    context.fillStyle = "rgb(0 0 0 / 0.68)";
    context.fillRect(0, 0, width, height);
    const bands = this.#session?.bandHz.length || 1;
    if (this.box) {
      const [left, right] = [this.#across(this.box.start_s) * width, this.#across(this.box.end_s) * width];
      const [top, bottom] = [this.heightOf(this.box.high_hz) * height, this.heightOf(this.box.low_hz) * height];
      context.clearRect(left, top, right - left, bottom - top);
      context.strokeStyle = "#fff";
      context.lineWidth = 1.5 * devicePixelRatio;
      context.setLineDash([6 * devicePixelRatio, 4 * devicePixelRatio]);
      context.strokeRect(left, top, right - left, bottom - top);
      return;
    }
    const size = Math.max(3, height / bands);
    for (const [second, band] of this.dots) {
      context.clearRect(this.#across(second) * width - size / 2, (1 - (band + 1) / bands) * height, size, size);
    }
  }

  /** @param {HTMLElement} element @param {number} index */
  #drawLane(element, index) {
    const session = this.#session;
    const lane = session?.lanes[index];
    const outline = lane ? lane.outline : this.#original;
    const [wave, active] = /** @type {HTMLCanvasElement[]} */ ([...element.querySelectorAll("canvas")]);
    const context = wave && fitted(wave);
    if (!session || !context) return;
    const { width, height } = wave;
    context.fillStyle = "#05070a";
    context.fillRect(0, 0, width, height);
    const colour = lane?.colour ?? -1;
    // Lanes of an earlier number are still there while its colours have gone from the picture.
    const bitmap = this.#bitmaps[this.#painted.indexOf(colour)];
    context.globalAlpha = 0.5;
    if (bitmap) this.#stretch(context, bitmap, width, height);
    context.globalAlpha = 1;
    if (outline) this.#drawWave(context, outline, colour, width, height);
    const bar = active && fitted(active);
    if (!bar) return;
    bar.clearRect(0, 0, active.width, active.height);
    bar.fillStyle = css(colour);
    for (const { start_s, end_s } of lane?.entry?.active ?? []) {
      const [left, right] = [this.#across(start_s) * active.width, this.#across(end_s) * active.width];
      if (right > 0 && left < active.width) bar.fillRect(left, 0, Math.max(1, right - left), active.height);
    }
  }

  /** @param {CanvasRenderingContext2D} context @param {import("./types").Outline} outline @param {number} colour @param {number} width @param {number} height */
  #drawWave(context, { scale, low, high }, colour, width, height) {
    const scales = (this.#session?.lanes ?? []).map((lane) => lane.outline?.scale ?? 0);
    const largest = Math.max(1e-4, this.#original?.scale ?? 0, ...scales);
    const factor = (scale / largest / 127) * 0.94;
    const [r, g, b] = colour < 0 ? [190, 196, 204] : SOUNDS[colour % SOUNDS.length].map((v) => Math.round(v + 0.55 * (255 - v)));
    context.fillStyle = `rgb(${r} ${g} ${b})`;
    const { start, end } = this.#outlined;
    context.beginPath();
    high.forEach((value, i) => {
      const x = this.#across(start + ((end - start) * (i + 0.5)) / high.length) * width;
      context.lineTo(x, (height / 2) * (1 - value * factor) - 0.5);
    });
    for (let i = low.length - 1; i >= 0; i--) {
      const x = this.#across(start + ((end - start) * (i + 0.5)) / low.length) * width;
      context.lineTo(x, (height / 2) * (1 - low[i] * factor) + 0.5);
    }
    context.fill();
  }

  /** @param {CanvasRenderingContext2D} context @param {ImageBitmap} bitmap @param {number} width @param {number} height */
  #stretch(context, bitmap, width, height) {
    const { start, end } = this.#shown;
    const [left, right] = [this.#across(start) * width, this.#across(end) * width];
    context.imageSmoothingEnabled = true;
    context.drawImage(bitmap, left, 0, right - left, height);
  }

  /** @param {number} second @returns {number} 0 to 1 in the part that is seen */
  #across(second) {
    return (second - this.view.start) / (this.view.end - this.view.start);
  }

  /** @param {number} across 0 to 1 */
  secondAt(across) {
    return this.view.start + across * (this.view.end - this.view.start);
  }

  /** Where a frequency lies in the picture, 0 on top to 1. @param {number} hz */
  heightOf(hz) {
    const bands = this.#session?.bandHz ?? [];
    const above = bands.findIndex((centre) => centre >= hz);
    return above < 0 ? 0 : 1 - above / bands.length;
  }

  /** @param {number} height 0 on top to 1 */
  hzAt(height) {
    const bands = this.#session?.bandHz ?? [];
    if (!bands.length) return 0;
    const band = Math.floor((1 - height) * bands.length);
    return band >= bands.length ? 2 * bands[bands.length - 1] : bands[Math.max(0, band)];
  }

  #free() {
    for (const bitmap of this.#bitmaps) bitmap.close();
    this.#bitmaps = [];
  }
}

/**
 * The context of a canvas that has as many pixels as the screen gives it; null where it is not seen.
 * @param {HTMLCanvasElement} canvas
 */
export function fitted(canvas) {
  const [width, height] = [canvas.clientWidth, canvas.clientHeight].map((size) => Math.round(size * devicePixelRatio));
  if (!width || !height) return null;
  if (canvas.width !== width) canvas.width = width;
  if (canvas.height !== height) canvas.height = height;
  return canvas.getContext("2d");
}
