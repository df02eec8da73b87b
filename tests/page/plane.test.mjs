// The map: sounds lie apart on it, lines enclose what they are drawn round, and colours stay with their sounds.

import assert from "node:assert/strict";
import { test } from "node:test";
import { inside, keptColours, middle, nearest, placed, planeOf, unpacked } from "../../service/page/plane.js";

const axis = (/** @type {number} */ i) => Array.from({ length: 5 }, (_, at) => (at === i ? 1 : 0));

/** @param {number[][]} vectors */
const pointsOf = (vectors) => ({
  count: vectors.length,
  dim: 5,
  seconds: new Float32Array(vectors.length),
  bands: new Uint16Array(vectors.length),
  weights: new Float32Array(vectors.length).fill(1),
  embeddings: Float32Array.from(vectors.flat()),
});

test("axes are perpendicular and of length 1, for any number of sounds", () => {
  for (const centroids of [[axis(0)], [axis(0), axis(1)], [axis(0), axis(1), axis(2)], [0, 1, 2, 3, 4].map(axis)]) {
    const { across, up } = planeOf(centroids);
    const product = across.reduce((sum, value, i) => sum + value * up[i], 0);
    assert.ok(Math.abs(product) < 1e-6);
    for (const one of [across, up]) assert.ok(Math.abs(Math.hypot(...one) - 1) < 1e-6, String(one));
  }
});

test("points of three sounds lie apart", () => {
  const centroids = [axis(0), axis(1), axis(2)];
  const place = placed(pointsOf(centroids), centroids);
  for (const [a, b] of [[0, 1], [1, 2], [0, 2]]) {
    assert.ok(Math.hypot(place[2 * a] - place[2 * b], place[2 * a + 1] - place[2 * b + 1]) > 0.8);
  }
  assert.ok(place.every((value) => Math.abs(value) <= 1));
});

test("a point belongs to the nearest centroid, and one in between to nobody for sure", () => {
  const { labels, certainty } = nearest(pointsOf([axis(0), axis(1), [Math.SQRT1_2, Math.SQRT1_2, 0, 0, 0]]), [axis(0), axis(1)]);
  assert.deepEqual([...labels].slice(0, 2), [0, 1]);
  assert.ok(certainty[0] > 0.9);
  assert.ok(certainty[2] < 0.01);
});

test("a line round some points holds these and no others", () => {
  const place = Float32Array.from([0, 0, 0.9, 0.9, -0.2, 0.1]);
  assert.deepEqual(inside(place, [[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]]), [0, 2]);
});

test("the middle of points has length 1, and nothing has none", () => {
  assert.deepEqual(middle(pointsOf([axis(0), axis(1)]), []), null);
  const found = middle(pointsOf([axis(0), axis(1)]), [0, 1]);
  assert.ok(found && Math.abs(Math.hypot(...found) - 1) < 1e-6);
});

test("what is nearly the same sound keeps its colour", () => {
  const near = [0.1, 0.99, 0, 0, 0];
  assert.deepEqual(keptColours([axis(0), axis(1)], [4, 2], [near, axis(0), axis(3)]), [2, 4, 0]);
});

test("points come out of base64 as they went in", () => {
  const base64 = (/** @type {ArrayBufferView<ArrayBuffer>} */ view) => Buffer.from(view.buffer).toString("base64");
  const points = unpacked(
    {
      count: 2,
      dim: 1,
      frames: base64(Uint32Array.of(0, 100)),
      bands: base64(Uint16Array.of(3, 4)),
      weights: base64(Float32Array.of(1, 0.5)),
      embeddings: base64(Int8Array.of(127, -127)),
    },
    0.008,
  );
  assert.ok(Math.abs(points.seconds[1] - 0.8) < 1e-6);
  assert.deepEqual([...points.embeddings], [1, -1]);
  assert.deepEqual([...points.bands], [3, 4]);
});
