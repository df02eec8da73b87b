// The page's state machine: whatever comes, in whatever order, it says what is true.

import assert from "node:assert/strict";
import { test } from "node:test";
import { addressOf, asked, next, START, titleOf } from "../../service/page/state.js";

/** @typedef {import("../../service/page/types").Event_} Happening */
/** @typedef {import("../../service/page/types").Shown} Shown */

/** @type {Shown} */
const SHOWN = { kind: "recording", id: "abc", name: "talk.wav", isExample: false, number: 2, counted: 2 };
const problem = { title: "No", detail: "", id: null, code: null };

/** @param {Happening[]} events */
const after = (...events) => events.reduce(next, START);

test("what a cancelled recording tells is not listened to", () => {
  const begun = after({ type: "begin", name: "a.wav" });
  const cancelled = next(begun, { type: "cancelled" });
  assert.equal(cancelled.work, null);
  assert.equal(cancelled.notice, "Cancelled.");
  for (const late of /** @type {Happening[]} */ ([
    { type: "told", run: begun.run, stage: "Separating", done: 0.5, detail: "" },
    { type: "accepted", run: begun.run, jobId: "x" },
    { type: "shown", run: begun.run, shown: SHOWN, said: "" },
    { type: "failed", run: begun.run, problem },
  ])) {
    assert.deepEqual(next(cancelled, late), cancelled);
  }
});

test("the second of two quick choices wins", () => {
  const state = after({ type: "begin", name: "a.wav" }, { type: "begin", name: "b.wav" });
  assert.equal(state.work?.name, "b.wav");
  assert.deepEqual(next(state, { type: "shown", run: 1, shown: SHOWN, said: "" }), state);
});

test("a wrong second file does not wipe the first result", () => {
  const state = after(
    { type: "begin", name: "a.wav" },
    { type: "shown", run: 1, shown: SHOWN, said: "2 sounds." },
    { type: "begin", name: "letter.txt" },
    { type: "failed", run: 2, problem },
  );
  assert.equal(state.shown, SHOWN);
  assert.equal(state.problem, problem);
  assert.equal(next(state, { type: "begin", name: "c.wav" }).problem, null);
});

test("stages are said once, and numbers are not", () => {
  let state = after({ type: "begin", name: "a.wav" });
  const said = [];
  for (const done of [0.1, 0.2, 0.3]) {
    state = next(state, { type: "told", run: 1, stage: "Sending", done, detail: "" });
    said.push(state.said);
  }
  assert.deepEqual(new Set(said), new Set(["Sending"]));
  assert.equal(state.work?.done, 0.3);
});

test("the address names the job that is waited for, then what is shown, and nothing of an example", () => {
  const waiting = after({ type: "begin", name: "a b.wav" }, { type: "accepted", run: 1, jobId: "j/1" });
  assert.equal(addressOf(waiting), "#job=j%2F1&name=a%20b.wav");
  assert.deepEqual(asked(addressOf(waiting)), { kind: "job", id: "j/1", name: "a b.wav" });
  const shown = next(waiting, { type: "shown", run: 1, shown: SHOWN, said: "" });
  assert.deepEqual(asked(addressOf(shown)), { kind: "recording", id: "abc", name: "talk.wav" });
  assert.equal(addressOf(after({ type: "begin", name: "" }, { type: "shown", run: 1, shown: { ...SHOWN, isExample: true }, said: "" })), "");
  assert.equal(asked(""), null);
});

test("the title has the progress and the name", () => {
  const state = after({ type: "begin", name: "a.wav" }, { type: "told", run: 1, stage: "Separating", done: 0.42, detail: "" });
  assert.equal(titleOf(state), "42 % a.wav – Unmingle");
  assert.equal(titleOf(START), "Unmingle");
});

test("a busy server is told with the moment at which it is tried again", () => {
  const state = after({ type: "begin", name: "a.wav" }, { type: "busy", run: 1, until: 5000 });
  assert.equal(state.work?.retryAt, 5000);
  assert.equal(next(state, { type: "told", run: 1, stage: "Sending", done: 0, detail: "" }).work?.retryAt, null);
});
