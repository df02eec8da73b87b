// The map of a sound: embeddings on the plane through the centroids, and what lies inside of a line drawn round them.

/** @typedef {import("./types").Points} Points */

/** @param {ArrayLike<number>} a @param {ArrayLike<number>} b @param {number} at @returns {number} */
function dot(a, b, at = 0) {
  let sum = 0;
  for (let i = 0; i < b.length; i++) sum += a[at + i] * b[i];
  return sum;
}

/** @param {number[]} vector */
function unit(vector) {
  const length = Math.sqrt(dot(vector, vector));
  return length > 1e-6 ? vector.map((value) => value / length) : vector.map(() => 0);
}

/** @param {number[]} a @param {number[]} b @param {number} factor */
const minus = (a, b, factor = 1) => a.map((value, i) => value - factor * b[i]);

/**
 * Two axes of the plane that the centroids lie in (of more than three: the plane in which they are furthest apart), and
 * its origin. Principal components of the points themselves would mix the sounds; those of the centroids do not.
 * @param {number[][]} centroids
 * @returns {{origin: number[], across: number[], up: number[]}}
 */
export function planeOf(centroids) {
  const dim = centroids[0].length;
  const mean = centroids[0].map((_, i) => centroids.reduce((sum, c) => sum + c[i], 0) / centroids.length);
  const spread = centroids.map((c) => minus(c, mean));
  let across = principal(spread, dim);
  if (!across.some(Boolean)) across = unit(spread[0].map((_, i) => (i === 1 ? 1 : 0))); // one sound: any axis will do
  let rest = spread.map((c) => minus(c, across, dot(c, across)));
  if (rest.every((c) => dot(c, c) < 1e-6)) rest = [minus(mean, across, dot(mean, across))]; // two: towards both of them
  let up = principal(rest, dim);
  if (!up.some(Boolean)) up = unit(across.map((_, i) => (i === 2 ? 1 : 0)));
  return { origin: mean, across, up };
}

/**
 * The direction in which vectors differ most, by power iteration.
 * @param {number[][]} vectors
 * @param {number} dim
 */
function principal(vectors, dim) {
  const largest = vectors.reduce((a, b) => (dot(b, b) > dot(a, a) ? b : a), vectors[0]);
  let axis = unit(largest);
  for (let round = 0; round < 30; round++) {
    const sum = new Array(dim).fill(0);
    for (const vector of vectors) {
      const along = dot(vector, axis);
      for (let i = 0; i < dim; i++) sum[i] += along * vector[i];
    }
    axis = unit(sum);
  }
  return axis;
}

/**
 * Where each point lies on the map: x and y, one after the other, -1 to 1.
 * @param {Points} points
 * @param {number[][]} centroids
 */
export function placed(points, centroids) {
  const { origin, across, up } = planeOf(centroids);
  const place = new Float32Array(2 * points.count);
  const [x0, y0] = [dot(origin, across), dot(origin, up)];
  let most = 1e-6;
  for (let p = 0; p < points.count; p++) {
    const x = dot(points.embeddings, across, p * points.dim) - x0;
    const y = dot(points.embeddings, up, p * points.dim) - y0;
    place[2 * p] = x;
    place[2 * p + 1] = y;
    most = Math.max(most, Math.abs(x), Math.abs(y));
  }
  return place.map((value) => (0.96 * value) / most);
}

/**
 * The nearest centroid of each point, and how clearly it is, 0 (a tie) to 1.
 * @param {Points} points
 * @param {number[][]} centroids
 * @param {number[]} [groups] which sound each centroid belongs to; by default each is one
 * @param {number} [sharpness] of the masks
 */
export function nearest(points, centroids, groups = centroids.map((_, c) => c), sharpness = 4) {
  const labels = new Uint8Array(points.count);
  const certainty = new Float32Array(points.count).fill(1);
  const sounds = new Set(groups).size;
  if (sounds < 2) return { labels, certainty };
  for (let p = 0; p < points.count; p++) {
    let [best, total] = [-2, 0];
    const cosines = centroids.map((centroid) => dot(points.embeddings, centroid, p * points.dim));
    cosines.forEach((cosine, c) => {
      if (cosine > best) [best, labels[p]] = [cosine, c];
    });
    let own = 0;
    cosines.forEach((cosine, c) => {
      const weight = Math.exp(sharpness * (cosine - best));
      total += weight;
      if (groups[c] === groups[labels[p]]) own += weight;
    });
    certainty[p] = Math.max(0, ((sounds * own) / total - 1) / (sounds - 1));
  }
  return { labels, certainty };
}

/**
 * Indices of the points inside of a closed line on the map.
 * @param {Float32Array} place of the points
 * @param {[number, number][]} line
 */
export function inside(place, line) {
  const found = [];
  for (let p = 0; p < place.length / 2; p++) if (encloses(line, place[2 * p], place[2 * p + 1])) found.push(p);
  return found;
}

/** @param {[number, number][]} line @param {number} x @param {number} y */
function encloses(line, x, y) {
  let odd = false;
  for (let i = 0, j = line.length - 1; i < line.length; j = i++) {
    const [[xi, yi], [xj, yj]] = [line[i], line[j]];
    if (yi > y !== yj > y && x < ((xj - xi) * (y - yi)) / (yj - yi) + xi) odd = !odd;
  }
  return odd;
}

/**
 * The middle of some points, of length 1; null where there are none.
 * @param {Points} points
 * @param {number[]} chosen
 */
export function middle(points, chosen) {
  const sum = new Array(points.dim).fill(0);
  for (const p of chosen) for (let i = 0; i < points.dim; i++) sum[i] += points.weights[p] * points.embeddings[p * points.dim + i];
  const vector = unit(sum);
  return vector.some(Boolean) ? vector : null;
}

/**
 * Which colour each new sound gets, so that what is nearly the same sound keeps its own.
 * @param {number[][]} before centroids that have colours
 * @param {number[]} colours theirs
 * @param {number[][]} after
 * @returns {number[]}
 */
export function keptColours(before, colours, after) {
  const pairs = after
    .flatMap((a, i) => before.map((b, j) => /** @type {[number, number, number]} */ ([dot(a, b), i, j])))
    .sort((p, q) => q[0] - p[0]);
  const given = new Array(after.length).fill(-1);
  const used = new Set();
  for (const [, i, j] of pairs) {
    if (given[i] >= 0 || used.has(colours[j])) continue;
    given[i] = colours[j];
    used.add(colours[j]);
  }
  let free = 0;
  return given.map((colour) => {
    if (colour >= 0) return colour;
    while (used.has(free)) free++;
    used.add(free);
    return free;
  });
}

/**
 * Points as the server sends them, ready for use.
 * @param {import("./types").PointsBody} body
 * @param {number} frame_s
 * @returns {Points}
 */
export function unpacked(body, frame_s) {
  const frames = new Uint32Array(bytes(body.frames));
  const steps = new Int8Array(bytes(body.embeddings));
  return {
    count: body.count,
    dim: body.dim,
    seconds: Float32Array.from(frames, (frame) => frame * frame_s),
    bands: new Uint16Array(bytes(body.bands)),
    weights: new Float32Array(bytes(body.weights)),
    embeddings: Float32Array.from(steps, (step) => step / 127),
  };
}

/** @param {string} text base64 @returns {ArrayBuffer} */
function bytes(text) {
  return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer;
}
