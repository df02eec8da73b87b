// Records with the microphone.

/** One recording with the microphone; `onlevel` is told how loud it is, 0 to 1. */
export class Microphone {
  /** @type {BlobPart[]} */
  #parts = [];
  #timer = 0;
  #since = performance.now();

  /** @param {MediaStream} stream @param {MediaRecorder} recorder @param {AudioContext} context */
  constructor(stream, recorder, context) {
    this.stream = stream;
    this.recorder = recorder;
    this.context = context;
    recorder.ondataavailable = (event) => this.#parts.push(event.data);
  }

  /**
   * @param {(level: number, seconds: number) => void} onlevel
   * @returns {Promise<Microphone>}
   */
  static async open(onlevel) {
    // What makes telephone calls better takes away what tells voices apart.
    const audio = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };
    const stream = await navigator.mediaDevices.getUserMedia({ audio });
    const context = new AudioContext();
    const analyser = new AnalyserNode(context, { fftSize: 2048 });
    context.createMediaStreamSource(stream).connect(analyser);
    const microphone = new Microphone(stream, new MediaRecorder(stream), context);
    microphone.#watch(analyser, onlevel);
    microphone.recorder.start(1000);
    return microphone;
  }

  /** @param {AnalyserNode} analyser @param {(level: number, seconds: number) => void} onlevel */
  #watch(analyser, onlevel) {
    const samples = new Float32Array(analyser.fftSize);
    let heard = 0;
    let last = this.#since;
    const look = () => {
      analyser.getFloatTimeDomainData(samples);
      const now = performance.now();
      if (this.recorder.state === "recording") heard += (now - last) / 1000;
      last = now;
      const power = samples.reduce((sum, x) => sum + x * x, 0) / samples.length;
      onlevel(Math.min(1, Math.max(0, 1 + (10 * Math.log10(power + 1e-12)) / 60)), heard);
      this.#timer = requestAnimationFrame(look);
    };
    look();
  }

  togglePause() {
    if (this.recorder.state === "paused") this.recorder.resume();
    else this.recorder.pause();
    return this.recorder.state === "paused";
  }

  /** @returns {Promise<File>} */
  async finish() {
    const ended = new Promise((resolve) => this.recorder.addEventListener("stop", resolve, { once: true }));
    this.recorder.stop();
    await ended;
    this.close();
    const type = this.recorder.mimeType || "audio/webm";
    const ending = type.includes("mp4") ? "m4a" : type.includes("ogg") ? "ogg" : "webm";
    const stamp = new Date().toISOString().slice(0, 16).replace("T", " ").replace(":", ".");
    return new File(this.#parts, `Recording ${stamp}.${ending}`, { type });
  }

  close() {
    cancelAnimationFrame(this.#timer);
    for (const track of this.stream.getTracks()) track.stop();
    this.context.close();
  }
}
