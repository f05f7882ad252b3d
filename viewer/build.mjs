/**
 * Bundles the viewer into the Python package: one module for all hosts, and the 3D scene as a second one that is only
 * loaded when its view opens. The worker becomes a text inside the first, because a page opened from disk has no
 * second file it could load.
 */
import { mkdirSync } from "node:fs";
import { build } from "esbuild";

const target = ["es2022"];
const out = "../src/attention_analyzer/view/static";
mkdirSync("build", { recursive: true });
mkdirSync(out, { recursive: true });
const common = { bundle: true, minify: true, target, charset: "utf8", legalComments: "eof", logLevel: "warning" };
await build({ ...common, entryPoints: ["src/engine/worker.js"], format: "iife", outfile: "build/worker.txt" });
await build({ ...common, entryPoints: ["src/space/space.js"], format: "esm", outfile: `${out}/space.js` });
await build({
  ...common, entryPoints: ["src/main.js"], format: "esm", loader: { ".txt": "text" }, outfile: `${out}/viewer.js`,
});
