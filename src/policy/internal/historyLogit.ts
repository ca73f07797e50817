/**
 * A conditional logit: which of some choices, or none of them. With one choice it is a logistic regression. Features are
 * standardised and cut at three deviations; weights are found by AdaGrad with a pull to zero, and averaged over the second
 * half of the steps. A fit starts from the model before it, and is a generator: it stops after a few hundred microseconds
 * of work to be carried on with later.
 */

/** Some choices with their features in one row, and what came: a share for each choice, and one more for none of them. */
export interface Example {
  readonly count: number
  readonly features: Float32Array
  readonly shares: Float64Array
}

export interface Model {
  readonly mean: Float64Array
  readonly deviation: Float64Array
  readonly weights: Float64Array
  /** The score of "none of them". */
  readonly none: number
}

const pull = 0.03
const rate = 0.1
const cut = 3
/** Multiplications in one slice of a fit: a fraction of a millisecond. */
const slice = 100_000

export const blank = (width: number): Model => ({
  mean: new Float64Array(width),
  deviation: new Float64Array(width).fill(1),
  weights: new Float64Array(width),
  none: 1
})

/** The standardised features of all choices. */
const standardised = ({ deviation, mean }: Model, features: Float32Array): Float32Array => {
  const width = mean.length
  const result = new Float32Array(features.length)
  for (let start = 0; start < features.length; start += width) {
    for (let at = 0; at < width; at++) {
      const value = (features[start + at]! - mean[at]!) / deviation[at]!
      result[start + at] = value > cut ? cut : value < -cut ? -cut : value
    }
  }
  return result
}

/** Turns the scores of `count` choices, and that of none of them behind, into probabilities. */
const soften = (scores: Float64Array, count: number): void => {
  let highest = -Infinity
  for (let i = 0; i <= count; i++) highest = Math.max(highest, scores[i]!)
  let sum = 0
  for (let i = 0; i <= count; i++) sum += scores[i] = Math.exp(scores[i]! - highest)
  for (let i = 0; i <= count; i++) scores[i]! /= sum
}

const score = (
  weights: Float64Array,
  none: number,
  standard: Float32Array,
  count: number,
  into: Float64Array
): void => {
  const width = weights.length
  for (let choice = 0; choice < count; choice++) {
    let sum = 0
    for (let at = 0, i = choice * width; at < width; at++, i++) sum += weights[at]! * standard[i]!
    into[choice] = sum
  }
  into[count] = none
  soften(into, count)
}

/** The probability of each choice; what is missing to 1 is that of none of them. */
export const probabilities = (model: Model, features: Float32Array): Float64Array => {
  const count = features.length / Math.max(1, model.weights.length)
  const result = new Float64Array(count + 1)
  score(model.weights, model.none, standardised(model, features), count, result)
  return result.subarray(0, count)
}

/** Mean and deviation of each feature over all choices, in slices. */
function* moments(examples: ReadonlyArray<Example>, width: number): Generator<void, Pick<Model, "mean" | "deviation">> {
  const mean = new Float64Array(width)
  const squares = new Float64Array(width)
  let count = 0
  let work = 0
  for (const { features } of examples) {
    for (let start = 0; start < features.length; start += width) {
      count++
      // Welford: the sum of squares would lose what is small beside a large mean.
      for (let at = 0; at < width; at++) {
        const off = features[start + at]! - mean[at]!
        mean[at]! += off / count
        squares[at]! += off * (features[start + at]! - mean[at]!)
      }
    }
    work += 3 * features.length
    if (work > slice) {
      work = 0
      yield
    }
  }
  return { mean, deviation: squares.map((square) => Math.max(1e-3, Math.sqrt(square / count))) }
}

/** The model that says the same as `model` with the means and deviations of these examples. */
export function* rebased(model: Model, examples: ReadonlyArray<Example>): Generator<void, Model> {
  const width = model.weights.length
  const { deviation, mean } = yield* moments(examples, width)
  let none = model.none
  const weights = model.weights.map((weight, at) => {
    const perUnit = weight / model.deviation[at]!
    none -= perUnit * (mean[at]! - model.mean[at]!)
    return perUnit * deviation[at]!
  })
  return { mean, deviation, weights, none }
}

/** The same examples, standardised. */
function* standardising(model: Model, examples: ReadonlyArray<Example>): Generator<void, Array<Example>> {
  const result: Array<Example> = []
  let work = 0
  for (const example of examples) {
    result.push({ ...example, features: standardised(model, example.features) })
    work += 3 * example.features.length
    if (work > slice) {
      work = 0
      yield
    }
  }
  return result
}

/** The numbers of a fit under way; the last of each array is the score of "none". */
interface Fit {
  readonly weights: Float64Array
  readonly squares: Float64Array
  readonly sums: Float64Array
  readonly gradient: Float64Array
  readonly scores: Float64Array
}

const begin = (model: Model, most: number): Fit => {
  const width = model.weights.length
  const weights = new Float64Array(width + 1)
  weights.set(model.weights)
  weights[width] = model.none
  return {
    weights,
    squares: new Float64Array(width + 1).fill(1e-3),
    sums: new Float64Array(width + 1),
    gradient: new Float64Array(width + 1),
    scores: new Float64Array(most + 1)
  }
}

/** `features`: standardised. */
const step = (fit: Fit, { count, features, shares }: Example): void => {
  const { gradient, scores, squares, weights } = fit
  const width = weights.length - 1
  score(weights.subarray(0, width), weights[width]!, features, count, scores)
  gradient.fill(0)
  for (let choice = 0; choice < count; choice++) {
    const error = scores[choice]! - shares[choice]!
    if (Math.abs(error) < 1e-3) continue
    for (let at = 0, i = choice * width; at < width; at++, i++) gradient[at]! += error * features[i]!
  }
  gradient[width] = scores[count]! - shares[count]!
  for (let at = 0; at <= width; at++) {
    const slope = gradient[at]! + (at < width ? pull * weights[at]! : 0)
    squares[at]! += slope * slope
    weights[at]! -= rate * slope / Math.sqrt(squares[at]!)
  }
}

/** Steps through the numbers below `count` in an order that looks like none: the same for the same count. */
const scattered = (count: number): () => number => {
  let state = 1
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return Math.floor(state / 4_294_967_296 * count)
  }
}

/** Fits the model to the examples, in slices; without examples it is the one that was there. */
export function* fitting(before: Model, examples: ReadonlyArray<Example>, rounds: number): Generator<void, Model> {
  const used = examples.filter((example) => example.count > 0)
  if (used.length === 0) return before
  const model = yield* rebased(before, used)
  const standard = yield* standardising(model, used)
  const fit = begin(model, used.reduce((most, { count }) => Math.max(most, count), 0))
  const next = scattered(used.length)
  const steps = rounds * used.length
  const half = Math.floor(steps / 2)
  let work = 0
  for (let done = 0; done < steps; done++) {
    const example = standard[next()]!
    step(fit, example)
    if (done >= half) { for (let at = 0; at < fit.sums.length; at++) fit.sums[at]! += fit.weights[at]! }
    work += 3 * example.features.length
    if (work > slice) {
      work = 0
      yield
    }
  }
  const averaged = fit.sums.map((sum) => sum / (steps - half))
  const width = model.weights.length
  return { ...model, weights: averaged.slice(0, width), none: averaged[width]! }
}
