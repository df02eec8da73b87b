// Waveforms and stretches of activity, on canvases that follow size, resolution and colour scheme.

/** Redraws a canvas whenever it changes in size, or the page between light and dark. */
export function keepDrawn(canvas, draw) {
  const redraw = () => {
    const scale = devicePixelRatio || 1;
    canvas.width = Math.max(1, Math.round(canvas.clientWidth * scale));
    canvas.height = Math.max(1, Math.round(canvas.clientHeight * scale));
    draw(canvas.getContext("2d"), canvas.width, canvas.height, getComputedStyle(canvas).color);
  };
  new ResizeObserver(redraw).observe(canvas);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
}

/** The waveform; where nobody is heard it is pale. All stems share one scale, the peak of them all. */
export function waveform(stem, seconds, peak) {
  return (context, width, height, colour) => {
    const middle = height / 2;
    const channels = Array.from({ length: stem.buffer.numberOfChannels }, (_, c) => stem.buffer.getChannelData(c));
    const step = channels[0].length / width;
    const isActive = stem.entry ? activity(stem.entry.active) : () => true;
    context.fillStyle = colour;
    for (let x = 0; x < width; x++) {
      const top = loudest(channels, Math.floor(x * step), Math.ceil((x + 1) * step)) / peak;
      context.globalAlpha = isActive((x / width) * seconds) ? 1 : 0.3;
      context.fillRect(x, middle * (1 - top), 1, Math.max(1, 2 * middle * top));
    }
  };
}

/** Bars where somebody is heard; for stems too long to be decoded here. */
export function stretches(stem, seconds) {
  return (context, width, height, colour) => {
    context.fillStyle = colour;
    context.globalAlpha = 0.3;
    context.fillRect(0, height / 2, width, 1);
    context.globalAlpha = 1;
    for (const { start_s, end_s } of stem.entry?.active ?? []) {
      const left = (start_s / seconds) * width;
      context.fillRect(left, height * 0.3, Math.max(1, (end_s / seconds) * width - left), height * 0.4);
    }
  };
}

export function peakOf(stems) {
  let peak = 1e-4; // so that silence stays a line
  for (const { buffer } of stems) {
    for (let c = 0; c < buffer.numberOfChannels; c++) {
      const samples = buffer.getChannelData(c);
      peak = Math.max(peak, loudest([samples], 0, samples.length));
    }
  }
  return peak;
}

function loudest(channels, from, to) {
  let peak = 0;
  for (const samples of channels) {
    const end = Math.min(to, samples.length);
    for (let i = from; i < end; i++) {
      const level = Math.abs(samples[i]);
      if (level > peak) peak = level;
    }
  }
  return peak;
}

function activity(active) {
  return (second) => active.some(({ start_s, end_s }) => second >= start_s && second < end_s);
}
