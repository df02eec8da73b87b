// The card of a server that has a refiner: whether it makes the masks better, in more time.

import { at, select } from "./page.js";

/** @typedef {import("./types").Options} Options */
/** @typedef {import("./types").Quality} Quality */

/** @param {(options: Partial<Options>) => void} choose */
export function wireQuality(choose) {
  const chosen = () => /** @type {Quality} */ (select("quality").value);
  at("quality").addEventListener("change", () => choose({ quality: chosen() }));
}

/** @param {import("./session.js").Session} session @param {Quality[]} qualities that the server has */
export function markQuality({ options, file, manifest, job }, qualities) {
  at("quality-card").hidden = qualities.length < 2 || !manifest;
  select("quality").value = options.quality;
  // A job is another upload of the file, which has to be there.
  select("quality").disabled = Boolean(job && !file);
}
