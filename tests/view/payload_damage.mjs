// Reads payloads as the page does. On standard input: the folder of its source, then one file of a payload per line.
// On standard output, a line for each: "refused", or the sum of everything that was read.
import { readFileSync } from "node:fs";

const [source, ...files] = readFileSync(0, "utf8").trim().split("\n");
const { bytesSource, openPayload } = await import(`${source}/open.js`);
for (const file of files) {
  try {
    const payload = openPayload(bytesSource(new Uint8Array(readFileSync(file))));
    let sum = JSON.stringify(payload.header).length;
    for (let number = 0; number < payload.header.blocks.length; number++) {
      for (const value of await payload.block(number)) sum += value;
    }
    console.log(sum);
  } catch (error) {
    console.log(error instanceof Error && error.message.endsWith(".") ? "refused" : `crashed: ${error}`);
  }
}
