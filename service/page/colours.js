// Colours of sounds. On the dark pictures all have about the same brightness, and stay apart for the colour-blind.

/** @type {[number, number, number][]} */
export const SOUNDS = [
  [240, 138, 66],
  [54, 186, 214],
  [165, 132, 247],
  [152, 203, 84],
  [243, 122, 178],
  [232, 205, 76],
  [98, 150, 255],
  [214, 158, 118],
];
/** @type {[number, number, number]} */
export const UNSURE = [150, 158, 170];

/** @param {number} index @param {number} [alpha] */
export function css(index, alpha = 1) {
  const [r, g, b] = index < 0 ? UNSURE : SOUNDS[index % SOUNDS.length];
  return `rgb(${r} ${g} ${b} / ${alpha})`;
}

/**
 * A picture of masks in colours: hue is the sound, brightness the loudness, grey where nobody can tell.
 * @param {Uint8ClampedArray} pixels RGBA of the server's picture: sound, certainty, loudness
 * @param {number[]} colours of each centroid
 * @param {number | null} only the colour that is shown alone; the rest is left out
 * @returns {Uint8ClampedArray} RGBA
 */
export function coloured(pixels, colours, only) {
  const out = new Uint8ClampedArray(pixels.length);
  for (let i = 0; i < pixels.length; i += 4) {
    const colour = colours[pixels[i]] ?? 0;
    const certainty = pixels[i + 1] / 255;
    let loudness = (pixels[i + 2] / 255) ** 1.5;
    if (only !== null) loudness *= colour === only ? certainty : 0;
    const sure = only === null ? Math.min(1, 1.25 * certainty) : 1;
    const rgb = SOUNDS[colour % SOUNDS.length];
    for (let c = 0; c < 3; c++) out[i + c] = loudness * (sure * rgb[c] + (1 - sure) * 0.75 * UNSURE[c]);
    out[i + 3] = 255;
  }
  return out;
}
