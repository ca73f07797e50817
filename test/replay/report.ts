/**
 * What a set's replay says: how many cases were tried, how many came out equal, and why the others did not.
 */
export interface Failure {
  readonly id: string
  readonly why: string
}

export interface SetReport {
  readonly set: string
  readonly tried: number
  readonly equal: number
  readonly failures: ReadonlyArray<Failure>
}

/** Counts the cases of one set. A case is equal when none of its checks differs. */
export class Tally {
  private tried = 0
  private readonly failures: Array<Failure> = []
  readonly set: string
  constructor(set: string) {
    this.set = set
  }

  /** Runs one case; `why` lists its differences. What it throws is a difference too. */
  async case(id: string, why: () => Promise<ReadonlyArray<string>>): Promise<void> {
    this.tried++
    const differences = await why().catch((error: unknown) => [`threw: ${describe(error)}`])
    if (differences.length > 0) this.failures.push({ id, why: differences.slice(0, 3).join("; ").slice(0, 2000) })
  }

  report(): SetReport {
    return { set: this.set, tried: this.tried, equal: this.tried - this.failures.length, failures: this.failures }
  }
}

const describe = (error: unknown): string =>
  error instanceof Error ? error.stack ?? String(error) : JSON.stringify(error)

/** One line when two values differ as JSON, with undefined and key order aside; nothing when they are equal. */
export const differs = (what: string, actual: unknown, expected: unknown): ReadonlyArray<string> => {
  const a = stable(actual)
  const b = stable(expected)
  return a === b ? [] : [`${what}: got ${a.slice(0, 400)}, wanted ${b.slice(0, 400)}`]
}

const stable = (value: unknown): string =>
  JSON.stringify(value, (_key, inner: unknown) =>
    typeof inner === "object" && inner !== null && !Array.isArray(inner)
      ? Object.fromEntries(Object.entries(inner).sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0)))
      : Object.is(inner, -0)
      ? "-0"
      : inner) ?? "undefined"

/** A seeded generator of numbers from 0 up to 1 (mulberry32). */
export const random = (seed: number): () => number => {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = Math.imul(state ^ (state >>> 15), state | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296
  }
}

/** A seed of a text, so that every case has its own and always the same. */
export const seedOf = (text: string): number => {
  let seed = 2166136261
  for (let i = 0; i < text.length; i++) seed = Math.imul(seed ^ text.charCodeAt(i), 16777619)
  return seed >>> 0
}
