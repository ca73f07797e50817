/**
 * One client process of `fleet.ts`: `node fleetClient.ts OPTIONS`. It starts one request after the other at its own pace,
 * whatever becomes of them, and prints what it was granted.
 */
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as FiberSet from "effect/FiberSet"
import * as Layer from "effect/Layer"
import { createInterface } from "node:readline"
import * as IoRedis from "../../../src/adapter/IoRedis.ts"
import * as Limiter from "../../../src/policy/Limiter.ts"
import { LimiterStore } from "../../../src/policy/LimiterStore.ts"
import type { ClientOptions } from "../fleet.ts"

const options = JSON.parse(process.argv[2] ?? "") as ClientOptions

// The machine's time, which the skewed clock does not touch.
const machineTime = (): number => performance.timeOrigin + performance.now()

/** The real clock, off by `skewMillis`. */
const skewed = (real: Clock.Clock): Clock.Clock => {
  const millis = (): number => real.currentTimeMillisUnsafe() + options.skewMillis
  const nanos = (): bigint => real.currentTimeNanosUnsafe() + BigInt(options.skewMillis) * 1_000_000n
  return {
    currentTimeMillisUnsafe: millis,
    currentTimeMillis: Effect.sync(millis),
    currentTimeNanosUnsafe: nanos,
    currentTimeNanos: Effect.sync(nanos),
    monotonicTimeNanosUnsafe: () => real.monotonicTimeNanosUnsafe(),
    monotonicTimeNanos: real.monotonicTimeNanos,
    sleep: (duration) => real.sleep(duration)
  }
}

const grantedAt: Array<number> = []
const startedAt: Array<number> = []
const rejected: Record<string, number> = {}

/** The store of Redis, every grant of the lane under test written down as the store tells it. */
const recording = Layer.effect(
  LimiterStore,
  Effect.map(LimiterStore, (store) =>
    LimiterStore.of({
      ...store,
      ask: (asks) =>
        Effect.tap(store.ask(asks), (answers) =>
          Effect.sync(() => {
            for (const [index, { granted, grantedAt: at }] of answers.entries()) {
              if (asks[index]!.lane.limits.every(({ key }) => !key.startsWith("service/api/"))) continue
              for (let i = 0; i < granted; i++) grantedAt.push(at)
            }
          }))
    }))
)
