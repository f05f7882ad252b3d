/** The order of heads in the overview: sections by place, layer, number, pattern or cluster, sorted inside. */
import { readable } from "../draw/marks.js";

/** The group of heads that do nothing with a name, of those like no other (as pages call it), of those without a number. */
const NO_NAME = "no pattern";
const LAST = [NO_NAME, "like no other"];
const NO_NUMBER = "no value";
const QUARTERS = ["highest", "second", "third", "lowest"];

/** @typedef {{title: string, rows: {label: string, heads: any[]}[]}} Section */

/** @param {string} name a metric's column, or a pattern's */
export const readableName = (name) => name.replace(/^pattern:/, "").replaceAll("_", " ");

/** What heads can be sorted by: metric columns, and strengths of patterns. @param {any} record */
export function sortColumns(record) {
  const patterns = Object.entries(record.patterns ?? {}).map(([name, strengths]) => [`pattern:${name}`, strengths]);
  return new Map([...Object.entries(record.heads), ...patterns]);
}

/** What heads can be grouped by, as the menu shows it. @param {any} record @param {any} state */
export function groupChoices(record, state) {
  return [
    ["layer", "stack"],
    ["site", "layer"],
    ...(sortColumns(record).has(state.sort) ? [["quarters", `quartiles of ${readableName(state.sort)}`]] : []),
    ...(record.labels.length ? [["pattern", record.labels_from ? `pattern, in ${record.labels_from}` : "pattern"]] : []),
    ...record.clusters.map(({ name }) => [`cluster:${name}`, name]),
  ];
}

/** @param {any} model @param {any} state @returns {Section[]} */
export function arrange(model, state) {
  const record = model.record(state);
  const ofHead = (head) => (said) => record.sites[said.site] === head.site && said.head === head.head;
  const numbers = sortColumns(record).get(state.sort);
  const heads = model.heads(state.record).map((head, index) => ({
    ...head,
    index,
    metric: numbers?.[index] ?? null,
    // The most specific name stands first.
    label: record.labels.find(ofHead(head)),
    // Of a head without a name, what stands out of its weights in this text.
    fact: (record.facts ?? []).find(ofHead(head)),
  }));
  if (numbers) heads.sort((a, b) => (b.metric ?? -Infinity) - (a.metric ?? -Infinity));
  const titleOf = grouping(record, state, heads);
  const groups = new Map();
  for (const head of heads) {
    const title = titleOf(head);
    if (!groups.has(title)) groups.set(title, []);
    groups.get(title).push(head);
  }
  if (state.group === "layer" && !numbers) {
    return [...groups].map(([title, members]) => ({ title, rows: byLayer(members) }));
  }
  const ordered = [...groups];
  // The largest group first, what has no name last; numbers and layers have an order of their own.
  if (state.group === "pattern" || state.group.startsWith("cluster:")) {
    ordered.sort(([a, one], [b, two]) => Number(LAST.includes(a)) - Number(LAST.includes(b)) || two.length - one.length);
  } else if (state.group === "site") {
    ordered.sort(([, one], [, two]) => record.sites.indexOf(one[0].site) - record.sites.indexOf(two[0].site));
  }
  return ordered.map(([title, members]) => ({
    title: title || `sorted by ${readableName(state.sort)}`,
    rows: [{ label: "", heads: members }],
  }));
}

/** A function from a head to the title of its section; heads come in the order of their numbers. */
function grouping(record, state, heads) {
  const places = new Set(record.sites.map(({ stack, kind }) => `${stack} ${kind}-attention`));
  const place = ({ stack, kind }) => (places.size > 1 ? `${stack} ${kind}-attention` : "");
  const clusters = record.clusters.find(({ name }) => `cluster:${name}` === state.group);
  if (clusters) return (head) => clusters.groups[head.index];
  if (state.group === "pattern") return (head) => (head.label ? readableName(head.label.name) : NO_NAME);
  if (state.group === "site") return ({ site }) => [place(site), `layer ${site.layer}`].filter(Boolean).join(", ");
  if (state.group === "quarters" && sortColumns(record).has(state.sort)) {
    const known = heads.filter(({ metric }) => metric !== null);
    const quarters = QUARTERS.map((_, quarter) =>
      known.slice(Math.ceil((quarter * known.length) / 4), Math.ceil(((quarter + 1) * known.length) / 4)));
    const titles = new Map(quarters.flatMap((members, quarter) => {
      const range = members.length ? `${readable(members.at(-1).metric)} to ${readable(members[0].metric)}` : "";
      return members.map(({ index }) => [index, `${QUARTERS[quarter]} quartile of ${readableName(state.sort)}: ${range}`]);
    }));
    return ({ index }) => titles.get(index) ?? NO_NUMBER;
  }
  return ({ site }) => place(site);
}

function byLayer(heads) {
  const sites = [...new Set(heads.map(({ site }) => site))];
  return sites.map((site) => ({ label: `L${site.layer}`, heads: heads.filter((head) => head.site === site) }));
}
