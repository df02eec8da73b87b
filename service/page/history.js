// What was done in this browser, in its own database (IndexedDB): found again, and cleared.
//
// Writing there takes a moment, and what is not written when the page is left is lost. What matters and is small, the
// names and the number, is therefore noted in localStorage at once, until the database has it.

const [NAME, STORE] = ["unmingle", "recordings"];
const NOTES = "unmingle.notes";
const MOST = 12;
const MOST_FILE_BYTES = 64e6;

/**
 * @typedef {object} Remembered
 * @property {string} id of the recording or the job on the server
 * @property {"recording" | "job"} kind
 * @property {string} name
 * @property {number} when milliseconds since 1970
 * @property {number} seconds
 * @property {number | null} number of sounds
 * @property {Record<number, string>} names of sounds, by colour
 * @property {number[]} colours of the sounds, in the order of their centroids
 * @property {import("./types").Options} [options]
 * @property {File | null} file to send again
 */

/** @template T @param {IDBRequest<T>} request @returns {Promise<T>} */
const done = (request) =>
  new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });

/** @returns {Promise<IDBDatabase>} */
function database() {
  const request = indexedDB.open(NAME, 1);
  request.onupgradeneeded = () => request.result.createObjectStore(STORE, { keyPath: "id" });
  return done(request);
}

/**
 * Do one thing with the database; it is done once the transaction is on disk.
 * @template T
 * @param {IDBTransactionMode} mode
 * @param {(store: IDBObjectStore) => IDBRequest<T>} act
 * @returns {Promise<T>}
 */
async function within(mode, act) {
  const open = await database();
  try {
    const transaction = open.transaction(STORE, mode, { durability: "strict" });
    const ended = new Promise((resolve, reject) => {
      transaction.oncomplete = resolve;
      transaction.onabort = () => reject(transaction.error);
    });
    const [result] = await Promise.all([done(act(transaction.objectStore(STORE))), ended]);
    return result;
  } finally {
    open.close();
  }
}

/** @typedef {Pick<Remembered, "names" | "number" | "colours" | "options">} Note */

/** What the database may not have yet. @returns {Record<string, Note>} */
function notes() {
  try {
    return JSON.parse(localStorage.getItem(NOTES) ?? "{}");
  } catch {
    return {};
  }
}

/** @param {(notes: Record<string, Note>) => void} change */
function changeNotes(change) {
  try {
    const all = notes();
    change(all);
    localStorage.setItem(NOTES, JSON.stringify(all));
  } catch {
    // no room, or not allowed: there is the database
  }
}

/** The latest first. @returns {Promise<Remembered[]>} */
export async function remembered() {
  try {
    /** @type {Remembered[]} */
    const all = await within("readonly", (store) => store.getAll());
    const noted = notes();
    return all.map((entry) => ({ ...entry, ...noted[entry.id] })).sort((a, b) => b.when - a.when);
  } catch {
    return []; // a browser that keeps nothing, in private windows for instance
  }
}

/** @param {string} id @returns {Promise<(Note & {file: File | null}) | undefined>} */
export async function recalled(id) {
  const note = notes()[id];
  return (await remembered()).find((entry) => entry.id === id) ?? (note && { ...note, file: null });
}

/** @param {Remembered} entry */
export async function remember(entry) {
  const kept = { ...entry, file: entry.file && entry.file.size <= MOST_FILE_BYTES ? entry.file : null };
  const { names, number, colours, options } = entry;
  const note = { names, number, colours, options };
  changeNotes((all) => {
    all[entry.id] = note;
  });
  try {
    await within("readwrite", (store) => store.put(kept));
    changeNotes((all) => {
      if (JSON.stringify(all[entry.id]) === JSON.stringify(note)) delete all[entry.id];
    });
    for (const old of (await remembered()).slice(MOST)) await forget(old.id);
  } catch {
    // The page does without.
  }
}

/** @param {string} id */
export async function forget(id) {
  changeNotes((all) => {
    delete all[id];
  });
  await within("readwrite", (store) => store.delete(id)).catch(() => {});
}

export async function forgetAll() {
  changeNotes((all) => {
    for (const id of Object.keys(all)) delete all[id];
  });
  await within("readwrite", (store) => store.clear()).catch(() => {});
}
