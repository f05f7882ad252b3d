/** Opens a payload inside an element: the one entry that every host uses. */
import { createApp } from "./app.js";
import { createEngine } from "./engine/client.js";
import { createModel } from "./model/model.js";
import { validState } from "./model/state.js";
import { bytesSource, openPayload } from "./payload/open.js";
import { STYLE } from "./ui/style.js";
import { element } from "./ui/dom.js";

/** What tells two payloads apart without comparing them: the header's checksum covers those of all blocks. */
const identity = (source) => Array.from(source.head.subarray(0, 32)).join(",");

/** Everything but the state: two payloads that only differ in what to show first are told by it. @param {any} header */
const contentOf = (header) => JSON.stringify({ ...header, state: null });

/** @param {any} given bytes in any form, or a source of blocks */
function sourceOf(given) {
  if (given && typeof given.block === "function") return given;
  if (given instanceof ArrayBuffer) return bytesSource(new Uint8Array(given));
  if (ArrayBuffer.isView(given)) return bytesSource(new Uint8Array(given.buffer, given.byteOffset, given.byteLength));
  return bytesSource(new Uint8Array(0));
}

/**
 * @param {HTMLElement} root an element with a height
 * @param {any} given the payload
 * @param {(name: "state" | "selection" | "drawn", value: any) => void} emit
 * @param {{state?: any, fromHeader?: boolean}} [options] state: instead of the payload's own; fromHeader: a new
 *   payload's state wins over what the reader chose
 */
export function mount(root, given, emit = () => {}, { state = null, fromHeader = false } = {}) {
  const host = element("div", { className: "attention-viewer" });
  host.style.height = "100%";
  host.style.minHeight = "360px";
  root.append(host);
  const shadow = host.attachShadow({ mode: "open" });
  // A constructed sheet needs no permission from a strict content-security policy, unlike a style element.
  const sheet = new CSSStyleSheet();
  sheet.replaceSync(STYLE);
  shadow.adoptedStyleSheets = [sheet];
  let app = null;
  let engine = null;
  let model = null;
  let current = "";
  let content = "";
  let headerState = "";

  function close() {
    app?.destroy();
    engine?.destroy();
    app = engine = null;
    shadow.replaceChildren();
  }

  function open(source, wanted) {
    close();
    current = identity(source);
    try {
      const payload = openPayload(source);
      if (!payload.header.records?.length) throw new Error("This data holds no record.");
      headerState = JSON.stringify(payload.header.state ?? {});
      content = contentOf(payload.header);
      engine = createEngine(payload);
      model = createModel(payload, engine);
      const first = validState(wanted ?? payload.header.state, payload.header);
      app = createApp({ host, shadow, model, emit, first });
    } catch (error) {
      close();
      shadow.replaceChildren(element("p", { className: "failure", role: "alert" }, [error.message]));
    }
  }

  /** Whether a payload has the content that is open already; then nothing is opened again. */
  function onlyStateDiffers(source) {
    if (!app) return false;
    try {
      const { header } = openPayload(source);
      if (contentOf(header) !== content) return false;
      headerState = JSON.stringify(header.state ?? {});
      current = identity(source);
      return true;
    } catch {
      return false;
    }
  }

  open(sourceOf(given), state && Object.keys(state).length ? state : null);
  return {
    update(next) {
      const source = sourceOf(next);
      if (identity(source) === current) return;
      const before = headerState;
      const kept = app?.state() ?? null;
      if (!onlyStateDiffers(source)) open(source, kept);
      if (fromHeader && headerState !== before) app?.restore({ ...kept, ...JSON.parse(headerState) });
    },
    restore: (wanted) => app?.restore(wanted),
    state: () => app?.state() ?? null,
    /** Weights `[rows, cols]` of a run of units, as the views get them, for scripts. @param {any} part */
    weights: (part = {}) => model.weights(validState({ ...app.state(), ...part.state }, model.header), part),
    /** The products behind one query's weights; for scripts. */
    products: (site, head, query, keys) =>
      model.engine.products(0, model.siteIndex({ record: 0 }, 0, site), head, query, keys),
    destroy() {
      close();
      host.remove();
    },
  };
}
