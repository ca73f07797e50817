/**
 * Makes probabilities honest. Two steps: a line through the log-odds (Platt), fitted to predictions that were made before the
 * answer was known; then, per tool and tenth, a Beta posterior of what came true. Both keep to what was stated until there is
 * evidence against it, and both forget.
 */

const lowest = 1e-4

export const clamp = (probability: number): number => Math.min(1 - lowest, Math.max(lowest, probability))

export const logOdds = (probability: number): number => {
  const p = clamp(probability)
  return Math.log(p / (1 - p))
}

export const logistic = (x: number): number => 1 / (1 + Math.exp(-x))

/** `slope` x log-odds + `shift`; 1 and 0 leave everything as it is. */
export interface Line {
  readonly slope: number
  readonly shift: number
}

export const straight: Line = { slope: 1, shift: 0 }

export const along = (line: Line, probability: number): number =>
  clamp(logistic(line.slope * logOdds(probability) + line.shift))

/** Log-odds in steps of a quarter, from -10 to 10: what is to be fitted is at most 81 points. */
const cells = 81
const cellOf = (probability: number): number => Math.round(4 * Math.min(10, Math.max(-10, logOdds(probability)))) + 40

/** Predictions and what came of them, gathered for a fit. */
export class Evidence {
  readonly #weights = new Float64Array(cells)
  readonly #right = new Float64Array(cells)
  readonly #places = new Float64Array(cells)

  add(probability: number, right: boolean, weight: number): void {
    const cell = cellOf(probability)
    this.#weights[cell]! += weight
    if (right) this.#right[cell]! += weight
    this.#places[cell]! += weight * logOdds(probability)
  }

  /** The likeliest line, held to the straight one as if by a few observations; found by Newton's method. */
  line(): Line {
    let { shift, slope } = straight
    for (let round = 0; round < 30; round++) {
      const [bySlope, byShift, slopes, mixed, shifts] = this.#derivatives(slope, shift)
      const determinant = slopes * shifts - mixed * mixed
      slope += step((shifts * bySlope - mixed * byShift) / determinant)
      shift += step((slopes * byShift - mixed * bySlope) / determinant)
    }
    // A line that falls would turn the order round: then the predictions know nothing.
    return { slope: Math.min(3, Math.max(0.2, slope)), shift: Math.min(4, Math.max(-4, shift)) }
  }

  #derivatives(slope: number, shift: number): [number, number, number, number, number] {
    let bySlope = -hold * (slope - 1)
    let byShift = -hold * shift
    let slopes = hold
    let mixed = 0
    let shifts = hold
    for (let cell = 0; cell < cells; cell++) {
      const weight = this.#weights[cell]!
      if (weight === 0) continue
      const at = this.#places[cell]! / weight
      const probability = logistic(slope * at + shift)
      const missing = this.#right[cell]! - weight * probability
      const spread = weight * probability * (1 - probability)
      bySlope += missing * at
      byShift += missing
      slopes += spread * at * at
      mixed += spread * at
      shifts += spread
    }
    return [bySlope, byShift, slopes, mixed, shifts]
  }
}

const hold = 4
const step = (size: number): number => Math.min(1, Math.max(-1, size))

const tenths = 10
const prior = 8
const remembered = 200

/** What came of what was stated about one tool: per tenth how often something was stated, how often it was right, and the sum stated. */
export type Tenths = Array<readonly [stated: number, right: number, sum: number]>

const tenthOf = (probability: number): number => Math.min(tenths - 1, Math.floor(probability * tenths))

const none = [0, 0, 0] as const

/** Beta posteriors per tool and tenth. Old evidence fades; of a great many tools the least recently judged are forgotten. */
export class Posteriors {
  readonly #tools = new Map<string, Tenths>()
  readonly #most: number

  constructor(most: number) {
    this.#most = most
  }

  /**
   * The mean of a Beta whose prior is `probability` with a weight of 8. Within a tenth the differences between the stated are
   * kept: what the evidence moves is their mean.
   */
  corrected(tool: string, probability: number): number {
    const [stated, right, sum] = this.#tools.get(tool)?.[tenthOf(probability)] ?? none
    return clamp(probability + (right - sum) / (prior + stated))
  }

  note(tool: string, probability: number, right: boolean): void {
    const known = this.#tools.get(tool) ?? Array.from({ length: tenths }, () => none)
    const at = tenthOf(probability)
    const [stated, hits, sum] = known[at]!
    const keep = 1 - 1 / remembered
    known[at] = [stated * keep + 1, hits * keep + (right ? 1 : 0), sum * keep + probability]
    this.#tools.delete(tool)
    this.#tools.set(tool, known)
    if (this.#tools.size > this.#most) this.#tools.delete(this.#tools.keys().next().value!)
  }

  entries(): ReadonlyArray<readonly [string, Tenths]> {
    return [...this.#tools]
  }

  restore(entries: Iterable<readonly [string, ReadonlyArray<readonly [number, number, number]>]>): void {
    for (const [tool, known] of entries) if (known.length === tenths) this.#tools.set(tool, [...known])
  }
}
