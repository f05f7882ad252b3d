/** Matrix: one head, tokens on both axes. */
import { sequential } from "../draw/palettes.js";
import { createGrid } from "./grid.js";

export const matrix = {
  name: "matrix",
  title: "Matrix",
  create(context) {
    const { model, store } = context;
    return createGrid(context, {
      name: "matrix",
      signed: false,
      axes: (state) => ({
        rows: model.axis(state, "query").units,
        cols: model.axis(state, "key").units,
        rowsTitle: "queries",
        colsTitle: "keys",
      }),
      load: (state, [r0, r1, c0, c1], [rowBins, colBins], show, signal) =>
        model.progressive(state, { rows: [r0, r1], cols: [c0, c1], rowBins, colBins, signal }, show),
      scale: sequential,
      legend: (state) => (state.renormalise ? "weight (renormalized)" : "weight"),
      selected: (state) => [context.unit("query", state.query), context.unit("key", state.key)],
      choose(row, col) {
        const state = store.get();
        const token = (side, unit) => (unit === null ? state[side] : model.axis(state, side).units[unit].tokens[0]);
        context.select({ query: token("query", row), key: token("key", col) });
      },
      caption: (state) => context.headName(state),
      empty: () => "Every token is hidden. Show special tokens again to see this head.",
    });
  },
};
