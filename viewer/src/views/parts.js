/**
 * Parts: the attention between sentences, turns or documents as a map, and the text folded to them. A click opens a
 * part; each of its tokens then has the color of the other part that it attends to most.
 */
import { isolated, readable } from "../draw/marks.js";
import { categorical, diverging, sequential } from "../draw/palettes.js";
import { visible } from "../model/axis.js";
import { levelOf, partUnits, partWeights, placeOf } from "../model/parts.js";
import { element } from "../ui/dom.js";
import { createGrid } from "./grid.js";

/** Queries that a coarse map reads before the whole one is there. */
const COARSE_QUERIES = 192;
const LONG = 250_000;
/** Tokens of open parts that are colored; more are no longer read. */
const MOST_OPEN = 2000;
/** Sources that have a color of their own. */
const MOST_COLORS = 8;
/** Characters of a folded part. */
const PREVIEW = 120;

export const hasParts = (record) => record.tokens.some(({ levels }) => levels?.length);

/** @param {any} context */
function create(context) {
  const { model, store } = context;
  const grid = createGrid(context, {
    name: "parts",
    signed: (state) => isSigned(state),
    variant: (state) => `${state.level}:${state.values}`,
    axes: (state) => ({
      rows: partUnits(model, state, "query"),
      cols: partUnits(model, state, "key"),
      rowsTitle: "attending",
      colsTitle: "attended",
    }),
    async load(state, region, most, show, signal) {
      const asked = { rows: partUnits(model, state, "query"), cols: partUnits(model, state, "key"), region, most, name: "map", signal };
      const [, queries, keys] = model.site(state).shape;
      if (queries * keys > LONG) {
        const coarse = await partWeights(model, state, { ...asked, sample: COARSE_QUERIES, priority: 2 });
        if (signal.aborted) return;
        show(coarse, true);
      }
      const whole = await partWeights(model, state, { ...asked, priority: 1 });
      if (!signal.aborted) show(whole, false);
    },
    scale: (state, dark, top) => (isSigned(state) ? diverging : sequential)(state, dark, top),
    legend: (state) => (isSigned(state) ? "weight − share of keys" : state.renormalise ? "weight (renormalized)" : "weight"),
    selected: (state) => [chosenRow(state), placeOf(partUnits(model, state, "key"), levelOf(model, state, "key"), state.key)],
    choose(row, col) {
      const state = store.get();
      const token = (side, place) => {
        if (place === null) return state[side];
        const units = partUnits(model, state, side);
        const same = placeOf(units, levelOf(model, state, side), state[side]) === place;
        return same ? state[side] : units[place].tokens[0];
      };
      context.select({ query: token("query", row), key: token("key", col) });
    },
    caption: (state) => `${context.headName(state)} · ${levelOf(model, state, "query")?.name ?? "no parts"}`,
    empty: () => "This text has only one part.",
  });
  const about = element("p", { className: "caption" });
  const band = element("div", { className: "band", role: "img" });
  const folded = element("div", { className: "folded" });
  const reading = element("div", { className: "reading" }, [about, band, folded]);
  const node = element("div", { className: "parts" }, [element("div", { className: "map" }, [grid.element]), reading]);
  let built = "";
  /** @type {{part: number, row: HTMLElement, head: HTMLElement, value: HTMLElement, body: HTMLElement, spans: Map<number, HTMLElement>, piece: HTMLElement | null}[]} */
  let rows = [];
  let revealed = "";
  let abort = new AbortController();

  const isSigned = (state) => state.values === "above_chance" && Boolean(model.site(state).band);
  const isOneText = (state) => model.site(state).queries === model.site(state).keys;

  /** The part that attends: that of the chosen query, else the last one with words, which mostly is the answer. */
  function chosenRow(state) {
    const units = partUnits(model, state, "query");
    const chosen = placeOf(units, levelOf(model, state, "query"), state.query);
    if (chosen !== null) return chosen;
    const special = new Set(model.record(state).tokens[model.site(state).queries].special);
    const last = units.findLastIndex(({ tokens }) => tokens.some((token) => !special.has(token)));
    return last < 0 ? units.length - 1 : last;
  }

  function openParts(state) {
    const units = partUnits(model, state, "query");
    return new Set(state.open ?? (units.length ? [units[chosenRow(state)].part] : []));
  }

  /** Choose a part and, of those that attend, open or close it. */
  function press(side, part) {
    const state = store.get();
    const open = openParts(state);
    if (!open.delete(part)) open.add(part);
    const unit = partUnits(model, state, side).find((candidate) => candidate.part === part);
    if (side === "query") store.set({ query: unit.tokens[0], open: [...open].sort((a, b) => a - b) });
    else context.select({ key: unit.tokens[0] });
  }

  /** One row for each part, of queries; where keys are another text, first those of the keys. */
  function build(state) {
    const sides = isOneText(state) ? ["query"] : ["key", "query"];
    const open = openParts(state);
    const key = JSON.stringify([state.record, state.level, state.hideSpecial, sides, model.site(state).queries, model.site(state).keys, [...open]]);
    if (key === built) return;
    built = key;
    rows = [];
    folded.replaceChildren();
    band.replaceChildren();
    for (const side of sides) {
      const site = model.site(state);
      const table = model.record(state).tokens[side === "query" ? site.queries : site.keys];
      const level = levelOf(model, state, side);
      if (sides.length > 1) folded.append(element("h3", {}, [side === "key" ? "source: attended" : "target: attending"]));
      for (const { part, label } of partUnits(model, state, side)) {
        const [from, to] = [level.borders[part], level.borders[part + 1]];
        const isOpen = side === "query" && open.has(part);
        const preview = Array.from({ length: Math.min(to - from, PREVIEW) }, (_, n) =>
          table.gaps[from + n] + table.surfaces[from + n]).join("").replace(/\s+/g, " ").trim().slice(0, PREVIEW);
        const value = element("span", { className: "value" });
        const head = element("button", {
          type: "button", className: "part-head", ...(side === "query" ? { "aria-expanded": String(isOpen) } : {}),
          onclick: () => press(side, part),
        }, [
          element("span", { className: "part-name" }, [label]),
          element("span", { className: "part-size" }, [`${to - from} token${to - from === 1 ? "" : "s"}`]),
          value,
          ...(isOpen ? [] : [element("span", { className: "part-text", dir: "auto" }, [preview])]),
        ]);
        const spans = new Map();
        const body = element("p", { className: "text", dir: "auto", hidden: !isOpen });
        for (let token = from; isOpen && token < to; token++) {
          const special = table.special.includes(token);
          const span = element("span", { className: special ? "token special" : "token", "data-token": String(token) });
          const isBlank = table.surfaces[token] !== "" && table.surfaces[token].trim() === "";
          span.textContent = isBlank ? visible(table.surfaces[token]) : table.surfaces[token];
          body.append(token === from ? table.gaps[token].trimStart() : table.gaps[token], span);
          spans.set(token, span);
        }
        const row = element("section", { className: "part", "data-part": String(part), "data-side": side }, [head, body]);
        folded.append(row);
        let piece = null;
        if (side === sides[0]) {
          piece = element("span", { "data-part": String(part), title: `${label}, ${to - from} tokens` });
          piece.style.flexGrow = String(to - from);
          band.append(piece);
        }
        rows.push({ part, row, head, value, body, spans, piece, side });
      }
    }
  }

  /** What the chosen part attends to, on the rows and on the band of the whole text. */
  function paintRow(state, units, values, theme) {
    const peak = values.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    const scale = (isSigned(state) ? diverging : sequential)(state, theme.dark, peak || 1);
    const attending = partUnits(model, state, "query")[chosenRow(state)];
    const attendedSide = isOneText(state) ? "query" : "key";
    const chosenKey = placeOf(units, levelOf(model, state, "key"), state.key);
    for (const { part, row, head, value, side, piece } of rows) {
      const at = side === attendedSide ? units.findIndex((unit) => unit.part === part) : -1;
      const number = at < 0 ? null : values[at];
      row.classList.toggle("chosen", side === "query" && part === attending.part);
      row.classList.toggle("chosen-key", at >= 0 && at === chosenKey);
      head.style.borderInlineStartColor = number === null ? "transparent" : scale.css(number);
      value.textContent = number === null ? "" : readable(number);
      value.style.backgroundColor = number === null ? "" : scale.css(number);
      value.style.color = number === null ? "" : scale.ink(number);
      if (piece) piece.style.backgroundColor = number === null ? "" : scale.css(number);
      piece?.classList.toggle("chosen", side === "query" && part === attending.part);
    }
    const what = isSigned(state) ? "weight above its share of the keys" : "weight";
    about.textContent = `${isolated(attending.label)} attends to: ${what}, mean over its tokens`;
    band.setAttribute("aria-label", `${attending.label} attends to ${units.map(({ label }, n) => `${label} ${readable(values[n])}`).join(", ")}`);
  }

  /** Each token of an open part in the color of the other part that it attends to most above its share. */
  async function paintTokens(state, signal) {
    const tokens = rows.flatMap(({ part, spans, side }) => (side === "query" ? [...spans.keys()].map((token) => ({ token, part })) : []))
      .filter(({ token }) => model.axis(state, "query").unitOf[token] >= 0).slice(0, MOST_OPEN);
    if (!tokens.length) return context.drawn("text");
    const cols = partUnits(model, state, "key");
    const asked = { rows: tokens.map(({ token, part }) => ({ part, label: "", tokens: [token] })), cols, name: `tokens:${tokens[0].token}:${tokens.length}:${[...openParts(state)]}`, priority: 2, signal };
    const { band: known } = model.site(state);
    const { values } = await partWeights(model, { ...state, values: known ? "above_chance" : "weight" }, asked);
    if (signal.aborted) return;
    const theme = context.theme();
    const one = isOneText(state);
    const best = tokens.map(({ part }, row) => {
      let [at, most] = [-1, 0];
      cols.forEach((unit, col) => {
        const value = values[row * cols.length + col];
        if (!(one && unit.part === part) && value > most) [at, most] = [col, value];
      });
      return { at, most };
    });
    const totals = new Map();
    for (const { at, most } of best) if (at >= 0) totals.set(at, (totals.get(at) ?? 0) + most);
    const ranked = [...totals].sort((a, b) => b[1] - a[1]).slice(0, MOST_COLORS).map(([at]) => at);
    const colors = categorical(theme.dark);
    const peak = Math.max(...best.map(({ most }) => most), 1e-9);
    const spanOf = new Map(rows.flatMap(({ spans }) => [...spans]));
    tokens.forEach(({ token }, row) => {
      const span = spanOf.get(token);
      const { at, most } = best[row];
      const rank = ranked.indexOf(at);
      const color = at < 0 ? null : rank < 0 ? theme.muted : colors[rank];
      const strength = Math.round(20 + 60 * Math.min(1, most / peak));
      span.style.backgroundColor = color ? `color-mix(in srgb, ${color} ${strength}%, transparent)` : "";
      span.style.color = color ? theme.text : "";
      span.dataset.source = at < 0 ? "" : cols[at].label;
      span.dataset.value = at < 0 ? "" : readable(most);
      span.classList.toggle("chosen", token === state.query);
    });
    for (const { part, row, side } of rows) {
      const at = side === (one ? "query" : "key") ? cols.findIndex((unit) => unit.part === part) : -1;
      const rank = at < 0 ? -1 : ranked.indexOf(at);
      row.querySelector(".part-name").style.borderBottomColor = rank < 0 ? "transparent" : colors[rank];
    }
    context.drawn("text");
  }

  const tokenOf = (event) => (event.target instanceof Element ? event.target.closest(".token") : null);
  folded.addEventListener("click", (event) => {
    const span = tokenOf(event);
    // The part stays open also where it was only open because it was chosen.
    if (span) store.set({ query: Number(span.dataset.token), open: [...openParts(store.get())] });
  });
  folded.addEventListener("pointerover", (event) => {
    const span = tokenOf(event);
    context.tip(span ? [isolated(span.textContent.trim() || "␣"), span.dataset.source ? `attends most to ${span.dataset.source}, ${span.dataset.value} above its share` : "attends to no other part above its share", `token ${span.dataset.token}`] : null, event);
  });
  folded.addEventListener("pointerleave", () => context.tip(null));
  band.addEventListener("click", (event) => {
    const part = event.target instanceof Element ? event.target.closest("[data-part]") : null;
    const found = part && rows.find(({ piece }) => piece === part);
    if (!found) return;
    context.select({ key: partUnits(model, store.get(), "key").find((unit) => unit.part === found.part)?.tokens[0] ?? null });
    found.row.scrollIntoView({ block: "nearest" });
  });

  /** Bring a newly chosen part into sight, without moving the page around us. */
  function reveal(state) {
    const at = chosenRow(state);
    const wanted = `${state.record}/${state.level}/${at}`;
    if (wanted === revealed) return;
    revealed = wanted;
    const part = partUnits(model, state, "query")[at]?.part;
    const box = rows.find(({ side, part: other }) => side === "query" && other === part)?.row.getBoundingClientRect();
    const frame = reading.getBoundingClientRect();
    if (box && (box.top < frame.top || box.bottom > frame.bottom)) reading.scrollTop += box.top - frame.top - 24;
  }

  async function paint(state, signal) {
    const cols = partUnits(model, state, "key");
    const attending = partUnits(model, state, "query")[chosenRow(state)];
    if (!attending || !cols.length) return;
    const { values } = await partWeights(model, state, { rows: [attending], cols, name: `row:${attending.part}`, priority: 3, signal });
    if (signal.aborted) return;
    paintRow(state, cols, values, context.theme());
    reveal(state);
    await paintTokens(state, signal);
  }

  function update() {
    const state = store.get();
    build(state);
    grid.update();
    abort.abort();
    abort = new AbortController();
    const { signal } = abort;
    paint(state, signal).catch((error) => {
      if (!signal.aborted) about.textContent = error.message;
    });
  }

  /** The map as it is drawn, and the rows of the text that are on the screen. */
  function draw(surface, width, height) {
    const theme = context.theme();
    grid.draw(surface, ...grid.size());
    const frame = node.getBoundingClientRect();
    const shown = reading.getBoundingClientRect();
    const put = (part) => {
      const style = getComputedStyle(part);
      const boxes = [...part.getClientRects()].filter((box) => box.bottom > shown.top && box.top < shown.bottom);
      if (!boxes.length) return;
      const fill = style.backgroundColor;
      if (!/, 0\)$|\/ 0\)$/.test(fill)) {
        for (const box of boxes) surface.rect(box.left - frame.left, box.top - frame.top, box.width, box.height, { fill, radius: 3 });
      }
      if (part.textContent && !part.childElementCount) {
        surface.text(part.textContent, boxes[0].left - frame.left + parseFloat(style.paddingLeft), boxes[0].top - frame.top + boxes[0].height / 2, {
          fill: style.color, size: parseFloat(style.fontSize), weight: Number(style.fontWeight),
        });
      }
    };
    surface.clip(shown.left - frame.left, shown.top - frame.top, shown.width, shown.height, () => {
      surface.rect(shown.left - frame.left, shown.top - frame.top, shown.width, shown.height, { fill: theme.background });
      put(about);
      for (const piece of band.children) put(piece);
      for (const part of folded.querySelectorAll("h3, .part-name, .part-size, .value, .part-text, .token")) put(part);
    });
  }

  return {
    element: node,
    focus: () => grid.focus(),
    draw,
    size: () => [node.clientWidth, node.clientHeight],
    zoomBy: grid.zoomBy,
    update,
    destroy() {
      abort.abort();
      grid.destroy();
    },
  };
}

export const parts = { name: "parts", title: "Parts", create };
