// Files to take away: sounds, who is heard when, the picture.

import { css } from "./colours.js";
import { csv, distinct, fileName, labels, rttm } from "./reports.js";
import { zipOf } from "./zip.js";

/** @typedef {import("./session.js").Session} Session */

/** @param {Blob} blob @param {string} name */
export function download(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

/** @param {Session} session */
function sounds(session) {
  return session.laneNames.flatMap((name, index) => {
    const active = session.lanes[index].entry?.active;
    return active ? [{ name, active }] : [];
  });
}

/** @param {Session} session @param {number} index @param {string} choice format:subtype */
export async function saveLane(session, index, choice) {
  const [format, subtype] = choice.split(":");
  const blob = await session.saved(session.lanes[index], format, subtype);
  download(blob, `${fileName(session.title)}_${fileName(distinct(session.laneNames)[index])}.${format}`);
}

/**
 * All sounds with the names that they were given, a manifest and an RTTM.
 * @param {Session} session
 * @param {string} choice
 * @param {(words: string) => void} tell
 */
export async function saveAll(session, choice, tell) {
  const [format, subtype] = choice.split(":");
  const names = distinct(session.laneNames).map(fileName);
  const files = [];
  for (const [index, lane] of session.lanes.entries()) {
    tell(`Fetching ${names[index]}, ${index + 1} of ${names.length}`);
    files.push({ name: `${names[index]}.${format}`, content: await session.saved(lane, format, subtype) });
  }
  tell("Packing");
  const stems = (session.manifest?.stems ?? []).map((stem, index) => ({
    ...stem,
    file: `${names[index]}.${format}`,
    name: session.laneNames[index],
  }));
  const background = session.lanes.findIndex((lane) => lane.source === null);
  const manifest = {
    ...session.manifest,
    recording: session.name,
    format,
    subtype,
    stems,
    background: background < 0 ? null : `${names[background]}.${format}`,
  };
  const json = (/** @type {object} */ body) => new Blob([`${JSON.stringify(body, null, 2)}\n`]);
  files.push({ name: "manifest.json", content: json(manifest) });
  files.push({ name: "activity.rttm", content: new Blob([rttm(session.title, sounds(session))]) });
  download(await zipOf(files), `${fileName(session.title)}.zip`);
}

/** @param {Session} session @param {"rttm" | "labels" | "csv"} kind */
export function saveTimes(session, kind) {
  const heard = sounds(session);
  const text = kind === "rttm" ? rttm(session.title, heard) : kind === "labels" ? labels(heard) : csv(heard);
  const ending = { rttm: "rttm", labels: "labels.txt", csv: "csv" }[kind];
  download(new Blob([text], { type: "text/plain" }), `${fileName(session.title)}.${ending}`);
}

/** @param {Session} session @param {HTMLCanvasElement} canvas */
export async function savePng(session, canvas) {
  /** @type {Blob | null} */
  const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
  if (blob) download(blob, `${fileName(session.title)}.png`);
}

/** The picture with names and who is heard when. @param {Session} session @param {HTMLCanvasElement} canvas */
export function saveSvg(session, canvas) {
  const [width, height, row] = [1200, 400, 28];
  const escaped = (/** @type {string} */ text) => text.replace(/[&<>"]/g, (letter) => `&#${letter.charCodeAt(0)};`);
  const lanes = session.laneNames.map((name, index) => {
    const lane = session.lanes[index];
    const colour = css(lane.colour).replace(/ \/ 1\)/, ")").replaceAll(" ", ",");
    const y = height + 12 + index * row;
    const bars = (lane.entry?.active ?? []).map(({ start_s, end_s }) => {
      const left = 160 + (start_s / session.seconds) * (width - 160);
      const wide = Math.max(1, ((end_s - start_s) / session.seconds) * (width - 160));
      return `<rect x="${left.toFixed(1)}" y="${y}" width="${wide.toFixed(1)}" height="14" fill="${colour}"/>`;
    });
    return `<text x="0" y="${y + 12}" font-family="sans-serif" font-size="14">${escaped(name)}</text>${bars.join("")}`;
  });
  const tall = height + 20 + row * lanes.length;
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${tall}" width="${width}" height="${tall}">
<title>${escaped(session.title)}</title><rect width="100%" height="100%" fill="#fff"/>
<image href="${canvas.toDataURL("image/png")}" width="${width}" height="${height}" preserveAspectRatio="none"/>
${lanes.join("\n")}
</svg>
`;
  download(new Blob([svg], { type: "image/svg+xml" }), `${fileName(session.title)}.svg`);
}
