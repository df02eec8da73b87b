// A separation that is done, wherever it came from: its manifest, and for every stem an address to play and save.

import { entries } from "./zip.js";

// Up to here stems are decoded into memory, so that they play in exact synchrony and their waveform can be drawn.
const IN_MEMORY_BYTES = 256 * 2 ** 20;

export class Separation {
  #addresses = [];

  constructor(manifest, name) {
    this.manifest = manifest;
    this.name = name.replace(/\.[^.]+$/, "") || "recording";
    this.stems = [];
    this.archive = "";
  }

  get seconds() {
    return this.manifest.seconds;
  }

  /** Of the answer to a request. */
  static async fromArchive(blob, name) {
    const files = entries(await blob.arrayBuffer());
    const manifest = JSON.parse(new TextDecoder().decode(files.get("manifest.json")));
    const separation = new Separation(manifest, name);
    separation.archive = separation.#addressOf(blob);
    const names = manifest.stems.map((stem) => stem.file);
    if (manifest.background) names.push(manifest.background);
    await separation.#add(names.map((file) => new Blob([files.get(file)], { type: "audio/wav" })));
    return separation;
  }

  /** Of a job that is done. Long stems stay on the server, and are played from there. */
  static async fromJob(api, id, name, signal) {
    const manifest = await api.manifest(id);
    const separation = new Separation(manifest, name);
    const numbers = manifest.stems.map((_, index) => index + 1);
    const inMemory = fitsMemory(manifest);
    // A player cannot send an API key, so that with one everything is fetched first.
    if (inMemory || api.key) {
      const blobs = [];
      for (const number of numbers) blobs.push(await api.blob(api.stemAddress(id, number), signal));
      await separation.#add(blobs);
    } else {
      separation.stems = numbers.map((number, index) => ({
        number,
        entry: manifest.stems[index],
        address: api.stemAddress(id, number),
        buffer: null,
      }));
    }
    separation.archive = api.key
      ? separation.#addressOf(await api.blob(api.archiveAddress(id), signal))
      : api.archiveAddress(id);
    return separation;
  }

  async #add(blobs) {
    const { sample_rate: rate, stems } = this.manifest;
    const decoder = new OfflineAudioContext(1, 1, Math.min(96_000, Math.max(8_000, rate)));
    for (const [index, blob] of blobs.entries()) {
      const buffer = fitsMemory(this.manifest) ? await decoded(decoder, blob) : null;
      // After the stems comes the background, of which the manifest says nothing but its file.
      this.stems.push({ number: index + 1, entry: stems[index] ?? null, address: this.#addressOf(blob), buffer });
    }
  }

  #addressOf(blob) {
    this.#addresses.push(URL.createObjectURL(blob));
    return this.#addresses.at(-1);
  }

  /** Free the memory; nothing can be played afterwards. */
  release() {
    this.#addresses.forEach((address) => URL.revokeObjectURL(address));
  }
}

function fitsMemory(manifest) {
  const files = manifest.stems.length + (manifest.background ? 1 : 0);
  return 4 * manifest.samples * manifest.channels * files <= IN_MEMORY_BYTES;
}

async function decoded(decoder, blob) {
  try {
    return await decoder.decodeAudioData(await blob.arrayBuffer());
  } catch {
    return null; // more channels than this browser takes, for instance: it may still play them, and can save them
  }
}
