/** Query–key: why a weight is what it is. One row a key: what each channel adds to the score, the score, the weight. */
import { fit, isolated, legend, message, readable } from "../draw/marks.js";
import { diverging } from "../draw/palettes.js";
import { createCanvasView } from "../ui/canvas-view.js";

const ROW = 20;
const TOP = 104;
/** Room for the names of keys and for scores and weights; less of it in a narrow window. */
const ROOM = { wide: { label: 120, numbers: 190, bar: 70 }, narrow: { label: 76, numbers: 132, bar: 24 } };

/** @param {any} context */
function create(context) {
  const { model, store } = context;
  /** @type {{key: string, parts: any, weights: Float32Array, order: number[]} | null} */
  let data = null;
  let wanted = "";
  let hover = null;
  let layout = null;

  const view = createCanvasView({ label: "Query and key products", draw, pointer, key });

  const tokenLabel = (state, side, token) => {
    const unit = model.axis({ ...state, units: "pieces", hideSpecial: false, hideSinks: false }, side);
    return unit.units[unit.unitOf[token]].label;
  };

  async function load(state) {
    const site = model.site(state);
    const request = JSON.stringify([state.record, state.site, state.head, state.query, state.order]);
    if (request === wanted || !site.scores || state.query === null) return;
    wanted = request;
    const plain = { ...state, units: "pieces", hideSpecial: false, hideSinks: false, renormalise: false };
    const { values } = await model.weights(plain, { rows: [state.query, state.query + 1], priority: 3 });
    const order = [...values.keys()].filter((token) => values[token] > 0);
    if (state.order === "weight") order.sort((a, b) => values[b] - values[a]);
    const few = order.slice(0, 400);
    const parts = await model.engine.products(state.record, model.siteIndex(state), state.head, state.query, few);
    if (wanted !== request) return;
    data = { key: request, parts, weights: values, order: few };
    view.redraw();
    context.drawn("whole");
  }

  function problemOf(state) {
    const site = model.site(state);
    if (!site.scores) {
      return model.record(state).exact
        ? "This page was saved without queries and keys."
        : "This record has weights only; the model gave no queries and keys.";
    }
    if (state.query === null) return "Choose a query (in Matrix, Arcs or Text, or press ↓) to see what produces its attention scores.";
    return "";
  }

  function draw(surface, width, height, scroll = 0) {
    const state = store.get();
    const theme = context.theme();
    const problem = problemOf(state);
    layout = null;
    if (problem) {
      message(surface, problem, width, height, theme);
      view.describe(problem);
      return height;
    }
    load(state).catch((error) => context.announce(error.message));
    if (!data || data.key !== wanted) return height;
    const { parts, weights, order } = data;
    const { size, query, keys, scores } = parts;
    const { label, numbers, bar } = width < 560 ? ROOM.narrow : ROOM.wide;
    const channel = Math.max(1, (width - label - numbers - 24) / size);
    const left = label + 12;
    layout = { left, channel, size };
    const products = new Float32Array(order.length * size);
    for (let n = 0; n < order.length; n++) {
      for (let d = 0; d < size; d++) products[n * size + d] = query[d] * keys[n * size + d] * parts.scaling;
    }
    const peak = products.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    const scale = diverging(state, theme.dark, peak || 1);
    const queryScale = diverging(state, theme.dark, query.reduce((most, value) => Math.max(most, Math.abs(value)), 0) || 1);
    const first = Math.max(0, Math.floor((scroll - ROW) / ROW));
    const strip = (values, colors, y, h) => {
      const pixels = new Uint8ClampedArray(values.length * 4);
      colors.fill(values, pixels);
      surface.image(pixels, 1, values.length, left, y, channel * values.length, h);
    };
    surface.clip(0, TOP, width, height - TOP, () => {
      for (let n = first; n < order.length; n++) {
        const y = TOP + n * ROW - scroll;
        if (y > height) break;
        const chosen = order[n] === state.key;
        const fill = chosen ? theme.accent : theme.text;
        surface.text(fit(surface, tokenLabel(state, "key", order[n]), label - 8), label, y + ROW / 2, {
          fill, size: 12, align: "right", weight: chosen || hover?.row === n ? 600 : 400,
        });
        strip(products.subarray(n * size, (n + 1) * size), scale, y + 2, ROW - 4);
        const right = left + channel * size + 12;
        surface.text(readable(scores[n]), right + 44, y + ROW / 2, { fill, size: 11.5, align: "right" });
        const weight = weights[order[n]];
        surface.rect(right + 56, y + 4, bar * Math.min(weight, 1), ROW - 8, { fill: theme.accent, radius: 2 });
        surface.text(readable(weight), right + 60 + bar * Math.min(weight, 1), y + ROW / 2, { fill: theme.muted, size: 11 });
      }
    });
    surface.rect(0, 0, width, TOP - 1, { fill: theme.background });
    const asked = tokenLabel(state, "query", state.query);
    surface.text(fit(surface, `${context.headName(state)}: why “${isolated(asked)}” attends where it does`, width - (width > 460 ? 190 : 24), 13), 12, 16, {
      fill: theme.text, size: 13, weight: 600,
    });
    const capped = parts.softcap === null ? "" : `, capped at ${parts.softcap}`;
    surface.text(fit(surface, `score = ${readable(parts.scaling)} × Σ query × key${capped}; weight = softmax of the scores`, width - (width > 460 ? 190 : 24), 11), 12, 34, {
      fill: theme.muted, size: 11,
    });
    surface.text("query", label, 62, { fill: theme.muted, size: 11.5, align: "right" });
    strip(query, queryScale, 54, 16);
    surface.text("keys", label, TOP - 12, { fill: theme.muted, size: 11, align: "right" });
    surface.text(fit(surface, `query × key, ${size} channels`, channel * size - 24, 11), left, TOP - 12, { fill: theme.muted, size: 11 });
    const right = left + channel * size + 12;
    surface.text("score", right + 44, TOP - 12, { fill: theme.muted, size: 11, align: "right" });
    surface.text("weight", right + 56, TOP - 12, { fill: theme.muted, size: 11 });
    if (width > 460) {
      legend(surface, scale, { x: width - 158, y: 6, width: 142, theme, title: "part of the score", signed: true, log: state.scale === "log" });
    }
    if (hover && hover.channel !== null) {
      surface.rect(left + hover.channel * channel, 52, channel, height - 56, { stroke: theme.accent, width: 0.75 });
    }
    view.describe(`${context.headName(state)}: products of the query ${asked} with ${order.length} keys. ${context.selectionText()}`);
    return TOP + order.length * ROW + 12;
  }

  function pointer({ type, x, y, original }) {
    if (!layout || !data) return;
    const state = store.get();
    const row = y < TOP ? null : Math.floor((y + view.scroll() - TOP) / ROW);
    const inside = row !== null && row < data.order.length;
    if (type === "click" && inside) {
      context.select({ key: data.order[row] });
      return;
    }
    const channel = Math.floor((x - layout.left) / layout.channel);
    const next = type === "leave" || !inside ? null : { row, channel: channel >= 0 && channel < layout.size ? channel : null };
    if (next?.row === hover?.row && next?.channel === hover?.channel) return;
    hover = next;
    view.redraw();
    if (!hover) {
      context.tip(null);
      return;
    }
    const { query, keys, scaling, size } = data.parts;
    const at = row * size + channel;
    const lines = [tokenLabel(state, "key", data.order[row])];
    if (hover.channel !== null) {
      lines.push(`channel ${channel}: ${readable(query[channel])} × ${readable(keys[at])}`);
      lines.push(`adds ${readable(query[channel] * keys[at] * scaling)} to the score`);
    }
    context.tip(lines, original);
  }

  function key(event) {
    const state = store.get();
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step) return false;
    const [, queries] = model.site(state).shape;
    const next = state.query === null ? 0 : Math.min(Math.max(state.query + step, 0), queries - 1);
    context.select({ query: next });
    return true;
  }

  return {
    element: view.element,
    focus: () => view.canvas.focus(),
    draw: (surface, width, height) => draw(surface, width, height, view.scroll()),
    size: view.size,
    update: () => view.redraw(),
    destroy: view.destroy,
  };
}

export const products = { name: "products", title: "Query–key", create };
