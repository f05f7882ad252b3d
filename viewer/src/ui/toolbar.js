/** The controls above a view: each knows when it applies, and follows the state. */
import { groupChoices, readableName, sortColumns } from "../views/head-order.js";
import { imagesOf, isFilm } from "../views/picture.js";
import { levelOf, levelsOf } from "../model/parts.js";
import { element } from "./dom.js";

/** @typedef {{node: HTMLElement, follow: (state: any) => void}} Control  follow shows, hides and sets it */

function choice(label, options, read, write) {
  const select = element("select", { "aria-label": label, title: label, onchange: () => write(select.value) });
  let built = "";
  return {
    node: element("label", {}, [label, select]),
    follow(state) {
      const found = options(state);
      const key = JSON.stringify(found);
      if (key !== built) {
        select.replaceChildren(...found.map(([value, text]) => element("option", { value: String(value) }, [text])));
        built = key;
      }
      select.value = String(read(state));
      this.node.hidden = found.length < 2;
    },
  };
}

function switchOf(label, title, name, store, applies) {
  const box = element("input", { type: "checkbox", onchange: () => store.set({ [name]: box.checked }) });
  return {
    node: element("label", { title }, [box, label]),
    follow(state) {
      box.checked = state[name];
      const found = applies(state);
      this.node.hidden = found === null;
      box.disabled = found === false;
    },
  };
}

function segmented(label, name, options, store, applies) {
  const buttons = options.map(([value, text]) =>
    element("button", { type: "button", onclick: () => store.set({ [name]: value }) }, [text]),
  );
  return {
    node: element("span", { className: "segmented", role: "group", "aria-label": label }, buttons),
    follow(state) {
      this.node.hidden = !applies(state);
      buttons.forEach((button, index) => button.setAttribute("aria-pressed", String(state[name] === options[index][0])));
    },
  };
}

/** @param {any} context @param {(factor: number | null) => void} zoom */
export function createToolbar(context, zoom) {
  const { model, store } = context;
  const on = (...views) => (state) => views.includes(state.view);
  const sites = (state) => model.record(state).sites;
  const place = ({ stack, kind }) => `${stack} ${kind}`;
  const ofPlace = (state) => sites(state).filter((site) => place(site) === place(model.site(state)));

  const canHide = (state) => {
    const { tokens, sinks } = model.record(state);
    return tokens.some(({ special }) => special.length) || sinks.some((found) => found.length);
  };

  const threshold = element("input", {
    type: "range", min: "0", max: "100", step: "1", "aria-label": "Smallest weight shown",
    oninput: () => store.set({ threshold: Math.round((threshold.value / 100) ** 2 * 1000) / 1000 }),
  });
  const thresholdText = element("span", {});
  const image = element("input", {
    type: "range", min: "0", step: "1", "aria-label": "Image or frame shown",
    oninput: () => store.set({ image: Number(image.value) }),
  });
  const [imageName, imageText] = [element("span", {}), element("span", {})];
  const zooms = element("span", { className: "pair" }, [
    ["−", "Zoom out", 2], ["+", "Zoom in", 0.5], ["all", "Show everything", null],
  ].map(([text, label, factor]) => element("button", { type: "button", "aria-label": label, title: label, onclick: () => zoom(factor) }, [text])));

  /** @type {Control[]} */
  const controls = [
    choice("record", (state) => (state.view === "difference" ? [] : model.header.records.map((record, index) =>
      [index, `${index + 1}: ${record.model || "record"}`])), (state) => state.record, (value) => store.set({ record: Number(value) })),
    choice("attention", (state) => [...new Set(sites(state).map(place))].map((name) => [name, name]),
      (state) => place(model.site(state)),
      (value) => store.set({ site: sites(store.get()).find((site) => place(site) === value).name })),
    choice("layer", (state) => ofPlace(state).map((site) => [site.name, String(site.layer)]), (state) => state.site,
      (value) => store.set({ site: value })),
    choice("head", (state) => Array.from({ length: model.site(state).shape[0] }, (_, head) => [head, String(head)]),
      (state) => state.head, (value) => store.set({ head: Number(value) })),
    choice("sort by", (state) => (state.view === "heads" ? [["layer", "layer and head"],
      ...[...sortColumns(model.record(state)).keys()].map((name) => [name, readableName(name)])] : []),
      (state) => state.sort, (value) => store.set({ sort: value })),
    choice("group by", (state) => (state.view === "heads" ? groupChoices(model.record(state), state) : []),
      (state) => state.group, (value) => store.set({ group: value })),
    choice("sentences", (state) => {
      const site = model.site(state);
      const two = state.view === "arcs" && site.queries === site.keys && model.record(state).tokens[site.queries].segments;
      return two ? [["all", "all"], ["0>0", "1 → 1"], ["0>1", "1 → 2"], ["1>0", "2 → 1"], ["1>1", "2 → 2"]] : [];
    }, (state) => state.segments, (value) => store.set({ segments: value })),
    choice("direction", (state) => {
      const site = model.site(state);
      return state.view === "arcs" && site.queries === site.keys && site.diagonal !== null
        ? [["all", "all"], ["earlier", "to earlier"], ["itself", "to itself"], ["later", "to later"]] : [];
    }, (state) => state.direction, (value) => store.set({ direction: value })),
    choice("parts", (state) => (state.view === "parts" ? levelsOf(model, state).map(({ name }) => [name, name]) : []),
      (state) => levelOf(model, state, "query")?.name, (value) => store.set({ level: value, open: null })),
    segmented("Values", "values", [["weight", "weight"], ["above_chance", "above chance"]], store, (state) =>
      state.view === "parts" && Boolean(model.site(state).band)),
    choice("keys by", (state) => (state.view === "products" ? [["weight", "weight"], ["position", "position"]] : []),
      (state) => state.order, (value) => store.set({ order: value })),
    segmented("Tokens", "units", [["pieces", "pieces"], ["words", "words"]], store, (state) =>
      ["matrix", "arcs", "text", "space"].includes(state.view) && model.record(state).tokens.some(({ words }) => words)),
    segmented("Color scale", "scale", [["linear", "linear"], ["log", "log"]], store,
      on("matrix", "arcs", "text", "parts", "products", "difference", "picture")),
    switchOf("hide special", "Hide special tokens such as [CLS] (s)", "hideSpecial", store, (state) =>
      (["heads", "products", "picture", "sound"].includes(state.view) || !model.record(state).tokens.some(({ special }) => special.length) ? null : true)),
    switchOf("hide sinks", "Hide attention sinks: keys that most heads of a layer attend to (k)", "hideSinks", store, (state) =>
      (["heads", "products", "difference", "picture", "sound"].includes(state.view) || !model.record(state).sinks.some((sink) => sink.length) ? null : true)),
    switchOf("renormalize", "Rescale the visible weights to sum to 1 (r)", "renormalise", store, (state) =>
      (["heads", "products", "difference", "picture", "sound"].includes(state.view) || !canHide(state) ? null : state.hideSpecial || state.hideSinks)),
    {
      node: element("label", {}, ["min. weight", threshold, thresholdText]),
      follow(state) {
        this.node.hidden = !["arcs", "space"].includes(state.view);
        threshold.value = String(Math.round(Math.sqrt(state.threshold) * 100));
        thresholdText.textContent = state.threshold.toFixed(3);
      },
    },
    {
      node: element("label", { title: "Image, or frame of the film (, and .)" }, [imageName, image, imageText]),
      follow(state) {
        const record = model.record(state);
        const count = imagesOf(record);
        this.node.hidden = state.view !== "picture" || count < 2;
        image.max = String(Math.max(0, count - 1));
        image.value = String(state.image);
        imageName.textContent = isFilm(record) ? "frame" : "image";
        imageText.textContent = `${state.image + 1} of ${count}`;
      },
    },
    { node: zooms, follow: (state) => (zooms.hidden = !["matrix", "difference", "parts"].includes(state.view)) },
  ];
  const node = element("div", { className: "bar tools", role: "toolbar", "aria-label": "Options" }, controls.map((control) => control.node));
  return {
    element: node,
    update(state) {
      for (const control of controls) control.follow(state);
    },
  };
}
