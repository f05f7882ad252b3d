/** Colors of everything that is not data, for a light and a dark page. */

const LIGHT = {
  dark: false,
  background: "#ffffff",
  panel: "#f5f7fa",
  text: "#1b232d",
  muted: "#5a6675",
  line: "#d4dae2",
  accent: "#c2410c",
  accentSoft: "#fde6d8",
};
const DARK = {
  dark: true,
  background: "#14181f",
  panel: "#1c222c",
  text: "#e6eaf0",
  muted: "#9aa6b5",
  line: "#343d4a",
  accent: "#ffa066",
  accentSoft: "#4a2a16",
};

/** Whether a CSS color is dark. @param {string} color */
function isDarkColor(color) {
  const parts = color.match(/[\d.]+/g)?.map(Number);
  if (!parts || parts.length < 3 || parts[3] === 0) return null;
  return 0.299 * parts[0] + 0.587 * parts[1] + 0.114 * parts[2] < 128;
}

/** The page around us decides, where it has a background; else the system does. @param {Element} element */
function surroundingsAreDark(element) {
  for (let at = element; at; at = at.parentElement ?? at.getRootNode()?.host ?? null) {
    const dark = isDarkColor(getComputedStyle(at).backgroundColor);
    if (dark !== null) return dark;
  }
  return matchMedia("(prefers-color-scheme: dark)").matches;
}

/** @param {"auto" | "light" | "dark"} choice @param {Element} around the element that holds the viewer */
export function themeOf(choice, around) {
  const dark = choice === "auto" ? surroundingsAreDark(around) : choice === "dark";
  return dark ? DARK : LIGHT;
}
