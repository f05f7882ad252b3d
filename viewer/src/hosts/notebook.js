/** The anywidget host: payload and state come from Python, state and selection go back. */
import { mount } from "../mount.js";

export const notebook = {
  render({ model, el }) {
    el.style.height = `${model.get("height")}px`;
    const viewer = mount(
      el,
      model.get("payload"),
      (name, value) => {
        if (name === "drawn") return;
        model.set(name, value);
        model.save_changes();
      },
      { state: model.get("state") },
    );
    const listeners = {
      "change:payload": () => viewer.update(model.get("payload")),
      "change:state": () => viewer.restore(model.get("state")),
      "change:height": () => (el.style.height = `${model.get("height")}px`),
    };
    for (const [event, listener] of Object.entries(listeners)) model.on(event, listener);
    return () => {
      for (const [event, listener] of Object.entries(listeners)) model.off(event, listener);
      viewer.destroy();
    };
  },
};
