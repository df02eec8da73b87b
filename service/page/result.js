// Shows a separation: one player for all stems, and for each its picture, its words and its buttons.

import { keepDrawn, peakOf, stretches, waveform } from "./drawing.js";
import { Player } from "./player.js";
import { clock, counted, partOf, percent, separated } from "./words.js";

const MOST_ROWS = 500; // of the table; hours of talk have thousands of stretches
const NUMBERS = ["No", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight"];

/** Fill `section`; returns the player. */
export function show(section, separation, { onFailed }) {
  section.replaceChildren(document.getElementById("result-template").content.cloneNode(true));
  const at = (selector) => section.querySelector(selector);
  const player = new Player(separation);
  const { stems, seconds, manifest, name } = separation;

  const sounds = manifest.stems.length;
  at("h2").textContent = `${NUMBERS[sounds]} sound${sounds === 1 ? "" : "s"} in ${name}`;
  at(".summary p").textContent = summary(separation);
  at(".warnings").hidden = !manifest.warnings.length;
  at(".warnings").append(...manifest.warnings.map((text) => element("li", text)));
  const inMemory = stems.every((stem) => stem.buffer);
  const peak = inMemory ? peakOf(stems) : 1;
  at(".stems").append(...stems.map((stem) => row(stem, separation, player, inMemory ? peak : null)));
  fillTable(at("tbody"), stems.slice(0, sounds));
  save(at(".save-all"), separation.archive, `${name}_stems.zip`);
  wireTransport(at, player, seconds);
  at(".all").addEventListener("click", () => {
    player.hearAll();
    at(".play").focus(); // this button goes away
  });
  player.addEventListener("change", () => {
    at(".all").hidden = stems.every((_, index) => player.isHeard(index));
  });
  player.addEventListener("failed", (event) => onFailed(event.detail));
  section.hidden = false;
  at("h2").focus();
  return player;
}

function summary({ manifest, stems }) {
  const parts = [];
  if (manifest.count_chance !== null) {
    parts.push(`Counted: ${manifest.num_sources}, ${counted(manifest.count_chance)}.`);
  }
  if (manifest.stems.length > 1) parts.push("The loudest comes first.");
  if (!manifest.background || stems.length > manifest.stems.length) {
    if (stems.length > 1) parts.push("Together they are the recording again.");
  } else {
    parts.push("The background (noise, music, hum) is in the ZIP.");
  }
  return parts.join(" ");
}

function wireTransport(at, player, seconds) {
  const [play, position] = [at(".play"), at(".position")];
  position.max = seconds;
  const place = () => {
    position.value = player.time;
    const words = `${clock(player.time)} of ${clock(seconds)}`;
    position.setAttribute("aria-valuetext", words);
    at(".time").textContent = words;
    at(".stems").style.setProperty("--played", seconds ? player.time / seconds : 0);
  };
  position.addEventListener("input", () => player.seek(Number(position.value)));
  // The browser's own steps are a hundredth of the whole, or nothing: too coarse for hours, too fine for seconds.
  position.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -10, PageUp: 10 }[event.key];
    if (!step) return;
    event.preventDefault();
    player.seek(player.time + step * Math.max(0.5, Math.min(5, seconds / 20)));
  });
  play.addEventListener("click", () => player.toggle());
  player.addEventListener("move", place);
  player.addEventListener("change", () => {
    play.classList.toggle("playing", player.playing);
    at(".play-word").textContent = player.playing ? "Pause" : "Play";
  });
  place();
}

function row(stem, separation, player, peak) {
  const { seconds, manifest, name } = separation;
  const item = document.getElementById("stem-template").content.cloneNode(true).firstElementChild;
  const at = (selector) => item.querySelector(selector);
  const index = stem.number - 1;
  const title = stem.entry ? `Sound ${stem.number}` : "Background";
  item.classList.add(`sound-${stem.entry ? stem.number : "background"}`);
  at("h3").textContent = title;
  const canvas = at("canvas");
  if (stem.entry) {
    const { word, level } = separated(stem.entry.confidence, manifest.stems.length);
    at(".confidence").textContent = word;
    at(".confidence").classList.add(level);
    const heard = stem.entry.active.reduce((sum, { start_s, end_s }) => sum + end_s - start_s, 0);
    at(".heard").textContent = heard
      ? `Heard for ${partOf(heard, seconds)}, ${percent(stem.entry.energy_share)} of the energy`
      : "Silence";
    canvas.setAttribute("aria-label", `${title}: ${stem.entry.active.length} stretches, listed below`);
  } else {
    at(".confidence").hidden = true;
    at(".heard").textContent = "Noise, music and hum; what is left of the recording";
    canvas.setAttribute("aria-label", title);
  }
  const drawn = peak === null ? stretches(stem, seconds) : waveform(stem, seconds, peak);
  keepDrawn(canvas, drawn);
  at(".picture").addEventListener("pointerdown", (event) => {
    const box = canvas.getBoundingClientRect();
    player.seek(((event.clientX - box.left) / box.width) * seconds);
  });

  at(".controls").setAttribute("aria-label", title);
  at(".solo").addEventListener("click", () => player.setSolo(index, !player.isSolo(index)));
  at(".mute").addEventListener("click", () => player.setMuted(index, !player.isMuted(index)));
  save(at(".save"), stem.address, stem.entry ? `${name}_stem_${stem.number}.wav` : `${name}_background.wav`);
  player.addEventListener("change", () => {
    at(".solo").setAttribute("aria-pressed", player.isSolo(index));
    at(".mute").setAttribute("aria-pressed", player.isMuted(index));
    item.classList.toggle("unheard", !player.isHeard(index));
  });
  return item;
}

function fillTable(body, stems) {
  const stretches = stems
    .flatMap((stem) => stem.entry.active.map((stretch) => ({ ...stretch, number: stem.number })))
    .sort((a, b) => a.start_s - b.start_s);
  for (const { number, start_s, end_s } of stretches.slice(0, MOST_ROWS)) {
    const line = document.createElement("tr");
    line.append(element("td", `Sound ${number}`), element("td", precise(start_s)), element("td", precise(end_s)));
    body.append(line);
  }
  if (stretches.length > MOST_ROWS) {
    const line = document.createElement("tr");
    const cell = element("td", `and ${stretches.length - MOST_ROWS} more: all are in activity.rttm of the ZIP`);
    cell.colSpan = 3;
    line.append(cell);
    body.append(line);
  }
}

function save(link, address, filename) {
  link.href = address;
  link.download = filename;
}

function precise(seconds) {
  return `${clock(seconds)}.${Math.floor((seconds % 1) * 10)}`;
}

function element(name, text) {
  const made = document.createElement(name);
  made.textContent = text;
  return made;
}
