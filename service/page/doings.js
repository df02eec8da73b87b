// The dialogs, the keys, and what is dropped: export, recent recordings, the microphone.

import { saveAll, savePng, saveSvg, saveTimes } from "./exporting.js";
import { forgetAll, remembered } from "./history.js";
import { Microphone } from "./microphone.js";
import { at, button, dialog, select } from "./page.js";
import { clock } from "./words.js";

/** @typedef {import("./session.js").Session} Session */

/** @param {() => Session | null} session @param {() => HTMLCanvasElement} canvas @param {(error: unknown) => void} fail */
export function wireExport(session, canvas, fail) {
  const words = (/** @type {string} */ text) => (at("export-words").textContent = text);
  at("export").addEventListener("click", () => {
    words("");
    dialog("export-dialog").showModal();
  });
  at("export-dialog").addEventListener("click", async (event) => {
    const chosen = /** @type {HTMLElement} */ (event.target).closest("[data-export]");
    const open = session();
    const kind = /** @type {HTMLElement | null} */ (chosen)?.dataset.export;
    if (!open || !kind) return;
    try {
      if (kind === "zip") await saveAll(open, select("format").value, words);
      else if (kind === "png") await savePng(open, canvas());
      else if (kind === "svg") saveSvg(open, canvas());
      else if (kind === "link") await navigator.clipboard.writeText(location.href);
      else saveTimes(open, /** @type {"rttm" | "labels" | "csv"} */ (kind));
      words(kind === "link" ? "Copied. It works on this server, as long as the recording is kept." : "Saved.");
    } catch (error) {
      dialog("export-dialog").close();
      fail(error);
    }
  });
}

/**
 * @param {(name: string) => void} openExample
 * @param {(entry: import("./history.js").Remembered) => void} openEntry
 */
export function wireRecent(openExample, openEntry) {
  const list = /** @type {HTMLElement} */ (at("recent-dialog").querySelector(".recent"));
  const fill = async () => {
    const entries = await remembered();
    const rows = entries.map((entry) => {
      const row = document.createElement("li");
      const open = Object.assign(document.createElement("button"), { type: "button", textContent: entry.name });
      open.addEventListener("click", () => {
        dialog("recent-dialog").close();
        openEntry(entry);
      });
      const when = new Date(entry.when).toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
      const note = Object.assign(document.createElement("span"), { textContent: `${clock(entry.seconds)} · ${when}` });
      note.className = "quiet";
      row.append(open, note);
      return row;
    });
    if (!rows.length) rows.push(Object.assign(document.createElement("li"), { textContent: "None yet." }));
    list.replaceChildren(...rows);
    button("clear-recent").disabled = !entries.length;
  };
  at("recent").addEventListener("click", async () => {
    await fill();
    dialog("recent-dialog").showModal();
  });
  at("clear-recent").addEventListener("click", async () => {
    await forgetAll();
    await fill();
  });
  at("recent-dialog").addEventListener("click", (event) => {
    const { example } = /** @type {HTMLElement} */ (event.target).dataset;
    if (!example) return;
    dialog("recent-dialog").close();
    openExample(example);
  });
}

/** @param {(file: File) => void} use @param {(error: unknown) => void} fail */
export function wireRecord(use, fail) {
  /** @type {Microphone | null} */
  let microphone = null;
  let attempt = 0;
  const ready = (/** @type {boolean} */ on) => {
    button("record-use").disabled = button("record-pause").disabled = !on;
    button("record-pause").setAttribute("aria-pressed", "false");
    if (!on) at("level").setAttribute("value", "0");
  };
  at("record").addEventListener("click", async () => {
    const mine = ++attempt;
    ready(false);
    at("record-words").textContent = "The microphone is being opened.";
    dialog("record-dialog").showModal();
    try {
      if (!navigator.mediaDevices) throw new Error("insecure");
      const opened = await Microphone.open((level, seconds) => {
        at("level").setAttribute("value", String(level));
        at("record-words").textContent = `Recording, ${clock(seconds)}`;
      });
      if (mine !== attempt || !dialog("record-dialog").open) return opened.close();
      microphone = opened;
      ready(true);
      button("record-use").focus();
    } catch (error) {
      dialog("record-dialog").close();
      const name = error instanceof DOMException ? error.name : "";
      const why =
        name === "NotAllowedError"
          ? "The browser was not allowed to use it. Allow it in the browser's settings for this page."
          : name === "NotFoundError"
            ? "No microphone was found."
            : "Browsers give it to pages over HTTPS or from this computer only.";
      fail(new Error(`The microphone cannot be used. ${why}`));
    }
  });
  at("record-pause").addEventListener("click", () => {
    const paused = microphone?.togglePause() ?? false;
    button("record-pause").setAttribute("aria-pressed", String(paused));
  });
  at("record-use").addEventListener("click", async () => {
    const file = await microphone?.finish();
    microphone = null;
    dialog("record-dialog").close();
    if (file) use(file);
  });
  at("record-discard").addEventListener("click", () => dialog("record-dialog").close());
  // However it is closed, by Escape too: nothing goes on recording.
  at("record-dialog").addEventListener("close", () => {
    attempt++;
    microphone?.close();
    microphone = null;
  });
}

/** @param {import("./studio.js").Studio} studio */
export function wireKeys(studio) {
  addEventListener("keydown", (event) => {
    const target = /** @type {HTMLElement} */ (event.target);
    if (event.ctrlKey || event.metaKey || event.altKey || !studio.player) return;
    if (document.querySelector("dialog[open]") || target.closest("select, input:not([type=range]), textarea")) return;
    const isPress = event.key === " " || event.key === "Enter";
    if (isPress && target.closest("button, a, summary, label")) return;
    if (event.key.startsWith("Arrow") && target.closest("input")) return;
    const player = studio.player;
    const lane = Number(event.key) - 1;
    /** @type {Record<string, () => unknown>} */
    const doings = {
      " ": () => studio.toggle(),
      0: () => player.hearAll(),
      o: () => studio.setOriginal(!player.isOriginal),
      O: () => studio.setOriginal(!player.isOriginal),
      ArrowLeft: () => studio.seekBy(-1),
      ArrowRight: () => studio.seekBy(1),
      l: () => studio.toggleLoop(),
      L: () => studio.toggleLoop(),
      "+": () => studio.zoom(0.5),
      "=": () => studio.zoom(0.5),
      "-": () => studio.zoom(2),
      Escape: () => studio.selecting.select(null),
    };
    const known = doings[event.key];
    if (known) known();
    else if (lane >= 0 && lane < (studio.session?.lanes.length ?? 0)) player.toggleSolo(lane);
    else return;
    event.preventDefault();
  });
}

/**
 * Anywhere on the page: whoever misses a frame should not end up with the browser playing the file.
 * @param {(files: File[]) => void} open
 */
export function wireDrop(open) {
  for (const kind of ["dragover", "dragleave", "drop"]) {
    addEventListener(kind, (event) => {
      event.preventDefault();
      at("drop-hint").hidden = kind !== "dragover";
      const files = /** @type {DragEvent} */ (event).dataTransfer?.files;
      if (kind === "drop" && files?.length) open([...files]);
    });
  }
}
