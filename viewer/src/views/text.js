/** Text: the text itself, shaded by what the chosen token looks at, by what looks at it, or by any score per token. */
import { isolated, readable } from "../draw/marks.js";
import { diverging, sequential } from "../draw/palettes.js";
import { visible } from "../model/axis.js";
import { element } from "../ui/dom.js";

/** @param {any} context */
function create(context) {
  const { model, store } = context;
  const choices = element("div", { className: "choices", role: "group", "aria-label": "Shading of the text" });
  const caption = element("p", { className: "caption" });
  const body = element("div", { className: "texts" });
  const node = element("div", { className: "reading" }, [choices, caption, body]);
  /** @type {{side: string, table: number, spans: HTMLElement[]}[]} */
  let blocks = [];
  let built = "";
  let revealed = "";
  let abort = new AbortController();

  const shadeName = (state) => {
    const site = model.site(state);
    if (state.shade === "from") return "attention from the chosen query";
    if (state.shade === "to") return "attention to the chosen key";
    if (state.shade === "received") return "weight received, mean over all queries";
    const track = trackOf(state);
    return track ? [track.name, track.note].filter(Boolean).join(": ") : site.name;
  };

  const trackOf = (state) => model.record(state).tracks.find(({ name }) => state.shade === `track:${name}`);

  /** One block per side; one only where queries and keys are the same text. */
  function build(state) {
    const site = model.site(state);
    const { tokens } = model.record(state);
    const sides = site.queries === site.keys ? [["both", site.queries]] : [["key", site.keys], ["query", site.queries]];
    const key = JSON.stringify([state.record, sides]);
    if (key === built) return;
    built = key;
    body.replaceChildren();
    blocks = sides.map(([side, table]) => {
      const { pieces, surfaces, gaps, special } = tokens[table];
      const specials = new Set(special);
      const title = { both: "", query: "target: queries", key: "source: keys" }[side];
      const paragraph = element("p", { className: "text", dir: "auto", role: "listbox", "aria-label": title || "Text" });
      const spans = surfaces.map((surface, index) => {
        const isSpecial = specials.has(index);
        // Later bytes of a character that a byte-level tokenizer has cut: the text shows it once.
        const isRest = surface === "" && pieces[index] !== "" && !isSpecial;
        const isBlank = !isRest && surface.trim() === "";
        const span = element("span", {
          className: ["token", isSpecial && "special", isRest && "rest", isBlank && "blank"].filter(Boolean).join(" "),
          role: "option",
          tabIndex: index === 0 ? 0 : -1,
          "data-token": String(index),
        });
        if (!isRest) span.textContent = isBlank ? visible(surface || pieces[index]) : surface;
        span.dataset.name = isRest ? `${pieces[index]} (continued)` : span.textContent;
        // A gap may hold line breaks; the paragraph keeps them. Without any text between, pieces stay one word.
        paragraph.append(gaps[index], span);
        // A place to break between tokens that no space divides, or a wall of text would never wrap.
        if (gaps[index] === "" && index && !surfaces[index - 1].trim()) paragraph.insertBefore(element("wbr"), span);
        return span;
      });
      if (title) body.append(element("h3", {}, [title]));
      body.append(paragraph);
      return { side, table, spans };
    });
  }

  function buildChoices(state) {
    const options = [
      ["from", "looks at"],
      ["to", "attended to by"],
      ["received", "received"],
      ...model.record(state).tracks.map(({ name }) => [`track:${name}`, name]),
    ];
    choices.replaceChildren(
      ...options.map(([value, label]) =>
        element("button", {
          type: "button",
          "aria-pressed": String(state.shade === value),
          onclick: () => store.set({ shade: value }),
        }, [label]),
      ),
    );
  }

  /** Numbers per token of one side, or null where a token has to be chosen first. */
  async function shades(state, signal, show) {
    const queries = model.axis(state, "query");
    const keys = model.axis(state, "key");
    const spread = (values, axis) => Array.from(axis.unitOf, (unit) => (unit < 0 ? null : values[unit]));
    const track = trackOf(state);
    if (track) {
      show({ table: track.tokens, side: null, values: track.values });
      return;
    }
    if (!queries.units.length || !keys.units.length) {
      show(null);
      return;
    }
    if (state.shade === "from") {
      const unit = context.unit("query", state.query);
      if (unit === null) return show(null);
      const { values } = await model.weights(state, { rows: [unit, unit + 1], signal, priority: 3 });
      show({ side: "key", values: spread(values, keys) });
    } else if (state.shade === "to") {
      const unit = context.unit("key", state.key);
      if (unit === null) return show(null);
      await model.progressive(state, { cols: [unit, unit + 1], signal }, ({ values, rows }, coarse) => {
        if (!coarse && rows === queries.units.length) show({ side: "query", values: spread(values, queries) });
      });
    } else {
      await model.progressive(state, { rowBins: 1, signal }, ({ values }) => show({ side: "key", values: spread(values, keys) }));
    }
  }

  function paint(state, shade) {
    const theme = context.theme();
    const site = model.site(state);
    const chosen = { query: state.query, key: state.key };
    const numbers = (shade?.values ?? []).filter((value) => value !== null);
    const peak = numbers.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    const signed = numbers.some((value) => value < 0);
    const scale = (signed ? diverging : sequential)(state, theme.dark, peak || 1);
    for (const { side, table, spans } of blocks) {
      const takes = shade && (shade.table === undefined ? side === "both" || side === shade.side : shade.table === table);
      spans.forEach((span, index) => {
        const value = takes ? shade.values[index] : null;
        const show = value !== null && value !== undefined && Math.abs(value) > 0;
        span.style.backgroundColor = show ? scale.css(value) : "";
        span.style.color = show ? scale.ink(value) : "";
        const isChosen =
          (side !== "key" && index === chosen.query) || (side !== "query" && index === chosen.key && state.shade === "to");
        span.classList.toggle("chosen", isChosen);
        span.setAttribute("aria-selected", String(isChosen));
        const number = value === null || value === undefined ? "" : `, ${readable(value)}`;
        span.setAttribute("aria-label", `${span.dataset.name}${number}`);
        span.dataset.value = value === null || value === undefined ? "" : readable(value);
      });
    }
    reveal(chosen);
    const note = shade === null ? ` — choose a ${state.shade === "to" ? "key" : "query"} in the text` : "";
    const kind = site.queries === site.keys ? "" : ", source above, target below";
    caption.textContent = `${context.headName(state)}: ${shadeName(state)}${note}${kind}`;
    if (shade) {
      caption.append(element("span", { className: "peak" }, [` · strongest ${readable(peak)}`]));
      context.drawn("whole");
    }
  }

  /** Bring a newly chosen token into sight, without moving the page around us. */
  function reveal({ query, key }) {
    const state = store.get();
    const isKey = state.shade === "to" ? key !== null : query === null;
    const index = isKey ? key : query;
    const wanted = JSON.stringify([built, isKey, index]);
    if (wanted === revealed) return;
    revealed = wanted;
    const block = blocks.find(({ side }) => side === "both" || side === (isKey ? "key" : "query"));
    const box = index === null ? null : block?.spans[index]?.getBoundingClientRect();
    const frame = node.getBoundingClientRect();
    if (!box || (box.top >= frame.top && box.bottom <= frame.bottom)) return;
    node.scrollTop += box.top - frame.top - node.clientHeight / 2;
  }

  function choose(index, side) {
    const state = store.get();
    if (side === "both") context.select(state.shade === "to" ? { key: index } : { query: index });
    else context.select({ [side]: index });
    if (!["from", "to"].includes(state.shade)) return;
    if (side === "query" && state.shade === "to") store.set({ shade: "from" });
    if (side === "key" && state.shade === "from") store.set({ shade: "to" });
  }

  const tokenAt = (target) => {
    const span = target instanceof Element ? target.closest(".token") : null;
    const block = span && blocks.find(({ spans }) => spans.includes(span));
    return block ? { block, index: Number(span.dataset.token), span } : null;
  };

  body.addEventListener("click", (event) => {
    const found = tokenAt(event.target);
    if (found) choose(found.index, found.block.side);
  });
  body.addEventListener("pointerover", (event) => {
    const found = tokenAt(event.target);
    context.tip(found ? [isolated(found.span.dataset.name), found.span.dataset.value || "no value", `token ${found.index}`] : null, event);
  });
  body.addEventListener("pointerleave", () => context.tip(null));
  body.addEventListener("keydown", (event) => {
    const found = tokenAt(event.target);
    if (!found) return;
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (event.key === "Enter" || event.key === " ") choose(found.index, found.block.side);
    else if (step) found.block.spans[found.index + step]?.focus();
    else return;
    event.preventDefault();
    event.stopPropagation();
  });

  function update() {
    const state = store.get();
    buildChoices(state);
    build(state);
    abort.abort();
    abort = new AbortController();
    const { signal } = abort;
    shades(state, signal, (shade) => {
      if (!signal.aborted) paint(state, shade);
    }).catch((error) => {
      if (!signal.aborted) caption.textContent = error.message;
    });
  }

  /** What is on the screen, piece by piece where the browser put it. */
  function draw(surface, width, height) {
    const frame = node.getBoundingClientRect();
    const theme = context.theme();
    const put = (part, strong) => {
      const style = getComputedStyle(part);
      const size = parseFloat(style.fontSize);
      for (const box of part.getClientRects()) {
        const [x, y] = [box.left - frame.left, box.top - frame.top];
        if (y > height || y + box.height < 0) continue;
        if (strong) {
          const fill = style.backgroundColor === "rgba(0, 0, 0, 0)" ? undefined : style.backgroundColor;
          const stroke = part.classList.contains("chosen") ? theme.accent : undefined;
          if (fill || stroke) surface.rect(x, y, box.width, box.height, { fill, stroke, radius: 3 });
        }
      }
      const [box] = part.getClientRects();
      if (!box || box.top - frame.top > height || box.bottom < frame.top) return;
      surface.text(part.textContent, box.left - frame.left + parseFloat(style.paddingLeft), box.top - frame.top + box.height / 2, {
        fill: style.color, size,
      });
    };
    put(caption, false);
    for (const heading of body.querySelectorAll("h3")) put(heading, false);
    for (const { spans } of blocks) for (const span of spans) put(span, true);
  }

  return {
    element: node,
    focus: () => body.querySelector(".token")?.focus(),
    draw,
    size: () => [node.clientWidth, node.clientHeight],
    update,
    destroy: () => abort.abort(),
  };
}

export const text = { name: "text", title: "Text", create };
