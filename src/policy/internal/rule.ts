/**
 * The rules a limit may follow, as plain data, and the one place that checks them. A rule says how much may pass in which
 * time; where its state is kept is the store's, who waits for it the limiter's.
 */
import * as Duration from "effect/Duration"

/**
 * What a rule counts: `calls`, or `tokens` (a request's cost).
 *
 * @category models
 * @since 0.1.0
 */
export type Unit = "calls" | "tokens"

/**
 * A rule of a limit, as the stores see it. All times in milliseconds.
 *
 * - `TokenBucket`: at most `capacity + refill * time / every` in any window (GCRA).
 * - `SlidingWindow`: at most `limit` in any `window`; exact for calls, for tokens counted in 1/1000 of the window (never over).
 * - `FixedWindow`: at most `limit` in windows that begin with their first admission; up to twice that in a sliding window.
 * - `Permits`: at most `permits` at once; a permit whose holder died comes back after `lease`.
 * - `Adaptive`: a rate learnt from the service's answers; made by `onExceeded: "adaptive"`.
 *
 * @category models
 * @since 0.1.0
 */
export type Rule =
  | {
    readonly _tag: "TokenBucket"
    readonly unit: Unit
    readonly capacity: number
    readonly refill: number
    readonly everyMillis: number
  }
  | { readonly _tag: "SlidingWindow"; readonly unit: Unit; readonly limit: number; readonly windowMillis: number }
  | { readonly _tag: "FixedWindow"; readonly unit: Unit; readonly limit: number; readonly windowMillis: number }
  | { readonly _tag: "Permits"; readonly unit: "calls"; readonly permits: number; readonly leaseMillis: number }
  | { readonly _tag: "Adaptive"; readonly unit: "calls" }

/**
 * A token bucket: bursts of up to `capacity`, refilled by `refill` in every `every`.
 *
 * **Errors** A capacity, refill or duration that is no positive finite number (a capacity that is no integer) dies, naming it.
 *
 * @category rules
 * @since 0.1.0
 */
export const tokenBucket = (options: {
  readonly capacity: number
  readonly refill: number
  readonly every: Duration.Input
  readonly unit?: Unit | undefined
}): Rule => ({
  _tag: "TokenBucket",
  unit: unitOf("tokenBucket", options.unit),
  capacity: count("tokenBucket", "capacity", options.capacity),
  refill: positive("tokenBucket", "refill", options.refill),
  everyMillis: millis("tokenBucket", "every", options.every)
})

/**
 * At most `limit` in any sliding `window`. Exact for calls; tokens are counted in thousandths of the window: never over, at
 * most 0.1 % of the window late.
 *
 * @category rules
 * @since 0.1.0
 */
export const slidingWindow = (options: {
  readonly limit: number
  readonly window: Duration.Input
  readonly unit?: Unit | undefined
}): Rule => ({
  _tag: "SlidingWindow",
  unit: unitOf("slidingWindow", options.unit),
  limit: count("slidingWindow", "limit", options.limit),
  windowMillis: millis("slidingWindow", "window", options.window)
})

/**
 * At most `limit` in a window that begins with its first admission. Two windows may touch: up to twice `limit` in a sliding one.
 *
 * @category rules
 * @since 0.1.0
 */
export const fixedWindow = (options: {
  readonly limit: number
  readonly window: Duration.Input
  readonly unit?: Unit | undefined
}): Rule => ({
  _tag: "FixedWindow",
  unit: unitOf("fixedWindow", options.unit),
  limit: count("fixedWindow", "limit", options.limit),
  windowMillis: millis("fixedWindow", "window", options.window)
})

/**
 * At most `permits` at once. In a shared store each is a lease, renewed while its holder lives; one whose process died comes
 * back after `lease` (30 seconds).
 *
 * @category rules
 * @since 0.1.0
 */
export const permits = (permits: number, options?: { readonly lease?: Duration.Input | undefined }): Rule => ({
  _tag: "Permits",
  unit: "calls",
  permits: count("permits", "permits", permits),
  leaseMillis: millis("permits", "lease", options?.lease ?? "30 seconds")
})

const unitOf = (rule: string, unit: Unit = "calls"): Unit =>
  unit === "calls" || unit === "tokens" ? unit : die(rule, "unit", unit, `"calls" or "tokens"`)

const count = (rule: string, name: string, value: unknown): number =>
  Number.isSafeInteger(value) && (value as number) >= 1
    ? value as number
    : die(rule, name, value, "an integer of at least 1")

const positive = (rule: string, name: string, value: unknown): number =>
  typeof value === "number" && Number.isFinite(value) && value > 0
    ? value
    : die(rule, name, value, "a finite number above 0")

const millis = (rule: string, name: string, input: Duration.Input): number => {
  const duration = Duration.fromInput(input)
  const value = duration._tag === "Some" ? Duration.toMillis(duration.value) : Number.NaN
  return Number.isFinite(value) && value > 0 ? value : die(rule, name, input, "a finite duration above 0")
}

const die = (rule: string, name: string, value: unknown, wanted: string): never => {
  throw new RangeError(`Limiter.${rule}: ${name} is ${String(value)}; it must be ${wanted}`)
}
