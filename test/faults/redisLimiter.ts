/** A whole limiter on a real Redis that may go away, and what became of each request. */
import { assert } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type { RedisError } from "effect/persistence/Redis"
import type * as Scope from "effect/Scope"
import * as IoRedis from "../../src/adapter/IoRedis.ts"
import * as Limiter from "../../src/policy/Limiter.ts"
import type { LimiterStoreError } from "../../src/policy/LimiterStore.ts"

type Service = Limiter.Limiter["Service"]

export interface Options extends Limiter.Options, Limiter.StoreOptions {
  /** The limiter's own; the connection's too, unless `driverTimeout` says otherwise. */
  readonly commandTimeout?: number
  readonly driverTimeout?: number
  readonly connect?: "now" | "background"
}

/** The limiter of a program that has one Redis at `url`; it is built though Redis be away. */
export const limiterOn = (
  url: string,
  { commandTimeout = 250, connect = "background", driverTimeout = commandTimeout, ...options }: Options
): Effect.Effect<Service, RedisError | LimiterStoreError, Scope.Scope> =>
  Layer.build(
    Layer.provide(
      Limiter.layerRedis({ commandTimeout, ...options }),
      IoRedis.layer({ url, connect, commandTimeout: driverTimeout })
    )
  ).pipe(Effect.map((context) => Context.get(context, Limiter.Limiter)))

/** One request, over: `admitted` or why not, after how long, and when. In milliseconds. */
export interface Outcome {
  readonly said: "admitted" | Limiter.Rejected["reason"]
  readonly message: string
  readonly tookMillis: number
  readonly at: number
}

export const request = (limiter: Service, service = "api"): Effect.Effect<Outcome> =>
  Effect.suspend(() => {
    const began = performance.now()
    const over = (said: Outcome["said"], message: string): Outcome => {
      const at = performance.now()
      return { said, message, at, tookMillis: at - began }
    }
    return limiter.withAdmission({ service })(Effect.sync(() => over("admitted", ""))).pipe(
      Effect.catch((rejected) => Effect.succeed(over(rejected.reason, rejected.message)))
    )
  })

/** Requests at once. */
export const requests = (limiter: Service, count: number): Effect.Effect<ReadonlyArray<Outcome>> =>
  Effect.forEach(Array.from({ length: count }), () => request(limiter), { concurrency: "unbounded" })

/** Workers that ask again and again until the time is over. */
export const underLoad = (limiter: Service, workers: number, millis: number): Effect.Effect<ReadonlyArray<Outcome>> =>
  Effect.suspend(() => {
    const end = performance.now() + millis
    const worker = Effect.gen(function*() {
      const outcomes: Array<Outcome> = []
      while (performance.now() < end) {
        outcomes.push(yield* request(limiter))
        yield* Effect.sleep(5)
      }
      return outcomes
    })
    return Effect.all(Array.from({ length: workers }, () => worker), { concurrency: "unbounded" })
  }).pipe(Effect.map((each) => each.flat()))

export const count = (outcomes: ReadonlyArray<Outcome>, said: Outcome["said"]): number =>
  outcomes.filter((outcome) => outcome.said === said).length

/** Every outcome is one of these. */
export const assertOnly = (outcomes: ReadonlyArray<Outcome>, ...allowed: ReadonlyArray<Outcome["said"]>): void => {
  assert.isAbove(outcomes.length, 0)
  assert.deepStrictEqual([...new Set(outcomes.map(({ said }) => said))].filter((said) => !allowed.includes(said)), [])
}

/**
 * No stretch of time has more admissions than `limit` in a sliding window allows, plus `more`. Seen from here a grant may be up to
 * `lateMillis` old: the store's answer is bounded by that.
 */
export const assertWindow = (
  outcomes: ReadonlyArray<Outcome>,
  rule: { readonly limit: number; readonly windowMillis: number; readonly lateMillis: number; readonly more: number }
): void => {
  const starts = outcomes.filter(({ said }) => said === "admitted").map(({ at }) => at).toSorted((a, b) => a - b)
  assert.isAbove(starts.length, rule.limit)
  for (let from = 0; from < starts.length; from++) {
    for (let to = from; to < starts.length; to++) {
      const millis = starts[to]! - starts[from]! + rule.lateMillis
      const allowed = rule.limit * (Math.floor(millis / rule.windowMillis) + 1) + rule.more
      assert.isAtMost(to - from + 1, allowed, `admissions within ${millis} ms`)
    }
  }
}
