// The worker: decodes pictures of masks and colours them, so that the page itself never waits.

import { coloured } from "./colours.js";

/** @typedef {{id: number, png?: Blob, colours: number[], only: (number | null)[]}} Order */

/** @type {ImageData | null} */
let picture = null;

/** @param {Blob} png */
async function decoded(png) {
  const bitmap = await createImageBitmap(png, { colorSpaceConversion: "none", premultiplyAlpha: "none" });
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
  const context = /** @type {OffscreenCanvasRenderingContext2D} */ (canvas.getContext("2d"));
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  return context.getImageData(0, 0, canvas.width, canvas.height);
}

/** @type {Promise<unknown>} */
let last = Promise.resolve();

/** @param {Order} order */
async function paint({ id, png, colours, only }) {
  try {
    if (png) picture = await decoded(png);
    if (!picture) throw new Error("There is no picture yet.");
    const { data, width, height } = picture;
    const bitmaps = await Promise.all(
      only.map((sound) =>
        createImageBitmap(new ImageData(/** @type {Uint8ClampedArray<ArrayBuffer>} */ (coloured(data, colours, sound)), width, height)),
      ),
    );
    postMessage({ id, bitmaps }, { transfer: bitmaps });
  } catch (error) {
    postMessage({ id, failed: String(error) });
  }
}

// In order: the picture that came last is the one that is coloured next.
addEventListener("message", (event) => {
  last = last.then(() => paint(event.data));
});
