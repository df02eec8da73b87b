// Wires the page: what somebody does, what the address says, and what comes of it.

import { Api, Failure, isAbort, JobEnded } from "./api.js";
import { wireDrop, wireExport, wireKeys, wireRecent, wireRecord } from "./doings.js";
import { remember, recalled, forget } from "./history.js";
import { Listing } from "./listing.js";
import { Opening, QUIET } from "./opening.js";
import { at, button, dialog, input } from "./page.js";
import { Session } from "./session.js";
import { isSomethingElse } from "./sound_file.js";
import { addressOf, asked, next, START } from "./state.js";
import { Studio } from "./studio.js";
import { countdown, render, renderChip } from "./view.js";
import { saveLane } from "./exporting.js";
import { explained } from "./words.js";

/** @typedef {import("./types").Event_} Happening */
/** @typedef {import("./types").Recording} Recording */

const KEPT = 3; // recordings of this tab that stay on the server for Back
const EXAMPLE = "three_speakers";

const api = new Api();
const settings = api.settings();
settings.catch(() => {}); // told where it is waited for
api.onbusy = (/** @type {number | null} */ seconds) => {
  tell({ type: "notice", text: seconds === null ? "" : `The server is busy. Trying again in ${seconds} s.` });
};
let state = START;
/** @type {{abort: AbortController, opening: Opening} | null} */
let current = null;
/** @type {string[]} */
const kept = [];

/** @param {Happening} event */
function tell(event) {
  const before = state;
  state = next(state, event);
  if (state === before) return;
  render(state, before);
  const address = addressOf(state);
  // The way back stays open. While something is on its way the address is still that of what is shown.
  if (address !== location.hash && !(state.work && !state.work.jobId)) {
    history[replaces ? "replaceState" : "pushState"](null, "", address || location.pathname + location.search);
  }
}
/** Whether the address that was is of no use any more. */
let replaces = false;

/** `tell`, of what takes its address with it. @param {Happening} event */
function tellInPlace(event) {
  replaces = true;
  tell(event);
  replaces = false;
}

const studio = new Studio(
  tell,
  (error) => complain(error),
  (index) => saveLane(shownSession(), index, /** @type {HTMLSelectElement} */ (at("format")).value).catch(complain),
  () => keepInHistory(),
  (options) => separateAgain(options),
);

/** @returns {Session} */
function shownSession() {
  if (!studio.session) throw new Error("Nothing is open.");
  return studio.session;
}

/** @param {unknown} error @param {number} [run] */
function complain(error, run = state.run) {
  if (isAbort(error)) return;
  tell({ type: "failed", run, problem: explained(error) });
  if (error instanceof Failure && error.code === "unauthorised") input("key").focus();
}

/**
 * Do something that ends with a recording that is shown; whatever was on its way before ends.
 * @param {string} name
 * @param {(opening: Opening) => Promise<Session | null>} task
 * @param {boolean} [isExample]
 */
async function undertake(name, task, isExample = false) {
  current?.abort.abort();
  const abort = new AbortController();
  tell({ type: "begin", name });
  const { run } = state;
  api.key = input("key").value.trim();
  /** @type {Session | null} */
  let session = null;
  try {
    const known = await settings;
    if (state.run !== run) return;
    const opening = new Opening(api, known, abort.signal, {
      report: (report) => tell({ type: "told", run, ...report }),
      busy: (seconds) => tell({ type: "busy", run, until: performance.now() + 1000 * seconds }),
      accepted: (jobId) => tell({ type: "accepted", run, jobId }),
    });
    current = { abort, opening };
    session = await task(opening);
    if (!session || state.run !== run) {
      session?.close();
      if (session?.recording) api.forget(session.recording.id).catch(() => {});
      return;
    }
    tell({ type: "told", run, stage: "Separating", done: null, detail: "" });
    const ending = () => session?.close();
    abort.signal.addEventListener("abort", ending);
    if (session.recording) {
      session.choose(session.wishFor(session.wish.number ?? session.recording.num_sources));
      await session.separate();
    }
    abort.signal.removeEventListener("abort", ending);
    if (state.run !== run) return void session.close();
    present(session, run, isExample);
  } catch (error) {
    session?.close();
    if (state.run !== run) return;
    if (error instanceof JobEnded) history.replaceState(null, "", location.pathname + location.search);
    complain(error, run);
  } finally {
    if (current?.abort === abort) current = null;
  }
}

/** @param {Session} session @param {number} run @param {boolean} isExample */
function present(session, run, isExample) {
  const before = state.shown;
  studio.show(session, isExample ? bestMoment(session) : 0);
  const id = session.recording?.id ?? session.job ?? "";
  const sounds = session.manifest?.stems.length ?? 0;
  tell({
    type: "shown",
    run,
    shown: {
      kind: session.recording ? "recording" : "job",
      id,
      name: session.name,
      isExample,
      number: session.wish.number,
      counted: session.recording?.num_sources ?? null,
    },
    said: `${sounds} ${sounds === 1 ? "sound" : "sounds"} in ${session.title}.`,
  });
  const { seconds, recording, manifest } = session;
  renderChip({
    name: session.name,
    seconds,
    rate: recording?.sample_rate ?? manifest?.sample_rate ?? 0,
    channels: recording?.channels ?? manifest?.channels ?? 1,
  });
  if (before?.isExample && before.id !== id) letGo(before);
  if (!isExample) {
    at("title").focus();
    keepInHistory();
    if (recording) kept.push(id);
    for (const old of kept.splice(0, Math.max(0, kept.length - KEPT))) api.forget(old).catch(() => {});
  }
  if (state.shown?.kind === "job" && document.hidden && notifies()) new Notification("Unmingle", { body: state.said });
}

/** Nobody comes back to an example. @param {import("./types").Shown} shown */
function letGo({ kind, id }) {
  (kind === "job" ? api.removeJob(id) : api.forget(id)).catch(() => {});
}

/** Where most are heard at once. @param {Session} session */
function bestMoment(session) {
  const heard = (/** @type {number} */ second) =>
    session.lanes.filter((lane) => lane.entry?.active.some((part) => part.start_s < second && second < part.end_s)).length;
  const moments = [0.45, 0.4, 0.5, 0.35, 0.55, 0.3, 0.6].map((share) => share * session.seconds);
  return moments.reduce((best, moment) => (heard(moment) > heard(best) ? moment : best));
}

function keepInHistory() {
  const session = studio.session;
  const id = session?.recording?.id ?? session?.job;
  if (!session || !id || state.shown?.isExample) return;
  remember({
    id,
    kind: session.recording ? "recording" : "job",
    name: session.name,
    when: Date.now(),
    seconds: session.seconds,
    number: session.wish.number,
    names: session.names,
    colours: session.colours,
    options: session.options,
    file: session.file,
  });
}

const notifies = () => button("notify").getAttribute("aria-pressed") === "true" && Notification.permission === "granted";

/** @param {string} name @param {Recording} recording @param {File | null} file */
function sessionOf(name, recording, file) {
  const session = new Session(api, name, recording, null, file);
  if (file) {
    session.renew = async () => {
      return new Opening(api, await settings, session.signal, QUIET).keep(file);
    };
  }
  return session;
}

/** @param {File} file @param {boolean} [isExample] */
function open(file, isExample = false) {
  return undertake(
    file.name,
    async (opening) => sessionFor(file, await opening.open(file)),
    isExample,
  );
}

/** @param {File} file @param {import("./opening.js").Opened} opened */
const sessionFor = async (file, opened) =>
  "recording" in opened ? sessionOf(file.name, opened.recording, file) : jobSession(opened.job, file, opened.manifest);

/** The file that is open, as a job with other options. @param {import("./types").Options} options */
function separateAgain(options) {
  const { file, channels } = shownSession();
  if (!file) return;
  return undertake(file.name, async (opening) => {
    const { job, manifest } = await opening.asJob(file, { ...options, enhance: String(options.enhance) });
    const session = await jobSession(job, file, manifest);
    Object.assign(session, { options, channelsBefore: channels });
    return session;
  });
}

/**
 * @param {string} id
 * @param {File | {name: string}} file or only its name, where it is not there any more
 * @param {import("./types").Manifest} manifest
 */
async function jobSession(id, file, manifest) {
  const session = new Session(api, file.name, null, id, file instanceof File ? file : null);
  await session.showJob(manifest);
  return session;
}

/** What an address asks for. @param {{kind: "job" | "recording", id: string, name: string}} wanted */
function openAddress({ kind, id, name }) {
  return undertake(name, async (opening) => {
    const earlier = await recalled(id);
    if (kind === "job") {
      tell({ type: "accepted", run: state.run, jobId: id });
      const session = await jobSession(id, earlier?.file ?? { name }, await opening.follow(encodeURIComponent(id)));
      Object.assign(session.names, earlier?.names ?? {});
      return session;
    }
    /** @type {Recording} */
    let recording;
    try {
      recording = await api.recording(encodeURIComponent(id), opening.signal);
    } catch (error) {
      const isGone = error instanceof Failure && error.code === "recording_unknown";
      if (!isGone || !earlier?.file) throw error;
      await forget(id); // it comes back under another id
      recording = await opening.keep(earlier.file);
    }
    const session = sessionOf(name, recording, earlier?.file ?? null);
    if (earlier) Object.assign(session, { names: earlier.names, earlierColours: earlier.colours });
    session.options = { ...session.options, ...earlier?.options };
    session.wish.number = earlier?.number ?? null;
    return session;
  });
}

/** @param {string} name */
async function openExample(name) {
  const { run } = state;
  try {
    const response = await fetch(`page/files/examples/${name}.flac`);
    const file = new File([await response.blob()], `${name}.flac`, { type: "audio/flac" });
    // Whoever has opened something meanwhile wants that.
    if (state.run === run) await open(file, true);
  } catch {
    complain(new Failure("The server does not answer.", "Is it still running, and are you connected? Then try again."), run);
  }
}

/** @param {File[]} files */
async function openAll(files) {
  const fit = files.filter((file) => !isSomethingElse(file));
  const others = files.filter(isSomethingElse).map((file) => file.name);
  if (!fit.length && others.length) {
    return complain(new Failure("That is not a recording.", `${others.join(", ")}: expected a sound or video file.`));
  }
  if (!fit.length) return;
  listing.begin(fit);
  const [first, ...rest] = fit;
  await open(first);
  if (others.length) tell({ type: "notice", text: `Left out, because they are not recordings: ${others.join(", ")}.` });
  const shown = studio.session;
  if (shown?.file !== first) listing.mark(0, { state: "failed" });
  else if (shown.recording) listing.ready(0, first, { recording: shown.recording });
  else if (shown.job && shown.manifest) listing.ready(0, first, { job: shown.job, manifest: shown.manifest });
  await listing.workThrough(rest, openQuietly);
}

/** @param {File} file @param {AbortSignal} signal */
async function openQuietly(file, signal) {
  let job = "";
  const accepted = (/** @type {string} */ id) => {
    job = id;
  };
  try {
    return await new Opening(api, await settings, signal, { ...QUIET, accepted }).open(file);
  } catch (error) {
    if (job && isAbort(error)) api.removeJob(job).catch(() => {}); // nobody knows of it
    throw error;
  }
}

const listing = new Listing(
  () => state.listed,
  (listed) => tell({ type: "listed", listed }),
  (file, opened) => undertake(file.name, () => sessionFor(file, opened)),
);

async function cancel() {
  const [mine, jobId] = [current, state.work?.jobId];
  mine?.abort.abort();
  current = null;
  const stays = Boolean(jobId && mine?.opening.jobIsDone);
  tellInPlace({ type: "cancelled" });
  if (stays) tell({ type: "notice", text: "Cancelled. The recording stays on the server; Recent finds it again." });
  input("file").focus();
  if (jobId && !stays) await api.removeJob(jobId).catch(complain);
}

at("cancel").addEventListener("click", cancel);
input("file").addEventListener("change", () => {
  const files = [...(input("file").files ?? [])];
  input("file").value = ""; // so that the same file can be chosen again
  openAll(files);
});
at("notify").addEventListener("click", async () => {
  const on = button("notify").getAttribute("aria-pressed") !== "true";
  const granted = on && (await Notification.requestPermission()) === "granted";
  button("notify").setAttribute("aria-pressed", String(granted));
  if (on && !granted) tell({ type: "notice", text: "This browser does not allow notifications here." });
});
at("delete").addEventListener("click", () => dialog("delete-dialog").showModal());
dialog("delete-dialog").addEventListener("close", async () => {
  const id = studio.session?.job;
  if (dialog("delete-dialog").returnValue !== "delete" || !id) return;
  dialog("delete-dialog").returnValue = "";
  try {
    await api.removeJob(id);
    await forget(id);
    studio.close();
    renderChip(null);
    tellInPlace({ type: "closed", said: "Deleted from the server." });
    input("file").focus();
  } catch (error) {
    complain(error);
  }
});

addEventListener("popstate", () => {
  const wanted = asked(location.hash);
  if (wanted && state.shown?.id === wanted.id && !state.work) return;
  if (wanted) {
    openAddress(wanted);
    return;
  }
  current?.abort.abort();
  current = null;
  const isJob = Boolean(state.work?.jobId);
  if (state.work) tell({ type: "left", said: isJob ? "It goes on being separated; Forward leads back to it." : "" });
  if (!state.shown?.isExample) openExample(EXAMPLE);
});
at("key-row").addEventListener("submit", (event) => event.preventDefault());
input("key").addEventListener("change", begin);
addEventListener("pagehide", () => {
  if (state.shown?.isExample) letGo(state.shown);
});
setInterval(() => {
  if (state.work?.retryAt) at("detail").textContent = countdown(state.work.retryAt);
}, 250);

wireDrop(openAll);
wireExport(() => studio.session, () => /** @type {HTMLCanvasElement} */ (at("spectrogram")), complain);
wireRecent(openExample, (entry) => {
  if (state.shown?.id !== entry.id) openAddress(entry);
});
wireRecord((file) => openAll([file]), complain);
wireKeys(studio);

/** What is there before anybody has chosen anything. */
async function begin() {
  if (state.work || state.shown) return;
  const wanted = asked(location.hash);
  if (wanted) await openAddress(wanted);
  else await openExample(EXAMPLE);
}

try {
  const { needs_key: needsKey, qualities, version } = await settings;
  studio.qualities = qualities;
  at("key-row").hidden = !needsKey;
  at("version").textContent = `Unmingle ${version}`;
  if (!needsKey || input("key").value) await begin();
  else tell({ type: "notice", text: "Enter the API key to begin." });
} catch (error) {
  complain(error);
}
