/**
 * What the store's tests have in common: how to open one, small words for limits and asks, and the count of what was admitted
 * in the worst window.
 */
import { assert } from "@effect/vitest"
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { fixedWindow, type Rule } from "../../src/policy/Limiter.ts"
import type { Answer, Grant, Lane, Limit, LimiterStore } from "../../src/policy/LimiterStore.ts"

export type Store = Context.Service.Shape<typeof LimiterStore>

/** How a suite gets its store, and lets time pass. */
export interface Harness {
  /** `it.effect` where TestClock drives the store, `it.live` where time really passes. */
  readonly it: (name: string, test: () => Effect.Effect<void, unknown, Scope.Scope>) => void
  /** A store in which nothing has happened, of its own for each test. */
  readonly open: Effect.Effect<Store, unknown, Scope.Scope>
  /** At least so long. */
  readonly pass: (millis: number) => Effect.Effect<void>
}

/** What the store's clock may differ by rounding, in milliseconds. */
export const rounding = 1.1

export const limit = (key: string, rule: Rule, group = key): Limit => ({ key, name: `limit ${key}`, group, rule })

let heads = 0

export const head = (calls = 1, tokens = 0) => ({ id: `head-${++heads}-${Math.random()}`, calls, tokens })

export interface One extends Answer {
  /** The grant, where it passed. */
  readonly grant: Grant
  readonly passed: boolean
}

/** Asks for one head. */
export const askOne = (
  store: Store,
  lane: Lane,
  calls = 1,
  tokens = 0
): Effect.Effect<One, unknown> => {
  const asked = head(calls, tokens)
  return Effect.map(store.ask([{ lane, heads: [asked], waiting: 1 }]), ([answer]) => ({
    ...answer!,
    passed: answer!.granted === 1,
    grant: { lane, head: asked, grantedAt: answer!.grantedAt }
  }))
}

/** Asks for `count` heads at once; one answer. */
export const askMany = (
  store: Store,
  lane: Lane,
  count: number,
  options: { readonly calls?: number; readonly tokens?: number; readonly waiting?: number } = {}
): Effect.Effect<Answer, unknown> =>
  Effect.map(
    store.ask([{
      lane,
      heads: Array.from({ length: count }, () => head(options.calls ?? 1, options.tokens ?? 0)),
      waiting: options.waiting ?? count
    }]),
    ([answer]) => answer!
  )

/** Asks until it passes, waiting as told; fails after `patience` asks. */
export const askUntil = Effect.fnUntraced(function*(
  harness: Harness,
  store: Store,
  lane: Lane,
  calls = 1,
  tokens = 0,
  patience = 50
): Effect.fn.Return<One, unknown> {
  for (let i = 0; i < patience; i++) {
    const answer = yield* askOne(store, lane, calls, tokens)
    if (answer.passed) return answer
    yield* harness.pass(Math.ceil(Math.min(answer.waitMillis, 1000)))
  }
  return assert.fail(`not admitted after ${patience} asks`)
})

/** The store's time. */
export const timeOf = (store: Store): Effect.Effect<number, unknown> => {
  const clock = store.lane("clock", [limit("clock", fixedWindow({ limit: 1_000_000_000, window: "1 second" }))])
  return Effect.map(askOne(store, clock), (answer) => answer.grantedAt)
}

export interface Admission {
  readonly at: number
  readonly amount: number
}

/** The most that lies within any half-open window of `millis`. */
export const worstWindow = (admissions: ReadonlyArray<Admission>, millis: number): number => {
  const sorted = [...admissions].sort((a, b) => a.at - b.at)
  let worst = 0
  let sum = 0
  let from = 0
  for (const admission of sorted) {
    sum += admission.amount
    while (sorted[from]!.at + millis <= admission.at) sum -= sorted[from++]!.amount
    worst = Math.max(worst, sum)
  }
  return worst
}

/** Asserts that no window, from any admission to any later one, holds more than `capacity + perMilli * time`. */
export const assertBucketBound = (
  admissions: ReadonlyArray<Admission>,
  capacity: number,
  perMilli: number,
  message = ""
): void => {
  const sorted = [...admissions].sort((a, b) => a.at - b.at)
  for (let from = 0; from < sorted.length; from++) {
    let sum = 0
    for (let to = from; to < sorted.length; to++) {
      sum += sorted[to]!.amount
      const bound = capacity + perMilli * (sorted[to]!.at - sorted[from]!.at)
      if (sum > bound + 1e-6) {
        assert.fail(`${message} ${sum} admitted from ${sorted[from]!.at} to ${sorted[to]!.at}, at most ${bound}`)
      }
    }
  }
}
