/**
 * One site whose weights are computed from queries and keys: the same formula as the Python engine,
 * softmax(softcap(scale · q·k) + bias) over the visible keys, a sink taking its share.
 */
import { visibilityTest } from "./visibility.js";

/** Queries computed side by side; each key is read once for all of them. */
export const LANES = 4;

export class ScoreSite {
  /**
   * @param {any} description the site's header entry
   * @param {Record<string, any>} blocks decoded blocks by role
   */
  constructor(description, blocks) {
    const [heads, queries, keys] = description.shape;
    const scores = description.scores;
    Object.assign(this, { heads, queries, keys });
    this.query = blocks.query;
    this.key = blocks.key;
    this.keyMean = blocks.keyMean ?? null;
    this.size = blocks.query.length / (heads * queries);
    this.keyHeads = blocks.key.length / (keys * this.size);
    this.scaling = scores.scaling;
    this.softcap = scores.softcap;
    this.sinks = blocks.sinks ?? null;
    this.diagonals = blocks.diagonals ?? null;
    this.origin = scores.bias?.origin ?? 0;
    this.diagonalCount = this.diagonals ? blocks.diagonalShape[1] : 0;
    this.biasHeads = this.diagonals ? blocks.diagonalShape[0] : 0;
    [this.lower, this.upper] = scores.band;
    this.visible = visibilityTest(blocks, queries, keys);
    this.scratch = new Float32Array(LANES * this.size);
    /** Log of each row's sum, by head and by which keys were kept. @type {Map<string, Float64Array>} */
    this.logSums = new Map();
  }

  get bytes() {
    return 4 * (this.query.length + this.key.length);
  }

  /** First and last+1 key that a query can see. */
  range(query) {
    const from = this.lower === null ? 0 : Math.min(Math.max(query + this.lower, 0), this.keys);
    const to = this.upper === null ? this.keys : Math.max(Math.min(query + this.upper + 1, this.keys), 0);
    return [from, Math.max(from, to)];
  }

  /** Start of a head's keys; heads in groups share them. */
  keyStart(head) {
    return Math.floor((head * this.keyHeads) / this.heads) * this.keys * this.size;
  }

  /**
   * Finished weights of up to LANES queries, into `out` (LANES × keys; cells outside a query's range are zero).
   * @param {number} head @param {number[]} rows
   * @param {Float32Array} out
   * @param {{keep: Uint8Array | null, keepName: string, columns: Int32Array | null}} options keep: keys that share the
   *   whole weight (renormalized); columns: the only keys wanted
   */
  fill(head, rows, out, { keep, keepName, columns }) {
    const { keys } = this;
    const sums = this.sums(head, keep ? keepName : "");
    const known = columns !== null && rows.every((row) => !Number.isNaN(sums[row]));
    if (known) this.fillColumns(head, rows, out, columns, sums, keep);
    else this.fillRows(head, rows, out, sums, keep);
    return known ? columns : null;
  }

  /** @private */
  sums(head, keepName) {
    const name = `${head}/${keepName}`;
    let sums = this.logSums.get(name);
    if (!sums) {
      if (this.logSums.size > 64) this.logSums.delete(this.logSums.keys().next().value);
      sums = new Float64Array(this.queries).fill(NaN);
      this.logSums.set(name, sums);
    }
    return sums;
  }

  /** @private Scores of one query against one key, softcap and bias included. */
  finish(product, head, row, key) {
    let score = product * this.scaling;
    if (this.softcap !== null) score = Math.tanh(score / this.softcap) * this.softcap;
    if (this.diagonals) {
      score += this.diagonals[(this.biasHeads > 1 ? head * this.diagonalCount : 0) + key - row + this.origin];
    }
    return score;
  }

  /** @private */
  fillRows(head, rows, out, sums, keep) {
    const { size, keys, queries } = this;
    const lanes = rows.length;
    const q = this.scratch.fill(0);
    let from = keys;
    let to = 0;
    const ranges = rows.map((row) => this.range(row));
    for (let lane = 0; lane < lanes; lane++) {
      const start = (head * queries + rows[lane]) * size;
      for (let d = 0; d < size; d++) q[d * LANES + lane] = this.query[start + d];
      from = Math.min(from, ranges[lane][0]);
      to = Math.max(to, ranges[lane][1]);
    }
    const k = this.key;
    const base = this.keyStart(head);
    for (let j = from; j < to; j++) {
      let a = 0;
      let b = 0;
      let c = 0;
      let e = 0;
      let at = base + j * size;
      for (let d = 0, l = 0; d < size; d++, l += 4, at++) {
        const value = k[at];
        a += q[l] * value;
        b += q[l + 1] * value;
        c += q[l + 2] * value;
        e += q[l + 3] * value;
      }
      out[j] = a;
      out[keys + j] = b;
      out[2 * keys + j] = c;
      out[3 * keys + j] = e;
    }
    for (let lane = 0; lane < lanes; lane++) {
      sums[rows[lane]] = this.softmax(head, rows[lane], out, lane * keys, ranges[lane], keep);
    }
  }

  /** @private Products of a row into weights, in place; returns the log of the row's sum. */
  softmax(head, row, out, at, [from, to], keep) {
    const plain = this.softcap === null && !this.diagonals;
    const { scaling, visible, keys } = this;
    out.fill(0, at, at + from);
    out.fill(0, at + to, at + keys);
    let largest = -Infinity;
    for (let j = from; j < to; j++) {
      if ((keep && !keep[j]) || (visible && !visible(head, row, j))) {
        out[at + j] = -Infinity;
        continue;
      }
      const score = plain ? out[at + j] * scaling : this.finish(out[at + j], head, row, j);
      out[at + j] = score;
      if (score > largest) largest = score;
    }
    if (largest === -Infinity) {
      out.fill(0, at + from, at + to);
      return Infinity;
    }
    let sum = 0;
    for (let j = from; j < to; j++) sum += out[at + j] = Math.exp(out[at + j] - largest);
    // A renormalized row shares everything among the keys that are kept, so a sink has no part in it.
    if (this.sinks && !keep) sum += Math.exp(this.sinks[head] - largest);
    const share = 1 / sum;
    for (let j = from; j < to; j++) out[at + j] *= share;
    return largest + Math.log(sum);
  }

  /** @private A few keys of rows whose sums are known. */
  fillColumns(head, rows, out, columns, sums, keep) {
    const { size, keys, queries, key, query } = this;
    const base = this.keyStart(head);
    for (let lane = 0; lane < rows.length; lane++) {
      const row = rows[lane];
      const [from, to] = this.range(row);
      const start = (head * queries + row) * size;
      for (let n = 0; n < columns.length; n++) {
        const j = columns[n];
        let weight = 0;
        if (j >= from && j < to && !(keep && !keep[j]) && (!this.visible || this.visible(head, row, j))) {
          let product = 0;
          const at = base + j * size;
          for (let d = 0; d < size; d++) product += query[start + d] * key[at + d];
          weight = Math.exp(this.finish(product, head, row, j) - sums[row]);
        }
        out[lane * keys + j] = weight;
      }
    }
  }

  /** What one query's weights are made of. @param {number} head @param {number} row @param {number[]} wanted keys */
  products(head, row, wanted) {
    const { size, queries } = this;
    const group = Math.floor((head * this.keyHeads) / this.heads);
    const q = this.query.slice((head * queries + row) * size, (head * queries + row + 1) * size);
    const k = new Float32Array(wanted.length * size);
    const scores = new Float32Array(wanted.length);
    for (let n = 0; n < wanted.length; n++) {
      const at = this.keyStart(head) + wanted[n] * size;
      let product = 0;
      for (let d = 0; d < size; d++) {
        const mean = this.keyMean ? this.keyMean[group * size + d] : 0;
        k[n * size + d] = this.key[at + d] + mean;
        product += q[d] * k[n * size + d];
      }
      scores[n] = this.finish(product, head, row, wanted[n]);
    }
    return { query: q, keys: k, scores, size, scaling: this.scaling, softcap: this.softcap };
  }
}
