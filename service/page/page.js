// Elements of the page, by their id.

/** @param {string} id @returns {HTMLElement} */
export function at(id) {
  const element = document.getElementById(id);
  if (!element) throw new Error(`The page has no ${id}.`);
  return element;
}

/** @param {string} id */
export const button = (id) => /** @type {HTMLButtonElement} */ (at(id));

/** @param {string} id */
export const input = (id) => /** @type {HTMLInputElement} */ (at(id));

/** @param {string} id */
export const select = (id) => /** @type {HTMLSelectElement} */ (at(id));

/** @param {string} id */
export const dialog = (id) => /** @type {HTMLDialogElement} */ (at(id));
