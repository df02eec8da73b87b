// Samples -> WAV, 32-bit float.

/**
 * @param {Float32Array[]} channels of equal length
 * @param {number} rate Hz
 * @returns {Blob}
 */
export function wavOf(channels, rate) {
  const count = channels.length;
  const samples = new Float32Array(count * channels[0].length);
  channels.forEach((channel, c) => {
    for (let i = 0; i < channel.length; i++) samples[i * count + c] = channel[i];
  });
  const view = new DataView(new ArrayBuffer(44));
  const text = (/** @type {number} */ at, /** @type {string} */ letters) => {
    for (const [i, letter] of [...letters].entries()) view.setUint8(at + i, letter.charCodeAt(0));
  };
  text(0, "RIFF");
  view.setUint32(4, 36 + samples.byteLength, true);
  text(8, "WAVEfmt ");
  view.setUint32(16, 16, true);
  view.setUint16(20, 3, true); // IEEE float
  view.setUint16(22, count, true);
  view.setUint32(24, rate, true);
  view.setUint32(28, 4 * rate * count, true);
  view.setUint16(32, 4 * count, true);
  view.setUint16(34, 32, true);
  text(36, "data");
  view.setUint32(40, samples.byteLength, true);
  return new Blob([view.buffer, samples], { type: "audio/wav" });
}
