/** Arcs: queries left, keys right, a line for every weight above the threshold, one color a head. */
import { fit, isolated, message, readable } from "../draw/marks.js";
import { PRIORITY } from "../engine/client.js";
import { createCanvasView } from "../ui/canvas-view.js";

const ROW = 20;
const TOP = 58;
/** Links drawn at once; more would be a grey wall and slow. */
const MOST_LINKS = 6000;
/** Up to this many weights the whole head is fetched, so that a key shows who looks at it from out of sight as well. */
const WHOLE_UP_TO = 600_000;
/** Pinned and chosen queries out of sight that are fetched in a longer text. */
const MOST_APART = 12;

/** @param {any} context */
function create(context) {
  const { model, store } = context;
  let hover = null;
  /** The side that the arrow keys move on. */
  let side = "query";
  let columns = { left: 0, right: 0 };
  /** Weights of runs of queries. @type {{key: string, parts: {index: number, from: number, values: Float32Array, rows: number, cols: number}[]}} */
  let data = { key: "", parts: [] };
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

  /** Whether a link is among those that the filters of direction and sentences leave. */
  function passes(state, queryToken, keyToken) {
    const { diagonal } = model.site(state);
    if (state.direction !== "all" && diagonal !== null) {
      const ahead = Math.sign(keyToken - queryToken - diagonal);
      if (ahead !== { earlier: -1, itself: 0, later: 1 }[state.direction]) return false;
    }
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
    const heads = shownHeads(state);
    const queries = model.axis(state, "query");
    const keys = model.axis(state, "key");
    if (!queries.units.length || !keys.units.length) return;
    const count = queries.units.length;
    const runs = [count * keys.units.length <= WHOLE_UP_TO ? [0, count] : rowsInSight(state, height)];
    for (const token of [state.query, ...state.pins].slice(0, MOST_APART)) {
      const unit = token === null ? -1 : queries.unitOf[token];
      if (unit >= 0 && !runs.some(([from, to]) => unit >= from && unit < to)) runs.push([unit, unit + 1]);
    }
    const request = JSON.stringify([runs, heads, state.record, queries.name, keys.name, state.renormalise]);
    if (request === wanted) return;
    wanted = request;
    abort.abort();
    abort = new AbortController();
    const { signal } = abort;
    failure = "";
    Promise.all(
      heads.flatMap(([site, head], index) => runs.map(async (rows) => ({
        index, from: rows[0], ...(await model.weights(state, { site, head, rows, signal, priority: PRIORITY.screen })),
      }))),
    ).then(
      (parts) => {
        if (signal.aborted) return;
        data = { key: request, parts };
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

  const pinsOf = (state, side) => (side === "query" ? state.pins : state.keyPins);

  /** What stands out now: a hovered token, else the pins, else the chosen query or key, else everything. */
  function focusOf(state) {
    if (hover) return { queries: hover.side === "query" ? [hover.unit] : null, keys: hover.side === "key" ? [hover.unit] : null };
    const pinned = (side) => pinsOf(state, side).map((pin) => model.axis(state, side).unitOf[pin]).filter((unit) => unit >= 0);
    const [pins, keyPins] = [pinned("query"), pinned("key")];
    if (pins.length || keyPins.length) return { queries: pins.length ? pins : null, keys: keyPins.length ? keyPins : null };
    const query = context.unit("query", state.query);
    if (query !== null) return { queries: [query], keys: null };
    const keyUnit = context.unit("key", state.key);
    return { queries: null, keys: keyUnit === null ? null : [keyUnit] };
  }

  /** Links to draw, the strongest last so that it lies on top. */
  function links(state, focus, [first, last]) {
    const queries = model.axis(state, "query").units;
    const keys = model.axis(state, "key").units;
    const found = [];
    const inFocus = focus.queries || focus.keys;
    for (const { index: head, from, values, rows, cols } of data.parts) {
      for (let r = 0; r < rows; r++) {
        const row = from + r;
        if (!inFocus && (row < first || row >= last)) continue;
        // Where queries and keys are pinned, a link of either stays.
        const all = focus.queries ? focus.queries.includes(row) : !focus.keys;
        for (const c of all ? keys.keys() : (focus.keys ?? [])) {
          const weight = values[r * cols + c];
          if (weight < state.threshold || weight === 0) continue;
          if (passes(state, queries[row].tokens[0], keys[c].tokens[0])) found.push({ row, col: c, weight, head });
        }
      }
    }
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
      message(surface, failure || "Every token is hidden. Show special tokens again to see links.", width, height, theme);
      return height;
    }
    load(state, height);
    const heads = shownHeads(state);
    const label = Math.min(190, Math.max(90, width * 0.26));
    columns = { left: label + 16, right: width - label - 16 };
    const center = (unit) => TOP + unit * ROW + ROW / 2 - scroll;
    const focus = focusOf(state);
    const fresh = data.key === wanted;
    const { shown, left } = fresh ? links(state, focus, rowsInSight(state, height)) : { shown: [], left: 0 };
    const quiet = focus.queries || focus.keys;
    surface.clip(0, TOP - 12, width, height - TOP + 12, () => {
      for (const { row, col, weight, head } of shown) {
        const share = strength(state, weight);
        surface.link(columns.left, center(row), columns.right, center(col), {
          stroke: context.headColor(head),
          width: 0.6 + 4 * share,
          opacity: Math.min(1, (quiet ? 0.25 : 0.12) + 0.8 * share),
        });
      }
      column(surface, state, theme, "query", queries, columns.left, label, center, height, focus, shown);
      column(surface, state, theme, "key", keys, columns.right, label, center, height, focus, shown);
    });
    const isCross = model.site(state).queries !== model.site(state).keys;
    const [from, to] = !isCross ? ["queries look …", "… at keys"] : width < 560
      ? ["target …", "… source"] : ["target: queries look …", "… at keys of the source"];
    surface.text(from, columns.left, TOP - 24, { fill: theme.muted, size: 11.5, align: "right" });
    surface.text(to, columns.right, TOP - 24, { fill: theme.muted, size: 11.5 });
    let x = 12;
    heads.forEach(([name, head], index) => {
      const text = `L${model.site(state, state.record, name).layer}H${head}`;
      surface.rect(x, 10, 12, 12, { fill: context.headColor(index), radius: 2 });
      surface.text(text, x + 17, 16, { fill: theme.text, size: 12.5, weight: index === 0 ? 600 : 400 });
      x += 32 + surface.measure(text, 12.5, 600);
    });
    if (left) surface.text(`${left} weaker links not drawn`, width - 12, 16, { fill: theme.muted, size: 11, align: "right" });
    else if (fresh && !shown.length) {
      surface.text("no weights above the threshold", width / 2, TOP - 24, { fill: theme.muted, size: 12, align: "center" });
    }
    view.describe(`${context.headName(state)}: links between ${queries.length} queries and ${keys.length} keys. ${context.selectionText()}`);
    return TOP + Math.max(queries.length, keys.length) * ROW + 16;
  }

  function column(surface, state, theme, side, units, x, label, center, height, focus, shown) {
    const total = new Map();
    const strongest = new Map();
    for (const { row, col, weight } of shown) {
      const unit = side === "query" ? row : col;
      total.set(unit, (total.get(unit) ?? 0) + weight);
      strongest.set(unit, Math.max(strongest.get(unit) ?? 0, weight));
    }
    const own = side === "query" ? focus.queries : focus.keys;
    const isOther = (side === "query" ? focus.keys : focus.queries) !== null;
    const pinned = new Set(pinsOf(state, side).map((pin) => model.axis(state, side).unitOf[pin]));
    const chosen = context.unit(side, state[side]);
    const first = Math.max(0, Math.floor((-center(0) - ROW) / ROW));
    for (let unit = first; unit < units.length; unit++) {
      const y = center(unit);
      if (y < TOP - ROW) continue;
      if (y > height + ROW) break;
      const isFocus = own?.includes(unit);
      const weight = isOther ? (strongest.get(unit) ?? 0) : 0;
      const from = side === "query" ? x - label - 6 : x + 4;
      if (weight > 0) {
        surface.rect(from, y - ROW / 2 + 1, (label + 2) * Math.min(strength(state, weight), 1), ROW - 2, {
          fill: theme.accentSoft, radius: 2,
        });
      }
      if (isFocus || unit === chosen) {
        surface.rect(from, y - ROW / 2 + 1, label + 2, ROW - 2, { stroke: theme.accent, width: isFocus ? 1.5 : 0.75, radius: 3 });
      }
      const dim = own || isOther ? (isFocus || (isOther && weight) ? 1 : 0.45) : 1;
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
        if (pinned.has(unit)) surface.circle(x + label - 4, y, 3.5, { fill: theme.accent });
        if (number) surface.text(number, x + label + (pinned.has(unit) ? -12 : 2), y, { fill: theme.muted, size: 10.5, align: "right" });
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
      if (original.shiftKey || pinsOf(state, found.side).includes(token)) togglePin(found.side, token);
      else context.select({ [found.side]: state[found.side] === token ? null : token });
      return;
    }
    if (type === "double") {
      if (found) togglePin(found.side, model.axis(state, found.side).units[found.unit].tokens[0]);
      return;
    }
    if (found?.side === hover?.side && found?.unit === hover?.unit) return;
    hover = found;
    view.redraw();
    context.tip(found ? strongestOf(state, found) : null, original);
  }

  /** The strongest partners of a token among all that were fetched. */
  function strongestOf(state, { side, unit }) {
    const units = { query: model.axis(state, "query").units, key: model.axis(state, "key").units };
    const lines = [isolated(units[side][unit].label)];
    if (data.key !== wanted) return lines;
    const pairs = [];
    for (const { index, from, values, rows, cols } of data.parts) {
      if (index !== 0) continue;
      if (side === "key") {
        for (let r = 0; r < rows; r++) pairs.push([values[r * cols + unit], units.query[from + r].label]);
      } else if (unit >= from && unit < from + rows) {
        for (let c = 0; c < cols; c++) pairs.push([values[(unit - from) * cols + c], units.key[c].label]);
      }
    }
    pairs.sort((a, b) => b[0] - a[0]);
    const arrow = side === "query" ? "→" : "←";
    return [...lines, ...pairs.slice(0, 5).filter(([weight]) => weight > 0).map(([weight, text]) => `${arrow} ${isolated(text)}  ${readable(weight)}`)];
  }

  function togglePin(side, token) {
    const pins = pinsOf(store.get(), side);
    const next = pins.includes(token) ? pins.filter((pin) => pin !== token) : [...pins, token];
    store.set(side === "query" ? { pins: next } : { keyPins: next });
    context.announce(pins.includes(token) ? "Unpinned" : "Pinned");
  }

  function key(event) {
    const state = store.get();
    const sideOf = { ArrowLeft: "query", ArrowRight: "key" }[event.key];
    const { units } = model.axis(state, sideOf ?? side);
    if (!units.length) return false;
    const now = context.unit(sideOf ?? side, state[sideOf ?? side]);
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step || sideOf) {
      side = sideOf ?? side;
      const next = now === null ? 0 : Math.min(Math.max(now + (step ?? 0), 0), units.length - 1);
      // The other side's choice goes, so that all links of this token show.
      context.select({ query: null, key: null, [side]: units[next].tokens[0] });
      view.reveal(TOP + next * ROW - 40, TOP + (next + 1) * ROW + 40);
      return true;
    }
    if ((event.key === "p" || event.key === "Enter") && now !== null) {
      togglePin(side, units[now].tokens[0]);
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
