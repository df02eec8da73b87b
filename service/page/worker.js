// The worker: pictures, outlines, the map and what belongs to whom, so that the page itself never waits.

import { coloured } from "./colours.js";
import { inside, middle, nearest, placed, unpacked } from "./plane.js";
import { wavOf } from "./wav.js";

/** @typedef {import("./types").Points} Points */
/** @typedef {import("./types").Orders} Orders */
/** @template {keyof Orders} K @typedef {Orders[K]["order"]} Order */

/** The points of the recording that is open. @type {Points | null} */
let points = null;
let place = new Float32Array();

/** @param {Blob} png */
async function decoded(png) {
  const bitmap = await createImageBitmap(png, { colorSpaceConversion: "none", premultiplyAlpha: "none" });
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
  const context = /** @type {OffscreenCanvasRenderingContext2D} */ (canvas.getContext("2d"));
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  return context.getImageData(0, 0, canvas.width, canvas.height);
}

/** @type {{[K in keyof Orders]: (order: Order<K>) => Promise<[Orders[K]["done"], Transferable[]]>}} */
const doings = {
  async paint({ png, colours, only }) {
    const { data, width, height } = await decoded(png);
    const bitmaps = await Promise.all(
      only.map((sound) =>
        createImageBitmap(new ImageData(/** @type {Uint8ClampedArray<ArrayBuffer>} */ (coloured(data, colours, sound)), width, height)),
      ),
    );
    return [bitmaps, bitmaps];
  },

  async outline({ json }) {
    const { scale, low, high } = JSON.parse(await json.text());
    const outline = { scale, low: Float32Array.from(low), high: Float32Array.from(high) };
    return [outline, [outline.low.buffer, outline.high.buffer]];
  },

  async points({ json, frame_s }) {
    const body = JSON.parse(await json.text());
    points = unpacked(body, frame_s ?? body.frame_s);
    const copy = { count: points.count, seconds: points.seconds.slice(), bands: points.bands.slice() };
    const { centroids = [], sources = [], band_hz = [] } = body;
    return [{ ...copy, centroids, sources, band_hz }, [copy.seconds.buffer, copy.bands.buffer]];
  },

  async arrange({ centroids, groups }) {
    if (!points?.count || !centroids.length) {
      place = new Float32Array();
      return [{ place, labels: new Uint8Array(), certainty: new Float32Array() }, []];
    }
    place = placed(points, centroids);
    const found = { place: place.slice(), ...nearest(points, centroids, groups) };
    return [found, [found.place.buffer, found.labels.buffer, found.certainty.buffer]];
  },

  async inside({ line }) {
    return [inside(place, line), []];
  },

  async middle({ chosen }) {
    return [points && middle(points, chosen), []];
  },

  async wav({ channels, rate }) {
    return [wavOf(channels, rate), []];
  },
};

/** @type {Promise<unknown>} */
let last = Promise.resolve();

/** @template {keyof Orders} K @param {{id: number, kind: K, order: Order<K>}} given */
async function doIt({ id, kind, order }) {
  try {
    const [done, transfer] = await doings[kind](order);
    postMessage({ id, done }, { transfer });
  } catch (error) {
    postMessage({ id, failed: String(error) });
  }
}

// In order: what came last is what the next one is about.
addEventListener("message", (event) => {
  last = last.then(() => doIt(event.data));
});
