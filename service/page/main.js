// Wires the page: choose a recording, separate it, hear the result.

import { Api, JobEnded } from "./api.js";
import { show } from "./result.js";
import { Work } from "./work.js";
import { explained, size } from "./words.js";

const at = (id) => document.getElementById(id);
const api = new Api();
const settings = api.settings();
let work = null; // what is under way
let shown = null; // {separation, player} that is to be seen

function buildSources(most) {
  const choices = [["auto", "Count them"], ...Array.from({ length: most }, (_, i) => [String(i + 1), String(i + 1)])];
  at("sources").querySelector(".pills").append(
    ...choices.map(([value, text]) => {
      const label = document.createElement("label");
      const input = document.createElement("input");
      Object.assign(input, { type: "radio", name: "sources", value, checked: value === "auto" });
      const words = document.createElement("span");
      words.textContent = text;
      label.append(input, words);
      return label;
    }),
  );
}

const chosenSources = () => at("form").elements.sources.value;

function chooseSources(value) {
  at("form").elements.sources.value = value;
  at("sources-hint").hidden = value !== "auto";
}

function say(text) {
  at("said").textContent = text;
}

function complain(error) {
  const { title, detail, id } = explained(error);
  const [heading, text] = [document.createElement("strong"), document.createElement("p")];
  heading.textContent = title;
  text.textContent = detail;
  at("problem").replaceChildren(heading, text);
  if (id) {
    const reference = document.createElement("small");
    reference.textContent = `The server's log has it under ${id}.`;
    at("problem").append(reference);
  }
  at("problem").hidden = false;
  if (error.problem?.code === "unauthorised") at("key").focus();
}

function report({ stage, done, detail }) {
  if (at("stage").textContent !== stage) say(stage); // the numbers are to be seen, but not read out again and again
  at("stage").textContent = stage;
  at("detail").textContent = detail;
  if (done === null) at("progress").removeAttribute("value");
  else at("progress").value = done;
}

function clear() {
  shown?.player.close();
  shown?.separation.release();
  shown = null;
  at("result").hidden = true;
  at("result").replaceChildren();
  at("problem").hidden = true;
}

/** Do something that takes long: `task(work)` gives a separation. */
async function undertake(task) {
  if (work) return;
  clear();
  work = new Work(api, await settings, report);
  const mine = work;
  setBusy(true);
  at("work").scrollIntoView({ block: "nearest" });
  at("cancel").focus();
  try {
    const separation = await task(mine);
    work = null;
    setBusy(false);
    present(separation, mine.jobId);
  } catch (error) {
    work = null;
    setBusy(false);
    if (mine.cancelled || error instanceof JobEnded || error.problem?.code === "job_unknown") forget();
    at("go").focus(); // the button that had it is gone
    if (mine.cancelled) say("Cancelled");
    else complain(error);
  }
}

function setBusy(busy) {
  at("work").hidden = !busy;
  at("form").inert = busy;
  at("form").classList.toggle("busy", busy);
  if (busy) report({ stage: "Reading the file", done: null, detail: "" });
}

function present(separation, jobId) {
  const player = show(at("result"), separation, { onFailed: complain });
  shown = { separation, player };
  say(`Done: ${separation.stems.length} sounds.`);
  const result = at("result");
  result.querySelector(".another").addEventListener("click", () => {
    clear();
    leave();
    at("file").focus();
    at("form").scrollIntoView();
  });
  const remove = result.querySelector(".delete");
  remove.hidden = !jobId;
  remove.addEventListener("click", async () => {
    try {
      await api.remove(jobId);
      clear();
      forget();
      say("Deleted from the server.");
      at("file").focus();
    } catch (error) {
      complain(error);
    }
  });
}

/** A job's id goes into the address, so that reloading the page or coming back later finds it again. */
function remember(id, name) {
  history.pushState({ name }, "", `#job=${id}`);
}

/** From a job to something else; the way back stays open. */
function leave() {
  if (location.hash) history.pushState(null, "", location.pathname + location.search);
}

/** The job is not there any more. */
function forget() {
  history.replaceState(null, "", location.pathname + location.search);
}

function separate(file) {
  leave();
  api.key = at("key").value.trim();
  return undertake((mine) => mine.run(file, chosenSources(), (id) => remember(id, file.name)));
}

function comeBack() {
  const id = new URLSearchParams(location.hash.slice(1)).get("job");
  if (!id) return;
  api.key = at("key").value.trim();
  undertake((mine) => mine.follow(encodeURIComponent(id), history.state?.name ?? ""));
}

function choose(file) {
  at("chosen").textContent = file ? file.name : "Choose a recording";
  at("or-drop").textContent = file ? `${size(file.size)}; choose another` : "or drop one here";
  at("drop").classList.toggle("full", Boolean(file));
}

at("form").addEventListener("submit", (event) => {
  event.preventDefault();
  const file = at("file").files[0];
  if (file) separate(file);
  else {
    complain(new Error("Choose a recording first, or try one of the examples."));
    at("file").focus();
  }
});
at("file").addEventListener("change", () => choose(at("file").files[0]));
at("sources").addEventListener("change", () => chooseSources(chosenSources()));
at("cancel").addEventListener("click", () => work?.cancel().catch(complain));
addEventListener("popstate", () => {
  if (work) return;
  clear();
  comeBack();
});
at("key").addEventListener("change", () => !work && !shown && location.hash && comeBack());

at("examples").addEventListener("click", async (event) => {
  const { example, sources } = event.target.dataset;
  if (!example) return;
  try {
    const response = await fetch(`page/files/examples/${example}.flac`);
    const files = new DataTransfer();
    files.items.add(new File([await response.blob()], `${example}.flac`, { type: "audio/flac" }));
    at("file").files = files.files;
  } catch {
    return complain(new Error("The server does not answer. Is it still running?"));
  }
  choose(at("file").files[0]);
  chooseSources(sources);
  separate(at("file").files[0]);
});

// Anywhere on the page: whoever misses the frame should not end up with the browser playing the file.
for (const kind of ["dragover", "dragleave", "drop"]) {
  addEventListener(kind, (event) => {
    event.preventDefault();
    at("drop").classList.toggle("over", kind === "dragover" && !work);
    if (kind !== "drop" || work || !event.dataTransfer.files.length) return;
    at("file").files = event.dataTransfer.files;
    choose(at("file").files[0]);
    at("go").focus();
  });
}

try {
  const { max_sources: most, needs_key: needsKey, version } = await settings;
  buildSources(most);
  at("key-row").hidden = !needsKey;
  at("version").textContent = `Unmingle ${version}`;
  if (!needsKey || at("key").value) comeBack();
  else if (location.hash) say("Enter the API key to see the recording.");
} catch (error) {
  complain(error);
}
