// Types of the page, for tsc only; nothing of this is sent to a browser.

import type { components, operations } from "./openapi";

export type Schemas = components["schemas"];
export type Recording = Schemas["KeptRecordingBody"];
export type Separation = Schemas["SeparationBody"];
export type Manifest = Schemas["Manifest"];
export type StemEntry = Schemas["StemEntry"];
export type Peaks = Schemas["PeaksBody"];
export type PointsBody = Schemas["PointsBody"];
export type JobPointsBody = Schemas["JobPointsBody"];
export type JobStatus = Schemas["JobStatus"];
export type Problem = Schemas["ProblemBody"];
export type SeparationRequest =
  operations["separate_kept_recording"]["requestBody"]["content"]["application/json"];

/** What the server says of itself; see service/page/routes.py. */
export interface Settings {
  version: string;
  needs_key: boolean;
  max_sources: number;
  max_request_bytes: number;
  max_request_seconds: number;
  max_job_bytes: number;
  max_job_seconds: number;
  qualities: Quality[];
}

export type Quality = "fast" | "high";

/** Which sounds are wanted: those of some centroids. `number` where they are just so many. */
export interface Wish {
  number: number | null;
  centroids: number[][];
  groups: number[];
}

export interface Shown {
  kind: "recording" | "job";
  id: string;
  name: string;
  isExample: boolean;
  /** How many sounds are asked for; null for those that somebody made. */
  number: number | null;
  counted: number | null;
}

export interface Work {
  name: string;
  stage: string;
  /** 0 to 1, or null where nobody knows. */
  done: number | null;
  detail: string;
  /** performance.now() at which it is tried again. */
  retryAt: number | null;
  jobId: string | null;
}

export interface Told {
  title: string;
  detail: string;
  id: string | null;
  code: string | null;
}

export interface Listed {
  name: string;
  state: "waiting" | "working" | "ready" | "failed";
  /** Of the recording or the job, once it is ready. */
  id: string | null;
  detail: string;
}

export interface State {
  /** Grows with everything that is begun: what an earlier one tells is not listened to. */
  run: number;
  work: Work | null;
  shown: Shown | null;
  /** Other sounds of the same recording are on their way. */
  changing: boolean;
  problem: Told | null;
  /** For screen readers. */
  said: string;
  /** The same, to be seen, where nothing else shows it. */
  notice: string;
  listed: Listed[];
}

export type Event_ =
  | { type: "begin"; name: string }
  | { type: "told"; run: number; stage: string; done: number | null; detail: string }
  | { type: "accepted"; run: number; jobId: string }
  | { type: "busy"; run: number; until: number }
  | { type: "shown"; run: number; shown: Shown; said: string }
  | { type: "changing"; shown: Partial<Shown> }
  | { type: "changed"; shown: Partial<Shown>; said?: string }
  | { type: "failed"; run: number; problem: Told }
  | { type: "cancelled" }
  | { type: "left"; said: string }
  | { type: "closed"; said: string }
  | { type: "notice"; text: string }
  | { type: "dismissed" }
  | { type: "listed"; listed: Listed[] };

/** A stem as a lane shows and plays it. */
export interface Lane {
  /** Number in the manifest, from 1; the background comes last. */
  number: number;
  /** Number of the sound among the wish's groups; null of the background. */
  source: number | null;
  /** Of its sound; -1 is grey. */
  colour: number;
  entry: StemEntry | null;
  buffer: AudioBuffer | null;
  address: string;
  /** Played where that cannot be. */
  otherwise: string | null;
  outline: Outline | null;
}

/** How a recording is separated, apart from which sounds are wanted. */
export interface Options {
  channels: "keep" | "mono" | "reference" | "separate";
  spatial: "auto" | "off";
  enhance: boolean;
  quality: Quality;
}

/** Of a waveform: the smallest and the largest sample of each part, -127 to 127; 127 is `scale`. */
export interface Outline {
  scale: number;
  low: Float32Array;
  high: Float32Array;
}

/** Points as the page has them; their embeddings stay in the worker. */
export interface Spots {
  count: number;
  seconds: Float32Array;
  bands: Uint16Array;
}

/** What it takes to draw the map of a job. */
export interface JobMap extends Spots {
  centroids: number[][];
  sources: number[];
  band_hz: number[];
}

/** What the worker is asked to do, and what comes of it. */
export interface Orders {
  /** A picture of masks -> coloured, once for each of `only`; null is all colours. */
  paint: { order: { png: Blob; colours: number[]; only: (number | null)[] }; done: ImageBitmap[] };
  outline: { order: { json: Blob }; done: Outline };
  /** The points that the next orders are about. */
  points: { order: { json: Blob; frame_s: number | null }; done: JobMap };
  /** Where points lie on the map, which centroid each belongs to, and how clearly. */
  arrange: {
    order: { centroids: number[][]; groups: number[] };
    done: { place: Float32Array; labels: Uint8Array; certainty: Float32Array };
  };
  /** Points within a line on the map. */
  inside: { order: { line: [number, number][] }; done: number[] };
  /** The middle of some points. */
  middle: { order: { chosen: number[] }; done: number[] | null };
  wav: { order: { channels: Float32Array[]; rate: number }; done: Blob };
}

/** A part of a recording, in time and pitch. */
export interface Box {
  start_s: number;
  end_s: number;
  low_hz: number;
  high_hz: number;
}

export interface Points {
  count: number;
  dim: number;
  seconds: Float32Array;
  bands: Uint16Array;
  weights: Float32Array;
  /** dim for each point, of length about 1. */
  embeddings: Float32Array;
}
