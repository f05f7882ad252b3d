/**
 * The page's attention engine: every picture is one question, "pool this head".
 *
 * Queries and keys are put into bins (a pixel, a word, a single token; -1 leaves one out). A cell is the weight that a
 * query of its row bin puts on all keys of its column bin, averaged over the queries. Words, coarse pictures, zoomed
 * tiles, single rows and columns are all this. Runs in a worker, or on the page where there is none.
 */
import { decodeBlock } from "../payload/decode.js";
import { LANES, ScoreSite } from "./score-site.js";
import { WeightSite } from "./weight-site.js";

/** Rows between two chances to do something more urgent. */
const ROWS_PER_STEP = 16;

/** @param {any} description @param {Record<string, {bytes: Uint8Array, entry: any}>} stored */
export async function loadSite(description, stored) {
  /** @type {Record<string, any>} */
  const blocks = {};
  await Promise.all(
    Object.entries(stored).map(async ([role, { bytes, entry }]) => {
      blocks[role] = await decodeBlock(bytes, entry);
      if (role === "diagonals") blocks.diagonalShape = entry.shape;
      if (role === "mask") blocks.maskHeads = entry.shape[0];
    }),
  );
  if (blocks.segmentsOfQueries) blocks.segments = [blocks.segmentsOfQueries, blocks.segmentsOfKeys];
  return description.scores ? new ScoreSite(description, blocks) : new WeightSite(description, blocks);
}

/**
 * The queries to read: all of the bins, or about `sample` of them, evenly from every bin.
 * @param {Int32Array} rowBin @param {number} rows @param {number} sample 0 for all
 */
function chosenQueries(rowBin, rows, sample) {
  /** @type {number[]} */
  const all = [];
  for (let i = 0; i < rowBin.length; i++) if (rowBin[i] >= 0) all.push(i);
  if (!sample || all.length <= sample) return all;
  const counts = new Int32Array(rows);
  for (const i of all) counts[rowBin[i]]++;
  const limit = Math.max(1, Math.floor(sample / rows));
  const met = new Int32Array(rows);
  return all.filter((i) => {
    const bin = rowBin[i];
    const step = counts[bin] / Math.min(limit, counts[bin]);
    const at = met[bin]++;
    return Math.floor(at / step) !== Math.floor((at - 1) / step);
  });
}

/**
 * @param {ScoreSite | WeightSite} site
 * @param {{head: number, rowBin: Int32Array, colBin: Int32Array, rows: number, cols: number,
 *   keep?: Uint8Array | null, keepName?: string, sample?: number}} question
 * @returns {Generator<void, Float32Array>} `[rows, cols]`; yields whenever something else may run
 */
export function* pool(site, { head, rowBin, colBin, rows, cols, keep = null, keepName = "", sample = 0 }) {
  const { keys } = site;
  const queries = chosenQueries(rowBin, rows, sample);
  const wanted = [];
  for (let j = 0; j < keys; j++) if (colBin[j] >= 0) wanted.push(j);
  const columns = wanted.length < keys ? Int32Array.from(wanted) : null;
  const out = new Float32Array(rows * cols);
  const counts = new Int32Array(rows);
  const buffer = new Float32Array(LANES * keys);
  for (let start = 0; start < queries.length; start += LANES) {
    if (start && start % ROWS_PER_STEP === 0) yield;
    const lanes = queries.slice(start, start + LANES);
    const only = site.fill(head, lanes, buffer, { keep, keepName, columns }) ?? columns;
    for (let lane = 0; lane < lanes.length; lane++) {
      const bin = rowBin[lanes[lane]];
      counts[bin]++;
      const to = bin * cols;
      const at = lane * keys;
      if (only) for (let n = 0; n < only.length; n++) out[to + colBin[only[n]]] += buffer[at + only[n]];
      else for (let j = 0; j < keys; j++) out[to + colBin[j]] += buffer[at + j];
    }
  }
  for (let row = 0; row < rows; row++) {
    if (counts[row] > 1) for (let col = 0; col < cols; col++) out[row * cols + col] /= counts[row];
  }
  return out;
}
