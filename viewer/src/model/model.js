/**
 * The payload as views use it: the chosen site and head, axes as the reader wants them, and weights on demand.
 */
import { PRIORITY } from "../engine/client.js";
import { binAxis, keepOf, makeAxis } from "./axis.js";

/** Queries that a coarse picture reads before the whole one is there. */
const COARSE_QUERIES = 192;

/**
 * @param {import("../payload/open.js").Payload} payload
 * @param {ReturnType<import("../engine/client.js").createEngine>} engine
 */
export function createModel(payload, engine) {
  const { header } = payload;
  /** @type {Map<string, import("./axis.js").Axis>} */
  const axes = new Map();
  /** @type {Map<string, Promise<Uint8Array>>} */
  const pictures = new Map();

  const record = (state, which = state.record) => header.records[which];
  const siteIndex = (state, which = state.record, name = state.site) =>
    record(state, which).sites.findIndex((site) => site.name === name);

  function axis(state, side, which = state.record, name = state.site) {
    const site = record(state, which).sites[siteIndex(state, which, name)];
    const table = side === "query" ? site.queries : site.keys;
    // A sink is a key that heads rest on; as a query it is a token like any other.
    const options = {
      words: state.units === "words",
      hideSpecial: state.hideSpecial,
      hideSinks: state.hideSinks && side === "key",
    };
    const key = `${which}/${table}/${JSON.stringify(options)}`;
    if (!axes.has(key)) axes.set(key, makeAxis(record(state, which).tokens[table], record(state, which).sinks[table], options));
    return axes.get(key);
  }

  /**
   * Weights of one head over runs of units, in at most `bins` rows and columns.
   * @param {any} state
   * @param {{head?: number, site?: string, record?: number, rows?: [number, number], cols?: [number, number],
   *   rowBins?: number, colBins?: number, sample?: number, priority?: number, signal?: AbortSignal}} part
   */
  async function weights(state, part = {}) {
    const which = part.record ?? state.record;
    const name = part.site ?? state.site;
    const queries = axis(state, "query", which, name);
    const keys = axis(state, "key", which, name);
    const rows = part.rows ?? [0, queries.units.length];
    const cols = part.cols ?? [0, keys.units.length];
    const down = binAxis(queries, rows[0], rows[1], part.rowBins ?? Infinity);
    const across = binAxis(keys, cols[0], cols[1], part.colBins ?? Infinity);
    const values = await engine.pool({
      record: which,
      site: siteIndex(state, which, name),
      head: part.head ?? state.head,
      name: `${queries.name}:${rows}:${down.count}|${keys.name}:${cols}:${across.count}`,
      rowBin: down.bin,
      colBin: across.bin,
      rows: down.count,
      cols: across.count,
      keep: state.renormalise ? keepOf(keys) : null,
      keepName: state.renormalise ? keys.name : "",
      sample: part.sample,
      priority: part.priority,
      signal: part.signal,
    });
    return { values, rows: down.count, cols: across.count };
  }

  return {
    header,
    engine,
    record,
    axis,
    weights,
    site: (state, which = state.record, name = state.site) => record(state, which).sites[siteIndex(state, which, name)],
    siteIndex,

    /** First a coarse answer where the whole one would take long, then the whole one. */
    async progressive(state, part, show) {
      const [, queries, keys] = record(state, part.record).sites[siteIndex(state, part.record, part.site)].shape;
      if (queries * keys > 250_000) {
        const rowBins = Math.min(part.rowBins ?? Infinity, COARSE_QUERIES);
        const coarse = await weights(state, { ...part, rowBins, sample: COARSE_QUERIES, priority: PRIORITY.screen });
        if (part.signal?.aborted) return;
        show(coarse, true);
      }
      const whole = await weights(state, { ...part, priority: PRIORITY.refine });
      if (!part.signal?.aborted) show(whole, false);
    },

    /** The small picture of a head, from the payload where it has one. */
    async picture(state, name, head) {
      const index = siteIndex(state, state.record, name);
      const site = record(state).sites[index];
      if (!site.pictures) {
        const all = { ...state, hideSpecial: false, hideSinks: false, renormalise: false, units: "pieces" };
        return weights(all, { site: name, head, rowBins: 40, colBins: 40, priority: PRIORITY.background });
      }
      const { block } = site.pictures;
      const key = `${block}`;
      if (!pictures.has(key)) pictures.set(key, payload.block(block));
      const [, rows, cols] = header.blocks[block].shape;
      const bytes = (await pictures.get(key)).subarray(head * rows * cols, (head + 1) * rows * cols);
      return { values: Float32Array.from(bytes, (byte) => (byte / 255) ** 2), rows, cols };
    },

    /** All heads in payload order. */
    heads(which) {
      return header.records[which].sites.flatMap((site) =>
        Array.from({ length: site.shape[0] }, (_, head) => ({ site, head })),
      );
    },

    /** A block as it is stored, such as an image's pixels. */
    block: (number) => payload.block(number),

    /** A program that was packed along, such as the 3D view's. */
    asset: async (name) => new TextDecoder().decode(await payload.block(header.assets[name])),
  };
}
