/** Elements without markup: everything shown is set as a property or a text node. */

/**
 * @param {string} tag
 * @param {Record<string, any>} [properties] `on*` are listeners, `aria-*`/`role`/`data-*` attributes, the rest properties
 * @param {(Node | string)[]} [children]
 */
export function element(tag, properties = {}, children = []) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(properties)) {
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (key.includes("-") || key === "role" || key === "for") node.setAttribute(key, value);
    else node[key] = value;
  }
  node.append(...children);
  return node;
}
