// Files that the page writes itself.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { coloured, SOUNDS } from "../../service/page/colours.js";
import { csv, distinct, fileName, labels, rttm } from "../../service/page/reports.js";
import { wavOf } from "../../service/page/wav.js";
import { zipOf } from "../../service/page/zip.js";

const SOUNDS_HEARD = [
  { name: "Anna Maria", active: [{ start_s: 1, end_s: 2.5 }] },
  { name: '=Bo "b"', active: [{ start_s: 0.25, end_s: 0.5 }] },
];

test("who is heard when, in three formats, in order of time", () => {
  assert.equal(
    rttm("my talk", SOUNDS_HEARD),
    'SPEAKER my_talk 1 0.250 0.250 <NA> <NA> =Bo_"b" <NA> <NA>\nSPEAKER my_talk 1 1.000 1.500 <NA> <NA> Anna_Maria <NA> <NA>\n',
  );
  assert.equal(labels(SOUNDS_HEARD).split("\n")[1], "1.000000\t2.500000\tAnna Maria");
  assert.equal(csv(SOUNDS_HEARD), `sound,start_s,end_s\r\n"'=Bo ""b""",0.250,0.500\r\n"Anna Maria",1.000,2.500\r\n`);
});

test("names are fit for files, and differ", () => {
  assert.equal(fileName("../a/b:c?"), "abc");
  assert.equal(fileName(" .. "), "sound");
  assert.deepEqual(distinct(["Anna", "anna", "Bo"]), ["Anna", "anna 2", "Bo"]);
});

test("an archive is one that other programs read", async () => {
  const archive = await zipOf([
    { name: "Ännchen.wav", content: new Blob([new Uint8Array(1000).fill(7)]) },
    { name: "empty", content: new Blob([]) },
  ]);
  const path = join(mkdtempSync(join(tmpdir(), "zip-")), "a.zip");
  writeFileSync(path, new Uint8Array(await archive.arrayBuffer()));
  const script =
    "import sys, zipfile\nz = zipfile.ZipFile(sys.argv[1])\nassert z.testzip() is None\nprint([(i.filename, i.file_size) for i in z.infolist()])";
  const listed = execFileSync("python3", ["-c", script, path], { encoding: "utf8", env: { ...process.env, PYTHONUTF8: "1" } });
  assert.equal(listed.trim(), "[('Ännchen.wav', 1000), ('empty', 0)]");
});

test("an archive beyond 4 GB is refused in words", async () => {
  const huge = /** @type {Blob} */ ({ size: 5e9 });
  await assert.rejects(() => zipOf([{ name: "a", content: huge }]), /one by one/);
});

test("a WAV has its samples, channel by channel", async () => {
  const bytes = new Uint8Array(await wavOf([Float32Array.of(0.5, -0.5), Float32Array.of(1, 0)], 16_000).arrayBuffer());
  assert.equal(String.fromCharCode(...bytes.slice(0, 4)), "RIFF");
  assert.deepEqual([...new Float32Array(bytes.buffer, 44)], [0.5, 1, -0.5, 0]);
  assert.equal(new DataView(bytes.buffer).getUint32(24, true), 16_000);
});

test("hue is the sound, brightness the loudness, and what is unsure is grey", () => {
  const pixels = Uint8ClampedArray.of(1, 255, 255, 255, 0, 0, 255, 255, 0, 255, 0, 255);
  const out = coloured(pixels, [3, 5], null);
  assert.deepEqual([...out.slice(0, 3)], SOUNDS[5]);
  assert.ok(Math.max(...out.slice(4, 7)) - Math.min(...out.slice(4, 7)) < 20);
  assert.deepEqual([...out.slice(8, 11)], [0, 0, 0]);
  assert.deepEqual([...coloured(pixels, [3, 5], 3).slice(0, 3)], [0, 0, 0]);
});
