/**
 * A number from 0 up to 1 that depends on nothing but the keys. Where a seeded generator gives the n-th draw, this gives
 * the draw of request 17's second attempt, whatever else was drawn before: the provider fails the same calls under each
 * policy, so that two policies can be compared.
 */
export const uniform = (...keys: ReadonlyArray<number>): number => {
  let hash = 0x9e3779b9
  for (const key of keys) hash = mix(hash ^ mix(key | 0))
  return (hash >>> 0) / 0x1_0000_0000
}

// The finalizer of MurmurHash3 after an odd step: each bit of the key changes half of the result's bits.
const mix = (value: number): number => {
  let h = (value + 0x6d2b79f5) | 0
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b)
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35)
  return h ^ (h >>> 16)
}
