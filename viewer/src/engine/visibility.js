/** Which keys a query sees, beyond the band: padding, segments, a mask. */

/**
 * @param {{keySeen?: Uint8Array, segments?: [Int32Array, Int32Array], mask?: Uint8Array, maskHeads?: number}} parts
 * @param {number} queries @param {number} keys
 * @returns {((head: number, query: number, key: number) => boolean) | null} null where the band says it all
 */
export function visibilityTest({ keySeen, segments, mask, maskHeads }, queries, keys) {
  if (!keySeen && !segments && !mask) return null;
  const rowBytes = Math.ceil(keys / 8);
  return (head, query, key) => {
    if (keySeen && !keySeen[key]) return false;
    if (segments && segments[0][query] !== segments[1][key]) return false;
    if (mask) {
      const row = (maskHeads > 1 ? head * queries : 0) + query;
      return ((mask[row * rowBytes + (key >> 3)] >> (7 - (key & 7))) & 1) === 1;
    }
    return true;
  };
}
