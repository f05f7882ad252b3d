/** Sound: the spectrogram, and over time what the chosen word listens to, in the chosen head and in all of them. */
import { fit, readable } from "../draw/marks.js";
import { sequential } from "../draw/palettes.js";
import { createCanvasView } from "../ui/canvas-view.js";
import { drawWords, layWords, wordAt, wordsOf } from "./words.js";

const MARGIN = 46;
const RIGHT = 14;
const [SPECTRUM, CURVE, STRIP] = [120, 90, 15];

/** @param {any} context */
function create(context) {
  const { model, store } = context;
  const known = new Map();
  let spectrum = null;
  let hoverWord = null;
  let hoverX = null;
  let layout = { words: [], strips: [], area: null };

  const view = createCanvasView({ label: "Sound", draw, pointer, key });

  const spansOf = (state) => {
    const { places } = model.record(state).tokens[model.site(state).keys];
    return places?.kind === "sound" ? places.spans : null;
  };

  function loadSpectrum(state) {
    const medium = model.record(state).media?.find(({ kind }) => kind === "sound");
    if (!medium || spectrum) return medium;
    spectrum = { seconds: medium.seconds };
    model.block(medium.block).then((bytes) => {
      const [rows, cols] = model.header.blocks[medium.block].shape;
      spectrum = { seconds: medium.seconds, bytes, rows, cols };
      view.redraw();
    }, (error) => context.fail(error.message));
    return medium;
  }

  function weights(state, name, head, query) {
    const id = `${state.record}/${name}/${head}/${query}`;
    if (!known.has(id)) {
      known.set(id, null);
      const plain = { ...state, hideSpecial: false, hideSinks: false, renormalise: false, units: "pieces" };
      model.weights(plain, { site: name, head, rows: [query, query + 1], priority: 2 }).then(
        (found) => {
          known.set(id, found.values);
          view.redraw();
          context.drawn("sound");
        },
        (error) => context.fail(error.message),
      );
    }
    return known.get(id);
  }

  function draw(surface, width, height, scroll = 0) {
    const state = store.get();
    const theme = context.theme();
    const spans = spansOf(state);
    loadSpectrum(state);
    if (!spans || !spectrum) {
      surface.text("The keys of this layer have no place in the sound; choose another attention above.", 14, 30, { fill: theme.muted, size: 13 });
      return height;
    }
    const site = model.site(state);
    const query = hoverWord?.query ?? state.query ?? 0;
    const area = { x: MARGIN, width: width - MARGIN - RIGHT, seconds: spectrum.seconds };
    const at = (seconds) => area.x + (Math.min(seconds, area.seconds) / area.seconds) * area.width;
    const words = wordsOf(model, state);
    const chosen = words.find((word) => word.query === query);
    surface.text(fit(surface, `What L${site.layer}H${state.head} listens to${chosen ? `: “${chosen.label}”` : ""}`, width - 20, 13), 14, 17 - scroll, { fill: theme.text, size: 13, weight: 600 });

    let y = 34 - scroll;
    const gray = sequential({ ...state, palette: "grey", scale: "linear" }, theme.dark, 1);
    if (spectrum.bytes) {
      const { rows, cols, bytes } = spectrum;
      const values = new Float32Array(rows * cols);
      for (let band = 0; band < rows; band++) {
        for (let col = 0; col < cols; col++) values[(rows - 1 - band) * cols + col] = bytes[band * cols + col] / 255;
      }
      const pixels = new Uint8ClampedArray(rows * cols * 4);
      gray.fill(values, pixels);
      surface.image(pixels, rows, cols, area.x, y, area.width, SPECTRUM);
    }
    surface.text("pitch", MARGIN - 8, y + SPECTRUM / 2, { fill: theme.muted, size: 11, align: "right" });
    const row = weights(state, site.name, state.head, query);
    const heard = spans.map((span, token) => ({ span, token })).filter(({ span }) => span && span[1] < area.seconds);
    const top = row ? Math.max(1e-6, ...heard.map(({ token }) => row[token])) : 1;
    const tint = sequential(state, true, top);
    if (row) {
      for (const { span, token } of heard) {
        const strength = tint.position(row[token]);
        if (strength > 0.02) surface.rect(at(span[1]), y, at(span[2]) - at(span[1]), SPECTRUM, { fill: theme.accent, opacity: 0.5 * strength });
      }
    }
    surface.rect(area.x, y, area.width, SPECTRUM, { stroke: theme.line });
    y += SPECTRUM + 8;
    if (row) {
      for (const { span, token } of heard) {
        const tall = (row[token] / top) * CURVE;
        surface.rect(at(span[1]), y + CURVE - tall, Math.max(1, at(span[2]) - at(span[1])), tall, { fill: theme.accent });
      }
      surface.text(readable(top), MARGIN - 6, y + 6, { fill: theme.muted, size: 10.5, align: "right" });
    }
    surface.line(area.x, y + CURVE, area.x + area.width, y + CURVE, { stroke: theme.line });
    const step = area.seconds > 20 ? 5 : area.seconds > 6 ? 1 : 0.5;
    for (let second = 0; second <= area.seconds; second += step) {
      surface.text(`${second} s`, at(second), y + CURVE + 12, { fill: theme.muted, size: 10.5, align: "center" });
    }
    y += CURVE + 30;
    const laid = layWords(surface, words, 14, y, width - 28);
    drawWords(surface, laid.places, { theme, chosen: (word) => word.query === query });
    y = laid.bottom + 34;
    const strips = allHeads(surface, state, heard, query, at, y, area, theme);
    if (hoverX !== null) surface.line(hoverX, 34 - scroll, hoverX, strips.bottom, { stroke: theme.text, dash: [3, 3] });
    layout = { words: laid.places, strips: strips.places, area };
    view.describe(`Sound of ${spectrum.seconds.toFixed(1)} seconds. ${chosen ? chosen.label : ""}`);
    return strips.bottom + scroll + 12;
  }

  function allHeads(surface, state, heard, query, at, from, area, theme) {
    const own = model.site(state);
    const sites = model.record(state).sites.filter(
      (site) => site.stack === own.stack && site.kind === own.kind && site.keys === own.keys && site.queries === own.queries,
    );
    let y = from;
    const places = [];
    surface.text("all heads", 14, y - 12, { fill: theme.muted, size: 12 });
    const [, bottom] = view.size();
    for (const site of sites) {
      for (let head = 0; head < site.shape[0]; head++) {
        places.push({ x: area.x, y, width: area.width, height: STRIP, site: site.name, head });
        if (y < bottom && y + STRIP > 0) {
          const row = weights(state, site.name, head, query);
          surface.text(`L${site.layer}H${head}`, MARGIN - 6, y + STRIP / 2, { fill: theme.muted, size: 10.5, align: "right" });
          if (row) {
            const shade = sequential(state, theme.dark, Math.max(1e-6, ...heard.map(({ token }) => row[token])));
            const pixels = new Uint8ClampedArray(heard.length * 4);
            shade.fill(Float32Array.from(heard, ({ token }) => row[token]), pixels);
            surface.image(pixels, 1, heard.length, at(heard[0].span[1]), y, at(heard.at(-1).span[2]) - at(heard[0].span[1]), STRIP);
          }
          const isChosen = site.name === state.site && head === state.head;
          surface.rect(area.x, y, area.width, STRIP, { stroke: isChosen ? theme.accent : theme.line, width: isChosen ? 2 : 1 });
        }
        y += STRIP + 4;
      }
      y += 6;
    }
    return { places, bottom: y };
  }

  function pointer({ type, x, y, original }) {
    const state = store.get();
    const word = type === "leave" ? null : wordAt(layout.words, x, y);
    if (type === "click") {
      const strip = layout.strips.find((place) => x >= place.x && x <= place.x + place.width && y >= place.y && y <= place.y + place.height);
      if (strip) store.set({ site: strip.site, head: strip.head });
      else if (word) store.set({ query: word.query });
      return;
    }
    const { area } = layout;
    const over = type !== "leave" && area && x >= area.x && x <= area.x + area.width && !word;
    [hoverWord, hoverX] = [word, over ? x : null];
    context.tip(over ? [`${(((x - area.x) / area.width) * area.seconds).toFixed(2)} s`] : null, original);
    view.redraw();
  }

  function key(event) {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step || !layout.words.length) return false;
    const at = layout.words.findIndex((word) => word.query === (store.get().query ?? 0));
    store.set({ query: layout.words[Math.min(Math.max(at + step, 0), layout.words.length - 1)].query });
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

/** Whether a record has a sound whose times are known. @param {any} record */
export const hasSound = (record) =>
  record.media?.some(({ kind }) => kind === "sound") && record.tokens.some(({ places }) => places?.kind === "sound");

export const sound = { name: "sound", title: "Sound", create };
