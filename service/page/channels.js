// The card of a recording with several channels: how they are used, and what came of it.

import { at, input, select } from "./page.js";
import { channelsUsed } from "./words.js";

/** @typedef {import("./types").Options} Options */

/** @param {(options: Partial<Options>) => void} choose */
export function wireChannels(choose) {
  const changed = () =>
    choose({
      channels: /** @type {Options["channels"]} */ (select("channels").value),
      spatial: /** @type {Options["spatial"]} */ (select("spatial").value),
      enhance: input("enhance").checked,
    });
  for (const id of ["channels", "spatial", "enhance"]) at(id).addEventListener("change", changed);
}

/** @param {import("./session.js").Session} session */
export function markChannels({ channels, options, file, manifest, job }) {
  at("channels-card").hidden = channels < 2 || !manifest;
  if (!manifest) return;
  at("channels-words").textContent = channelsUsed(manifest, channels);
  select("channels").value = options.channels;
  select("spatial").value = options.spatial;
  input("enhance").checked = options.enhance;
  // A job is another upload of the file, which has to be there.
  const isFixed = Boolean(job && !file);
  select("channels").disabled = isFixed;
  select("spatial").disabled = isFixed || options.channels === "separate";
  input("enhance").disabled = isFixed || !manifest.spatial;
  for (const option of select("channels").options) option.disabled = option.value === "separate" && !file;
}
