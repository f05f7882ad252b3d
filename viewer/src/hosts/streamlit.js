/**
 * The Streamlit host (components, version 2). Streamlit calls it again after every run of the script, without cleaning
 * up before; so what is mounted already is only updated. Every value sent back runs the script again, so only a changed
 * selection is sent.
 */
import { mount } from "../mount.js";

/** @type {WeakMap<Element, {viewer: ReturnType<typeof mount>, send: (name: string, value: any) => void}>} */
const mounted = new WeakMap();

export function streamlit({ data, parentElement, setStateValue }) {
  let live = mounted.get(parentElement);
  if (live) {
    live.send = setStateValue;
    live.viewer.update(data);
  } else {
    const place = document.createElement("div");
    place.style.height = "100%";
    parentElement.append(place);
    live = { send: setStateValue, viewer: null, place };
    const own = live;
    mounted.set(parentElement, own);
    own.viewer = mount(place, data, (name, value) => {
      if (name === "selection") own.send(name, value);
    }, { fromHeader: true });
  }
  return () => {
    live.viewer.destroy();
    live.place.remove();
    mounted.delete(parentElement);
  };
}
