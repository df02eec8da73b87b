// Who is heard when, in the formats of other programs, with the names that the sounds were given.

/** @typedef {{name: string, active: {start_s: number, end_s: number}[]}} Sound */

/** @param {string} text a name that may be a field of a file of words */
const word = (text) => text.trim().replace(/\s+/g, "_") || "unnamed";

/** @param {Sound[]} sounds */
function stretches(sounds) {
  return sounds
    .flatMap(({ name, active }) => active.map(({ start_s, end_s }) => ({ name, start_s, end_s })))
    .sort((a, b) => a.start_s - b.start_s);
}

/**
 * Rich Transcription Time Marked (NIST): one line for each stretch.
 * @param {string} recording
 * @param {Sound[]} sounds
 */
export function rttm(recording, sounds) {
  return stretches(sounds)
    .map(({ name, start_s, end_s }) => {
      const times = `${start_s.toFixed(3)} ${(end_s - start_s).toFixed(3)}`;
      return `SPEAKER ${word(recording)} 1 ${times} <NA> <NA> ${word(name)} <NA> <NA>\n`;
    })
    .join("");
}

/** Labels of Audacity. @param {Sound[]} sounds */
export function labels(sounds) {
  return stretches(sounds)
    .map(({ name, start_s, end_s }) => `${start_s.toFixed(6)}\t${end_s.toFixed(6)}\t${name.replace(/\s+/g, " ")}\n`)
    .join("");
}

/** Comma-separated values (RFC 4180). @param {Sound[]} sounds */
export function csv(sounds) {
  // A spreadsheet would take a name that begins so for a formula.
  const field = (/** @type {string} */ text) => `"${(/^[=+@-]/.test(text) ? `'${text}` : text).replaceAll('"', '""')}"`;
  const rows = stretches(sounds).map(
    ({ name, start_s, end_s }) => `${field(name)},${start_s.toFixed(3)},${end_s.toFixed(3)}\r\n`,
  );
  return `sound,start_s,end_s\r\n${rows.join("")}`;
}

/**
 * A name that every file system takes.
 * @param {string} text
 */
export function fileName(text) {
  const clean = [...text].filter((letter) => letter >= " " && !'\\/:*?"<>|'.includes(letter)).join("");
  return clean.trim().replace(/^\.+|\.+$/g, "").slice(0, 80) || "sound";
}

/**
 * Names that differ from each other.
 * @param {string[]} names
 */
export function distinct(names) {
  const seen = new Map();
  return names.map((name) => {
    const key = name.toLowerCase();
    const count = (seen.get(key) ?? 0) + 1;
    seen.set(key, count);
    return count === 1 ? name : `${name} ${count}`;
  });
}
