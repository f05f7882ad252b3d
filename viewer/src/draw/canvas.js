/** Draws on a canvas. The SVG surface has the same methods, so that an export is what is on the screen. */

export const FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "Liberation Sans", Arial, sans-serif';

/**
 * @typedef {{fill?: string, stroke?: string, width?: number, opacity?: number, radius?: number, dash?: number[]}} Style
 * @typedef {{fill?: string, size?: number, align?: "left" | "center" | "right", weight?: number, rotate?: number,
 *   opacity?: number}} TextStyle
 */

export class CanvasSurface {
  /** @param {CanvasRenderingContext2D} context */
  constructor(context) {
    this.context = context;
  }

  /** @param {string} text @param {number} [size] @param {number} [weight] */
  measure(text, size = 12, weight = 400) {
    this.context.font = `${weight} ${size}px ${FONT}`;
    return this.context.measureText(text).width;
  }

  /** @param {Style} style */
  rect(x, y, width, height, style) {
    const { context } = this;
    context.beginPath();
    if (style.radius) context.roundRect(x, y, width, height, style.radius);
    else context.rect(x, y, width, height);
    this.paint(style);
  }

  /** @param {Style} style */
  circle(x, y, radius, style) {
    this.context.beginPath();
    this.context.arc(x, y, radius, 0, 2 * Math.PI);
    this.paint(style);
  }

  /** @param {Style} style */
  line(x1, y1, x2, y2, style) {
    this.context.beginPath();
    this.context.moveTo(x1, y1);
    this.context.lineTo(x2, y2);
    this.paint(style);
  }

  /** A link that leaves and arrives level. @param {Style} style */
  link(x1, y1, x2, y2, style) {
    const bend = (x1 + x2) / 2;
    this.context.beginPath();
    this.context.moveTo(x1, y1);
    this.context.bezierCurveTo(bend, y1, bend, y2, x2, y2);
    this.paint(style);
  }

  /** @param {string} text @param {TextStyle} [style] */
  text(text, x, y, { fill = "#000", size = 12, align = "left", weight = 400, rotate = 0, opacity = 1 } = {}) {
    const { context } = this;
    context.save();
    context.font = `${weight} ${size}px ${FONT}`;
    context.fillStyle = fill;
    context.globalAlpha = opacity;
    context.textAlign = align;
    context.textBaseline = "middle";
    context.translate(x, y);
    if (rotate) context.rotate((rotate * Math.PI) / 180);
    context.fillText(text, 0, 0);
    context.restore();
  }

  /** A heat map, one color a cell. @param {Uint8ClampedArray} pixels RGBA */
  image(pixels, rows, cols, x, y, width, height) {
    const picture = document.createElement("canvas");
    picture.width = cols;
    picture.height = rows;
    picture.getContext("2d").putImageData(new ImageData(pixels, cols, rows), 0, 0);
    this.context.imageSmoothingEnabled = width < cols || height < rows;
    this.context.drawImage(picture, x, y, width, height);
  }

  /** @param {() => void} draw */
  clip(x, y, width, height, draw) {
    this.context.save();
    this.context.beginPath();
    this.context.rect(x, y, width, height);
    this.context.clip();
    draw();
    this.context.restore();
  }

  /** @private @param {Style} style */
  paint({ fill, stroke, width = 1, opacity = 1, dash = [] }) {
    const { context } = this;
    context.globalAlpha = opacity;
    if (fill) {
      context.fillStyle = fill;
      context.fill();
    }
    if (stroke) {
      context.strokeStyle = stroke;
      context.lineWidth = width;
      context.setLineDash(dash);
      context.stroke();
    }
    context.globalAlpha = 1;
  }
}
