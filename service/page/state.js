// What the page shows, as one value, and how it changes: a pure state machine. DOM, address and title follow from it.

/** @typedef {import("./types").State} State */
/** @typedef {import("./types").Event_} Happening */
/** @typedef {import("./types").Shown} Shown */

/** @type {State} */
export const START = {
  run: 0,
  work: null,
  shown: null,
  changing: false,
  problem: null,
  said: "",
  notice: "",
  listed: [],
};

/**
 * The state after something happened. What is told by work that was cancelled or replaced changes nothing.
 * @param {State} state
 * @param {Happening} event
 * @returns {State}
 */
export function next(state, event) {
  if ("run" in event && event.run !== state.run) return state;
  switch (event.type) {
    case "begin":
      return {
        ...state,
        run: state.run + 1,
        work: { name: event.name, stage: "Reading the file", done: null, detail: "", retryAt: null, jobId: null },
        problem: null,
        notice: "",
        said: "Reading the file",
      };
    case "told":
      if (!state.work) return state;
      return {
        ...state,
        // The numbers are to be seen, but not read out again and again.
        said: event.stage === state.work.stage ? state.said : event.stage,
        work: { ...state.work, stage: event.stage, done: event.done, detail: event.detail, retryAt: null },
      };
    case "accepted":
      return state.work ? { ...state, work: { ...state.work, jobId: event.jobId } } : state;
    case "busy":
      if (!state.work) return state;
      return {
        ...state,
        said: "The server is busy. Trying again soon.",
        work: { ...state.work, stage: "The server is busy", done: null, detail: "", retryAt: event.until },
      };
    case "shown":
      return { ...state, work: null, shown: event.shown, changing: false, problem: null, said: event.said, notice: "" };
    case "changing":
      return state.shown ? { ...state, changing: true, problem: null, shown: { ...state.shown, ...event.shown } } : state;
    case "changed":
      if (!state.shown) return state;
      return { ...state, changing: false, shown: { ...state.shown, ...event.shown }, said: event.said ?? state.said };
    case "failed":
      // What was shown before stays: a wrong second file does not wipe the first result.
      return { ...state, work: null, changing: false, problem: event.problem, said: "" };
    case "cancelled":
      return { ...state, run: state.run + 1, work: null, problem: null, said: "Cancelled.", notice: "Cancelled." };
    case "left":
      return { ...state, run: state.run + 1, work: null, problem: null, said: event.said, notice: event.said };
    case "closed":
      return { ...state, run: state.run + 1, work: null, shown: null, problem: null, said: event.said, notice: event.said };
    case "notice":
      return { ...state, said: event.text, notice: event.text };
    case "dismissed":
      return { ...state, problem: null, notice: "" };
    case "listed":
      return { ...state, listed: event.listed };
  }
}

/**
 * What the address says, so that reloading, Back and another tab find it again.
 * @param {State} state
 * @returns {string} a fragment; empty for the example
 */
export function addressOf(state) {
  if (state.work?.jobId) return fragment("job", state.work.jobId, state.work.name);
  if (!state.shown || state.shown.isExample) return "";
  return fragment(state.shown.kind, state.shown.id, state.shown.name);
}

/** @param {string} kind @param {string} id @param {string} name */
function fragment(kind, id, name) {
  return `#${kind}=${encodeURIComponent(id)}&name=${encodeURIComponent(name)}`;
}

/**
 * What an address asks for.
 * @param {string} hash
 * @returns {{kind: "job" | "recording", id: string, name: string} | null}
 */
export function asked(hash) {
  const fields = new URLSearchParams(hash.slice(1));
  const name = fields.get("name") ?? "recording";
  for (const kind of /** @type {const} */ (["job", "recording"])) {
    const id = fields.get(kind);
    if (id) return { kind, id, name };
  }
  return null;
}

/**
 * The tab's title.
 * @param {State} state
 */
export function titleOf(state) {
  if (state.work) {
    const done = state.work.done === null ? "…" : `${Math.round(100 * state.work.done)} %`;
    return `${done} ${state.work.name} – Unmingle`;
  }
  return state.shown && !state.shown.isExample ? `${state.shown.name} – Unmingle` : "Unmingle";
}
