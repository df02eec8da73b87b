// The card that asks how many sounds there are.

import { at } from "./page.js";
import { counted } from "./words.js";

/** @typedef {import("./session.js").Session} Session */

const TELEPHONE = "as on a telephone";

/** @param {(number: number) => void} choose */
export function wireNumbers(choose) {
  at("numbers").addEventListener("change", (event) => {
    choose(Number(/** @type {HTMLInputElement} */ (event.target).value));
  });
}

/** A bar for each number: how clear the least clear sound would be. @param {Session} session */
export function fillNumbers(session) {
  const { recording, manifest } = session;
  at("number-card").hidden = !recording;
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
  markNumber(session);
}

/** Which number is shown; none where somebody made the sounds. @param {Session} session */
export function markNumber({ wish }) {
  for (const radio of /** @type {NodeListOf<HTMLInputElement>} */ (at("numbers").querySelectorAll("input"))) {
    radio.checked = Number(radio.value) === wish.number;
  }
}
