/** Arcs: queries left, keys right, a line for every weight above the threshold, one colour a head. */
import { fit, readable } from "../draw/marks.js";
import { PRIORITY } from "../engine/client.js";
import { createCanvasView } from "../ui/canvas-view.js";

const ROW = 20;
const TOP = 58;
/** Links drawn at once; more would be a grey wall and slow. */
const MOST_LINKS = 6000;

/** @param {any} context */
function create(context) {
  const { model, store } = context;
  let hover = null;
  let columns = { left: 0, right: 0 };
  /** Weights of the queries in sight, by head. @type {{key: string, rows: [number, number], parts: any[]}} */
  let data = { key: "", rows: [0, 0], parts: [] };
  let wanted = "";
  let abort = new AbortController();
  let failure = "";

  const view = createCanvasView({ label: "Arcs", draw, pointer, key });

  /** The chosen head first, then those compared with it. */
  function shownHeads(state) {
    const site = model.site(state);
    const others = state.heads.filter(([name, head]) => {
      const other = model.site(state, state.record, name);
      const same = other && other.queries === site.queries && other.keys === site.keys;
      return same && !(name === state.site && head === state.head);
    });
    return [[state.site, state.head], ...others];
  }

  const segmentOf = (state, side) => {
    const site = model.site(state);
    return model.record(state).tokens[side === "query" ? site.queries : site.keys].segments;
  };

  /** Whether a link is among those that the sentence filter leaves. */
  function passes(state, queryToken, keyToken) {
    if (state.segments === "all") return true;
    const [from, to] = state.segments.split(">").map(Number);
    const [ofQuery, ofKey] = [segmentOf(state, "query"), segmentOf(state, "key")];
    return !ofQuery || !ofKey || (ofQuery[queryToken] === from && ofKey[keyToken] === to);
  }

  function rowsInSight(state, height) {
    const count = model.axis(state, "query").units.length;
    const from = Math.max(0, Math.floor((view.scroll() - TOP) / ROW));
    return [Math.min(from, Math.max(0, count - 1)), Math.min(count, Math.ceil((view.scroll() + height - TOP) / ROW) + 1)];
  }

  /** Queries to fetch: those in sight, and those pinned or chosen wherever they are. */
  function load(state, height) {
    const rows = rowsInSight(state, height);
    const heads = shownHeads(state);
    const queries = model.axis(state, "query");
    const keys = model.axis(state, "key");
    if (!queries.units.length || !keys.units.length) return;
    const request = JSON.stringify([rows, heads, state.record, queries.name, keys.name, state.renormalise]);
    if (request === wanted) return;
    wanted = request;
    abort.abort();
    abort = new AbortController();
    const { signal } = abort;
    failure = "";
    Promise.all(
      heads.map(([site, head]) => model.weights(state, { site, head, rows, signal, priority: PRIORITY.screen })),
    ).then(
      (parts) => {
        if (signal.aborted) return;
        data = { key: request, rows, parts };
        view.redraw();
        context.drawn("whole");
      },
      (error) => {
        if (signal.aborted) return;
        failure = error.message;
        view.redraw();
      },
    );
  }

  /** What stands out now: a hovered token, else the pins, else the chosen query or key, else everything. */
  function focusOf(state) {
    const queries = model.axis(state, "query");
    if (hover) return { queries: hover.side === "query" ? [hover.unit] : null, keys: hover.side === "key" ? [hover.unit] : null };
    const pins = state.pins.map((pin) => queries.unitOf[pin]).filter((unit) => unit >= 0);
    if (pins.length) return { queries: pins, keys: null };
    const query = context.unit("query", state.query);
    if (query !== null) return { queries: [query], keys: null };
    const keyUnit = context.unit("key", state.key);
    return { queries: null, keys: keyUnit === null ? null : [keyUnit] };
  }

  /** Links to draw, the strongest last so that it lies on top. */
  function links(state, focus) {
    const [from] = data.rows;
    const queries = model.axis(state, "query").units;
    const keys = model.axis(state, "key").units;
    const found = [];
    data.parts.forEach(({ values, rows, cols }, head) => {
      for (let r = 0; r < rows; r++) {
        const row = from + r;
        if (focus.queries && !focus.queries.includes(row)) continue;
        for (const c of focus.keys ?? keys.keys()) {
          const weight = values[r * cols + c];
          if (weight < state.threshold || weight === 0) continue;
          if (passes(state, queries[row].tokens[0], keys[c].tokens[0])) found.push({ row, col: c, weight, head });
        }
      }
    });
    found.sort((a, b) => b.weight - a.weight);
    return { shown: found.slice(0, MOST_LINKS).reverse(), left: Math.max(0, found.length - MOST_LINKS) };
  }

  function strength(state, weight) {
    if (state.scale === "linear") return weight;
    return Math.max(0, 1 + Math.log10(Math.max(weight, 1e-4)) / 4);
  }

  function draw(surface, width, height, scroll = 0) {
    const state = store.get();
    const theme = context.theme();
    const queries = model.axis(state, "query").units;
    const keys = model.axis(state, "key").units;
    if (!queries.length || !keys.length || failure) {
      const message = failure || "Every token is hidden. Show special tokens again to see links.";
      surface.text(message, width / 2, height / 2, { fill: theme.muted, size: 14, align: "center" });
      return height;
    }
    load(state, height);
    const heads = shownHeads(state);
    const label = Math.min(190, Math.max(90, width * 0.26));
    columns = { left: label + 16, right: width - label - 16 };
    const centre = (unit) => TOP + unit * ROW + ROW / 2 - scroll;
    const focus = focusOf(state);
    const fresh = data.key === wanted;
    const { shown, left } = fresh ? links(state, focus) : { shown: [], left: 0 };
    const quiet = focus.queries || focus.keys;
    surface.clip(0, TOP - 12, width, height - TOP + 12, () => {
      for (const { row, col, weight, head } of shown) {
        const share = strength(state, weight);
        surface.link(columns.left, centre(row), columns.right, centre(col), {
          stroke: context.headColour(head),
          width: 0.6 + 4 * share,
          opacity: Math.min(1, (quiet ? 0.25 : 0.12) + 0.8 * share),
        });
      }
      column(surface, state, theme, "query", queries, columns.left, label, centre, height, focus, shown);
      column(surface, state, theme, "key", keys, columns.right, label, centre, height, focus, shown);
    });
    const isCross = model.site(state).queries !== model.site(state).keys;
    surface.text(isCross ? "target: queries look …" : "queries look …", columns.left, TOP - 24, { fill: theme.muted, size: 11.5, align: "right" });
    surface.text(isCross ? "… at keys of the source" : "… at keys", columns.right, TOP - 24, { fill: theme.muted, size: 11.5 });
    let x = 12;
    heads.forEach(([name, head], index) => {
      const text = `L${model.site(state, state.record, name).layer}H${head}`;
      surface.rect(x, 10, 12, 12, { fill: context.headColour(index), radius: 2 });
      surface.text(text, x + 17, 16, { fill: theme.text, size: 12.5, weight: index === 0 ? 600 : 400 });
      x += 32 + surface.measure(text, 12.5, 600);
    });
    if (left) surface.text(`${left} weaker links not drawn`, width - 12, 16, { fill: theme.muted, size: 11, align: "right" });
    else if (fresh && !shown.length) {
      surface.text("no weight here reaches the threshold", width / 2, TOP - 24, { fill: theme.muted, size: 12, align: "center" });
    }
    view.describe(`${context.headName(state)}: links between ${queries.length} queries and ${keys.length} keys. ${context.selectionText()}`);
    return TOP + Math.max(queries.length, keys.length) * ROW + 16;
  }

  function column(surface, state, theme, side, units, x, label, centre, height, focus, shown) {
    const total = new Map();
    const strongest = new Map();
    for (const { row, col, weight } of shown) {
      const unit = side === "query" ? row : col;
      total.set(unit, (total.get(unit) ?? 0) + weight);
      strongest.set(unit, Math.max(strongest.get(unit) ?? 0, weight));
    }
    const own = side === "query" ? focus.queries : focus.keys;
    const isOther = (side === "query" ? focus.keys : focus.queries) !== null;
    const pinned = new Set(side === "query" ? state.pins.map((pin) => model.axis(state, "query").unitOf[pin]) : []);
    const chosen = context.unit(side, state[side]);
    const first = Math.max(0, Math.floor((-centre(0) - ROW) / ROW));
    for (let unit = first; unit < units.length; unit++) {
      const y = centre(unit);
      if (y < TOP - ROW) continue;
      if (y > height + ROW) break;
      const isFocus = own?.includes(unit);
      const weight = isOther ? (strongest.get(unit) ?? 0) : 0;
      const [from, direction] = side === "query" ? [x - label - 6, 1] : [x + 4, 1];
      if (weight > 0) {
        surface.rect(from, y - ROW / 2 + 1, (label + 2) * Math.min(strength(state, weight), 1), ROW - 2, {
          fill: theme.accentSoft, radius: 2,
        });
      }
      if (isFocus || unit === chosen) {
        surface.rect(from, y - ROW / 2 + 1, label + 2, ROW - 2, { stroke: theme.accent, width: isFocus ? 1.5 : 0.75, radius: 3 });
      }
      const dim = (own && !isFocus) || (isOther && !weight) ? 0.45 : 1;
      const number = weight > 0 ? readable(weight) : "";
      const room = label - (number ? 46 : 6) - (pinned.has(unit) ? 14 : 0);
      const style = { fill: units[unit].special ? theme.muted : theme.text, size: 12.5, weight: isFocus ? 600 : 400, opacity: dim };
      const text = fit(surface, units[unit].label, room, 12.5);
      if (side === "query") {
        surface.text(text, x - 8, y, { ...style, align: "right" });
        if (pinned.has(unit)) surface.circle(from + 8, y, 3.5, { fill: theme.accent });
        if (number) surface.text(number, from + 4, y, { fill: theme.muted, size: 10.5 });
      } else {
        surface.text(text, x + 8, y, { ...style, align: "left" });
        if (number) surface.text(number, x + label + 2 * direction, y, { fill: theme.muted, size: 10.5, align: "right" });
      }
    }
  }

  function at(x, y) {
    const unit = Math.floor((y + view.scroll() - TOP) / ROW);
    const side = x <= columns.left + 10 ? "query" : x >= columns.right - 10 ? "key" : null;
    if (!side || y < TOP - 8) return null;
    return unit >= 0 && unit < model.axis(store.get(), side).units.length ? { side, unit } : null;
  }

  function pointer({ type, x, y, original }) {
    const found = type === "leave" ? null : at(x, y);
    const state = store.get();
    if (type === "click") {
      if (!found) return;
      const token = model.axis(state, found.side).units[found.unit].tokens[0];
      if (found.side === "query" && (original.shiftKey || state.pins.includes(token))) togglePin(token);
      else context.select({ [found.side]: state[found.side] === token ? null : token });
      return;
    }
    if (type === "double") {
      if (found?.side === "query") togglePin(model.axis(state, "query").units[found.unit].tokens[0]);
      return;
    }
    if (found?.side === hover?.side && found?.unit === hover?.unit) return;
    hover = found;
    view.redraw();
    context.tip(found ? strongestOf(state, found) : null, original);
  }

  /** The strongest partners of a token, also those that are out of sight. */
  function strongestOf(state, { side, unit }) {
    const units = { query: model.axis(state, "query").units, key: model.axis(state, "key").units };
    const lines = [units[side][unit].label];
    const part = data.parts[0];
    if (!part || data.key !== wanted) return lines;
    const [from] = data.rows;
    const pairs = [];
    if (side === "query") {
      for (let c = 0; c < part.cols; c++) pairs.push([part.values[(unit - from) * part.cols + c], units.key[c].label]);
    } else {
      for (let r = 0; r < part.rows; r++) pairs.push([part.values[r * part.cols + unit], units.query[from + r].label]);
    }
    pairs.sort((a, b) => b[0] - a[0]);
    const arrow = side === "query" ? "→" : "←";
    return [...lines, ...pairs.slice(0, 5).filter(([weight]) => weight > 0).map(([weight, text]) => `${arrow} ${text}  ${readable(weight)}`)];
  }

  function togglePin(token) {
    const { pins } = store.get();
    store.set({ pins: pins.includes(token) ? pins.filter((pin) => pin !== token) : [...pins, token] });
    context.announce(pins.includes(token) ? "Unpinned" : "Pinned");
  }

  function key(event) {
    const state = store.get();
    const units = model.axis(state, "query").units;
    if (!units.length) return false;
    const now = context.unit("query", state.query);
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      const next = now === null ? 0 : Math.min(Math.max(now + (event.key === "ArrowDown" ? 1 : -1), 0), units.length - 1);
      context.select({ query: units[next].tokens[0] });
      view.reveal(TOP + next * ROW - 40, TOP + (next + 1) * ROW + 40);
      return true;
    }
    if ((event.key === "p" || event.key === "Enter") && now !== null) {
      togglePin(units[now].tokens[0]);
      return true;
    }
    return false;
  }

  let revealed = null;
  return {
    element: view.element,
    focus: () => view.canvas.focus(),
    draw: (surface, width, height) => draw(surface, width, height, view.scroll()),
    size: view.size,
    update() {
      const unit = context.unit("query", store.get().query);
      if (unit !== revealed && unit !== null) view.reveal(TOP + unit * ROW - 60, TOP + (unit + 1) * ROW + 60);
      revealed = unit;
      view.redraw();
    },
    destroy() {
      abort.abort();
      view.destroy();
    },
  };
}

export const arcs = { name: "arcs", title: "Arcs", create };
