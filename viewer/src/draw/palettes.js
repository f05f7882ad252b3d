/**
 * Color scales that people with any color vision can read. Zero is the page's own background, so that an empty cell
 * looks empty in light and in dark.
 */

/** Stops from little to much on a light page; on a dark one they run from the other end. */
export const SEQUENTIAL = {
  blue: {
    light: ["#ffffff", "#d6e6f4", "#a3c9e6", "#5fa2d1", "#2a76b5", "#0b4d8c", "#08264f"],
    dark: ["#14181f", "#16304e", "#1b4f80", "#2a76b5", "#5fa2d1", "#a9d0ee", "#f1f8ff"],
  },
  viridis: {
    light: ["#ffffff", "#d8e86a", "#7ad151", "#22a884", "#2a788e", "#414487", "#440154"],
    dark: ["#14181f", "#3c2a6b", "#414487", "#2a788e", "#22a884", "#7ad151", "#fde725"],
  },
  cividis: {
    light: ["#ffffff", "#f3e48e", "#d0bd62", "#a59c74", "#7c7b78", "#4b5a6c", "#00224e"],
    dark: ["#14181f", "#1d3256", "#434e6c", "#7c7b78", "#a59c74", "#d0bd62", "#fee838"],
  },
  magma: {
    light: ["#ffffff", "#fed8a6", "#fc8961", "#d3436e", "#8c2981", "#43126b", "#150e37"],
    dark: ["#14181f", "#33165f", "#721f81", "#b73779", "#f1605d", "#feb078", "#fcfdbf"],
  },
  grey: {
    light: ["#ffffff", "#d9d9d9", "#a6a6a6", "#6e6e6e", "#3d3d3d", "#111111"],
    dark: ["#14181f", "#343a44", "#59606c", "#8a919d", "#bfc5cf", "#ffffff"],
  },
};

/** From strongly negative over nothing to strongly positive. */
export const DIVERGING = {
  "blue-orange": {
    light: ["#0b4d8c", "#3b86c3", "#a9d0ee", "#ffffff", "#fdd0a2", "#f07f1f", "#9a3a00"],
    dark: ["#8cc6f5", "#3b86c3", "#17406b", "#14181f", "#6b3408", "#e07a1f", "#ffd0a0"],
  },
  "purple-green": {
    light: ["#40004b", "#9970ab", "#d9c2e3", "#ffffff", "#bfe3b8", "#5aae61", "#00441b"],
    dark: ["#dcb8ea", "#9970ab", "#4a2b58", "#14181f", "#1d4a26", "#5aae61", "#c0eeba"],
  },
};

/** Okabe and Ito's colors, for heads shown together. */
export const CATEGORICAL = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b8860b", "#56b4e9", "#7a5195", "#8c6d31", "#666666"];
const CATEGORICAL_DARK = ["#4ea8e0", "#ff8a3d", "#3ccf9e", "#e79fc8", "#f0c419", "#8fd3ff", "#b593d6", "#d1b26f", "#b0b0b0"];

/** @param {boolean} dark */
export const categorical = (dark) => (dark ? CATEGORICAL_DARK : CATEGORICAL);

const parse = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));

/** 256 colors between stops, `[256 * 3]`. @param {string[]} stops */
function ramp(stops) {
  const colors = stops.map(parse);
  const table = new Uint8ClampedArray(256 * 3);
  for (let i = 0; i < 256; i++) {
    const at = (i / 255) * (colors.length - 1);
    const low = Math.min(Math.floor(at), colors.length - 2);
    for (let channel = 0; channel < 3; channel++) {
      table[i * 3 + channel] = colors[low][channel] + (at - low) * (colors[low + 1][channel] - colors[low][channel]);
    }
  }
  return table;
}

/** @type {Map<string, Uint8ClampedArray>} */
const ramps = new Map();

function cached(kind, name, dark) {
  const key = `${name}/${dark}`;
  if (!ramps.has(key)) ramps.set(key, ramp(kind[name][dark ? "dark" : "light"]));
  return ramps.get(key);
}

/** The smallest weight a logarithmic scale tells apart from zero. */
export const LOG_FLOOR = 1e-4;

/**
 * From a weight to a place on the ramp, 0 to 1.
 * @param {"linear" | "log"} scale @param {number} top weight that takes the strongest color
 */
export function positionOf(scale, top) {
  const best = Math.max(top, 1e-9);
  if (scale === "linear") return (weight) => Math.min(Math.max(weight / best, 0), 1);
  const floor = Math.min(LOG_FLOOR, best / 10);
  const span = Math.log(best / floor);
  return (weight) => (weight <= floor ? 0 : Math.min(Math.log(weight / floor) / span, 1));
}

/**
 * @param {any} state @param {boolean} dark @param {number} top
 * @returns {{css: (weight: number) => string, fill: (values: Float32Array, pixels: Uint8ClampedArray) => void,
 *   position: (weight: number) => number, ink: (weight: number) => string, top: number}}
 */
export function sequential(state, dark, top) {
  return scaleOf(cached(SEQUENTIAL, state.palette, dark), positionOf(state.scale, top), dark, top);
}

/** Signed values, symmetric about zero. @param {any} state @param {boolean} dark @param {number} top */
export function diverging(state, dark, top) {
  const position = positionOf(state.scale, top);
  const signed = (value) => 0.5 + (Math.sign(value) * position(Math.abs(value))) / 2;
  return scaleOf(cached(DIVERGING, state.diverging, dark), signed, dark, top);
}

function scaleOf(table, position, dark, top) {
  const at = (value) => Math.round(position(value) * 255) * 3;
  return {
    top,
    position,
    css(value) {
      const i = at(value);
      return `rgb(${table[i]}, ${table[i + 1]}, ${table[i + 2]})`;
    },
    /** Black or white, whichever reads better on the color of a value. */
    ink(value) {
      const i = at(value);
      const light = 0.299 * table[i] + 0.587 * table[i + 1] + 0.114 * table[i + 2];
      return light > 140 ? "#101418" : "#ffffff";
    },
    fill(values, pixels) {
      for (let n = 0; n < values.length; n++) {
        const i = at(values[n]);
        pixels[n * 4] = table[i];
        pixels[n * 4 + 1] = table[i + 1];
        pixels[n * 4 + 2] = table[i + 2];
        pixels[n * 4 + 3] = 255;
      }
    },
  };
}
