/**
 * Rows against columns as a heat map with labels, zoom and pan: what Matrix and Difference share.
 *
 * @typedef {{values: Float32Array, rows: number, cols: number}} Picture
 * @typedef {{
 *   name: string,
 *   variant?: (state: any) => string, what else than the shared settings decides the picture,
 *   axes: (state: any) => {rows: {label: string}[], cols: {label: string}[], rowsTitle: string, colsTitle: string} | null,
 *   load: (state: any, region: number[], bins: [number, number], show: (picture: Picture, coarse: boolean) => void,
 *     signal: AbortSignal) => Promise<void>,
 *   scale: (state: any, dark: boolean, top: number) => any,
 *   legend: (state: any) => string, signed: boolean | ((state: any) => boolean),
 *   selected: (state: any) => [number | null, number | null], choose: (row: number | null, col: number | null) => void,
 *   caption: (state: any) => string, empty: (state: any) => string,
 * }} Spec
 */
import { fit, isolated, legend, message, readable } from "../draw/marks.js";
import { createCanvasView } from "../ui/canvas-view.js";

const LABEL = 12;
const LARGEST_CELL = 46;
const LONGEST_LABEL = 130;
const LEGEND_WIDTH = 150;
/** Fewest rows or columns to zoom in to. */
const CLOSEST = 4;
/** Most cells a picture may have per side; more than a screen shows. */
const MOST_BINS = 1400;

/** How long the picture of another head may stay. */
const STALE_MS = 120;

/** Pictures from this many cells on may clip their colors, at this quantile of what is not zero. */
const MANY_CELLS = 10_000;
const CLIP_AT = 0.998;

/**
 * The value that takes the strongest color. In a long text a few cells (a first row, a sink) would leave everything
 * else pale, so where they stand far above the rest the scale ends below them, and its legend says so.
 * @param {Picture & {scaleTop?: {top: number, clipped: boolean}}} picture
 */
function topOf(picture) {
  if (picture.scaleTop) return picture.scaleTop;
  const most = picture.values.reduce((peak, value) => Math.max(peak, Math.abs(value)), 0);
  picture.scaleTop = { top: most, clipped: false };
  if (picture.values.length >= MANY_CELLS) {
    const step = Math.ceil(picture.values.length / 40_000);
    const some = picture.values.filter((value, index) => value !== 0 && index % step === 0).map(Math.abs).sort();
    const high = some[Math.floor(CLIP_AT * (some.length - 1))] ?? most;
    if (high > 0 && high * 2 < most) picture.scaleTop = { top: high, clipped: true };
  }
  return picture.scaleTop;
}

/** @param {any} context @param {Spec} spec */
export function createGrid(context, spec) {
  const { store } = context;
  /** @type {Picture | null} */
  let picture = null;
  let pictureRegion = "";
  let coarse = false;
  let wanted = "";
  let shown = "";
  let hover = null;
  let layout = null;
  let failure = "";
  let abort = new AbortController();

  const view = createCanvasView({
    label: "",
    draw,
    pointer,
    key,
    wheel,
    drag,
    resized: () => load(),
  });

  function region(state, axes) {
    const all = [0, axes.rows.length, 0, axes.cols.length];
    const { zoom } = state;
    if (!zoom || zoom[1] > all[1] || zoom[3] > all[3] || zoom[0] >= zoom[1] || zoom[2] >= zoom[3]) return all;
    return zoom;
  }

  /** Where everything goes, from the size of the view and the labels. */
  function measure(surface, width, height, state, axes) {
    const [r0, r1, c0, c1] = region(state, axes);
    const rows = r1 - r0;
    const cols = c1 - c0;
    const widest = (items, from, to) => {
      const step = Math.max(1, Math.floor((to - from) / 200));
      let most = 0;
      for (let i = from; i < to; i += step) most = Math.max(most, surface.measure(items[i].label.slice(0, 60), LABEL));
      return Math.min(most, LONGEST_LABEL);
    };
    const left = Math.max(48, widest(axes.rows, r0, r1) + 34);
    const slanted = widest(axes.cols, c0, c1);
    // Long names would reach into the legend.
    const top = Math.max(66, slanted * 0.87 + (slanted > 48 ? 56 : 44));
    const right = Math.max(20, slanted * 0.5 + 12);
    const bottom = 16;
    const free = [Math.max(width - left - right, 40), Math.max(height - top - bottom, 40)];
    const cell = Math.min(free[0] / cols, free[1] / rows, LARGEST_CELL);
    const square = Math.max(cell, 0);
    const plot = { width: square * cols, height: square * rows };
    // A very long and narrow tile would shrink to a thread; then the cells are allowed to be oblong.
    if (plot.width < 120 && free[0] > 120) plot.width = Math.min(free[0], 240);
    if (plot.height < 120 && free[1] > 120) plot.height = Math.min(free[1], 240);
    return { r0, r1, c0, c1, rows, cols, left, top, ...plot };
  }

  function load() {
    const state = store.get();
    const axes = spec.axes(state);
    const [width, height] = view.size();
    if (!axes || !axes.rows.length || !axes.cols.length || !width) {
      picture = null;
      view.redraw();
      return;
    }
    const at = region(state, axes);
    const pixels = Math.min(MOST_BINS, Math.max(width, height));
    const bins = [Math.min(at[1] - at[0], pixels), Math.min(at[3] - at[2], pixels)];
    const request = JSON.stringify([spec.name, state.record, state.site, state.head, state.units, state.hideSpecial,
      state.hideSinks, state.renormalise, spec.variant?.(state), at, bins]);
    if (request === wanted) return;
    wanted = request;
    abort.abort();
    abort = new AbortController();
    const { signal } = abort;
    failure = "";
    // The former picture stays for a moment, so that nothing flickers, but never long enough to be taken for this one.
    setTimeout(() => {
      if (signal.aborted || wanted !== request || shown === request) return;
      picture = null;
      view.redraw();
    }, STALE_MS);
    spec
      .load(state, at, bins, (result, isCoarse) => {
        if (signal.aborted) return;
        picture = result;
        shown = request;
        pictureRegion = JSON.stringify(at);
        coarse = isCoarse;
        view.redraw();
        context.drawn(isCoarse ? "coarse" : "whole");
      }, signal)
      .catch((error) => {
        if (signal.aborted) return;
        failure = error.message;
        view.redraw();
      });
  }

  function draw(surface, width, height) {
    const state = store.get();
    const theme = context.theme();
    const axes = spec.axes(state);
    if (!axes || !axes.rows.length || !axes.cols.length || failure) {
      message(surface, failure || spec.empty(state), width, height, theme);
      return;
    }
    layout = measure(surface, width, height, state, axes);
    const { r0, r1, c0, c1, rows, cols, left, top, width: across, height: down } = layout;
    surface.text(fit(surface, spec.caption(state), width - (width > 420 ? LEGEND_WIDTH + 40 : 24), 13.5), 12, 16, { fill: theme.text, size: 13, weight: 600 });
    surface.text(`${axes.rowsTitle} ↓   ${axes.colsTitle} →`, 12, 34, { fill: theme.muted, size: 11 });
    const fits = pictureRegion === JSON.stringify([r0, r1, c0, c1]);
    if (!picture || !fits) {
      surface.rect(left, top, across, down, { fill: theme.panel });
      surface.text("computing …", left + across / 2, top + down / 2, { fill: theme.muted, size: 13, align: "center" });
    } else {
      const { top: peak, clipped } = topOf(picture);
      const scale = { ...spec.scale(state, theme.dark, peak || 1), clipped };
      const pixels = new Uint8ClampedArray(picture.rows * picture.cols * 4);
      scale.fill(picture.values, pixels);
      surface.image(pixels, picture.rows, picture.cols, left, top, across, down);
      if (width > 420) {
        legend(surface, scale, {
          x: width - LEGEND_WIDTH - 16, y: 8, width: LEGEND_WIDTH, theme, title: spec.legend(state),
          signed: typeof spec.signed === "function" ? spec.signed(state) : spec.signed, log: state.scale === "log",
        });
      }
      if (across / cols >= 30 && down / rows >= 18 && picture.cols === cols && picture.rows === rows) {
        for (let r = 0; r < rows; r++) {
          for (let c = 0; c < cols; c++) {
            const value = picture.values[r * cols + c];
            const text = Math.abs(value) < 0.005 ? "" : value.toFixed(2).replace(/^(-?)0/, "$1").replace("-", "−");
            surface.text(text, left + ((c + 0.5) * across) / cols, top + ((r + 0.5) * down) / rows, {
              fill: scale.ink(value), size: 10, align: "center",
            });
          }
        }
      }
      if (coarse) surface.text("coarse, refining …", left, top + down + 10, { fill: theme.muted, size: 11 });
    }
    surface.rect(left, top, across, down, { stroke: theme.line });
    labels(surface, axes, state, theme);
    marks(surface, state, theme);
    if (state.zoom) overviewOf(surface, axes, theme, width, height);
    view.describe(`${spec.caption(state)}. ${rows} ${axes.rowsTitle} by ${cols} ${axes.colsTitle}. ${context.selectionText()}`);
  }

  function labels(surface, axes, state, theme) {
    const { r0, c0, rows, cols, left, top, width: across, height: down } = layout;
    const chosen = spec.selected(state);
    const line = (position, size, count, edge, item, isRow) => {
      const strong = hover && (isRow ? hover.row : hover.col) === item;
      const selected = chosen[isRow ? 0 : 1] === item;
      const fill = strong || selected ? theme.accent : theme.text;
      const weight = strong || selected ? 700 : 400;
      const { label } = (isRow ? axes.rows : axes.cols)[item];
      const text = fit(surface, label, LONGEST_LABEL, LABEL);
      const at = edge + ((position + 0.5) * size) / count;
      if (isRow) surface.text(text, left - 7, at, { fill, size: LABEL, align: "right", weight });
      else surface.text(text, at - 2, top - 8, { fill, size: LABEL, rotate: -60, weight });
    };
    const rowStep = Math.max(1, Math.ceil(14 / (down / rows)));
    const colStep = Math.max(1, Math.ceil(14 / (across / cols)));
    const near = (item, other, step) => other !== null && item !== other && Math.abs(item - other) < step;
    const rowMarks = [hover?.row ?? null, chosen[0]];
    const colMarks = [hover?.col ?? null, chosen[1]];
    for (let r = 0; r < rows; r += rowStep) {
      if (!rowMarks.some((other) => near(r0 + r, other, rowStep))) line(r, down, rows, top, r0 + r, true);
    }
    for (let c = 0; c < cols; c += colStep) {
      if (!colMarks.some((other) => near(c0 + c, other, colStep))) line(c, across, cols, left, c0 + c, false);
    }
    for (const row of new Set(rowMarks)) {
      if (row !== null && row >= r0 && row < r0 + rows && rowStep > 1) line(row - r0, down, rows, top, row, true);
    }
    for (const col of new Set(colMarks)) {
      if (col !== null && col >= c0 && col < c0 + cols && colStep > 1) line(col - c0, across, cols, left, col, false);
    }
  }

  function marks(surface, state, theme) {
    const { r0, r1, c0, c1, rows, cols, left, top, width: across, height: down } = layout;
    const band = (row, col, width) => {
      const style = { stroke: theme.accent, width };
      if (row !== null && row >= r0 && row < r1) {
        surface.rect(left, top + ((row - r0) * down) / rows, across, Math.max(down / rows, 1.5), style);
      }
      if (col !== null && col >= c0 && col < c1) {
        surface.rect(left + ((col - c0) * across) / cols, top, Math.max(across / cols, 1.5), down, style);
      }
    };
    const [row, col] = spec.selected(state);
    band(row, col, 1.5);
    if (hover) band(hover.row, hover.col, 0.75);
  }

  /** Where the zoomed tile lies in the whole. */
  function overviewOf(surface, axes, theme, width, height) {
    const { r0, r1, c0, c1, left, width: across } = layout;
    const size = 74;
    if (width - (left + across) < size + 24) return;
    const shape = [axes.cols.length, axes.rows.length];
    const unit = size / Math.max(...shape);
    const [w, h] = shape.map((count) => Math.max(count * unit, 6));
    const [x, y] = [width - w - 16, height - h - 16];
    surface.rect(x, y, w, h, { fill: theme.panel, stroke: theme.line });
    surface.rect(x + (c0 / shape[0]) * w, y + (r0 / shape[1]) * h, Math.max(((c1 - c0) / shape[0]) * w, 2),
      Math.max(((r1 - r0) / shape[1]) * h, 2), { stroke: theme.accent, width: 1.5 });
  }

  function cellAt(x, y) {
    if (!layout) return null;
    const { r0, c0, rows, cols, left, top, width: across, height: down } = layout;
    const [dx, dy] = [x - left, y - top];
    // Labels stand for their row or column as well.
    const row = dy >= 0 && dy < down ? r0 + Math.floor((dy / down) * rows) : null;
    const col = dx >= 0 && dx < across ? c0 + Math.floor((dx / across) * cols) : null;
    if (row === null && col === null) return null;
    if ((row === null && dy > 0) || (col === null && dx > 0)) return null;
    return { row, col };
  }

  /** The value under a cell, where a cell of the picture is one cell of the matrix. */
  function valueAt(cell) {
    if (!picture || !layout || cell.row === null || cell.col === null) return null;
    const { r0, c0, rows, cols } = layout;
    const r = Math.floor(((cell.row - r0) * picture.rows) / rows);
    const c = Math.floor(((cell.col - c0) * picture.cols) / cols);
    return picture.values[r * picture.cols + c];
  }

  async function exact(state, cell) {
    let value = null;
    await spec.load(state, [cell.row, cell.row + 1, cell.col, cell.col + 1], [1, 1], (tile) => (value = tile.values[0]),
      new AbortController().signal);
    return value;
  }

  async function pointer({ type, x, y, original }) {
    const state = store.get();
    if (type === "leave") {
      hover = null;
      context.tip(null);
      view.redraw();
      return;
    }
    const axes = spec.axes(state);
    const cell = cellAt(x, y);
    if (type === "click") {
      if (cell) spec.choose(cell.row, cell.col);
      return;
    }
    if (type === "double") {
      if (cell) zoomBy(0.5, cell);
      return;
    }
    if (cell?.row === hover?.row && cell?.col === hover?.col) return;
    hover = cell;
    view.redraw();
    if (!cell || cell.row === null || cell.col === null) {
      context.tip(null);
      return;
    }
    const say = (value) =>
      context.tip([`${isolated(axes.rows[cell.row].label)} → ${isolated(axes.cols[cell.col].label)}`, value === null ? "…" : readable(value),
        `${axes.rowsTitle} ${cell.row}, ${axes.colsTitle} ${cell.col}`], original);
    const pooled = !picture || picture.rows !== layout.rows || picture.cols !== layout.cols || coarse;
    say(pooled ? null : valueAt(cell));
    if (!pooled) return;
    const value = await exact(state, cell);
    if (hover === cell) say(value);
  }

  function zoomBy(factor, center) {
    const state = store.get();
    const axes = spec.axes(state);
    if (!axes) return;
    const [r0, r1, c0, c1] = region(state, axes);
    const span = (from, to, size, at) => {
      const length = Math.min(size, Math.max(Math.min(CLOSEST, size), Math.round((to - from) * factor)));
      const share = (at - from) / Math.max(to - from, 1);
      const start = Math.min(Math.max(Math.round(at - share * length), 0), size - length);
      return [start, start + length];
    };
    const row = center?.row ?? (r0 + r1) / 2;
    const col = center?.col ?? (c0 + c1) / 2;
    const next = [...span(r0, r1, axes.rows.length, row), ...span(c0, c1, axes.cols.length, col)];
    const whole = next[0] === 0 && next[1] === axes.rows.length && next[2] === 0 && next[3] === axes.cols.length;
    store.set({ zoom: whole ? null : next });
  }

  function pan(rows, cols) {
    const state = store.get();
    const axes = spec.axes(state);
    if (!state.zoom || !axes) return false;
    const [r0, r1, c0, c1] = region(state, axes);
    const dr = Math.min(Math.max(rows, -r0), axes.rows.length - r1);
    const dc = Math.min(Math.max(cols, -c0), axes.cols.length - c1);
    if (!dr && !dc) return false;
    store.set({ zoom: [r0 + dr, r1 + dr, c0 + dc, c1 + dc] });
    return true;
  }

  function wheel(event, x, y) {
    if (!event.ctrlKey && !event.metaKey) {
      if (!layout || !store.get().zoom) return false;
      const unit = [layout.height / layout.rows, layout.width / layout.cols];
      return pan(Math.round(event.deltaY / unit[0]), Math.round(event.deltaX / unit[1]));
    }
    zoomBy(event.deltaY > 0 ? 1.25 : 0.8, cellAt(x, y));
    return true;
  }

  function drag(dx, dy) {
    if (!layout || !store.get().zoom) return false;
    const rows = Math.round((-dy * layout.rows) / layout.height);
    const cols = Math.round((-dx * layout.cols) / layout.width);
    return rows !== 0 || cols !== 0 ? pan(rows, cols) || true : false;
  }

  function key(event) {
    const state = store.get();
    const axes = spec.axes(state);
    if (!axes) return false;
    const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    if (step) {
      const [row, col] = spec.selected(state);
      const [r0, , c0] = region(state, axes);
      const clamp = (value, size) => Math.min(Math.max(value, 0), size - 1);
      const next = [
        row === null ? r0 : clamp(row + step[0], axes.rows.length),
        col === null ? c0 : clamp(col + step[1], axes.cols.length),
      ];
      spec.choose(...next);
      follow(next, axes);
      return true;
    }
    const chosen = spec.selected(state);
    const center = chosen[0] !== null && chosen[1] !== null ? { row: chosen[0], col: chosen[1] } : null;
    if (event.key === "+" || event.key === "=") zoomBy(0.5, center);
    else if (event.key === "-") zoomBy(2, center);
    else if (event.key === "0") store.set({ zoom: null });
    else return false;
    return true;
  }

  /** Keep the chosen cell inside the zoomed tile. */
  function follow([row, col], axes) {
    const state = store.get();
    if (!state.zoom) return;
    const [r0, r1, c0, c1] = region(state, axes);
    pan(row < r0 ? row - r0 : row >= r1 ? row - r1 + 1 : 0, col < c0 ? col - c0 : col >= c1 ? col - c1 + 1 : 0);
  }

  return {
    element: view.element,
    focus: () => view.canvas.focus(),
    draw,
    size: view.size,
    zoomBy,
    update() {
      load();
      view.redraw();
    },
    destroy() {
      abort.abort();
      view.destroy();
    },
  };
}
