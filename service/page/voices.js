// Two ways to play stems together. Both have play, pause, seek, time, playing, setHeard, onended, onfailed and close.

const SOON_S = 0.03;
const FADE_S = 0.01; // a switch without a fade clicks

/** From memory: one clock, exact to the sample. */
export class BufferVoices {
  playing = false;
  onended = () => {};
  onfailed = () => {};
  #buffers;
  #heard;
  #context = null;
  #gains = [];
  #sources = [];
  #from = 0; // position in the recording, in seconds, at which it started
  #since = 0; // the context's time then

  constructor(stems) {
    this.#buffers = stems.map((stem) => stem.buffer);
    this.#heard = stems.map(() => true);
  }

  get time() {
    return this.playing ? this.#from + Math.max(0, this.#context.currentTime - this.#since) : this.#from;
  }

  async play() {
    if (this.playing) return;
    if (!this.#context) this.#open();
    await this.#context.resume();
    if (!this.playing) this.#start(); // it may have been asked twice meanwhile
  }

  #start() {
    if (this.#from >= this.#buffers[0].duration) this.#from = 0;
    this.#since = this.#context.currentTime + SOON_S;
    this.#sources = this.#buffers.map((buffer, index) => {
      const source = new AudioBufferSourceNode(this.#context, { buffer });
      source.connect(this.#gains[index]);
      source.start(this.#since, this.#from);
      return source;
    });
    this.#sources[0].onended = () => {
      this.#halt();
      this.onended();
    };
    this.playing = true;
  }

  pause() {
    this.#from = this.time;
    this.#halt();
  }

  seek(seconds) {
    const playing = this.playing;
    this.#halt();
    this.#from = seconds;
    if (playing) this.#start();
  }

  setHeard(index, heard) {
    this.#heard[index] = heard;
    this.#gains[index]?.gain.setTargetAtTime(heard ? 1 : 0, this.#context.currentTime, FADE_S / 3);
  }

  close() {
    this.#halt();
    this.#context?.close();
  }

  #open() {
    // Made when first needed: browsers let sound begin only after a click.
    this.#context = new AudioContext();
    this.#gains = this.#heard.map((heard) => {
      const gain = new GainNode(this.#context, { gain: heard ? 1 : 0 });
      gain.connect(this.#context.destination);
      return gain;
    });
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
  onfailed = () => {};
  #players;
  #timer = 0;

  constructor(stems) {
    this.#players = stems.map((stem) => {
      const player = new Audio();
      player.preload = "metadata";
      player.preservesPitch = false;
      player.src = stem.address;
      player.onerror = () => this.onfailed(new Error("This browser cannot play the stems. Save them instead."));
      return player;
    });
    this.#players[0].onended = () => {
      this.pause();
      this.onended();
    };
  }

  get playing() {
    return !this.#players[0].paused;
  }

  get time() {
    return this.#players[0].currentTime;
  }

  async play() {
    const at = this.time;
    for (const player of this.#players) player.currentTime = at;
    await Promise.all(this.#players.map((player) => player.play()));
    this.#timer = setInterval(() => this.#align(), LOOK_MS);
  }

  pause() {
    clearInterval(this.#timer);
    for (const player of this.#players) player.pause();
  }

  seek(seconds) {
    for (const player of this.#players) player.currentTime = seconds;
  }

  setHeard(index, heard) {
    this.#players[index].muted = !heard;
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
