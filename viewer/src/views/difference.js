/** Difference: the same head in two records, second minus first, on tokens that both have. */
import { diverging } from "../draw/palettes.js";
import { makeAxis } from "../model/axis.js";
import { PRIORITY } from "../engine/client.js";
import { createGrid } from "./grid.js";

/** Groups of tokens that stand for the same text in both records. */
function sharedUnits(header, side, first, second) {
  const [one, two] = [first[side], second[side]];
  const table = header.records[0].tokens[one];
  const found = header.alignments.find((pair) => pair.first === one && pair.second === two);
  const plain = makeAxis(table, [], { words: false, hideSpecial: false, hideSinks: false });
  const units = found?.units ?? table.pieces.map((_, index) => [[index], [index]]);
  const special = new Set(table.special);
  return units.map(([left, right]) => ({
    label: left.map((token) => plain.units[token].label).join(""),
    left,
    right,
    special: left.every((token) => special.has(token)),
  }));
}

/** Tokens to bins over a run of shared units. */
function bins(units, which, size, from, to, count) {
  const bin = new Int32Array(size).fill(-1);
  for (let unit = from; unit < to; unit++) {
    for (const token of units[unit][which]) bin[token] = Math.floor(((unit - from) * count) / (to - from));
  }
  return bin;
}

export const difference = {
  name: "difference",
  title: "Difference",
  create(context) {
    const { model, store } = context;
    const { header } = model;

    function pair(state) {
      const first = model.site(state, 0);
      const second = header.records[1].sites.find((site) => site.name === state.site);
      if (!first || !second || state.head >= Math.min(first.shape[0], second.shape[0])) return null;
      const shown = (units) => (state.hideSpecial ? units.filter((unit) => !unit.special) : units);
      return {
        first,
        second,
        rows: shown(sharedUnits(header, "queries", first, second)),
        cols: shown(sharedUnits(header, "keys", first, second)),
      };
    }

    async function load(state, [r0, r1, c0, c1], [rowBins, colBins], show, signal) {
      const { first, second, rows, cols } = pair(state);
      const across = Math.min(colBins, c1 - c0);
      const ask = (record, site, which, sample, down) =>
        model.engine.pool({
          record,
          site: header.records[record].sites.indexOf(site),
          head: state.head,
          name: `shared:${state.hideSpecial}:${[r0, r1, c0, c1, down, across]}`,
          rowBin: bins(rows, which, site.shape[1], r0, r1, down),
          colBin: bins(cols, which, site.shape[2], c0, c1, across),
          rows: down,
          cols: across,
          sample,
          priority: sample ? PRIORITY.screen : PRIORITY.refine,
          signal,
        });
      for (const sample of first.shape[1] * first.shape[2] > 250_000 ? [192, 0] : [0]) {
        const down = Math.min(rowBins, r1 - r0, sample || Infinity);
        const [before, after] = await Promise.all([
          ask(0, first, "left", sample, down), ask(1, second, "right", sample, down),
        ]);
        if (signal.aborted) return;
        show({ values: after.map((value, index) => value - before[index]), rows: down, cols: across }, sample > 0);
      }
    }

    const unitOf = (units, token) => {
      const unit = token === null ? -1 : units.findIndex(({ left }) => left.includes(token));
      return unit < 0 ? null : unit;
    };

    const grid = createGrid(context, {
      name: "difference",
      signed: true,
      axes(state) {
        const found = pair(state);
        return found && { rows: found.rows, cols: found.cols, rowsTitle: "queries", colsTitle: "keys" };
      },
      load,
      scale: diverging,
      legend: () => "second − first",
      selected(state) {
        const found = pair(state);
        return found ? [unitOf(found.rows, state.query), unitOf(found.cols, state.key)] : [null, null];
      },
      choose(row, col) {
        const state = store.get();
        const found = pair(state);
        context.select({
          query: row === null ? state.query : found.rows[row].left[0],
          key: col === null ? state.key : found.cols[col].left[0],
        });
      },
      caption(state) {
        const models = header.records.map((record) => record.model);
        const names = models[0] && models[1] && models[0] !== models[1] ? models : ["first", "second"];
        const found = pair(state);
        const left = found ? model.site(state, 0).shape[1] - found.rows.reduce((sum, { left }) => sum + left.length, 0) : 0;
        const note = left > 0 ? ` · ${left} tokens skipped` : "";
        return `${context.headName(state)} · ${names[1]} minus ${names[0]}${note}`;
      },
      empty: () => "The second record has no such head, or the texts share no tokens.",
    });
    return {
      ...grid,
      /** What the chosen cell shows; null where the two records do not share it. */
      async value(state) {
        const found = pair(state);
        const [row, col] = found ? [unitOf(found.rows, state.query), unitOf(found.cols, state.key)] : [null, null];
        let value = null;
        if (row === null || col === null) return value;
        await load(state, [row, row + 1, col, col + 1], [1, 1], (tile) => (value = tile.values[0]), new AbortController().signal);
        return value;
      },
    };
  },
};
