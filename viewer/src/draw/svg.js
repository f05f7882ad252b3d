/** Draws into an SVG document: the same methods as the canvas surface. Tokens become text nodes, never markup. */
import { CanvasSurface, FONT } from "./canvas.js";

const NS = "http://www.w3.org/2000/svg";
/** Heat maps up to this many cells become rectangles, larger ones a picture inside the drawing. */
const CELLS_AS_SHAPES = 4096;
/** Characters that no XML document may hold. */
const FORBIDDEN = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g;

const round = (number) => Math.round(number * 100) / 100;

export class SvgSurface {
  /** @param {number} width @param {number} height @param {string} background @param {string} title */
  constructor(width, height, background, title) {
    this.root = this.node("svg", { xmlns: NS, width, height, viewBox: `0 0 ${width} ${height}` }, null);
    this.parent = this.root;
    this.node("title", {}).textContent = title.replace(FORBIDDEN, "�");
    this.rect(0, 0, width, height, { fill: background });
    this.ruler = new CanvasSurface(document.createElement("canvas").getContext("2d"));
    this.clips = 0;
  }

  /** @private */
  node(name, attributes, parent = this.parent) {
    const node = document.createElementNS(NS, name);
    for (const [key, value] of Object.entries(attributes)) {
      if (value !== undefined && key !== "xmlns") node.setAttribute(key, typeof value === "number" ? round(value) : value);
    }
    parent?.append(node);
    return node;
  }

  /** @private */
  styled(name, attributes, { fill, stroke, width, opacity, dash }) {
    this.node(name, {
      ...attributes,
      fill: fill ?? "none",
      stroke,
      "stroke-width": stroke ? (width ?? 1) : undefined,
      "stroke-dasharray": dash?.length ? dash.join(" ") : undefined,
      opacity: opacity === undefined || opacity === 1 ? undefined : opacity,
    });
  }

  measure(text, size, weight) {
    return this.ruler.measure(text, size, weight);
  }

  rect(x, y, width, height, style) {
    this.styled("rect", { x, y, width: Math.max(width, 0), height: Math.max(height, 0), rx: style.radius }, style);
  }

  circle(x, y, radius, style) {
    this.styled("circle", { cx: x, cy: y, r: radius }, style);
  }

  line(x1, y1, x2, y2, style) {
    this.styled("line", { x1, y1, x2, y2 }, style);
  }

  link(x1, y1, x2, y2, style) {
    const bend = round((x1 + x2) / 2);
    const path = `M${round(x1)} ${round(y1)}C${bend} ${round(y1)} ${bend} ${round(y2)} ${round(x2)} ${round(y2)}`;
    this.styled("path", { d: path }, style);
  }

  text(text, x, y, { fill = "#000", size = 12, align = "left", weight = 400, rotate = 0, opacity = 1 } = {}) {
    const anchor = { left: "start", center: "middle", right: "end" }[align];
    const node = this.node("text", {
      x,
      y,
      fill,
      "font-size": size,
      "font-weight": weight === 400 ? undefined : weight,
      "font-family": FONT,
      "text-anchor": anchor,
      "dominant-baseline": "central",
      opacity: opacity === 1 ? undefined : opacity,
      transform: rotate ? `rotate(${rotate} ${round(x)} ${round(y)})` : undefined,
    });
    node.textContent = text.replace(FORBIDDEN, "�");
  }

  image(pixels, rows, cols, x, y, width, height) {
    if (rows * cols <= CELLS_AS_SHAPES) {
      const group = this.node("g", { "shape-rendering": "crispEdges" });
      const outer = this.parent;
      this.parent = group;
      for (let n = 0; n < rows * cols; n++) {
        const fill = `rgb(${pixels[n * 4]},${pixels[n * 4 + 1]},${pixels[n * 4 + 2]})`;
        const left = x + ((n % cols) * width) / cols;
        this.rect(left, y + (Math.floor(n / cols) * height) / rows, width / cols, height / rows, { fill });
      }
      this.parent = outer;
      return;
    }
    const canvas = document.createElement("canvas");
    canvas.width = cols;
    canvas.height = rows;
    canvas.getContext("2d").putImageData(new ImageData(pixels, cols, rows), 0, 0);
    const href = canvas.toDataURL("image/png");
    this.node("image", { x, y, width, height, href, preserveAspectRatio: "none", "image-rendering": "pixelated" });
  }

  clip(x, y, width, height, draw) {
    const id = `clip${++this.clips}`;
    const path = this.node("clipPath", { id });
    this.node("rect", { x, y, width, height }, path);
    const group = this.node("g", { "clip-path": `url(#${id})` });
    const outer = this.parent;
    this.parent = group;
    draw();
    this.parent = outer;
  }

  toString() {
    return new XMLSerializer().serializeToString(this.root);
  }
}
