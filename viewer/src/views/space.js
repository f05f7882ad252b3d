/** 3D: layers stacked from below, each layer's strongest links rising from the keys to the queries that look at them. */
import { fit, readable } from "../draw/marks.js";
import { CanvasSurface } from "../draw/canvas.js";
import { sequential } from "../draw/palettes.js";
import { PRIORITY } from "../engine/client.js";
import { element } from "../ui/dom.js";

/** Tokens a ring shows one by one; a longer text is cut into as many equal runs as its small pictures have. */
const MOST_TOKENS = 128;
const RUNS = 40;
/** Links drawn for each layer. */
const LINKS_PER_LAYER = 90;

/** @param {any} context */
function create(context) {
  const { model, store } = context;
  const canvas = element("canvas", { className: "scene", role: "application", tabIndex: 0, "aria-label": "Layers in space" });
  const labels = element("canvas", { className: "scene-labels" });
  const message = element("p", { className: "message" }, ["Loading the 3D view …"]);
  const node = element("div", { className: "space" }, [canvas, labels, message]);
  let space = null;
  let picture = null;
  let wanted = "";
  let size = [0, 0];
  let frame = 0;
  let hover = null;
  let gone = false;

  async function start() {
    const source = await model.asset("space");
    const url = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
    try {
      const { createSpace } = await import(/* @vite-ignore */ url);
      if (gone) return;
      space = createSpace(canvas, () => (frame ||= requestAnimationFrame(drawLabels)));
      message.hidden = true;
      resize();
      update();
    } catch (error) {
      message.hidden = false;
      message.textContent = `The 3D view cannot open here: ${/webgl/i.test(error.message) ? "WebGL is not available in this browser." : error.message}`;
    } finally {
      URL.revokeObjectURL(url);
    }
  }

  const observer = new ResizeObserver(resize);
  observer.observe(node);

  function resize() {
    const [width, height] = [node.clientWidth, node.clientHeight];
    if (!width || !height) return;
    size = [width, height];
    const ratio = Math.min(window.devicePixelRatio || 1, 2);
    for (const [part, scale] of [[labels, ratio]]) {
      part.width = width * scale;
      part.height = height * scale;
    }
    space?.resize(width, height);
  }

  /** Layers of the same stack and kind, and one weight matrix each: the strongest head of every link. */
  async function gather(state) {
    const { stack, kind } = model.site(state);
    const sites = model.record(state).sites.filter((site) => site.stack === stack && site.kind === kind);
    const queries = model.axis(state, "query").units;
    const keys = model.axis(state, "key").units;
    const inRuns = Math.max(queries.length, keys.length) > MOST_TOKENS;
    const levels = [];
    for (const site of sites) {
      const heads = Array.from({ length: site.shape[0] }, (_, head) => head);
      const parts = await Promise.all(
        heads.map((head) =>
          inRuns
            ? model.picture(state, site.name, head)
            : model.weights(state, { site: site.name, head, priority: PRIORITY.screen }),
        ),
      );
      const { rows, cols } = parts[0];
      const best = new Float32Array(rows * cols);
      const whose = new Int16Array(rows * cols);
      parts.forEach(({ values }, head) => {
        for (let n = 0; n < values.length; n++) {
          if (values[n] > best[n]) {
            best[n] = values[n];
            whose[n] = head;
          }
        }
      });
      levels.push({ site, rows, cols, best, whose, own: parts[state.head]?.values ?? null });
    }
    const name = (units, count) =>
      Array.from({ length: count }, (_, run) => {
        if (!inRuns) return units[run]?.label ?? "";
        return units[Math.floor((run * units.length) / count)]?.label ?? "";
      });
    return { levels, inRuns, queries: name(queries, levels[0].rows), keys: name(keys, levels[0].cols), cross: kind === "cross" };
  }

  /** Where a token stands: a ring per level, the keys of another text on a smaller one. */
  function ring(index, count, level, inner) {
    const angle = (index / count) * 2 * Math.PI * (count > 6 ? 0.94 : 0.8) + 0.2;
    const radius = inner ? 0.62 : 1;
    return [radius * Math.sin(angle), level * gap(), radius * Math.cos(angle)];
  }

  const gap = () => Math.min(0.5, 2.4 / Math.max(1, picture?.levels.length ?? 1));

  function arrange(state) {
    const theme = context.theme();
    const { levels, queries, keys, cross } = picture;
    const scale = sequential({ ...state, scale: "linear" }, theme.dark, 1);
    const queryAt = model.axis(state, "query");
    const dots = [];
    const chosen = (units, token) => {
      if (token === null || picture.inRuns) {
        return token === null ? -1 : Math.floor((queryAt.unitOf[token] * units.length) / Math.max(queryAt.units.length, 1));
      }
      return queryAt.unitOf[token];
    };
    const focus = hover ?? chosen(queries, state.query);
    for (let level = 0; level <= levels.length; level++) {
      const onRing = cross || level > 0 ? queries : keys;
      onRing.forEach((_, index) => {
        const [x, y, z] = ring(index, onRing.length, level, false);
        dots.push({ x, y, z, size: index === focus ? 0.028 : 0.013, color: index === focus ? theme.accent : theme.muted });
      });
      if (cross && level < levels.length) {
        keys.forEach((__, index) => {
          const [x, y, z] = ring(index, keys.length, level, true);
          dots.push({ x, y, z, size: 0.011, color: theme.line });
        });
      }
    }
    const links = [];
    levels.forEach(({ rows, cols, best, whose, site, own }, level) => {
      const found = [];
      const least = Math.max(state.threshold, 1e-4);
      for (let n = 0; n < rows * cols; n++) {
        const row = Math.floor(n / cols);
        if (focus >= 0 && row !== focus) continue;
        if (best[n] >= least) found.push(n);
      }
      found.sort((a, b) => best[b] - best[a]);
      for (const n of found.slice(0, LINKS_PER_LAYER).reverse()) {
        const row = Math.floor(n / cols);
        const col = n % cols;
        const isOwn = site.name === state.site && own && whose[n] === state.head;
        links.push({
          from: ring(col, cols, level, cross),
          to: ring(row, rows, level + 1, false),
          share: Math.min(best[n], 0.999),
          color: isOwn ? theme.accent : scale.css(0.25 + 0.75 * best[n]),
          text: `${site.name} H${whose[n]}: ${queries[row]} → ${keys[col]} ${readable(best[n])}`,
        });
      }
    });
    picture.dots = dots;
    picture.links = links;
    picture.focus = focus;
    space.show({ dots, links, height: levels.length * gap() });
    drawLabels();
  }

  function drawLabels() {
    frame = 0;
    if (!space || !picture) return;
    const ratio = Math.min(window.devicePixelRatio || 1, 2);
    const pen = labels.getContext("2d");
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, size[0], size[1]);
    words(new CanvasSurface(pen), size[0]);
  }

  /** Everything that is text: what is shown, layer names, tokens of the lowest and the highest ring. */
  function words(surface, width) {
    const state = store.get();
    const theme = context.theme();
    const { levels, queries, keys, inRuns } = picture;
    const { stack, kind } = model.site(state);
    surface.text(`${stack} ${kind}-attention, ${levels.length} layers from below`, 12, 16, { fill: theme.text, size: 13, weight: 600 });
    const what = inRuns ? `${queries.length} text segments` : `${queries.length} tokens`;
    surface.text(fit(surface, `${what}; strongest head per link, at most ${LINKS_PER_LAYER} links per layer; drag to turn`, width - 24, 11), 12, 34, {
      fill: theme.muted, size: 11,
    });
    const taken = [];
    levels.forEach(({ site }, level) => {
      const [x, y] = space.project([-1.22, (level + 0.5) * gap(), 0]);
      surface.text(`L${site.layer}`, x, y, { fill: theme.muted, size: 11.5, align: "center" });
      taken.push([x - 12, y - 7, x + 12, y + 7]);
    });
    /** Tokens of the lowest and the highest ring: what is chosen first, then the nearest, as long as there is room. */
    const candidates = [[keys, 0], [queries, levels.length]].flatMap(([names, level]) =>
      names.map((name, index) => {
        const [rx, ry, rz] = ring(index, names.length, level, picture.cross && level === 0);
        const [x, y, depth] = space.project([rx * 1.07, ry, rz * 1.07]);
        const strong = index === picture.focus && !(picture.cross && level === 0);
        return { name, x, y, depth, strong, left: x < space.project([0, ry, 0])[0] };
      }),
    );
    candidates.sort((a, b) => Number(b.strong) - Number(a.strong) || a.depth - b.depth);
    const nearest = candidates.reduce((least, { depth }) => Math.min(least, depth), Infinity);
    const span = candidates.reduce((most, { depth }) => Math.max(most, depth), 0) - nearest || 1;
    for (const { name, x, y, depth, strong, left } of candidates) {
      const text = fit(surface, name, 90, 11);
      const wide = surface.measure(text, 12.5, 700);
      const box = [left ? x - wide : x, y - 7, left ? x : x + wide, y + 7];
      if (taken.some((other) => box[0] < other[2] && box[2] > other[0] && box[1] < other[3] && box[3] > other[1])) continue;
      taken.push(box);
      surface.text(text, x, y, {
        fill: strong ? theme.accent : theme.text, size: strong ? 12.5 : 11, align: left ? "right" : "left",
        weight: strong ? 700 : 400, opacity: strong ? 1 : 1 - (0.6 * (depth - nearest)) / span,
      });
    }
  }

  async function update() {
    if (!space) return;
    const state = store.get();
    const { stack, kind } = model.site(state);
    const request = JSON.stringify([state.record, stack, kind, state.units, state.hideSpecial, state.hideSinks,
      state.renormalise, state.head]);
    if (request !== wanted) {
      wanted = request;
      const axes = [model.axis(state, "query"), model.axis(state, "key")];
      if (axes.some(({ units }) => !units.length)) {
        message.hidden = false;
        message.textContent = "Every token is hidden. Show special tokens again to see links.";
        return;
      }
      message.hidden = true;
      const gathered = await gather(state);
      if (wanted !== request) return;
      picture = gathered;
    }
    if (!picture) return;
    arrange(store.get());
    canvas.setAttribute("aria-label", `Layers in space: ${picture.links.length} links. ${context.selectionText()}`);
    context.drawn("whole");
  }

  canvas.addEventListener("keydown", (event) => {
    const turns = { ArrowLeft: [-0.15, 0], ArrowRight: [0.15, 0], ArrowUp: [0, -0.12], ArrowDown: [0, 0.12] }[event.key];
    if (turns) space?.turn(...turns);
    else if (event.key === "+") space?.turn(0, 0, 0.85);
    else if (event.key === "-") space?.turn(0, 0, 1.18);
    else return;
    event.preventDefault();
    event.stopPropagation();
  });

  /** The ring token nearest to the pointer, on any level. */
  function nearest(event) {
    if (!space || !picture) return null;
    const box = canvas.getBoundingClientRect();
    const [x, y] = [event.clientX - box.left, event.clientY - box.top];
    let best = null;
    let least = 14;
    for (let level = 1; level <= picture.levels.length; level++) {
      picture.queries.forEach((_, index) => {
        const [px, py] = space.project(ring(index, picture.queries.length, level, false));
        const distance = Math.hypot(px - x, py - y);
        if (distance < least) [best, least] = [index, distance];
      });
    }
    return best;
  }

  canvas.addEventListener("pointermove", (event) => {
    if (event.buttons) return;
    const found = nearest(event);
    if (found === hover) return;
    hover = found;
    context.tip(found === null ? null : [picture.queries[found]], event);
    if (picture) arrange(store.get());
  });
  canvas.addEventListener("pointerleave", () => {
    if (hover === null) return;
    hover = null;
    context.tip(null);
    if (picture) arrange(store.get());
  });
  canvas.addEventListener("click", (event) => {
    const found = nearest(event);
    if (found === null || picture.inRuns) return;
    context.select({ query: model.axis(store.get(), "query").units[found].tokens[0] });
  });

  start().catch((error) => (message.textContent = error.message));

  return {
    element: node,
    focus: () => canvas.focus(),
    size: () => size,
    draw(surface, width) {
      if (!space || !picture) return;
      for (const { from, to, share, color } of picture.links) {
        const [x1, y1] = space.project(from);
        const [x2, y2] = space.project(to);
        surface.line(x1, y1, x2, y2, { stroke: color, width: 0.8 + 3.7 * share, opacity: 0.35 + 0.6 * share });
      }
      for (const { x, y, z, size: radius, color } of picture.dots) {
        const [px, py] = space.project([x, y, z]);
        surface.circle(px, py, Math.max(radius * 90, 1), { fill: color });
      }
      words(surface, width);
    },
    update: () => update().catch((error) => context.announce(error.message)),
    destroy() {
      gone = true;
      observer.disconnect();
      cancelAnimationFrame(frame);
      space?.destroy();
    },
  };
}

export const space = { name: "space", title: "3D", create };
