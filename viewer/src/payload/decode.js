/**
 * One stored block back into numbers: checksum, inflate, byte planes, half precision.
 * Used by the page and by its worker.
 *
 * @typedef {{offset: number, stored: number, crc: number, dtype: string, shape: number[], encoding: string}} Entry
 */

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? 0xedb88320 ^ (value >>> 1) : value >>> 1;
  return value >>> 0;
});

/** CRC-32 as zlib computes it. @param {Uint8Array} bytes */
export function crc32(bytes) {
  let crc = 0xffffffff;
  for (let i = 0; i < bytes.length; i++) crc = CRC_TABLE[(crc ^ bytes[i]) & 0xff] ^ (crc >>> 8);
  return (crc ^ 0xffffffff) >>> 0;
}

const DAMAGED = "This page is damaged: part of its data is corrupted.";
/** Deflate packs at most about this many bytes into one. */
const DEFLATED_AT_MOST = 1032;

/** Inflated bytes, which must be `size`; no more than that is ever unpacked. @param {Uint8Array} bytes */
async function inflate(bytes, size) {
  if (!(size <= DEFLATED_AT_MOST * (bytes.length + 1))) throw new Error(DAMAGED);
  const whole = new Uint8Array(size);
  let at = 0;
  const reader = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate")).getReader();
  for (;;) {
    const { done, value } = await reader.read().catch(() => ({ done: true, value: null }));
    if (done) break;
    if (at + value.length > size) {
      await reader.cancel().catch(() => {});
      throw new Error(DAMAGED);
    }
    whole.set(value, at);
    at += value.length;
  }
  if (at !== size) throw new Error(DAMAGED);
  return whole;
}

/** @param {Uint8Array} planes @param {number} width */
function joinPlanes(planes, width) {
  const count = planes.length / width;
  const joined = new Uint8Array(planes.length);
  for (let plane = 0; plane < width; plane++) {
    const from = plane * count;
    for (let i = 0; i < count; i++) joined[i * width + plane] = planes[from + i];
  }
  return joined;
}

/** @type {Float32Array | undefined} */
let halves;

/** All 65,536 half-precision numbers: a look-up is the fastest way every browser has. */
function halfTable() {
  if (halves) return halves;
  halves = new Float32Array(65536);
  for (let bits = 0; bits < 65536; bits++) {
    const sign = bits & 0x8000 ? -1 : 1;
    const exponent = (bits >> 10) & 31;
    const fraction = bits & 1023;
    if (exponent === 0) halves[bits] = sign * fraction * 2 ** -24;
    else if (exponent === 31) halves[bits] = fraction ? NaN : sign * Infinity;
    else halves[bits] = sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
  }
  return halves;
}

const WIDTHS = { uint8: 1, int32: 4, float16: 2, float32: 4 };

/** Stored bytes with their checksum and length verified. @param {Uint8Array} stored @param {Entry} entry */
export async function blockBytes(stored, entry) {
  if (stored.length !== entry.stored || crc32(stored) !== entry.crc) {
    throw new Error(DAMAGED);
  }
  const size = entry.shape.reduce((product, axis) => product * axis, 1) * WIDTHS[entry.dtype];
  if (entry.encoding !== "raw") return inflate(stored, size);
  if (stored.length !== size) throw new Error(DAMAGED);
  return stored;
}

/**
 * A block as numbers; half precision comes out as Float32Array.
 * @param {Uint8Array} stored @param {Entry} entry
 */
export async function decodeBlock(stored, entry) {
  let bytes = await blockBytes(stored, entry);
  const width = WIDTHS[entry.dtype];
  if (entry.encoding === "planes+deflate") bytes = joinPlanes(bytes, width);
  if (entry.dtype === "uint8") return bytes;
  const aligned = bytes.byteOffset % width ? bytes.slice() : bytes;
  const of = (Type) => new Type(aligned.buffer, aligned.byteOffset, aligned.byteLength / width);
  if (entry.dtype === "int32") return of(Int32Array);
  if (entry.dtype === "float32") return of(Float32Array);
  const table = halfTable();
  return Float32Array.from(of(Uint16Array), (bits) => table[bits]);
}
