// The map: points by their embeddings, coloured by sound; a line drawn round some selects them.

import { css } from "./colours.js";
import { fitted } from "./stage.js";
import { inWorker } from "./workshop.js";

/** @typedef {import("./types").Spots} Spots */

export class SoundMap {
  /** @type {Spots | null} */
  points = null;
  #arrangements = 0;
  /** @type {number[][]} */
  #centroids = [];
  /** @type {number[]} */
  #colours = [];
  /** @type {Float32Array} */
  #place = new Float32Array();
  /** @type {Uint8Array} */
  #labels = new Uint8Array();
  /** @type {Float32Array} */
  certainty = new Float32Array();
  /** @type {Set<number> | null} */
  selected = null;
  /** @type {[number, number][]} */
  #line = [];
  /** @type {(chosen: number[]) => void} */
  onselect = () => {};

  /** @param {HTMLCanvasElement} canvas @param {(error: unknown) => void} fail */
  constructor(canvas, fail) {
    this.canvas = canvas;
    this.fail = fail;
    new ResizeObserver(() => this.draw()).observe(canvas);
    canvas.addEventListener("pointerdown", (event) => this.#begin(event));
    canvas.addEventListener("pointermove", (event) => this.#go(event));
    canvas.addEventListener("pointerup", () => this.#end().catch(fail));
    canvas.addEventListener("pointercancel", () => (this.#line = []));
  }

  /** @param {Spots | null} points those that the worker has; null for none */
  show(points) {
    this.points = points;
    this.selected = null;
    this.#arrangements++;
    this.#place = new Float32Array();
    this.draw();
  }

  /** Sounds are where these centroids are. @param {number[][]} centroids @param {number[]} colours of each */
  async arrange(centroids, colours) {
    const mine = ++this.#arrangements;
    if (!this.points) return;
    const { place, labels, certainty } = await inWorker("arrange", { centroids, groups: colours });
    if (mine !== this.#arrangements) return; // there was another choice meanwhile
    this.#centroids = centroids;
    this.#colours = colours;
    this.#place = place;
    this.#labels = labels;
    this.certainty = certainty;
    this.draw();
  }

  draw() {
    const context = fitted(this.canvas);
    if (!context) return;
    const { width, height } = this.canvas;
    context.fillStyle = "#0b0f15";
    context.fillRect(0, 0, width, height);
    const size = Math.max(1.5, width / 190);
    const count = this.#place.length / 2;
    // A colour at a time: changing it is what takes time.
    for (const dim of this.selected ? [true, false] : [false]) {
      for (let label = 0; label < this.#centroids.length; label++) {
        for (const sure of [false, true]) {
          context.fillStyle = css(sure ? this.#colours[label] : -1, dim ? 0.14 : sure ? 0.85 : 0.5);
          for (let p = 0; p < count; p++) {
            if (this.#labels[p] !== label || this.certainty[p] > 0.25 !== sure) continue;
            if (this.selected && this.selected.has(p) === dim) continue;
            const x = ((this.#place[2 * p] + 1) / 2) * width;
            const y = ((1 - this.#place[2 * p + 1]) / 2) * height;
            context.fillRect(x - size / 2, y - size / 2, size, size);
          }
        }
      }
    }
    if (this.#line.length > 1) {
      context.strokeStyle = "#fff";
      context.lineWidth = 2 * devicePixelRatio;
      context.setLineDash([5 * devicePixelRatio, 4 * devicePixelRatio]);
      context.beginPath();
      for (const [x, y] of this.#line) context.lineTo(((x + 1) / 2) * width, ((1 - y) / 2) * height);
      context.stroke();
      context.setLineDash([]);
    }
  }

  /** @param {PointerEvent} event */
  #begin(event) {
    if (!this.points) return;
    this.canvas.setPointerCapture(event.pointerId);
    this.#line = [this.#placeOf(event)];
  }

  /** @param {PointerEvent} event */
  #go(event) {
    if (!this.#line.length) return;
    this.#line.push(this.#placeOf(event));
    this.draw();
  }

  async #end() {
    const line = this.#line;
    this.#line = [];
    if (!line.length) return;
    const points = this.points;
    const chosen = line.length > 4 ? await inWorker("inside", { line }) : [];
    if (points !== this.points) return;
    this.onselect(chosen);
    this.draw();
  }

  /** @param {PointerEvent} event @returns {[number, number]} */
  #placeOf(event) {
    const box = this.canvas.getBoundingClientRect();
    return [(2 * (event.clientX - box.left)) / box.width - 1, 1 - (2 * (event.clientY - box.top)) / box.height];
  }
}
