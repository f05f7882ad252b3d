/** The small panel behind the buttons at the right: colors, export, state, help. */
import { DIVERGING, SEQUENTIAL } from "../draw/palettes.js";
import { compactState } from "../model/state.js";
import { element } from "./dom.js";

export const KEYS = [
  ["1 … 9", "open a view"], ["[ ]", "previous, next head"], ["{ }", "previous, next layer"],
  ["arrows", "move inside a view"], ["p", "pin what is chosen (Arcs; ← → change sides)"], ["+ − 0", "zoom (Matrix); Ctrl + wheel too"],
  ["w", "pieces or words"], ["l", "linear or log"], ["s k r", "hide special tokens, hide sinks, renormalize"],
  ["t", "light or dark"], ["Esc", "clear selection"], ["Shift + click", "compare heads; pin a token in Arcs"],
];

/** @param {any} context @param {{exportAs: (type: "svg" | "png") => Promise<void>, restore: (state: any) => void}} actions */
export function createPanel(context, { exportAs, restore }) {
  const { store } = context;
  const node = element("div", { className: "panel", role: "dialog", hidden: true });
  let open = "";
  let opener = null;

  const select = (label, name, options) => {
    const box = element("select", { onchange: () => store.set({ [name]: box.value }) },
      options.map((value) => element("option", { value }, [value])));
    box.value = store.get()[name];
    return element("label", { className: "row" }, [label, box]);
  };

  const contents = {
    Colors: () => [
      select("weights", "palette", Object.keys(SEQUENTIAL)),
      select("differences", "diverging", Object.keys(DIVERGING)),
      select("page", "theme", ["auto", "light", "dark"]),
    ],
    Export: () => [
      element("p", {}, ["Exports the current view; a caption lists hidden tokens."]),
      element("div", { className: "row" }, [["svg", "SVG, sharp at any size"], ["png", "PNG, twice the resolution"]].map(([type, label]) =>
        element("button", { type: "button", onclick: () => exportAs(type) }, [label]))),
    ],
    State: () => {
      const box = element("textarea", { value: JSON.stringify(compactState(store.get())), spellcheck: false, "aria-label": "State as JSON" });
      const note = element("span", { role: "status" });
      return [
        element("p", {}, ["View settings as JSON. Copy to share; paste and apply to restore."]),
        box,
        element("div", { className: "row" }, [
          element("button", { type: "button", onclick: () => {
            try {
              restore(JSON.parse(box.value));
              note.textContent = "applied";
            } catch {
              note.textContent = "This is not JSON.";
            }
          } }, ["Apply"]),
          element("button", { type: "button", onclick: () => {
            box.select();
            navigator.clipboard?.writeText(box.value).then(() => (note.textContent = "copied"), () => {});
          } }, ["Copy"]),
          note,
        ]),
      ];
    },
    Help: () => [
      element("dl", {}, KEYS.flatMap(([keys, what]) => [element("dt", {}, [keys]), element("dd", {}, [what])])),
      element("p", {}, ["Attention weights show where a head attends, not what caused the output."]),
    ],
  };

  function show(name) {
    if (open === name) return close();
    open = name;
    node.setAttribute("aria-label", name);
    node.replaceChildren(element("h2", {}, [name]), ...contents[name]());
    node.hidden = false;
    node.querySelector("select, button, textarea")?.focus();
  }

  function close() {
    if (!open) return false;
    open = "";
    node.hidden = true;
    opener?.focus();
    return true;
  }

  const buttons = [["Colors", "◐"], ["Export", "⤓"], ["State", "{}"], ["Help", "?"]].map(([name, sign]) =>
    element("button", {
      type: "button", className: "icon", title: name, "aria-label": name,
      onclick: (event) => {
        opener = event.currentTarget;
        show(name);
      },
    }, [sign]),
  );
  return { element: node, buttons, close };
}
