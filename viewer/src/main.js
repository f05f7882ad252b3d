/** The viewer's one module: `mount` for any page, a default export for notebooks and Streamlit, and the page of its own. */
import { mount } from "./mount.js";
import { notebook } from "./hosts/notebook.js";
import { openPage } from "./hosts/page.js";
import { streamlit } from "./hosts/streamlit.js";

export { mount };

/** anywidget calls this without an argument, Streamlit with one. */
export default (host) => (host === undefined ? notebook : streamlit(host));

openPage();
