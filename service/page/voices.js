// Two ways to play stems together. Both have play, pause, seek, time, playing, setLevel, onended, onfailed and close.

const SOON_S = 0.03;
const FADE_S = 0.01; // a switch without a fade clicks

/** @typedef {import("./listening.js").Sound} Sound */
/** @typedef {BufferVoices | ElementVoices} Voices */

/** From memory: one clock, exact to the sample. */
export class BufferVoices {
  playing = false;
  onended = () => {};
  /** @param {unknown} _error */
  onfailed = (_error) => {};
  /** @type {AudioBuffer[]} */
  #buffers;
  /** @type {number[]} */
  #levels;
  /** @type {AudioContext | null} */
  #context = null;
  /** @type {GainNode[]} */
  #gains = [];
  /** @type {AudioBufferSourceNode[]} */
  #sources = [];
  #from = 0; // position in the recording, in seconds, at which it started
  #since = 0; // the context's time then
  #closed = false;

  /** @param {Sound[]} sounds */
  constructor(sounds) {
    this.#buffers = sounds.flatMap(({ buffer }) => (buffer ? [buffer] : []));
    this.#levels = sounds.map(() => 1);
  }

  get #seconds() {
    return this.#buffers[0].duration;
  }

  get time() {
    if (!this.playing || !this.#context) return this.#from;
    return Math.min(this.#seconds, this.#from + Math.max(0, this.#context.currentTime - this.#since));
  }

  async play() {
    if (this.playing || this.#closed) return;
    // Made when first needed: browsers let sound begin only after a click.
    this.#context ??= this.#opened();
    await this.#context.resume();
    if (!this.playing && !this.#closed) this.#start(); // it may have been asked twice meanwhile
  }

  #start() {
    const context = /** @type {AudioContext} */ (this.#context);
    if (this.#from >= this.#seconds) this.#from = 0;
    this.#since = context.currentTime + SOON_S;
    this.#sources = this.#buffers.map((buffer, index) => {
      const source = new AudioBufferSourceNode(context, { buffer });
      source.connect(this.#gains[index]);
      source.start(this.#since, this.#from);
      return source;
    });
    this.#sources[0].onended = () => this.#end();
    this.playing = true;
  }

  #end() {
    this.#halt();
    this.#from = this.#seconds;
    this.onended();
  }

  pause() {
    this.#from = this.time;
    this.#halt();
  }

  /** @param {number} seconds */
  seek(seconds) {
    const playing = this.playing;
    this.#halt();
    this.#from = seconds;
    // At the very end there is nothing left to play: it stays there, and does not begin again.
    if (playing && seconds >= this.#seconds) this.#end();
    else if (playing) this.#start();
  }

  /** @param {number} index @param {number} level 0 is silent, 1 as it is */
  setLevel(index, level) {
    this.#levels[index] = level;
    if (this.#context) this.#gains[index]?.gain.setTargetAtTime(level, this.#context.currentTime, FADE_S / 3);
  }

  close() {
    this.#halt();
    this.#closed = true;
    this.#buffers = this.#buffers.slice(0, 0);
    this.#context?.close();
    this.#context = null;
    this.#gains = [];
  }

  #opened() {
    const context = new AudioContext();
    this.#gains = this.#levels.map((level) => {
      const gain = new GainNode(context, { gain: level });
      gain.connect(context.destination);
      return gain;
    });
    return context;
  }

  #halt() {
    for (const source of this.#sources) {
      source.onended = null;
      source.stop();
      source.disconnect();
    }
    this.#sources = [];
    this.playing = false;
  }
}

const LOOK_MS = 250;
const JUMP_S = 0.3; // further apart than this, the others are set anew
const DRIFT_S = 0.01; // further apart than this, they run a little faster or slower until they meet
const NUDGE = 0.03;

/** From the server or a file: players of the browser, held together. For recordings too long for memory. */
export class ElementVoices {
  onended = () => {};
  /** @param {unknown} _error */
  onfailed = (_error) => {};
  /** @type {HTMLAudioElement[]} */
  #players;
  /** @type {ReturnType<typeof setInterval> | undefined} */
  #timer;

  /** @param {Sound[]} sounds */
  constructor(sounds) {
    this.#players = sounds.map(({ address, otherwise }) => {
      const player = new Audio();
      player.preload = "metadata";
      player.preservesPitch = false;
      player.src = address;
      player.onerror = () => {
        if (otherwise && !player.src.endsWith(otherwise)) player.src = otherwise;
        else this.onfailed(new Error("This browser cannot play the sounds. Save them instead."));
      };
      return player;
    });
    this.#players[0].onended = () => {
      this.pause();
      this.onended();
    };
  }

  get playing() {
    return !this.#players[0].paused && !this.#players[0].ended;
  }

  get time() {
    return this.#players[0].currentTime;
  }

  async play() {
    const at = this.#players[0].ended ? 0 : this.time;
    for (const player of this.#players) player.currentTime = at;
    await Promise.all(this.#players.map((player) => player.play()));
    clearInterval(this.#timer);
    this.#timer = setInterval(() => this.#align(), LOOK_MS);
  }

  pause() {
    clearInterval(this.#timer);
    for (const player of this.#players) player.pause();
  }

  /** @param {number} seconds */
  seek(seconds) {
    for (const player of this.#players) player.currentTime = seconds;
  }

  /** @param {number} index @param {number} level */
  setLevel(index, level) {
    this.#players[index].muted = level === 0;
    this.#players[index].volume = Math.min(1, level);
  }

  close() {
    this.pause();
    for (const player of this.#players) {
      player.onerror = null;
      player.removeAttribute("src");
      player.load();
    }
  }

  #align() {
    const [first, ...others] = this.#players;
    for (const player of others) {
      const behind = first.currentTime - player.currentTime;
      if (Math.abs(behind) > JUMP_S) player.currentTime = first.currentTime;
      player.playbackRate = Math.abs(behind) > DRIFT_S ? 1 + NUDGE * Math.sign(behind) : 1;
    }
  }
}
