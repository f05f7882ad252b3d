/**
 * Parts of a text: which levels there are, the parts that are shown as rows and columns, and the weight between them.
 *
 * @typedef {{name: string, names: string[], borders: number[]}} Level
 * @typedef {{part: number, label: string, tokens: number[]}} PartUnit  tokens: those that are not hidden
 */

/** @param {any} model @param {any} state @param {"query" | "key"} [side] @returns {Level[]} */
export function levelsOf(model, state, side = "query") {
  const site = model.site(state);
  return model.record(state).tokens[side === "query" ? site.queries : site.keys].levels ?? [];
}

/** The chosen level of a side, or the first that its text has. */
export function levelOf(model, state, side) {
  const levels = levelsOf(model, state, side);
  return levels.find(({ name }) => name === state.level) ?? levels[0] ?? null;
}

/** The parts of a side with the tokens that are shown; a part of which none is shown is left out. @returns {PartUnit[]} */
export function partUnits(model, state, side) {
  const level = levelOf(model, state, side);
  if (!level) return [];
  const { unitOf } = model.axis(state, side);
  return level.names
    .map((label, part) => {
      const tokens = [];
      for (let token = level.borders[part]; token < level.borders[part + 1]; token++) if (unitOf[token] >= 0) tokens.push(token);
      return { part, label: label.trim() || "␣", tokens };
    })
    .filter(({ tokens }) => tokens.length);
}

/** Tokens to bins over a run of units. @param {PartUnit[]} units @param {number} size */
function bins(units, size, from, to, count) {
  const bin = new Int32Array(size).fill(-1);
  for (let unit = from; unit < to; unit++) {
    for (const token of units[unit].tokens) bin[token] = Math.floor(((unit - from) * count) / (to - from));
  }
  return bin;
}

/**
 * What each cell would be if every query attended equally to all keys that it sees, `[rows, cols]`.
 * @param {number[]} band @param {Int32Array} rowBin @param {Int32Array} colBin
 * @param {(key: number) => boolean} counts keys that share the weight
 */
export function bySize([lower, upper], rowBin, colBin, rows, cols, counts) {
  const keys = colBin.length;
  const before = new Int32Array(keys + 1);
  const starts = new Int32Array(cols).fill(keys);
  const stops = new Int32Array(cols);
  for (let key = 0; key < keys; key++) {
    before[key + 1] = before[key] + (counts(key) ? 1 : 0);
    if (colBin[key] < 0) continue;
    starts[colBin[key]] = Math.min(starts[colBin[key]], key);
    stops[colBin[key]] = key + 1;
  }
  const out = new Float32Array(rows * cols);
  const met = new Int32Array(rows);
  const clamp = (key) => Math.min(Math.max(key, 0), keys);
  for (let query = 0; query < rowBin.length; query++) {
    const row = rowBin[query];
    if (row < 0) continue;
    met[row]++;
    const from = lower === null ? 0 : clamp(query + lower);
    const to = Math.max(from, upper === null ? keys : clamp(query + upper + 1));
    const all = before[to] - before[from];
    if (!all) continue;
    for (let col = 0; col < cols; col++) {
      const [low, high] = [Math.max(starts[col], from), Math.min(stops[col], to)];
      if (high > low) out[row * cols + col] += (before[high] - before[low]) / all;
    }
  }
  for (let row = 0; row < rows; row++) {
    if (met[row] > 1) for (let col = 0; col < cols; col++) out[row * cols + col] /= met[row];
  }
  return out;
}

/**
 * Weights between runs of parts, or between single tokens and parts; above chance where the state says so.
 * @param {any} model @param {any} state
 * @param {{rows: PartUnit[], cols: PartUnit[], region?: number[], most?: [number, number], name: string, sample?: number,
 *   priority?: number, signal?: AbortSignal}} asked
 */
export async function partWeights(model, state, { rows, cols, region, most = [Infinity, Infinity], name, sample, priority, signal }) {
  const [, queries, keys] = model.site(state).shape;
  const [r0, r1, c0, c1] = region ?? [0, rows.length, 0, cols.length];
  const [down, across] = [Math.min(most[0], r1 - r0), Math.min(most[1], c1 - c0)];
  const rowBin = bins(rows, queries, r0, r1, down);
  const colBin = bins(cols, keys, c0, c1, across);
  const axis = model.axis(state, "key");
  const keep = state.renormalise ? Uint8Array.from(axis.unitOf, (unit) => (unit >= 0 ? 1 : 0)) : null;
  const values = await model.engine.pool({
    record: state.record,
    site: model.siteIndex(state),
    head: state.head,
    name: `parts:${name}:${state.level}:${state.hideSpecial}:${state.hideSinks}:${[r0, r1, c0, c1, down, across]}`,
    rowBin, colBin, rows: down, cols: across, keep, keepName: keep ? axis.name : "", sample, priority, signal,
  });
  const { band } = model.site(state);
  if (state.values !== "above_chance" || !band) return { values, rows: down, cols: across };
  const chance = bySize(band, rowBin, colBin, down, across, (key) => !keep || keep[key] === 1);
  return { values: values.map((value, index) => value - chance[index]), rows: down, cols: across };
}

/** The place of the part that a token is in, among units; null where no token is given or it is hidden. */
export function placeOf(units, level, token) {
  if (token === null || !level) return null;
  const place = units.findIndex(({ part }) => token >= level.borders[part] && token < level.borders[part + 1]);
  return place < 0 ? null : place;
}
