// A row for each sound: name, how clear it is, picture, who is heard when, and its buttons.

import { css } from "./colours.js";
import { clock, lasting, separated } from "./words.js";

/** @typedef {import("./session.js").Session} Session */
/** @typedef {import("./player.js").Player} Player */

/**
 * @typedef {object} Wiring
 * @property {(index: number) => void} save
 * @property {(index: number, name: string) => void} rename
 * @property {(event: PointerEvent, element: HTMLElement) => void} scrub
 */

const MOST_ROWS = 500; // of the table; hours of talk have thousands of stretches

/**
 * Fill the list; returns its rows, in the order of the session's lanes, that of the original last.
 * @param {HTMLElement} list
 * @param {HTMLTemplateElement} template
 * @param {Session} session
 * @param {Player} player
 * @param {Wiring} wiring
 * @returns {HTMLElement[]}
 */
export function fillLanes(list, template, session, player, wiring) {
  const names = session.laneNames;
  const rows = session.lanes.map((lane, index) => {
    const row = /** @type {HTMLElement} */ (
      /** @type {DocumentFragment} */ (template.content.cloneNode(true)).firstElementChild
    );
    const at = (/** @type {string} */ selector) => /** @type {HTMLElement} */ (row.querySelector(selector));
    row.style.setProperty("--sound", css(lane.colour));
    const name = /** @type {HTMLInputElement} */ (at(".name input"));
    name.value = names[index];
    name.readOnly = lane.source === null;
    name.setAttribute("aria-label", lane.source === null ? "Name" : `Name of sound ${index + 1}`);
    name.addEventListener("change", () => wiring.rename(index, name.value.trim()));
    name.addEventListener("keydown", (event) => event.key === "Enter" && name.blur());
    describe(row, lane, session);
    at(".wave").addEventListener("pointerdown", (event) => wiring.scrub(event, at(".wave")));
    at(".solo").addEventListener("click", () => player.toggleSolo(index));
    at(".mute").addEventListener("click", () => player.toggleMute(index));
    at(".save").addEventListener("click", () => wiring.save(index));
    const volume = /** @type {HTMLInputElement} */ (at(".volume"));
    volume.addEventListener("input", () => player.setVolume(index, Number(volume.value)));
    label(row, names[index], lane);
    return row;
  });
  const original = originalRow(template, player, wiring);
  original.hidden = !session.hasOriginal;
  list.replaceChildren(original, ...rows);
  return [...rows, original];
}

/**
 * The recording as it was, to compare with.
 * @param {HTMLTemplateElement} template
 * @param {Player} player
 * @param {Wiring} wiring
 */
function originalRow(template, player, wiring) {
  const row = /** @type {HTMLElement} */ (
    /** @type {DocumentFragment} */ (template.content.cloneNode(true)).firstElementChild
  );
  const at = (/** @type {string} */ selector) => /** @type {HTMLElement} */ (row.querySelector(selector));
  row.classList.add("is-original");
  row.style.setProperty("--sound", css(-1));
  at(".name").replaceChildren(at(".swatch"), Object.assign(document.createElement("b"), { textContent: "Original" }));
  at(".confidence").remove();
  at(".heard").textContent = "all of it, as it was recorded";
  at(".active").remove();
  at(".controls").setAttribute("aria-label", "Original");
  const hear = at(".solo");
  hear.textContent = "Hear the original";
  hear.className = "hear-original";
  hear.addEventListener("click", () => {
    player.isOriginal = !player.isOriginal;
  });
  for (const other of [".mute", ".save", ".volume"]) at(other).remove();
  at(".wave").addEventListener("pointerdown", (event) => wiring.scrub(event, at(".wave")));
  at(".wave canvas").setAttribute("aria-label", "Waveform of the original");
  return row;
}

/** @param {HTMLElement} row @param {import("./types").Lane} lane @param {Session} session */
function describe(row, lane, session) {
  const at = (/** @type {string} */ selector) => /** @type {HTMLElement} */ (row.querySelector(selector));
  if (!lane.entry) {
    at(".confidence").hidden = true;
    at(".heard").textContent = "Noise, music, hum: what is left";
    return;
  }
  const stems = session.manifest?.stems.length ?? 1;
  at(".confidence .words").textContent = separated(lane.entry, stems);
  at(".meter").hidden = stems === 1 || lane.entry.energy_share === 0;
  row.style.setProperty("--confidence", String(lane.entry.confidence));
  const { channel } = lane.entry;
  const heard = lane.entry.active.reduce((sum, { start_s, end_s }) => sum + end_s - start_s, 0);
  const words = heard ? `heard for ${lasting(heard)} of ${lasting(session.seconds)}` : "nothing to hear";
  at(".heard").textContent = channel === null ? words : `channel ${channel}, ${words}`;
}

/**
 * What everything in a row is called.
 * @param {HTMLElement} row
 * @param {string} name
 * @param {import("./types").Lane} lane
 */
export function label(row, name, lane) {
  const at = (/** @type {string} */ selector) => /** @type {HTMLElement} */ (row.querySelector(selector));
  at(".controls").setAttribute("aria-label", name);
  at(".volume").setAttribute("aria-label", `Volume of ${name}`);
  const stretches = lane.entry?.active.length ?? 0;
  at(".wave canvas").setAttribute("aria-label", lane.entry ? `${name}: heard ${stretches} times` : name);
}

/** @param {HTMLElement[]} rows @param {Player} player */
export function markHeard(rows, player) {
  rows.forEach((row, index) => {
    const hear = row.querySelector(".hear-original");
    hear?.setAttribute("aria-pressed", String(player.isOriginal));
    if (hear) return;
    row.classList.toggle("unheard", !player.isHeard(index));
    row.querySelector(".solo")?.setAttribute("aria-pressed", String(!player.isOriginal && player.isSolo(index)));
    row.querySelector(".mute")?.setAttribute("aria-pressed", String(!player.isOriginal && player.isMuted(index)));
  });
}

/** @param {HTMLElement} body of the table @param {Session} session */
export function fillTable(body, session) {
  const names = session.laneNames;
  const stretches = session.lanes
    .flatMap((lane, index) => (lane.entry?.active ?? []).map((stretch) => ({ name: names[index], ...stretch })))
    .sort((a, b) => a.start_s - b.start_s);
  const text = (/** @type {string} */ tag, /** @type {string} */ words) =>
    Object.assign(document.createElement(tag), { textContent: words });
  const tenths = (/** @type {number} */ s) => `${clock(s)}.${Math.floor((s % 1) * 10)}`;
  body.replaceChildren(
    ...stretches.slice(0, MOST_ROWS).map(({ name, start_s, end_s }) => {
      const row = document.createElement("tr");
      const head = text("th", name);
      head.setAttribute("scope", "row");
      row.append(head, text("td", tenths(start_s)), text("td", tenths(end_s)));
      return row;
    }),
  );
  if (stretches.length <= MOST_ROWS) return;
  const more = /** @type {HTMLTableCellElement} */ (text("td", `and ${stretches.length - MOST_ROWS} more: export them as CSV or RTTM`));
  more.colSpan = 3;
  const row = document.createElement("tr");
  row.append(more);
  body.append(row);
}
