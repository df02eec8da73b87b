// The page's end of its worker.

/** @typedef {import("./types").Orders} Orders */

const worker = new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
/** @type {Map<number, {resolve: (done: any) => void, reject: (error: Error) => void}>} */
const waiting = new Map();
let orders = 0;

worker.addEventListener("message", ({ data }) => {
  const one = waiting.get(data.id);
  waiting.delete(data.id);
  if (data.failed) one?.reject(new Error(data.failed));
  else one?.resolve(data.done);
});

/**
 * Have the worker do something; it does one thing after the other.
 * @template {keyof Orders} K
 * @param {K} kind
 * @param {Orders[K]["order"]} order
 * @param {Transferable[]} [transfer]
 * @returns {Promise<Orders[K]["done"]>}
 */
export function inWorker(kind, order, transfer = []) {
  const id = ++orders;
  return new Promise((resolve, reject) => {
    waiting.set(id, { resolve, reject });
    worker.postMessage({ id, kind, order }, { transfer });
  });
}
