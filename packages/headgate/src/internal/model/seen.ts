/** Seen things weigh half as much after this many others. */
const halfLife = 512

/** Before there is as much to go by, a rare value need not have come up. */
const enough = 100

const perOctave = 16

/**
 * Which values were seen, by buckets each 4.4 % wider than the one before. What was seen long ago weighs less, by an
 * exponential moving average. Takes the same space however much it sees.
 */
export class Seen {
  private readonly lowest: number
  private readonly weights: Float64Array
  private weight = 1
  private total = 0
  private count = 0

  /** Values above `highest` are all the same to it. */
  constructor(lowest: number, highest: number) {
    this.lowest = lowest
    this.weights = new Float64Array(Math.ceil(Math.log2(highest / lowest) * perOctave) + 2)
  }

  add(value: number): void {
    const bucket = Math.ceil(Math.log2(value / this.lowest) * perOctave)
    this.weights[Math.min(Math.max(0, bucket), this.weights.length - 1)]! += this.weight
    this.total += this.weight
    this.count++
    // Instead of all others losing weight, each new one is heavier, until the numbers grow large.
    this.weight *= 2 ** (1 / halfLife)
    if (this.weight > 2 ** 256) {
      for (let index = 0; index < this.weights.length; index++) this.weights[index]! /= this.weight
      this.total /= this.weight
      this.weight = 1
    }
  }

  /** The value that this share does not exceed; `undefined` until enough was seen, `Infinity` if it is above all buckets. */
  quantile(share: number): number | undefined {
    if (this.count < enough) return undefined
    let above = this.total * (1 - share)
    for (let bucket = this.weights.length - 1; bucket >= 0; bucket--) {
      above -= this.weights[bucket]!
      if (above < 0) return bucket === this.weights.length - 1 ? Infinity : this.lowest * 2 ** (bucket / perOctave)
    }
    return this.lowest
  }
}
