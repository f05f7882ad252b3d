/** Heads: every head of the model as a small picture; the overview one starts from, and the strip beside other views. */
import { legend, fit, readable } from "../draw/marks.js";
import { sequential } from "../draw/palettes.js";
import { createCanvasView } from "../ui/canvas-view.js";

/**
 * Sections of heads as the reader sorts and groups them.
 * @returns {{title: string, rows: {label: string, heads: any[]}[]}[]}
 */
export function arrange(model, state) {
  const record = model.record(state);
  const heads = model.heads(state.record).map((head, index) => ({
    ...head,
    index,
    metric: record.heads[state.sort]?.[index] ?? null,
    label: record.labels
      .filter((label) => record.sites[label.site] === head.site && label.head === head.head)
      .sort((a, b) => b.strength - a.strength)[0],
  }));
  const groups = new Map();
  const clusters = state.group.startsWith("cluster:")
    ? record.clusters.find(({ name }) => `cluster:${name}` === state.group)
    : null;
  const groupOf = (head) => {
    if (clusters) return clusters.groups[head.index];
    if (state.group === "pattern") return head.label?.name ?? "no label";
    return record.sites.some((site) => site.stack !== head.site.stack || site.kind !== head.site.kind)
      ? `${head.site.stack} ${head.site.kind}-attention`
      : "";
  };
  for (const head of heads) {
    const title = groupOf(head);
    if (!groups.has(title)) groups.set(title, []);
    groups.get(title).push(head);
  }
  const byLayer = state.sort === "layer" && !clusters && state.group !== "pattern";
  return [...groups].map(([title, members]) => {
    if (byLayer) {
      const sites = [...new Set(members.map((head) => head.site))];
      return {
        title,
        rows: sites.map((site) => ({ label: `L${site.layer}`, heads: members.filter((head) => head.site === site) })),
      };
    }
    if (state.sort !== "layer") members.sort((a, b) => (b.metric ?? -Infinity) - (a.metric ?? -Infinity));
    return { title: title || `sorted by ${readableName(state.sort)}`, rows: [{ label: "", heads: members }] };
  });
}

/** @param {string} name a metric's column */
export const readableName = (name) => name.replaceAll("_", " ");

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

  /** Rows of heads as rectangles; returns the total height. */
  function place(width, height, sections) {
    const gutter = compact ? 22 : 44;
    const top = compact ? 24 : 60;
    const longest = Math.max(...sections.flatMap(({ rows }) => rows.map(({ heads }) => heads.length)));
    const rowCount = sections.reduce((sum, { rows }) => sum + rows.length, 0);
    const titled = sections.some(({ title }) => title);
    const captioned = !compact && (sections.some(({ rows }) => rows.some(({ label }) => !label)) ||
      store.get().sort !== "layer" || sections.some(({ rows }) => rows.some(({ heads }) => heads.some((h) => h.label))));
    const caption = captioned ? 18 : 0;
    const gap = compact ? 3 : 8;
    const free = width - gutter - (compact ? 4 : 16);
    const byWidth = free / longest - gap;
    const byHeight = (height - top - (titled ? sections.length * 30 : 0)) / rowCount - gap - caption;
    const smallest = compact ? 8 : 46;
    const size = Math.max(smallest, Math.min(compact ? 44 : 132, byWidth, Math.max(byHeight, compact ? 11 : 62)));
    // The sum of sizes and gaps may fall short of the whole by rounding.
    const perRow = Math.max(1, Math.floor((free + gap) / (size + gap) + 1e-6));
    const found = [];
    const headings = [];
    let y = top;
    for (const { title, rows } of sections) {
      if (title && !compact) {
        headings.push({ title, y: y + 14 });
        y += 30;
      }
      for (const { label, heads } of rows) {
        heads.forEach((head, index) => {
          const column = index % perRow;
          const line = Math.floor(index / perRow);
          found.push({
            ...head, label: head.label, rowLabel: column === 0 && line === 0 ? label : "", size,
            x: gutter + column * (size + gap), y: y + line * (size + gap + caption), column, caption,
          });
        });
        y += Math.ceil(heads.length / perRow) * (size + gap + caption);
      }
      if (compact && sections.length > 1) y += 8;
    }
    return { found, headings, total: y + 12, size, gap, gutter, longest, perRow };
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
        surface.rect(item.x - 1, y - 1, item.size + 2, item.size + 2, { stroke: context.headColour(extra + 1), width: 2 });
      }
      if (chosen) surface.rect(item.x - 1.5, y - 1.5, item.size + 3, item.size + 3, { stroke: theme.accent, width: 3 });
      if (hover === `${item.site.name}/${item.head}`) {
        surface.rect(item.x - 1, y - 1, item.size + 2, item.size + 2, { stroke: theme.text, width: 1 });
      }
      if (item.rowLabel) {
        surface.text(item.rowLabel, layout.gutter - 6, y + item.size / 2, {
          fill: theme.muted, size: compact ? 10 : 12, align: "right",
        });
      }
      if (item.caption) {
        const name = `L${item.site.layer}H${item.head}`;
        const extraText = state.sort !== "layer" && item.metric !== null ? readable(item.metric) : (item.label?.name ?? "");
        surface.text(fit(surface, `${name} ${extraText}`, item.size + 6, 10.5), item.x, y + item.size + 9, {
          fill: chosen ? theme.accent : theme.muted, size: 10.5,
        });
      }
    }
    header(surface, width, state, theme, layout, scroll, sections);
    view.describe(`All heads of ${model.record(state).model || "the record"}. Chosen: ${context.headName(state)}`);
    return layout.total;
  }

  function header(surface, width, state, theme, layout, scroll, sections) {
    for (const { title, y } of layout.headings) {
      surface.text(title, 12, y - scroll, { fill: theme.text, size: 12.5, weight: 600 });
    }
    const byLayer = sections[0].rows[0].label !== "";
    if (scroll < 40) {
      const y = (compact ? 12 : 50) - scroll;
      if (byLayer) {
        const pitch = layout.size + layout.gap;
        const step = Math.max(1, Math.ceil((compact ? 18 : 24) / pitch));
        for (let column = 0; column < Math.min(layout.longest, layout.perRow); column += step) {
          surface.text(compact ? `${column}` : `H${column}`, layout.gutter + column * pitch + layout.size / 2, y, {
            fill: theme.muted, size: compact ? 9.5 : 12, align: "center",
          });
        }
      }
      if (!compact) {
        const { model: name } = model.record(state);
        surface.text(fit(surface, name || "All heads", width - 190, 13), 12, 16 - scroll, { fill: theme.text, size: 13, weight: 600 });
        if (width > 460) {
          surface.text(fit(surface, "rows: queries, columns: keys; choose a head to look closer", width - 190, 11), 12, 33 - scroll, {
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
      lines.push(`${label.name}: ${readable(label.strength)}${control}`);
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
