/**
 * What admissions at known times have to obey, checked exactly over every window there is. Times in milliseconds, in any order;
 * they count in whole microseconds, as Redis has them.
 */

// Microseconds from the first: a time of today in milliseconds has no room for them without rounding.
const micros = (times: Iterable<number>): Float64Array => {
  const sorted = Float64Array.from(times).sort()
  const first = sorted[0] ?? 0
  return sorted.map((time) => Math.round((time - first) * 1000))
}

/**
 * The most admissions in any window of this length. A window is half open: two admissions exactly one window apart are in
 * no common one.
 */
export const mostIn = (windowMillis: number, times: Iterable<number>): number => {
  const sorted = micros(times)
  let most = 0
  let first = 0
  for (let last = 0; last < sorted.length; last++) {
    while (sorted[last]! - sorted[first]! >= windowMillis * 1000) first++
    most = Math.max(most, last - first + 1)
  }
  return most
}

/**
 * By how many admissions the worst of all windows, from any admission to any later one, exceeds `capacity + rate * time`;
 * at most 0 when none does. Every pair is in it: the excess of a window is `f(last) - f(first) + 1 - capacity` with
 * `f(k) = k - rate * time(k)`, so the least `f` so far is the worst beginning.
 */
export const worstExcess = (
  bucket: { readonly capacity: number; readonly perMilli: number },
  times: Iterable<number>
): number => {
  const sorted = micros(times)
  let worst = -bucket.capacity
  let least = Number.POSITIVE_INFINITY
  for (let k = 0; k < sorted.length; k++) {
    const f = k - (bucket.perMilli * sorted[k]!) / 1000
    least = Math.min(least, f)
    worst = Math.max(worst, f - least + 1 - bucket.capacity)
  }
  // Sums of fractions: a millionth of an admission is none.
  return Math.round(worst * 1e6) / 1e6
}

/** How far the value farthest from their mean is from it, as a share of the mean. */
export const unevenness = (values: ReadonlyArray<number>): number => {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length
  return Math.max(...values.map((value) => Math.abs(value - mean))) / mean
}
