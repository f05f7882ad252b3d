/** The tokens of a side as words in lines: what one chooses in the views of images and sounds. */
import { visible } from "../model/axis.js";

const [HEIGHT, GAP, PAD] = [24, 5, 7];

/**
 * Tokens that are words, not parts of the image or sound, each with the query that it is looked up at. What a decoder
 * writes is decided one query earlier.
 * @param {any} model @param {any} state
 */
export function wordsOf(model, state) {
  const site = model.site(state);
  const table = model.record(state).tokens[site.queries];
  const placed = table.places?.boxes ?? table.places?.spans ?? [];
  const writes = site.stack.startsWith("decoder");
  const words = [];
  table.pieces.forEach((piece, token) => {
    if (placed[token]) return;
    if (!writes) words.push({ token, query: token, label: visible(piece) });
    else if (token > 0) words.push({ token, query: token - 1, label: visible(piece) });
  });
  if (writes) {
    // The last query writes what comes next.
    const last = table.pieces.length - 1;
    words.push({ token: last + 1, query: last, label: "…" });
  }
  return words;
}

/**
 * Where each word goes in lines of a width.
 * @param {any} surface @param {{label: string}[]} words @param {number} x @param {number} y @param {number} width
 */
export function layWords(surface, words, x, y, width) {
  let [left, top] = [x, y];
  const places = words.map((word) => {
    const wide = Math.min(width, surface.measure(word.label, 14) + 2 * PAD);
    if (left + wide > x + width && left > x) [left, top] = [x, top + HEIGHT + GAP];
    const place = { ...word, x: left, y: top, width: wide, height: HEIGHT };
    left += wide + GAP;
    return place;
  });
  return { places, bottom: words.length ? top + HEIGHT : y };
}

/**
 * @param {any} surface @param {any[]} places
 * @param {{theme: any, chosen: (word: any) => boolean, fill?: (word: any) => string | undefined, ink?: (word: any) => string}} how
 */
export function drawWords(surface, places, { theme, chosen, fill, ink }) {
  for (const word of places) {
    const isChosen = chosen(word);
    surface.rect(word.x, word.y, word.width, word.height, {
      fill: fill?.(word) ?? theme.panel, stroke: isChosen ? theme.accent : theme.line, width: isChosen ? 2 : 1, radius: 5,
    });
    surface.text(word.label, word.x + PAD, word.y + word.height / 2, {
      fill: (fill?.(word) && ink?.(word)) || theme.text, size: 14, weight: isChosen ? 600 : 400,
    });
  }
}

/** The word at a point. @param {any[]} places */
export const wordAt = (places, x, y) =>
  places.find((word) => x >= word.x && x <= word.x + word.width && y >= word.y && y <= word.y + word.height) ?? null;
