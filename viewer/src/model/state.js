/**
 * Everything a reader chose, as one small JSON value: it is what a link carries, a notebook saves and Python reads.
 * Unknown keys and values that make no sense are left out, so an old state opens in a new viewer and the other way.
 */
import { DIVERGING, SEQUENTIAL } from "../draw/palettes.js";

export const VIEWS = ["heads", "matrix", "arcs", "text", "parts", "products", "space", "difference", "picture", "sound"];

export const DEFAULTS = Object.freeze({
  view: "heads",
  record: 0,
  site: "",
  head: 0,
  /** Heads shown together in Arcs, as [site name, head]; the chosen head is always shown. */
  heads: [],
  /** Token positions on the site's axes. */
  query: null,
  key: null,
  /** Queries and keys whose links stay. */
  pins: [],
  keyPins: [],
  units: "pieces",
  scale: "linear",
  threshold: 0.02,
  hideSpecial: false,
  hideSinks: false,
  renormalise: false,
  palette: "blue",
  diverging: "blue-orange",
  theme: "auto",
  /** Visible units of the matrix, [first query, after the last, first key, after the last], or null for all. */
  zoom: null,
  sort: "layer",
  group: "layer",
  /** Which links of a pair of texts are shown: "all", "0>0", "0>1", "1>0", "1>1". */
  segments: "all",
  /** Which links of a text with itself are shown: "all", those to "earlier" or "later" tokens, or to "itself". */
  direction: "all",
  /** What shades the text: "from" the chosen query, "to" the chosen key, "received", or "track:NAME". */
  shade: "from",
  /** Order of the keys in the Query–key view: "weight" or "position". */
  order: "weight",
  /** Which image, or which frame of a film, the Picture view shows. */
  image: 0,
  /** The level of parts in Parts ("" is the first that the text has), what its map shows, and which parts are open
   *  (numbers of the attending text's parts; null opens the last one). */
  level: "",
  values: "weight",
  open: null,
});

const CHOICES = {
  view: VIEWS,
  units: ["pieces", "words"],
  scale: ["linear", "log"],
  palette: Object.keys(SEQUENTIAL),
  diverging: Object.keys(DIVERGING),
  theme: ["auto", "light", "dark"],
  segments: ["all", "0>0", "0>1", "1>0", "1>1"],
  direction: ["all", "earlier", "later", "itself"],
  order: ["weight", "position"],
  values: ["weight", "above_chance"],
};

const isCount = (value) => Number.isInteger(value) && value >= 0;

/**
 * A whole state from whatever came in, fitting this payload.
 * @param {any} given @param {any} header
 */
export function validState(given, header) {
  const state = { ...DEFAULTS };
  const source = given && typeof given === "object" ? given : {};
  for (const [key, fallback] of Object.entries(DEFAULTS)) {
    const value = source[key];
    if (key in CHOICES) {
      if (CHOICES[key].includes(value)) state[key] = value;
    } else if (typeof value === typeof fallback && fallback !== null && !Array.isArray(fallback)) state[key] = value;
  }
  if (!header.records[state.record]) state.record = 0;
  if (state.view === "parts" && !header.records[state.record].tokens.some(({ levels }) => levels?.length)) state.view = "heads";
  if (state.view === "difference" && header.records.length < 2) state.view = "heads";
  const { sites } = header.records[state.record];
  const site = sites.find(({ name }) => name === state.site) ?? sites[0];
  state.site = site.name;
  if (!isCount(state.head) || state.head >= site.shape[0]) state.head = 0;
  state.threshold = Math.min(1, Math.max(0, Number.isFinite(state.threshold) ? state.threshold : 0.02));
  const [, queries, keys] = site.shape;
  if (isCount(source.query) && source.query < queries) state.query = source.query;
  if (isCount(source.key) && source.key < keys) state.key = source.key;
  const images = header.records[state.record].media?.filter(({ kind }) => kind === "image").length ?? 0;
  if (!isCount(state.image) || state.image >= images) state.image = 0;
  const pinned = (pins, count) => (Array.isArray(pins) ? pins.filter((pin) => isCount(pin) && pin < count).slice(0, 50) : []);
  state.pins = pinned(source.pins, queries);
  state.keyPins = pinned(source.keyPins, keys);
  if (Array.isArray(source.heads)) {
    state.heads = source.heads
      .filter((pair) => Array.isArray(pair) && pair.length === 2)
      .filter(([name, head]) => isCount(head) && head < (sites.find((other) => other.name === name)?.shape[0] ?? 0))
      .slice(0, 8);
  }
  if (Array.isArray(source.open)) state.open = source.open.filter(isCount).slice(0, 200);
  if (Array.isArray(source.zoom) && source.zoom.length === 4 && source.zoom.every(isCount)) state.zoom = source.zoom;
  return state;
}

/** Only what differs from the defaults: short enough for a link. */
export function compactState(state) {
  const entries = Object.entries(state).filter(
    ([key, value]) => JSON.stringify(value) !== JSON.stringify(DEFAULTS[key]),
  );
  return Object.fromEntries(entries);
}

/** @param {any} first */
export function createStore(first) {
  let state = first;
  /** @type {Set<(state: any, changed: Set<string>) => void>} */
  const listeners = new Set();
  return {
    get: () => state,
    set(changes) {
      const changed = new Set(
        Object.keys(changes).filter((key) => JSON.stringify(changes[key]) !== JSON.stringify(state[key])),
      );
      if (!changed.size) return;
      state = { ...state, ...changes };
      for (const listener of [...listeners]) listener(state, changed);
    },
    listen(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
}
