/**
 * The host of a page of its own: payload blocks lie in the document as base64, each decoded when somebody needs it.
 * The state is kept in the address, so that a link shows the same thing.
 */
import { mount } from "../mount.js";

/** @param {Element | null} element */
function bytesOf(element) {
  if (!element) return new Uint8Array(0);
  const text = element.textContent.trim();
  try {
    if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
    return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  } catch {
    throw new Error("This page is damaged: part of its data is corrupted.");
  }
}

function stateOfAddress() {
  try {
    const found = /[#&]state=([^&]*)/.exec(location.hash);
    return found ? JSON.parse(decodeURIComponent(found[1])) : null;
  } catch {
    return null;
  }
}

export function openPage() {
  const head = document.getElementById("attention-head");
  const root = document.getElementById("attention-view");
  if (!head || !root) return;
  let bytes;
  try {
    bytes = bytesOf(head);
  } catch {
    bytes = new Uint8Array(0);
  }
  const source = {
    head: bytes,
    size: null,
    block: (number) => bytesOf(document.getElementById(`attention-block-${number}`)),
  };
  const viewer = mount(root, source, (name, value) => {
    document.dispatchEvent(new CustomEvent(`attention:${name}`, { detail: value }));
    if (name !== "state") return;
    try {
      history.replaceState(null, "", `#state=${encodeURIComponent(JSON.stringify(value))}`);
    } catch {
      // Some browsers do not let a page opened from disk change its address; the State menu still works.
    }
  }, { state: stateOfAddress() });
  // For scripts, such as the browser's console.
  root.viewer = viewer;
  window.addEventListener("hashchange", () => viewer.restore(stateOfAddress()));
}
