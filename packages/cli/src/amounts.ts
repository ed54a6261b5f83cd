/** Amounts and times as a person reads them. */

export const count = (value: number): string => value.toLocaleString("en-US")
export const percent = (share: number): string => `${(share * 100).toFixed(1)} %`
export const money = (nanos: number): string => `$${(nanos / 1e9).toFixed(nanos === 0 || nanos >= 1e8 ? 2 : 6)}`

export const millis = (value: number): string =>
  value < 1000
    ? `${value} ms`
    : value < 600_000
      ? `${(value / 1000).toFixed(1)} s`
      : value < 7_200_000
        ? `${(value / 60_000).toFixed(1)} min`
        : `${(value / 3_600_000).toFixed(1)} h`

/** The time of day, or with `from` 0 the date too. */
export const clock = (iso: string, from = 11): string => iso.slice(from, 19).replace("T", " ")
