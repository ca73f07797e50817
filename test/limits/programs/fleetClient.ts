/**
 * One client process of `fleet.ts`: `node fleetClient.ts OPTIONS`. It starts one request after the other at its own pace,
 * whatever becomes of them, and prints what it was granted.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as FiberSet from "effect/FiberSet"
import * as Layer from "effect/Layer"
import { createInterface } from "node:readline"
import * as IoRedis from "../../../src/adapter/IoRedis.ts"
import * as Limiter from "../../../src/policy/Limiter.ts"
import { LimiterStore } from "../../../src/policy/LimiterStore.ts"
import * as LimiterStoreRedis from "../../../src/policy/LimiterStoreRedis.ts"
import type { ClientOptions } from "../fleet.ts"

const options = JSON.parse(process.argv[2] ?? "") as ClientOptions

// The machine's time, which the skewed clock does not touch.
const machineTime = (): number => performance.timeOrigin + performance.now()

let begun = Number.POSITIVE_INFINITY

/** The real clock, off by `skewMillis`: from the start, or from some time into the run. Elapsed time is nobody's to change. */
const skewed = (real: Clock.Clock): Clock.Clock => {
  const { skewAfterMillis, skewMillis } = options
  const skew = (): number => skewAfterMillis === undefined || machineTime() >= begun + skewAfterMillis ? skewMillis : 0
  const millis = (): number => real.currentTimeMillisUnsafe() + skew()
  const nanos = (): bigint => real.currentTimeNanosUnsafe() + BigInt(skew()) * 1_000_000n
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

// A machine that is slow for a moment is no fault here: nothing is given up.
const commandTimeout = "20 seconds"

const limits = Limiter.layerStore({
  services: { api: options.rule, warm: Limiter.permits(1000) },
  onExceeded: options.onExceeded,
  maxWait: "1 hour",
  commandTimeout
}).pipe(
  Layer.provide(recording),
  Layer.provide(LimiterStoreRedis.layer({ commandTimeout })),
  Layer.provide(
    IoRedis.layer({ host: "127.0.0.1", port: options.port, commandTimeout, connectTimeout: commandTimeout })
  ),
  Layer.provide(Layer.effect(Clock.Clock, Effect.clockWith((real) => Effect.succeed(skewed(real)))))
)

const input = createInterface({ input: process.stdin })
// A parent that is gone must not leave clients behind.
input.once("close", () => process.exit(1))
const go = Effect.callback<void>((resume) => void input.once("line", () => resume(Effect.void)))

const request = Limiter.withAdmission({ service: "api" })(Effect.sync(() => void startedAt.push(machineTime()))).pipe(
  Effect.catchTag("Rejected", ({ reason }) => Effect.sync(() => (rejected[reason] = (rejected[reason] ?? 0) + 1)))
)

/** Starts what is due by the machine's time, every few milliseconds: the pace does not depend on the answers. */
const openLoop = Effect.gen(function*() {
  const run = yield* FiberSet.makeRuntime<Limiter.Limiter>()
  begun = machineTime()
  let started = 0
  while (machineTime() < begun + options.forMillis) {
    const due = ((machineTime() - begun) * options.perSecond) / 1000
    for (; started < due; started++) run(request)
    yield* Effect.sleep(2)
  }
})

const program = Effect.scoped(Effect.gen(function*() {
  yield* Limiter.withAdmission({ service: "warm" })(Effect.void)
  console.log("ready")
  yield* go
  yield* openLoop
})).pipe(Effect.provide(limits))

await Effect.runPromise(program)
console.log(JSON.stringify({ grantedAt, startedAt, rejected }))
process.exit(0)
