/** One site whose weights are stored: codes of a codebook, or the numbers themselves. */

export class WeightSite {
  /** @param {any} description @param {Record<string, any>} blocks */
  constructor(description, blocks) {
    const [heads, queries, keys] = description.shape;
    Object.assign(this, { heads, queries, keys });
    this.values = blocks.values;
    this.codebook = blocks.codebook ?? null;
  }

  get bytes() {
    return this.values.byteLength;
  }

  /** Same contract as ScoreSite.fill. */
  fill(head, rows, out, { keep }) {
    const { keys, queries, values, codebook } = this;
    for (let lane = 0; lane < rows.length; lane++) {
      const from = (head * queries + rows[lane]) * keys;
      const at = lane * keys;
      let sum = 0;
      for (let j = 0; j < keys; j++) {
        let weight = codebook ? codebook[values[from + j]] : values[from + j];
        if (keep && !keep[j]) weight = 0;
        sum += out[at + j] = weight;
      }
      if (keep && sum > 0) for (let j = 0; j < keys; j++) out[at + j] /= sum;
    }
    return null;
  }

  products() {
    return null;
  }
}
