// Files as the browser sees them: how long they last, whether they may be recordings at all, and as WAV.

import { inWorker } from "./workshop.js";

const LOOK_MS = 3000;

/**
 * Seconds of a file, as far as this browser can tell.
 * @param {File} file
 * @returns {Promise<number | null>}
 */
export function duration(file) {
  return new Promise((resolve) => {
    const address = URL.createObjectURL(file);
    const probe = new Audio();
    const finish = () => {
      clearTimeout(timer);
      URL.revokeObjectURL(address);
      resolve(Number.isFinite(probe.duration) ? probe.duration : null);
      probe.removeAttribute("src");
    };
    const timer = setTimeout(finish, LOOK_MS);
    probe.onloadedmetadata = probe.onerror = finish;
    probe.preload = "metadata";
    probe.src = address;
  });
}

/**
 * Whether a file says of itself that it is something else than a recording.
 * @param {File} file
 */
export function isSomethingElse(file) {
  return /^(image|text|font)\/|^application\/(pdf|zip|json|msword|vnd\.)/.test(file.type);
}

/**
 * What the browser makes of a file that the server cannot read: the recordings of phones, of browsers, of cameras.
 * @param {File} file
 * @returns {Promise<File | null>} null where it cannot read it either
 */
export async function asWav(file) {
  const context = new OfflineAudioContext(1, 1, 48_000);
  try {
    const buffer = await context.decodeAudioData(await file.arrayBuffer());
    const channels = Array.from({ length: buffer.numberOfChannels }, (_, c) => buffer.getChannelData(c).slice());
    const transfer = channels.map((channel) => channel.buffer);
    const wav = await inWorker("wav", { channels, rate: buffer.sampleRate }, transfer);
    return new File([wav], file.name.replace(/(\.[^.]*)?$/, ".wav"), { type: "audio/wav" });
  } catch {
    return null;
  }
}
