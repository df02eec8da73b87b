// What follows from the state: progress, problems, messages, the list of recordings.

import { at, button } from "./page.js";
import { titleOf } from "./state.js";
import { clock } from "./words.js";

/** @typedef {import("./types").State} State */

/**
 * @typedef {object} Facts
 * @property {string} name
 * @property {number} seconds
 * @property {number} rate
 * @property {number} channels
 */

/**
 * Bring the page in line with the state.
 * @param {State} state
 * @param {State} before
 */
export function render(state, before) {
  document.title = titleOf(state);
  renderWork(state);
  renderProblem(state);
  if (at("said").textContent !== state.said) at("said").textContent = state.said;
  at("notice").hidden = !state.notice;
  at("notice").textContent = state.notice;
  at("studio").hidden = !state.shown;
  at("studio").classList.toggle("changing", state.changing);
  at("studio").setAttribute("aria-busy", String(state.changing));
  button("export").disabled = !state.shown;
  at("intro-example").hidden = !state.shown?.isExample;
  at("intro").hidden = Boolean(state.shown && !state.shown.isExample);
  // It is above what somebody may be looking at.
  if (state.problem && state.problem !== before.problem) at("problem").scrollIntoView({ block: "nearest" });
  if (state.listed !== before.listed || state.shown !== before.shown) renderList(state);
}

/** @param {State} state */
function renderWork({ work }) {
  at("work").hidden = !work;
  if (!work) return;
  at("stage").textContent = work.stage;
  at("work-name").textContent = work.name;
  at("detail").textContent = work.retryAt === null ? work.detail : countdown(work.retryAt);
  if (work.done === null) at("progress").removeAttribute("value");
  else at("progress").setAttribute("value", String(work.done));
  at("notify").hidden = !work.jobId || !("Notification" in window);
}

/** @param {number} until performance.now() then */
export function countdown(until) {
  const seconds = Math.max(0, Math.ceil((until - performance.now()) / 1000));
  return seconds ? `Trying again in ${seconds} s.` : "Trying again.";
}

/** @param {State} state */
function renderProblem({ problem }) {
  at("problem").hidden = !problem;
  if (!problem || at("problem").dataset.shown === JSON.stringify(problem)) return;
  at("problem").dataset.shown = JSON.stringify(problem);
  const text = (/** @type {string} */ tag, /** @type {string} */ words) =>
    Object.assign(document.createElement(tag), { textContent: words });
  const parts = [text("strong", problem.title), text("p", problem.detail)];
  if (problem.id) parts.push(text("small", `In the server's log: request ${problem.id}.`));
  at("problem").replaceChildren(...parts);
}

/** @param {State} state */
function renderList({ listed, shown }) {
  at("listed").hidden = listed.length < 2;
  const words = { waiting: "waiting", working: "in progress", ready: "ready", failed: "failed" };
  const focused = /** @type {HTMLElement | null} */ (document.activeElement)?.dataset.listed;
  at("listed")
    .querySelector("ol")
    ?.replaceChildren(
      ...listed.map((entry, index) => {
        const row = document.createElement("li");
        const open = Object.assign(document.createElement("button"), { type: "button", textContent: entry.name });
        open.disabled = entry.state !== "ready";
        open.dataset.listed = String(index);
        if (entry.id !== null && entry.id === shown?.id) open.setAttribute("aria-current", "true");
        const note = Object.assign(document.createElement("span"), { textContent: entry.detail || words[entry.state] });
        note.className = "quiet";
        row.append(open, note);
        return row;
      }),
    );
  // Whoever was on one of them still is.
  if (focused) /** @type {HTMLElement | null} */ (at("listed").querySelector(`[data-listed="${focused}"]`))?.focus();
}

/** @param {Facts | null} facts of the recording that is shown */
export function renderChip(facts) {
  at("chip").hidden = !facts;
  if (!facts) return;
  at("chip-name").textContent = facts.name;
  const channels = facts.channels === 1 ? "mono" : facts.channels === 2 ? "stereo" : `${facts.channels} channels`;
  at("chip-facts").textContent = `${clock(facts.seconds)} · ${facts.rate / 1000} kHz · ${channels}`;
}
