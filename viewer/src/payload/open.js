/**
 * From bytes to a header and blocks on demand, with a clear sentence for whatever is wrong.
 *
 * @typedef {{head: Uint8Array, size: number | null, block: (number: number, entry: import("./decode.js").Entry,
 *   bodyStart: number) => Uint8Array}} Source
 * @typedef {{header: any, stored: (number: number) => {bytes: Uint8Array, entry: import("./decode.js").Entry},
 *   block: (number: number) => Promise<any>}} Payload
 */
import { crc32, decodeBlock } from "./decode.js";

const MAGIC = [0x89, 0x41, 0x54, 0x56, 0x0d, 0x0a, 0x1a, 0x0a];
export const VERSION = 1;
const PRELUDE = 32;

/** A payload that lies in one run of bytes. @param {Uint8Array} bytes @returns {Source} */
export function bytesSource(bytes) {
  return {
    head: bytes,
    size: bytes.length,
    block: (_, entry, bodyStart) =>
      bytes.subarray(bodyStart + entry.offset, bodyStart + entry.offset + entry.stored),
  };
}

/** @param {Source} source @returns {Payload} */
export function openPayload(source) {
  const { head } = source;
  if (head.length < PRELUDE || MAGIC.some((byte, i) => head[i] !== byte)) {
    throw new Error("Not an Attention Analyzer file, or its header is corrupted.");
  }
  const view = new DataView(head.buffer, head.byteOffset, head.byteLength);
  const version = view.getUint32(8, true);
  if (version > VERSION) {
    throw new Error(
      `This data has format version ${version}, but this viewer reads up to version ${VERSION}. ` +
        "Open it with a newer version of Attention Analyzer.",
    );
  }
  if (version < 1 || view.getUint32(20, true) !== 0) throw new Error("The header of this file is corrupted.");
  const length = view.getUint32(12, true);
  const total = Number(view.getBigUint64(24, true));
  const encoded = head.subarray(PRELUDE, PRELUDE + length);
  if (encoded.length < length || (source.size !== null && source.size !== total)) {
    throw new Error(`Truncated file: expected ${total} bytes, found ${source.size ?? head.length}.`);
  }
  if (crc32(encoded) !== view.getUint32(16, true)) {
    throw new Error("This data was altered: the checksum of its header does not match.");
  }
  const header = JSON.parse(new TextDecoder().decode(encoded));
  const bodyStart = PRELUDE + length;
  const stored = (number) => {
    const entry = header.blocks[number];
    if (!entry) throw new Error(`This data is incomplete: block ${number} is missing.`);
    return { bytes: source.block(number, entry, bodyStart), entry };
  };
  return {
    header,
    stored,
    block: (number) => {
      const { bytes, entry } = stored(number);
      return decodeBlock(bytes, entry);
    },
  };
}
