/** Sentences about what is on the screen: what is chosen, what is hidden. */
import { isolated, readable } from "../draw/marks.js";

const quoted = (text) => `“${isolated(text.length > 24 ? `${text.slice(0, 23)}…` : text)}”`;

/** @param {any} model @param {any} state */
export function headName(model, state) {
  const site = model.site(state);
  const several = new Set(model.record(state).sites.map(({ stack, kind }) => `${stack} ${kind}`)).size > 1;
  return `L${site.layer}H${state.head}${several ? ` · ${site.stack} ${site.kind}-attention` : ""}`;
}

/** @param {any} model @param {any} state @param {"query" | "key"} side */
export function tokenText(model, state, side) {
  const token = state[side];
  if (token === null) return "";
  const site = model.site(state);
  const table = model.record(state).tokens[side === "query" ? site.queries : site.keys];
  return table.pieces[token];
}

/** @param {any} model @param {any} state @param {number | null} [value] of the chosen query and key, a weight or a difference */
export function selectionText(model, state, value = null) {
  const parts = [headName(model, state)];
  if (state.query !== null) parts.push(`query ${quoted(tokenText(model, state, "query"))} (${state.query})`);
  if (state.key !== null) parts.push(`key ${quoted(tokenText(model, state, "key"))} (${state.key})`);
  if (value !== null) parts.push(`${state.view === "difference" ? "second − first" : "weight"} ${readable(value)}`);
  const pinned = state.pins.length + state.keyPins.length;
  if (pinned) parts.push(`${pinned} pinned`);
  return parts.join(" · ");
}

/** Views that always show every token, and those that cannot renormalise. */
const SHOWS_ALL = new Set(["heads", "products"]);

/** What is left out of the view, and what that does to the numbers; empty where nothing is. */
export function hiddenText(model, state) {
  if (SHOWS_ALL.has(state.view) || (!state.hideSpecial && !state.hideSinks)) return "";
  const isDifference = state.view === "difference";
  const [queries, keys] = [model.axis(state, "query"), model.axis(state, "key")];
  const site = model.site(state);
  const pieces = model.record(state).tokens[site.keys].pieces;
  const parts = [];
  const count = (many, name) => `${many} ${name}${many === 1 ? "" : "s"}`;
  if (state.hideSpecial) {
    const special = site.queries === site.keys ? keys.hidden.special.length : keys.hidden.special.length + queries.hidden.special.length;
    if (special) parts.push(count(special, "special token"));
  }
  const sinks = isDifference ? [] : keys.hidden.sinks;
  if (sinks.length) {
    const names = sinks.slice(0, 3).map((token) => quoted(pieces[token])).join(", ");
    parts.push(`${count(sinks.length, "sink")} among the keys (${names}${sinks.length > 3 ? ", …" : ""})`);
  }
  if (!parts.length) return "Nothing hidden: this text has no such tokens.";
  const sums = state.renormalise && !isDifference ? "the rest renormalized to sum to 1" : "weights not renormalized";
  return `Hidden: ${parts.join(" and ")}; ${sums}.`;
}
