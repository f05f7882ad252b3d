/** Heads: every head of the model as a small picture; the overview one starts from, and the strip beside other views. */
import { fit, legend, readable } from "../draw/marks.js";
import { sequential } from "../draw/palettes.js";
import { createCanvasView } from "../ui/canvas-view.js";
import { arrange, readableName } from "./head-order.js";

/** Smallest side of a picture with its name below. */
const NAMED = 84;

/** A head's name or, without one, the share of its weight that stands out. */
const said = ({ label, fact }) => (label ? readableName(label.name) : (fact?.text ?? ""));

/** @param {any} context @param {{compact: boolean}} options */
export function createHeads(context, { compact }) {
  const { model, store } = context;
  /** @type {Map<string, {values: Float32Array, rows: number, cols: number} | null>} */
  const pictures = new Map();
  /** Places of the heads at the last drawing. */
  let places = [];
  let hover = null;

  const view = createCanvasView({ label: "All heads", draw, pointer, key });

  function picture(state, place) {
    const id = `${state.record}/${place.site.name}/${place.head}`;
    if (!pictures.has(id)) {
      pictures.set(id, null);
      model.picture(state, place.site.name, place.head).then((result) => {
        pictures.set(id, result);
        view.redraw();
        if ([...pictures.values()].every(Boolean)) context.drawn("heads");
      }, (error) => context.fail(error.message));
    }
    return pictures.get(id);
  }

  /**
   * Where everything goes: sections one below the other or, where that leaves the pictures larger, side by side.
   * @returns {{found: any[], headings: {title: string, x: number, y: number}[], columns: {label: string, x: number}[],
   *   total: number, byLayer: boolean}}
   */
  function place(width, height, sections) {
    const gutter = compact ? 22 : 44;
    const gap = compact ? 3 : 8;
    const top = compact ? 24 : 60;
    const byLayer = sections[0].rows[0].label !== "";
    const caption = compact || (byLayer && !sections.some(({ rows }) => rows.some(({ heads }) => heads.some(({ label, fact }) => label || fact)))) ? 0 : 18;
    const title = !compact && sections.some((section) => section.title) ? 30 : 0;
    const [smallest, comfortable, largest] = compact ? [8, 11, 44] : [32, 48, 132];
    const free = width - (compact ? 4 : 16);
    const widest = ({ rows }) => Math.max(...rows.map(({ heads }) => heads.length));
    const sizeFor = (columns, rows, besides, above) => {
      const byWidth = (free - besides) / columns - gap;
      const byHeight = (height - top - above) / rows - gap - caption;
      return Math.max(smallest, Math.min(largest, byWidth, Math.max(byHeight, comfortable)));
    };
    const sum = (numbers) => numbers.reduce((total, number) => total + number, 0);
    const flowing = () => {
      // Without rows of layers a line breaks anywhere: as large as lets all of them be seen together.
      const room = free - gutter + gap;
      for (let side = largest; side > NAMED; side -= 4) {
        const lines = sum(sections.map(({ rows }) => Math.ceil(rows[0].heads.length / Math.max(1, Math.floor(room / (side + gap))))));
        if (top + title * sections.length + lines * (side + gap + caption) <= height) return side;
      }
      return NAMED;
    };
    const rowCount = sum(sections.map(({ rows }) => rows.length));
    const stacked = !byLayer && !compact ? flowing() : sizeFor(Math.max(...sections.map(widest)), rowCount, gutter, title * sections.length);
    const columnCount = sum(sections.map(widest));
    const abreast = sizeFor(columnCount, Math.max(...sections.map(({ rows }) => rows.length)), gutter * sections.length, title);
    const fitsAbreast = columnCount * (abreast + gap) + gutter * sections.length <= free + gap;
    const fitsStacked = top + sections.length * title + rowCount * (stacked + gap + caption) <= height;
    const isAbreast = byLayer && !compact && sections.length > 1 && fitsAbreast && (abreast >= stacked || !fitsStacked);
    const size = isAbreast ? abreast : stacked;
    const pitch = size + gap;

    const found = [];
    const headings = [];
    const columns = [];
    let [left, y, total] = [gutter, top, 0];
    for (const section of sections) {
      // The sum of sizes and gaps may fall short of the whole by rounding.
      const perRow = Math.max(1, Math.min(widest(section), Math.floor((free - left + gap) / pitch + 1e-6)));
      if (title) headings.push({ title: section.title, x: left - gutter + 12, y: y + 14 });
      y += title;
      if (byLayer && (isAbreast || !columns.length)) {
        const step = Math.max(1, Math.ceil((compact ? 18 : 24) / pitch));
        for (let column = 0; column < perRow; column += step) columns.push({ label: `${column}`, x: left + column * pitch + size / 2 });
      }
      for (const { label, heads } of section.rows) {
        heads.forEach((head, index) => {
          const column = index % perRow;
          const line = Math.floor(index / perRow);
          found.push({
            ...head, size, caption, rowLabel: index === 0 ? label : "", labelAt: left - 6,
            x: left + column * pitch, y: y + line * (pitch + caption),
          });
        });
        y += Math.ceil(heads.length / perRow) * (pitch + caption);
      }
      total = Math.max(total, y + 12);
      if (isAbreast) [left, y] = [left + widest(section) * pitch + gutter, top];
      else if (compact && sections.length > 1) y += 8;
    }
    return { found, headings, columns, total, byLayer };
  }

  function draw(surface, width, height, scroll = 0) {
    const state = store.get();
    const theme = context.theme();
    const sections = arrange(model, state);
    const layout = place(width, height, sections);
    places = layout.found;
    const scale = sequential({ ...state, scale: "linear" }, theme.dark, 1);
    for (const item of places) {
      const y = item.y - scroll;
      if (y + item.size + 20 < 0 || y > height) continue;
      const small = picture(state, item);
      if (small) {
        // The square root keeps faint structure visible at this size; the chosen head's own view has the true scale.
        const pixels = new Uint8ClampedArray(small.rows * small.cols * 4);
        scale.fill(small.values.map(Math.sqrt), pixels);
        surface.image(pixels, small.rows, small.cols, item.x, y, item.size, item.size);
      } else surface.rect(item.x, y, item.size, item.size, { fill: theme.panel });
      const chosen = item.site.name === state.site && item.head === state.head;
      const extra = state.heads.findIndex(([name, head]) => name === item.site.name && head === item.head);
      surface.rect(item.x, y, item.size, item.size, { stroke: theme.line });
      if (extra >= 0) {
        surface.rect(item.x - 1, y - 1, item.size + 2, item.size + 2, { stroke: context.headColor(extra + 1), width: 2 });
      }
      if (chosen) surface.rect(item.x - 1.5, y - 1.5, item.size + 3, item.size + 3, { stroke: theme.accent, width: 3 });
      if (hover === `${item.site.name}/${item.head}`) {
        surface.rect(item.x - 1, y - 1, item.size + 2, item.size + 2, { stroke: theme.text, width: 1 });
      }
      if (item.rowLabel) {
        surface.text(item.rowLabel, item.labelAt, y + item.size / 2, {
          fill: theme.muted, size: compact ? 10 : 12, align: "right",
        });
      }
      if (item.caption) {
        const name = layout.byLayer ? "" : `L${item.site.layer}H${item.head} `;
        const extraText = item.metric !== null ? readable(item.metric) : said(item);
        surface.text(fit(surface, `${name}${extraText}`, item.size + 6, 10.5), item.x, y + item.size + 9, {
          fill: chosen ? theme.accent : theme.muted, size: 10.5,
        });
      }
    }
    header(surface, width, state, theme, layout, scroll);
    view.describe(`All heads of ${model.record(state).model || "the record"}. Chosen: ${context.headName(state)}`);
    return layout.total;
  }

  function header(surface, width, state, theme, layout, scroll) {
    for (const { title, x, y } of layout.headings) {
      surface.text(title, x, y - scroll, { fill: theme.text, size: 12.5, weight: 600 });
    }
    if (scroll < 40) {
      for (const { label, x } of layout.columns) {
        surface.text(compact ? label : `H${label}`, x, (compact ? 12 : 50) - scroll, {
          fill: theme.muted, size: compact ? 9.5 : 12, align: "center",
        });
      }
      if (!compact) {
        const { model: name } = model.record(state);
        surface.text(fit(surface, name || "All heads", width - 190, 13), 12, 16 - scroll, { fill: theme.text, size: 13, weight: 600 });
        if (width > 460) {
          surface.text(fit(surface, "rows: queries, columns: keys; choose a head for details", width - 190, 11), 12, 33 - scroll, {
            fill: theme.muted, size: 11,
          });
          legend(surface, squareRoot(sequential({ ...state, scale: "linear" }, theme.dark, 1)), {
            x: width - 150, y: 4 - scroll, width: 130, theme, title: "weight",
          });
        }
      }
    }
  }

  const squareRoot = (scale) => ({ ...scale, fill: (values, pixels) => scale.fill(values.map(Math.sqrt), pixels) });

  const at = (x, y) => {
    const down = y + view.scroll();
    return places.find((item) => x >= item.x && x <= item.x + item.size && down >= item.y && down <= item.y + item.size);
  };

  function pointer({ type, x, y, original }) {
    const item = type === "leave" ? null : at(x, y);
    if (type === "click" || type === "double") {
      if (!item) return;
      if (original.shiftKey || original.ctrlKey || original.metaKey) context.toggleHead(item.site.name, item.head);
      else {
        store.set({ site: item.site.name, head: item.head, ...(type === "double" && !compact ? { view: "matrix" } : {}) });
      }
      return;
    }
    const id = item ? `${item.site.name}/${item.head}` : null;
    if (id === hover) return;
    hover = id;
    view.redraw();
    context.tip(item ? describe(item) : null, original);
  }

  function describe(item) {
    const record = model.record(store.get());
    const lines = [`L${item.site.layer}H${item.head}`, `${item.site.stack} ${item.site.kind}-attention`];
    for (const name of ["entropy", "distance", "previous_weight", "first_weight", "self_weight"]) {
      const value = record.heads[name]?.[item.index];
      if (value !== null && value !== undefined) lines.push(`${readableName(name)} ${readable(value)}`);
    }
    const { label } = item;
    if (label) {
      const control = label.control === null ? "" : `, control ${readable(label.control)}`;
      lines.push(`${readableName(label.name)} ${readable(label.strength)}${control}`);
    }
    return lines;
  }

  function key(event) {
    const state = store.get();
    const now = places.findIndex((item) => item.site.name === state.site && item.head === state.head);
    if (now < 0) return false;
    const { x, y } = places[now];
    const nearest = (candidates) =>
      candidates.sort((a, b) => Math.abs(a.y - y) - Math.abs(b.y - y) || Math.abs(a.x - x) - Math.abs(b.x - x))[0];
    const next = {
      ArrowLeft: () => places[now - 1],
      ArrowRight: () => places[now + 1],
      ArrowUp: () => nearest(places.filter((item) => item.y < y - 1)),
      ArrowDown: () => nearest(places.filter((item) => item.y > y + 1)),
    }[event.key]?.();
    if (event.key === "Enter") {
      store.set({ view: "matrix" });
      return true;
    }
    if (!next) return false;
    store.set({ site: next.site.name, head: next.head });
    return true;
  }

  return {
    element: view.element,
    focus: () => view.canvas.focus(),
    draw: (surface, width, height) => draw(surface, width, height, view.scroll()),
    size: view.size,
    update() {
      const state = store.get();
      const chosen = places.find((item) => item.site.name === state.site && item.head === state.head);
      if (chosen && view.size()[1] > 40) view.reveal(chosen.y - 24, chosen.y + chosen.size + 24);
      view.redraw();
    },
    destroy: view.destroy,
  };
}

export const heads = { name: "heads", title: "Heads", create: (context) => createHeads(context, { compact: false }) };
