// What was done in this browser, in its own database (IndexedDB): found again, and cleared.

const [NAME, STORE] = ["unmingle", "recordings"];
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
 * @property {Record<number, string>} names of sounds
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

/** @template T @param {IDBTransactionMode} mode @param {(store: IDBObjectStore) => IDBRequest<T>} act @returns {Promise<T>} */
async function within(mode, act) {
  const open = await database();
  try {
    return await done(act(open.transaction(STORE, mode).objectStore(STORE)));
  } finally {
    open.close();
  }
}

/** The latest first. @returns {Promise<Remembered[]>} */
export async function remembered() {
  try {
    /** @type {Remembered[]} */
    const all = await within("readonly", (store) => store.getAll());
    return all.sort((a, b) => b.when - a.when);
  } catch {
    return []; // a browser that keeps nothing, in private windows for instance
  }
}

/** @param {string} id @returns {Promise<Remembered | undefined>} */
export async function recalled(id) {
  return (await remembered()).find((entry) => entry.id === id);
}

/** @param {Remembered} entry */
export async function remember(entry) {
  const kept = { ...entry, file: entry.file && entry.file.size <= MOST_FILE_BYTES ? entry.file : null };
  try {
    await within("readwrite", (store) => store.put(kept));
    for (const old of (await remembered()).slice(MOST)) await forget(old.id);
  } catch {
    // The page does without.
  }
}

/** @param {string} id */
export async function forget(id) {
  await within("readwrite", (store) => store.delete(id)).catch(() => {});
}

export async function forgetAll() {
  await within("readwrite", (store) => store.clear()).catch(() => {});
}
