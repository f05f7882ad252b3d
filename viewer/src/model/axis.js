/**
 * One axis as the reader wants it: pieces or whole words, some tokens hidden.
 *
 * @typedef {{tokens: number[], label: string, special: boolean}} Unit
 * @typedef {{units: Unit[], unitOf: Int32Array, hidden: {special: number[], sinks: number[]}, name: string}} Axis
 */

/** What a token shows where nothing else is readable. @param {string} text */
export function visible(text) {
  if (text === "") return "∅";
  if (text.trim() !== "") return text.trim();
  return text.replace(/\n/g, "⏎").replace(/\t/g, "⇥").replace(/[^⏎⇥]/g, "␣");
}

/**
 * @param {any} table a token table of the payload
 * @param {number[]} sinks tokens that most heads rest on
 * @param {{words: boolean, hideSpecial: boolean, hideSinks: boolean}} options
 * @returns {Axis}
 */
export function makeAxis(table, sinks, { words, hideSpecial, hideSinks }) {
  const size = table.pieces.length;
  const special = new Set(table.special);
  const unitOf = new Int32Array(size).fill(-1);
  /** @type {Unit[]} */
  const units = [];
  const sinkSet = new Set(hideSinks ? sinks : []);
  const hidden = { special: [], sinks: [] };
  const byWord = words && table.words;
  for (let token = 0; token < size; token++) {
    const isSpecial = special.has(token);
    if (isSpecial && hideSpecial) {
      hidden.special.push(token);
      continue;
    }
    if (sinkSet.has(token)) {
      hidden.sinks.push(token);
      continue;
    }
    const last = units.at(-1);
    const word = byWord ? table.words[token] : null;
    if (last && word !== null && table.words[last.tokens[0]] === word) {
      last.tokens.push(token);
      last.label = visible(last.tokens.map((index) => table.surfaces[index]).join(""));
    } else {
      units.push({ tokens: [token], label: visible(table.pieces[token]), special: isSpecial });
    }
    unitOf[token] = units.length - 1;
  }
  const name = [byWord ? "words" : "pieces", hideSpecial ? "s" : "", hideSinks ? "k" : ""].join("");
  return { units, unitOf, hidden, name };
}

/**
 * Bins over a run of an axis's units.
 * @param {Axis} axis @param {number} from first unit @param {number} to after the last one @param {number} bins at most
 */
export function binAxis(axis, from, to, bins) {
  const count = Math.min(bins, to - from);
  const bin = new Int32Array(axis.unitOf.length).fill(-1);
  for (let token = 0; token < bin.length; token++) {
    const unit = axis.unitOf[token];
    if (unit >= from && unit < to) bin[token] = Math.floor(((unit - from) * count) / (to - from));
  }
  return { bin, count };
}

/** Keys that stay, for renormalizing. @param {Axis} axis */
export function keepOf(axis) {
  return Uint8Array.from(axis.unitOf, (unit) => (unit >= 0 ? 1 : 0));
}
