/** Picture: the image with what the chosen word looks at, all heads as small images, and words shaded by a cell. */
import { fit, legend, readable } from "../draw/marks.js";
import { sequential } from "../draw/palettes.js";
import { createCanvasView } from "../ui/canvas-view.js";
import { drawWords, layWords, wordAt, wordsOf } from "./words.js";

const MARGIN = 14;
const THUMB = { least: 38, most: 116, gap: 6 };
/** How much of the image stays visible below the strongest color. */
const STRONGEST = 0.82;

/** @param {any} context */
function create(context) {
  const { model, store } = context;
  /** Weights of one query `[key]`, or of all of them `[query, key]`, by site, head and query. */
  const known = new Map();
  const images = new Map();
  let layout = { words: [], image: null, thumbs: [] };
  let hoverWord = null;
  let hoverCell = null;

  const view = createCanvasView({ label: "Image", draw, pointer, key, resized: () => (layout.image = null) });

  const boxesOf = (state, side) => {
    const site = model.site(state);
    const { places } = model.record(state).tokens[site[side]];
    return places?.kind === "image" ? places.boxes : null;
  };

  function medium(state, number) {
    const found = model.record(state).media?.[number];
    if (!found || found.kind !== "image") return null;
    const id = `${state.record}/${number}`;
    if (!images.has(id)) {
      images.set(id, null);
      model.block(found.block).then((bytes) => {
        const [rows, cols] = model.header.blocks[found.block].shape;
        const pixels = new Uint8ClampedArray(rows * cols * 4);
        for (let at = 0; at < rows * cols; at++) {
          pixels.set(bytes.subarray(at * 3, at * 3 + 3), at * 4);
          pixels[at * 4 + 3] = 255;
        }
        images.set(id, { pixels, rows, cols, width: found.width, height: found.height });
        view.redraw();
      }, (error) => context.fail(error.message));
    }
    return images.get(id);
  }

  /** All weights of a head, or null until they are here. */
  function weights(state, name, head, query) {
    const whole = query === null;
    const id = `${state.record}/${name}/${head}/${whole ? "all" : query}`;
    if (!known.has(id)) {
      known.set(id, null);
      if (known.size > 4000) known.clear();
      const plain = { ...state, hideSpecial: false, hideSinks: false, renormalise: false, units: "pieces" };
      model.weights(plain, { site: name, head, ...(whole ? {} : { rows: [query, query + 1] }), priority: 2 }).then(
        (found) => {
          known.set(id, found.values);
          view.redraw();
          context.drawn("picture");
        },
        (error) => context.fail(error.message),
      );
    }
    return known.get(id);
  }

  const queryOf = (state) => hoverWord?.query ?? state.query ?? 0;

  function heatOn(surface, state, boxes, row, where, image, top, theme) {
    const scale = warm(state, top);
    boxes.forEach((box, token) => {
      if (!lies(box, state.image) || !row) return;
      const strength = scale.position(row[token]);
      if (strength < 0.01) return;
      const [, left, above, right, below] = box;
      const [x, y] = [where.x + (left / image.width) * where.width, where.y + (above / image.height) * where.height];
      const [width, height] = [((right - left) / image.width) * where.width, ((below - above) / image.height) * where.height];
      surface.rect(x, y, width, height, { fill: scale.css(row[token]), opacity: STRONGEST * Math.sqrt(strength) });
    });
    if (theme) surface.rect(where.x, where.y, where.width, where.height, { stroke: theme.line });
  }

  function draw(surface, width, height, scroll = 0) {
    const state = store.get();
    const theme = context.theme();
    const boxes = boxesOf(state, "keys");
    const image = medium(state, state.image);
    if (!boxes) {
      surface.text("The keys of this layer have no place in the image; choose another attention above.", MARGIN, 30, { fill: theme.muted, size: 13 });
      layout = { words: [], image: null, thumbs: [] };
      return height;
    }
    if (!image) return height;
    const site = model.site(state);
    const query = queryOf(state);
    const row = weights(state, site.name, state.head, query);
    const wide = width > 640;
    const side = wide ? Math.min(width * 0.56, height - 110) : width - 2 * MARGIN;
    const ratio = Math.min(side / image.width, Math.max(160, wide ? height - 130 : side) / image.height);
    const place = { x: MARGIN, y: 34 - scroll, width: image.width * ratio, height: image.height * ratio };
    const words = wordsOf(model, state);
    const chosen = words.find((word) => word.query === query);
    const reads = site.stack.startsWith("decoder") ? "is written" : "looks";
    const title = chosen ? `Where L${site.layer}H${state.head} looks while “${chosen.label}” ${reads}` : `What cell ${model.record(state).tokens[site.queries].pieces[query]} looks at, L${site.layer}H${state.head}`;
    surface.text(fit(surface, title.replace(" looks while", reads === "looks" ? " looks from" : " looks while").replace(/ looks$/, ""), width - 2 * MARGIN, 13), MARGIN, 17 - scroll, { fill: theme.text, size: 13, weight: 600 });
    const top = row ? boxes.reduce((most, box, token) => (box ? Math.max(most, row[token]) : most), 1e-6) : 1;
    const dimmed = image.dimmed ??= dim(image);
    surface.image(dimmed, image.rows, image.cols, place.x, place.y, place.width, place.height);
    heatOn(surface, state, boxes, row, place, image, top, theme);
    if (hoverCell !== null && lies(boxes[hoverCell], state.image)) outline(surface, boxes[hoverCell], place, image, theme.accent);
    const own = boxesOf(state, "queries")?.[query];
    if (lies(own, state.image)) outline(surface, own, place, image, theme.text);

    const laid = layWords(surface, words, MARGIN, place.y + place.height + 12, place.width);
    const all = hoverCell === null ? null : weights(state, site.name, state.head, null);
    const keys = site.shape[2];
    const most = all ? Math.max(1e-6, ...words.map((word) => all[word.query * keys + hoverCell])) : 1;
    const shade = sequential(state, theme.dark, most);
    drawWords(surface, laid.places, {
      theme,
      chosen: (word) => word.query === query,
      fill: all ? (word) => shade.css(all[word.query * keys + hoverCell]) : undefined,
      ink: all ? (word) => shade.ink(all[word.query * keys + hoverCell]) : undefined,
    });
    const under = hoverCell === null ? "hover a word or a cell; click to keep" : "words shaded by how much they look at the cell";
    surface.text(fit(surface, under, place.width, 11), MARGIN, laid.bottom + 14, { fill: theme.muted, size: 11 });
    legend(surface, warm(state, top), { x: MARGIN, y: laid.bottom + 26, width: 130, theme, title: "weight" });

    const thumbs = heads(surface, state, boxes, image, dimmed, query, {
      x: wide ? place.x + place.width + 22 : MARGIN,
      y: wide ? 34 - scroll : laid.bottom + 106,
      width: wide ? width - place.x - place.width - 22 - MARGIN : width - 2 * MARGIN,
    }, theme);
    layout = { words: laid.places, image: { ...place, boxes, natural: image }, thumbs: thumbs.places };
    view.describe(title);
    return Math.max(laid.bottom + 76, thumbs.bottom) + scroll + 8;
  }

  /** Every head of the same stack and kind, one row a layer, each with what the same query looks at. */
  function heads(surface, state, boxes, image, dimmed, query, area, theme) {
    const own = model.site(state);
    const sites = model.record(state).sites.filter(
      (site) => site.stack === own.stack && site.kind === own.kind && site.shape[1] === own.shape[1] && site.keys === own.keys,
    );
    const count = Math.max(...sites.map((site) => site.shape[0]));
    const label = 26;
    const size = Math.max(THUMB.least, Math.min(THUMB.most, (area.width - label) / count - THUMB.gap));
    const perRow = Math.max(1, Math.floor((area.width - label + THUMB.gap) / (size + THUMB.gap)));
    const tall = (size * image.height) / image.width;
    const places = [];
    let y = area.y;
    surface.text(`all heads, ${own.stack} ${own.kind}-attention`, area.x, y - 17, { fill: theme.muted, size: 12 });
    for (const site of sites) {
      surface.text(`L${site.layer}`, area.x + label - 6, y + tall / 2, { fill: theme.muted, size: 11, align: "right" });
      for (let head = 0; head < site.shape[0]; head++) {
        const where = {
          x: area.x + label + (head % perRow) * (size + THUMB.gap),
          y: y + Math.floor(head / perRow) * (tall + THUMB.gap), width: size, height: tall,
        };
        places.push({ ...where, site: site.name, head });
        const [, bottom] = view.size();
        if (where.y > bottom || where.y + tall < 0) continue;
        const row = weights(state, site.name, head, query);
        surface.image(dimmed, image.rows, image.cols, where.x, where.y, where.width, where.height);
        const top = row ? boxes.reduce((most, box, token) => (box ? Math.max(most, row[token]) : most), 1e-6) : 1;
        heatOn(surface, state, boxes, row, where, image, top, theme);
        if (site.name === state.site && head === state.head) {
          surface.rect(where.x - 1.5, where.y - 1.5, size + 3, tall + 3, { stroke: theme.accent, width: 3 });
        }
      }
      y += Math.ceil(site.shape[0] / perRow) * (tall + THUMB.gap);
    }
    return { places, bottom: y };
  }

  function outline(surface, box, place, image, stroke) {
    const [, left, top, right, bottom] = box;
    surface.rect(
      place.x + (left / image.width) * place.width, place.y + (top / image.height) * place.height,
      ((right - left) / image.width) * place.width, ((bottom - top) / image.height) * place.height, { stroke, width: 2 },
    );
  }

  const inside = (place, x, y) => x >= place.x && x <= place.x + place.width && y >= place.y && y <= place.y + place.height;

  function cellAt(x, y) {
    const place = layout.image;
    if (!place || !inside(place, x, y)) return null;
    const across = ((x - place.x) / place.width) * place.natural.width;
    const down = ((y - place.y) / place.height) * place.natural.height;
    const found = place.boxes.findIndex(
      (box) => lies(box, store.get().image) && across >= box[1] && across < box[3] && down >= box[2] && down < box[4],
    );
    return found < 0 ? null : found;
  }

  function pointer({ type, x, y, original }) {
    const state = store.get();
    const word = type === "leave" ? null : wordAt(layout.words, x, y);
    const cell = type === "leave" || word ? null : cellAt(x, y);
    if (type === "click") {
      const thumb = layout.thumbs.find((place) => inside(place, x, y));
      if (thumb) store.set({ site: thumb.site, head: thumb.head });
      else if (word) store.set({ query: word.query });
      else if (cell !== null) store.set(boxesOf(state, "queries") && model.site(state).kind === "self" && !layout.words.length ? { query: cell } : { key: cell });
      return;
    }
    if (word?.query === hoverWord?.query && cell === hoverCell) return;
    [hoverWord, hoverCell] = [word, cell];
    context.tip(cell === null ? null : cellLines(state, cell), original);
    view.redraw();
  }

  function cellLines(state, cell) {
    const site = model.site(state);
    const { pieces } = model.record(state).tokens[site.keys];
    const row = weights(state, site.name, state.head, queryOf(state));
    return [`cell ${pieces[cell]} (row, column)`, row ? `weight ${readable(row[cell])}` : ""];
  }

  function key(event) {
    const state = store.get();
    const frame = { ",": -1, ".": 1 }[event.key];
    if (frame) {
      const count = imagesOf(model.record(state));
      store.set({ image: Math.min(Math.max(state.image + frame, 0), count - 1) });
      return true;
    }
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step || !layout.words.length) return false;
    const at = layout.words.findIndex((word) => word.query === (state.query ?? 0));
    const next = layout.words[Math.min(Math.max(at + step, 0), layout.words.length - 1)];
    store.set({ query: next.query });
    context.announce(next.label);
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

/** Whether a cell, `[image, left, top, right, bottom, last frame]`, lies in an image or a frame of a film. */
const lies = (box, image) => Boolean(box) && box[0] <= image && image <= (box[5] ?? box[0]);

/** Colors that stand out from an image, unless the reader chose others. */
const warm = (state, top) => sequential({ ...state, palette: state.palette === "blue" ? "magma" : state.palette }, true, top);

/** The image in gray and darker, so that colors are the heat's alone. */
function dim({ pixels, rows, cols }) {
  const result = new Uint8ClampedArray(rows * cols * 4);
  for (let at = 0; at < rows * cols * 4; at += 4) {
    const gray = 0.299 * pixels[at] + 0.587 * pixels[at + 1] + 0.114 * pixels[at + 2];
    for (let channel = 0; channel < 3; channel++) result[at + channel] = 0.72 * (0.55 * pixels[at + channel] + 0.45 * gray);
    result[at + 3] = 255;
  }
  return result;
}

/** How many images, or frames of a film, a record has. @param {any} record */
export const imagesOf = (record) => record.media?.filter(({ kind }) => kind === "image").length ?? 0;

/** Whether the images are frames of a film, in several of which a cell may lie. @param {any} record */
export const isFilm = (record) =>
  record.tokens.some(({ places }) => places?.kind === "image" && places.boxes.some((box) => box?.length === 6));

/** Whether a record has an image whose cells are known. @param {any} record */
export const hasImage = (record) =>
  record.media?.some(({ kind }) => kind === "image") && record.tokens.some(({ places }) => places?.kind === "image");

export const picture = { name: "picture", title: "Picture", create };
