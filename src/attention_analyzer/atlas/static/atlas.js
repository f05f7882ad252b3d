"use strict";
/* The map of all heads: axes to choose, search, one panel per model. Texts are only ever set as text. */
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const AXES = ["layer", ...new Set(data.models.flatMap(({ heads }) => heads.flatMap(({ numbers }) => Object.keys(numbers))))];
  const COLORS = ["#2f6db3", "#d9662b", "#3f8f5b", "#8a5fa8", "#c2a02d", "#b5475f", "#4aa3a3", "#7a6a4f", "#8fa33a", "#d07fb0"];
  const SVG = "http://www.w3.org/2000/svg";
  const WIDTH = 560, HEIGHT = 400, LEFT = 52, BOTTOM = 40, TOP = 12, RIGHT = 14, SHOWN = 400;
  const state = { x: "entropy", y: "explained", color: "layer", q: "", head: "", model: "0" };

  const readable = (name) => name.replaceAll("_", " ");
  const element = (tag, attributes = {}, children = [], space) => {
    const node = space ? document.createElementNS(space, tag) : document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    node.append(...children);
    return node;
  };
  const svg = (tag, attributes, children) => element(tag, attributes, children, SVG);
  const value = (head, axis) => (axis === "layer" ? head.layer : head.numbers[axis] ?? null);
  const short = (number) => (Math.abs(number) >= 1000 ? number.toExponential(1) : `${Number(number.toPrecision(3))}`);

  for (const [name, text] of new URLSearchParams(location.hash.slice(1))) if (name in state) state[name] = text;
  for (const axis of ["x", "y", "color"]) if (!AXES.includes(state[axis]) && state[axis] !== "label") state[axis] = AXES[0];

  // What each head is found by: its name, its labels and its sentence, in small letters.
  const found = new Map(data.models.flatMap(({ heads }) => heads.map((head) => [head, [head.name, ...head.labels.map(readable), head.sentence].join(" ").toLowerCase()])));
  // What is asked is a phrase where any head has it as one, else all of its words.
  const words = () => {
    const asked = state.q.trim().toLowerCase();
    return [...found.values()].some((text) => text.includes(asked)) ? [asked] : asked.split(/\s+/);
  };
  const matches = (head, all) => all.every((word) => found.get(head).includes(word));
  const partner = (model, name) => {
    if (model === 0) return data.matches[name];
    return Object.keys(data.matches).find((key) => data.matches[key] === name);
  };

  const root = document.getElementById("atlas");
  const choose = (name, extra = []) => {
    const select = element("select", { id: name }, [...AXES, ...extra].map((axis) => element("option", { value: axis }, [readable(axis)])));
    select.value = state[name];
    select.addEventListener("change", () => { state[name] = select.value; draw(); });
    return element("label", { for: name }, [{ x: "Across", y: "Up", color: "Color" }[name], select]);
  };
  const search = element("input", { id: "q", type: "search", placeholder: "such as: opening bracket, token before, L5", autocomplete: "off" });
  search.value = state.q;
  search.addEventListener("input", () => { state.q = search.value; filter(); });
  const count = element("p", { class: "faint", role: "status" });
  const maps = element("div", { class: "maps" });
  const list = element("ul", { class: "list" });
  root.append(
    element("div", { class: "controls" }, [element("label", { class: "wide", for: "q" }, ["Search what heads do", search]), choose("x"), choose("y"), choose("color", ["label"])]),
    maps, count, list,
  );

  /** Every head's parts on the page. */
  let drawn = [];

  function colorOf(range, head) {
    if (state.color === "label") {
      const names = [...new Set(data.models.flatMap(({ heads }) => heads.map(({ labels }) => labels[0] ?? "")))].filter(Boolean);
      const at = names.indexOf(head.labels[0] ?? "");
      return at < 0 ? "#9aa1ad" : COLORS[at % COLORS.length];
    }
    const number = value(head, state.color);
    if (number === null) return "#9aa1ad";
    const share = range[1] > range[0] ? (number - range[0]) / (range[1] - range[0]) : 0.5;
    return `hsl(${Math.round(225 - 195 * share)} 60% ${Math.round(40 + 15 * share)}%)`;
  }

  function rangeOf(axis) {
    const numbers = data.models.flatMap(({ heads }) => heads.map((head) => value(head, axis))).filter((number) => number !== null);
    const [low, high] = [Math.min(...numbers), Math.max(...numbers)];
    return numbers.length ? (low < high ? [low, high] : [low - 0.5, high + 0.5]) : [0, 1];
  }

  function map(model, number, ranges) {
    const tip = element("p", { class: "tip" });
    const at = (axis, share) => (axis === "x" ? LEFT + share * (WIDTH - LEFT - RIGHT) : HEIGHT - BOTTOM - share * (HEIGHT - BOTTOM - TOP));
    const place = (head, axis) => at(axis, (value(head, state[axis]) - ranges[axis][0]) / (ranges[axis][1] - ranges[axis][0]));
    const lines = [0, 0.25, 0.5, 0.75, 1].flatMap((share) => {
      const [x, y] = [at("x", share), at("y", share)];
      const label = (axis) => short(ranges[axis][0] + share * (ranges[axis][1] - ranges[axis][0]));
      return [
        svg("line", { class: "grid", x1: x, x2: x, y1: TOP, y2: HEIGHT - BOTTOM }), svg("line", { class: "grid", x1: LEFT, x2: WIDTH - RIGHT, y1: y, y2: y }),
        svg("text", { x, y: HEIGHT - BOTTOM + 14, "text-anchor": "middle" }, [label("x")]), svg("text", { x: LEFT - 6, y: y + 4, "text-anchor": "end" }, [label("y")]),
      ];
    });
    const points = model.heads.filter((head) => value(head, state.x) !== null && value(head, state.y) !== null).map((head) => {
      const circle = svg("circle", { cx: place(head, "x"), cy: place(head, "y"), r: 6, fill: colorOf(ranges.color, head) });
      const link = svg("a", { href: `${model.folder}/${head.name}.html`, "aria-label": `${head.name}: ${head.sentence}` }, [circle]);
      const show = () => {
        Object.assign(state, { head: head.name, model: `${number}` });
        mark();
      };
      link.addEventListener("pointerenter", show);
      link.addEventListener("focus", show);
      drawn.push({ head, number, link, tip });
      return link;
    });
    const axes = [
      svg("text", { x: (WIDTH + LEFT) / 2, y: HEIGHT - 6, "text-anchor": "middle" }, [readable(state.x)]),
      svg("text", { x: 12, y: (HEIGHT - BOTTOM) / 2, "text-anchor": "middle", transform: `rotate(-90 12 ${(HEIGHT - BOTTOM) / 2})` }, [readable(state.y)]),
    ];
    const picture = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "group", "aria-label": `Heads of ${model.name}` }, [...lines, ...axes, ...points]);
    return element("div", { class: "map" }, [element("h2", {}, [model.name]), element("p", { class: "faint" }, [model.facts.join("; ")]), picture, tip]);
  }

  function draw() {
    drawn = [];
    const ranges = { x: rangeOf(state.x), y: rangeOf(state.y), color: state.color === "label" ? [0, 1] : rangeOf(state.color) };
    maps.replaceChildren(...data.models.map((model, number) => map(model, number, ranges)));
    filter();
  }

  function filter() {
    const all = words();
    let hits = 0;
    for (const point of drawn) {
      point.inside = matches(point.head, all);
      point.link.classList.toggle("out", !point.inside);
    }
    const rows = [];
    data.models.forEach((model, number) => model.heads.forEach((head) => {
      if (!matches(head, all)) return;
      hits += 1;
      if (rows.length >= SHOWN) return;
      const name = data.models.length > 1 ? `${head.name} (${number + 1})` : head.name;
      const row = element("li", {}, [
        element("a", { href: `${model.folder}/${head.name}.html` }, [name]), element("span", { class: "number" }, [`${Math.round(100 * head.numbers.explained)}%`]),
        element("span", { class: "said" }, [head.sentence, ...head.labels.map((label) => element("span", { class: "tag" }, [readable(label)]))]),
      ]);
      row.dataset.head = `${number}/${head.name}`;
      rows.push(row);
    }));
    list.replaceChildren(...rows);
    count.textContent = `${hits} heads${hits > rows.length ? `, the first ${rows.length} listed` : ""}; explained: the share of a head's weight that its sentence accounts for, on texts it was not fitted on`;
    mark();
  }

  function mark() {
    const number = Number(state.model);
    const other = data.models.length > 1 ? partner(number, state.head) : undefined;
    for (const point of drawn) {
      const is = (point.number === number && point.head.name === state.head) || (point.number !== number && point.head.name === other);
      point.link.classList.toggle("chosen", is);
      if (is) point.tip.replaceChildren(element("b", {}, [point.head.name]), ` ${point.head.sentence}`);
    }
    for (const row of list.children) row.classList.toggle("chosen", row.dataset.head === `${number}/${state.head}`);
    const kept = Object.entries(state).filter(([, text]) => text !== "");
    history.replaceState(null, "", `#${new URLSearchParams(kept)}`);
  }

  draw();
})();
