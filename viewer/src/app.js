/**
 * The viewer around its views: tabs, options, the strip of heads, the line at the foot. One store holds what is chosen;
 * every part reads it and writes it, so all of them are linked.
 */
import { categorical } from "./draw/palettes.js";
import { themeOf } from "./draw/theme.js";
import { download, pictureOf } from "./export.js";
import { DEFAULTS, compactState, createStore, validState } from "./model/state.js";
import { headName, hiddenText, selectionText, tokenText } from "./model/statements.js";
import { element } from "./ui/dom.js";
import { createPanel } from "./ui/panel.js";
import { createToolbar } from "./ui/toolbar.js";
import { arcs } from "./views/arcs.js";
import { difference } from "./views/difference.js";
import { createHeads, heads } from "./views/heads.js";
import { matrix } from "./views/matrix.js";
import { hasParts, parts } from "./views/parts.js";
import { hasImage, picture } from "./views/picture.js";
import { products } from "./views/products.js";
import { hasSound, sound } from "./views/sound.js";
import { space } from "./views/space.js";
import { text } from "./views/text.js";

const VIEWS = [heads, matrix, arcs, text, parts, products, space, difference, picture, sound];
/** Changes after which a zoomed tile would mean other tokens. */
const NEW_AXES = ["record", "units", "hideSpecial", "hideSinks", "level"];
/** Selections are told to the host once the reader pauses. */
const TELL_MS = 80;

/** @param {{host: HTMLElement, shadow: ShadowRoot, model: any, emit: (name: any, value: any) => void, first: any}} given */
export function createApp({ host, shadow, model, emit, first }) {
  const { header } = model;
  const applies = new Map([
    [difference, () => header.records.length > 1],
    [parts, () => header.records.some(hasParts)],
    [picture, () => header.records.some(hasImage)],
    [sound, () => header.records.some(hasSound)],
  ]);
  const views = VIEWS.filter((view) => applies.get(view)?.() ?? true);
  const plain = createStore(first);
  const store = {
    ...plain,
    set(changes) {
      const before = plain.get();
      let next = { ...before, ...changes };
      if (NEW_AXES.some((name) => name in changes && changes[name] !== before[name])) next.zoom = changes.zoom ?? null;
      // The axes of Parts are parts, so a tile that is zoomed to means other tokens there.
      if ("view" in changes && (changes.view === "parts") !== (before.view === "parts")) next.zoom = changes.zoom ?? null;
      if ("site" in changes || "record" in changes || "head" in changes) next = validState(next, header);
      plain.set(next);
    },
  };
  let theme = themeOf(first.theme, host);
  let current = null;
  let told = "";
  let telling = 0;
  let question = 0;

  const tip = element("div", { className: "tip", hidden: true });
  const live = element("div", { className: "live", role: "status", "aria-live": "polite" });
  const context = {
    model,
    store,
    theme: () => theme,
    headColor: (index) => categorical(theme.dark)[index % categorical(theme.dark).length],
    headName: (state) => headName(model, state),
    selectionText: () => selectionText(model, store.get()),
    select: (changes) => store.set(changes),
    toggleHead(site, head) {
      const { heads: shown } = store.get();
      const others = shown.filter(([name, number]) => name !== site || number !== head);
      store.set({ heads: others.length < shown.length ? others : [...shown, [site, head]].slice(-8) });
    },
    unit(side, token) {
      if (token === null) return null;
      const unit = model.axis(store.get(), side).unitOf[token];
      return unit === undefined || unit < 0 ? null : unit;
    },
    announce: (words) => (live.textContent = words),
    fail(message) {
      failed.textContent = message;
      failed.hidden = false;
    },
    drawn: (what) => emit("drawn", { view: store.get().view, what, at: performance.now() }),
    tip(lines, event) {
      tip.hidden = !lines;
      if (!lines) return;
      tip.replaceChildren(...lines.filter(Boolean).map((line) => element("div", {}, [line])));
      if (event) placeTip(event);
    },
  };

  function placeTip(event) {
    const box = app.getBoundingClientRect();
    const [x, y] = [event.clientX - box.left, event.clientY - box.top];
    const { offsetWidth: width, offsetHeight: height } = tip;
    const left = x + 16 + width > box.width ? Math.max(4, x - width - 12) : x + 16;
    const top = y + 18 + height > box.height ? Math.max(4, y - height - 12) : y + 18;
    tip.style.transform = `translate(${Math.round(left)}px, ${Math.round(top)}px)`;
  }

  const tabs = views.map((view, index) =>
    element("button", {
      type: "button", role: "tab", title: `${view.title} (${index + 1})`, onclick: () => store.set({ view: view.name }),
    }, [view.title]),
  );
  const toolbar = createToolbar(context, (factor) => {
    if (factor === null) store.set({ zoom: null });
    else current?.zoomBy?.(factor, null);
  });
  const panel = createPanel(context, { exportAs, restore });
  const strip = createHeads(context, { compact: true });
  strip.element.classList.add("strip");
  const place = element("div", { className: "view", role: "tabpanel" });
  const now = element("span", { className: "now" });
  const hiddenNote = element("span", { className: "hidden-note", role: "status" });
  const failed = element("span", { className: "hidden-note", role: "alert", hidden: true });
  const tabList = element("div", { className: "tabs", role: "tablist", "aria-label": "Views" }, tabs);
  const app = element("div", { className: "app", role: "region", "aria-label": header.title || "Attention" }, [
    element("div", { className: "bar top" }, [tabList, element("div", { className: "actions" }, panel.buttons)]),
    toolbar.element,
    element("div", { className: "body" }, [strip.element, place]),
    element("div", { className: "foot" }, [now, hiddenNote, failed]),
    panel.element,
    tip,
    live,
  ]);

  async function exportAs(type) {
    const state = store.get();
    const note = [selectionText(model, state), hiddenText(model, state)].filter(Boolean).join(" — ");
    const blob = await pictureOf(current, { type, theme, note, title: `${header.title} · ${headName(model, state)}` });
    download(blob, `attention-${state.view}-${headName(model, state).split(" ")[0]}.${type}`);
  }

  function restore(wanted) {
    store.set({ ...DEFAULTS, ...validState(wanted, header) });
  }

  function paintTheme() {
    theme = themeOf(store.get().theme, host);
    for (const [name, color] of Object.entries(theme)) {
      if (typeof color === "string") app.style.setProperty(`--${name}`, color);
    }
    app.style.colorScheme = theme.dark ? "dark" : "light";
  }

  function openView(name) {
    current?.destroy();
    context.tip(null);
    const view = views.find((candidate) => candidate.name === name) ?? views[0];
    current = view.create(context);
    place.replaceChildren(current.element);
    strip.element.hidden = [heads, picture, sound].includes(view) || model.heads(store.get().record).length < 2;
    tabs.forEach((tab, index) => {
      tab.setAttribute("aria-selected", String(views[index] === view));
      tab.tabIndex = views[index] === view ? 0 : -1;
    });
    place.setAttribute("aria-label", view.title);
  }

  /** The line at the foot, with the exact weight where a query and a key are chosen. */
  async function describe(state) {
    const mine = ++question;
    now.textContent = selectionText(model, state);
    hiddenNote.textContent = hiddenText(model, state);
    const [query, key] = [context.unit("query", state.query), context.unit("key", state.key)];
    if (query === null || key === null) return;
    const value = current.value
      ? await current.value(state)
      : (await model.weights(state, { rows: [query, query + 1], cols: [key, key + 1], priority: 3 })).values[0];
    if (mine === question) now.textContent = selectionText(model, state, value);
  }

  function tell() {
    const state = store.get();
    const { stack, kind, layer } = model.site(state);
    const selection = {
      view: state.view, record: state.record, stack, kind, layer, head: state.head,
      query: state.query, query_text: tokenText(model, state, "query"),
      key: state.key, key_text: tokenText(model, state, "key"), pins: state.pins, key_pins: state.keyPins,
    };
    emit("state", compactState(state));
    if (JSON.stringify(selection) === told) return;
    told = JSON.stringify(selection);
    emit("selection", selection);
  }

  function update(state, changed) {
    if (changed.has("theme")) paintTheme();
    if (changed.has("view")) openView(state.view);
    failed.hidden = true;
    toolbar.update(state);
    if (!strip.element.hidden) strip.update();
    current.update();
    describe(state).catch((error) => context.fail(error.message));
    clearTimeout(telling);
    telling = setTimeout(tell, TELL_MS);
  }

  function step(list, at, by) {
    return list[Math.min(Math.max(at + by, 0), list.length - 1)];
  }

  function keys(event) {
    if (event.target.closest?.("input, select, textarea") || event.ctrlKey || event.metaKey || event.altKey) {
      if (event.key === "Escape") panel.close();
      return;
    }
    const state = store.get();
    const { sites } = model.record(state);
    const toggle = (name) => store.set({ [name]: !state[name] });
    const view = views[Number(event.key) - 1];
    if (view) store.set({ view: view.name });
    else if (tabs.includes(event.target) && ["ArrowLeft", "ArrowRight"].includes(event.key)) {
      const next = step(views, views.findIndex(({ name }) => name === state.view), event.key === "ArrowRight" ? 1 : -1);
      store.set({ view: next.name });
      tabs[views.indexOf(next)].focus();
    } else if (event.key === "[") store.set({ head: Math.max(0, state.head - 1) });
    else if (event.key === "]") store.set({ head: Math.min(model.site(state).shape[0] - 1, state.head + 1) });
    else if (event.key === "{") store.set({ site: step(sites, model.siteIndex(state), -1).name });
    else if (event.key === "}") store.set({ site: step(sites, model.siteIndex(state), 1).name });
    else if (event.key === "w") store.set({ units: state.units === "words" ? "pieces" : "words" });
    else if (event.key === "l") store.set({ scale: state.scale === "log" ? "linear" : "log" });
    else if (event.key === "s") toggle("hideSpecial");
    else if (event.key === "k") toggle("hideSinks");
    else if (event.key === "r") toggle("renormalise");
    else if (event.key === "t") store.set({ theme: theme.dark ? "light" : "dark" });
    else if (event.key === "Escape") {
      if (!panel.close()) store.set({ query: null, key: null, pins: [], keyPins: [] });
    } else return;
    event.preventDefault();
  }

  const scheme = matchMedia("(prefers-color-scheme: dark)");
  const follow = () => {
    paintTheme();
    strip.update();
    current.update();
  };
  app.addEventListener("keydown", keys);
  app.addEventListener("pointermove", (event) => tip.hidden || placeTip(event));
  scheme.addEventListener("change", follow);
  shadow.append(app);
  const unlisten = store.listen(update);
  paintTheme();
  openView(first.view);
  update(first, new Set());

  return {
    state: () => compactState(store.get()),
    restore,
    destroy() {
      unlisten();
      clearTimeout(telling);
      scheme.removeEventListener("change", follow);
      current.destroy();
      strip.destroy();
    },
  };
}
