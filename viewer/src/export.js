/** A view as a picture file: exactly what is on the screen, and below it what is chosen and hidden. */
import { CanvasSurface } from "./draw/canvas.js";
import { fit } from "./draw/marks.js";
import { SvgSurface } from "./draw/svg.js";

const NOTE = 26;
const RATIO = 2;

/**
 * @param {{draw: (surface: any, width: number, height: number) => any, size: () => [number, number]}} view
 * @param {{type: "svg" | "png", theme: any, note: string, title: string}} options
 * @returns {Promise<Blob>}
 */
export async function pictureOf(view, { type, theme, note, title }) {
  const [width, height] = view.size();
  const fill = (surface) => {
    surface.clip(0, 0, width, height, () => view.draw(surface, width, height));
    surface.text(fit(surface, note, width - 24, 11), 12, height + NOTE / 2, { fill: theme.muted, size: 11 });
  };
  if (type === "svg") {
    const surface = new SvgSurface(width, height + NOTE, theme.background, title);
    fill(surface);
    return new Blob([surface.toString()], { type: "image/svg+xml" });
  }
  const canvas = document.createElement("canvas");
  canvas.width = width * RATIO;
  canvas.height = (height + NOTE) * RATIO;
  const pen = canvas.getContext("2d");
  pen.scale(RATIO, RATIO);
  const surface = new CanvasSurface(pen);
  surface.rect(0, 0, width, height + NOTE, { fill: theme.background });
  fill(surface);
  return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
}

/** @param {Blob} blob @param {string} name */
export function download(blob, name) {
  const url = URL.createObjectURL(blob);
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
