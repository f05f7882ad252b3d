/** Small things that several views draw. */

/** A text cut to a width, with an ellipsis. Cuts between whole characters, so that an emoji stays whole. */
export function fit(surface, text, width, size = 12) {
  const short = text.length > 200 ? text.slice(0, 200) : text;
  if (surface.measure(short, size) <= width) return short;
  const segments = [...new Intl.Segmenter().segment(short)].map(({ segment }) => segment);
  let low = 0;
  let high = segments.length;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (surface.measure(`${segments.slice(0, middle).join("")}…`, size) <= width) low = middle;
    else high = middle - 1;
  }
  return low ? `${segments.slice(0, low).join("")}…` : "…";
}

const OTHER_DIRECTION = /[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc\u202a-\u202e\u2066-\u2069]|[\ud802\ud803\ud83a]/;

/** A token inside a sentence of ours: text from right to left must not carry the rest of the line along. @param {string} text */
export const isolated = (text) => (OTHER_DIRECTION.test(text) ? `\u2068${text}\u2069` : text);

/** A message in the middle of an otherwise empty view, in as many lines as it needs. */
export function message(surface, text, width, height, theme) {
  const size = 14;
  const lines = [""];
  for (const word of text.split(" ")) {
    const longer = `${lines.at(-1)} ${word}`.trim();
    if (surface.measure(longer, size) <= Math.min(width - 32, 560)) lines[lines.length - 1] = longer;
    else lines.push(word);
  }
  lines.forEach((line, index) => {
    const y = height / 2 + (index - (lines.length - 1) / 2) * 21;
    surface.text(line, width / 2, y, { fill: theme.muted, size, align: "center" });
  });
}

/** A weight as a person reads it. @param {number} value */
export function readable(value) {
  if (value === 0 || value === 1) return `${value}`;
  const size = Math.abs(value);
  if (size < 0.0001) return value > 0 ? "<0.0001" : ">−0.0001";
  const text = size >= 0.1 ? size.toFixed(3) : size >= 0.01 ? size.toFixed(4) : size.toPrecision(2);
  return value < 0 ? `−${text}` : text;
}

/**
 * The color scale with its ends named.
 * @param {any} surface @param {ReturnType<import("./palettes.js").sequential>} scale
 * @param {{x: number, y: number, width: number, theme: any, title: string, signed?: boolean, log?: boolean}} options
 */
export function legend(surface, scale, { x, y, width, theme, title, signed = false, log = false }) {
  const steps = 96;
  const low = signed ? -scale.top : 0;
  const values = new Float32Array(steps);
  for (let i = 0; i < steps; i++) {
    const share = i / (steps - 1);
    // On a logarithmic scale equal steps of color are equal factors; the bar shows the colors evenly.
    values[i] = log && !signed ? inverse(scale, share) : low + share * (scale.top - low);
  }
  const pixels = new Uint8ClampedArray(steps * 4);
  scale.fill(values, pixels);
  surface.text(title, x, y + 5, { fill: theme.muted, size: 11 });
  surface.image(pixels, 1, steps, x, y + 14, width, 8);
  surface.rect(x, y + 14, width, 8, { stroke: theme.line, width: 1 });
  surface.text(signed ? `${scale.clipped ? "≤ " : ""}${readable(low)}` : "0", x, y + 31, { fill: theme.muted, size: 10.5 });
  surface.text(`${scale.clipped ? "≥ " : ""}${readable(scale.top)}`, x + width, y + 31, { fill: theme.muted, size: 10.5, align: "right" });
  if (log) surface.text("log", x + width / 2, y + 31, { fill: theme.muted, size: 10.5, align: "center" });
}

function inverse(scale, share) {
  let low = 0;
  let high = scale.top;
  for (let step = 0; step < 30; step++) {
    const middle = low === 0 && high > 1e-6 ? high / 4 : (low + high) / 2;
    if (scale.position(middle) < share) low = middle;
    else high = middle;
  }
  return high;
}
