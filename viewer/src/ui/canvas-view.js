/**
 * What all drawn views share: a canvas that fills its place, scrolls over content taller than itself, follows the
 * pointer, and draws at most once a frame.
 */
import { CanvasSurface } from "../draw/canvas.js";
import { element } from "./dom.js";

/**
 * @param {{label: string, draw: (surface: any, width: number, height: number, scroll: number) => number | void,
 *   pointer?: (event: {type: "move" | "click" | "leave" | "double", x: number, y: number, original: any}) => void,
 *   key?: (event: KeyboardEvent) => boolean | void, wheel?: (event: WheelEvent, x: number, y: number) => boolean,
 *   drag?: (dx: number, dy: number) => boolean, resized?: () => void}} handlers
 *   draw returns the height of all content, if it may be taller than the view
 */
export function createCanvasView(handlers) {
  const canvas = element("canvas", { role: "application", tabIndex: 0, "aria-label": handlers.label });
  const spacer = element("div", { className: "spacer" });
  const node = element("div", { className: "scroller" }, [canvas, spacer]);
  let frame = 0;
  let width = 0;
  let height = 0;
  let pressed = null;
  let dragged = false;

  function drawNow() {
    frame = 0;
    if (!width || !height) return;
    const ratio = Math.max(1, Math.min(window.devicePixelRatio || 1, 3));
    const [across, down] = [Math.round(width * ratio), Math.round(height * ratio)];
    if (canvas.width !== across || canvas.height !== down) {
      canvas.width = across;
      canvas.height = down;
      canvas.style.width = `${width}px`;
      canvas.style.height = `${height}px`;
    }
    const context = canvas.getContext("2d");
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, height);
    const total = handlers.draw(new CanvasSurface(context), width, height, node.scrollTop) ?? height;
    spacer.style.height = `${Math.max(0, Math.ceil(total) - height)}px`;
  }

  const redraw = () => {
    frame ||= requestAnimationFrame(drawNow);
  };

  const observer = new ResizeObserver(() => {
    const box = node.getBoundingClientRect();
    // Without the scrollbar's own width a vertical bar would bring a horizontal one along.
    const size = [node.clientWidth, Math.floor(box.height)];
    if (size[0] === width && size[1] === height) return;
    [width, height] = size;
    handlers.resized?.();
    redraw();
  });
  observer.observe(node);

  const place = (event) => {
    const box = canvas.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };
  const tell = (type, event) => {
    const [x, y] = place(event);
    handlers.pointer?.({ type, x, y, original: event });
  };

  canvas.addEventListener("pointerdown", (event) => {
    pressed = [event.clientX, event.clientY];
    dragged = false;
  });
  canvas.addEventListener("pointermove", (event) => {
    if (pressed && event.buttons === 1 && handlers.drag) {
      const [dx, dy] = [event.clientX - pressed[0], event.clientY - pressed[1]];
      if (dragged || Math.hypot(dx, dy) > 4) {
        if (handlers.drag(dx, dy)) {
          dragged = true;
          pressed = [event.clientX, event.clientY];
          return;
        }
      }
    }
    tell("move", event);
  });
  canvas.addEventListener("pointerup", () => (pressed = null));
  canvas.addEventListener("pointerleave", (event) => tell("leave", event));
  canvas.addEventListener("click", (event) => {
    if (!dragged) tell("click", event);
  });
  canvas.addEventListener("dblclick", (event) => tell("double", event));
  canvas.addEventListener("keydown", (event) => {
    if (handlers.key?.(event)) {
      event.preventDefault();
      event.stopPropagation();
    }
  });
  canvas.addEventListener(
    "wheel",
    (event) => {
      const [x, y] = place(event);
      if (handlers.wheel?.(event, x, y)) event.preventDefault();
    },
    { passive: false },
  );
  node.addEventListener("scroll", redraw, { passive: true });

  return {
    element: node,
    canvas,
    redraw,
    /** @returns {[number, number]} */
    size: () => [width, height],
    describe: (text) => canvas.setAttribute("aria-label", text),
    /** Bring a run of the content into sight. */
    reveal(top, bottom) {
      if (top < node.scrollTop) node.scrollTop = Math.max(0, top);
      else if (bottom > node.scrollTop + height) node.scrollTop = bottom - height;
    },
    scroll: () => node.scrollTop,
    destroy() {
      observer.disconnect();
      cancelAnimationFrame(frame);
    },
  };
}
