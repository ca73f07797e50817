/**
 * R15: bursts at the border of a window. A minute of real arrivals, the busiest there is, under a limit of 4 a second: every
 * sliding window is looked at, by calls and with token costs as weights.
 */
import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { TestClock } from "effect/testing"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import * as Limiter from "../../src/policy/Limiter.ts"
import { describeData } from "../data.ts"
import { assertBucketBound, worstWindow } from "../policy/store.ts"

interface Arrival {
  readonly at: number
  readonly tokens: number
}

interface Started extends Arrival {
  readonly startedAt: number
  readonly index: number
}

/** The busiest minute of a trace, counted from its begin. */
const busiestMinute = (file: string): ReadonlyArray<Arrival> => {
  const [head, ...lines] = readFileSync(file, "utf8").trim().split("\n")
  assert.strictEqual(head, "timestamp_ms,input_tokens,output_tokens")
  const all = lines.map((line) => line.split(",").map(Number)).map(([at, input, output]) => ({
    at: at!,
    tokens: input! + output!
  })).sort((a, b) => a.at - b.at)
  let best = 0
  let from = 0
  let first = 0
  for (let to = 0; to < all.length; to++) {
    while (all[from]!.at + 60_000 <= all[to]!.at) from++
    if (to + 1 - from <= best) continue
    best = to + 1 - from
    first = from
  }
  const begin = all[first]!.at
  return all.slice(first, first + best).map(({ at, tokens }) => ({ at: at - begin, tokens }))
}

const now = Effect.clockWith((clock) => Effect.sync(() => clock.currentTimeMillisUnsafe()))

/** Sends all arrivals at their times, `quiet` ones once a second beside them, and waits until all have started. */
const replay = Effect.fnUntraced(function*(arrivals: ReadonlyArray<Arrival>, weighted: boolean) {
  const busy: Array<Started> = []
  const quiet: Array<number> = []
  const send = (arrival: Arrival, index: number) =>
    Limiter.withAdmission({
      service: "busy",
      maxWait: "1 day",
      ...(weighted ? { tokens: arrival.tokens } : {})
    })(Effect.flatMap(now, (startedAt) => Effect.sync(() => void busy.push({ ...arrival, startedAt, index }))))
  yield* Effect.forEach(
    arrivals,
    (arrival, index) => Effect.delay(send(arrival, index), arrival.at),
    { concurrency: "unbounded" }
  ).pipe(Effect.forkChild({ startImmediately: true }))
  yield* Effect.forEach(
    Array.from({ length: 60 }, (_, second) => second * 1000 + 500),
    (at) =>
      Effect.delay(
        Limiter.withAdmission({ service: "quiet" })(
          Effect.flatMap(now, (startedAt) => Effect.sync(() => void quiet.push(startedAt - at)))
        ),
        at
      ),
    { concurrency: "unbounded" }
  ).pipe(Effect.forkChild({ startImmediately: true }))
  // All at once: timers run in their order, each at its time.
  yield* TestClock.adjust("1 day")
  assert.strictEqual(busy.length, arrivals.length, "everybody starts")
  assert.strictEqual(quiet.length, 60)
  return { busy, quiet }
})

const calls = (started: ReadonlyArray<Started>) => started.map(({ startedAt }) => ({ at: startedAt, amount: 1 }))
const tokens = (started: ReadonlyArray<Started>) =>
  started.map(({ startedAt, tokens }) => ({ at: startedAt, amount: tokens }))

const inOrder = (started: ReadonlyArray<Started>) => {
  for (let i = 1; i < started.length; i++) {
    const [before, after] = [started[i - 1]!, started[i]!]
    // Arrivals of one instant have no order among them but that of their forks, which the limiter saw.
    if (after.index < before.index) assert.fail(`${after.index} started after ${before.index}`)
    assert.isAtLeast(after.startedAt, after.at)
  }
}

/** The quiet API has limits of its own, and room in the global one whatever its neighbour does. */
const layer = (busy: Limiter.Rule, global = 9) =>
  Limiter.layer({
    global: Limiter.slidingWindow({ limit: global, window: "1 second" }),
    services: { busy, quiet: Limiter.slidingWindow({ limit: 1, window: "1 second" }) }
  })

describeData("arrivals", "R15: the busiest minute of a real trace under 4 calls a second", (folder) => {
  for (const trace of ["conversation_trace", "synthetic_trace"]) {
    const arrivals = busiestMinute(join(folder, `${trace}.csv`))
    const offered = worstWindow(arrivals.map(({ at }) => ({ at, amount: 1 })), 1000)

    it(`R15: ${trace} really has bursts beyond the limit`, () => {
      assert.isAbove(arrivals.length, 60)
      assert.isAbove(offered, 8, "offered in the worst second; a checker that saw no burst would prove nothing")
    })

    it.effect(`R15: ${trace}, sliding window: at most 4 in any second, and no call later than that asks for`, () =>
      Effect.gen(function*() {
        const { busy, quiet } = yield* replay(arrivals, false)
        assert.isAtMost(worstWindow(calls(busy), 1000), 4)
        inOrder(busy)
        for (const [i, one] of busy.entries()) {
          if (one.startedAt === one.at) continue
          // It waited: it starts in the instant in which the fourth before it leaves the window.
          assert.strictEqual(one.startedAt, busy[i - 4]!.startedAt + 1000, `call ${i}`)
        }
        assert.deepStrictEqual([...new Set(quiet)], [0])
      }).pipe(Effect.provide(layer(Limiter.slidingWindow({ limit: 4, window: "1 second" })))))

    it.effect(`R15: ${trace}, token bucket: at most 4 + 4 a second in any window`, () =>
      Effect.gen(function*() {
        const { busy, quiet } = yield* replay(arrivals, false)
        assertBucketBound(calls(busy), 4, 4 / 1000)
        inOrder(busy)
        assert.deepStrictEqual([...new Set(quiet)], [0])
      }).pipe(Effect.provide(layer(Limiter.tokenBucket({ capacity: 4, refill: 4, every: "1 second" })))))

    it.effect(`R15: ${trace}, fixed window: at most 8 in any second`, () =>
      Effect.gen(function*() {
        const { busy, quiet } = yield* replay(arrivals, false)
        assert.isAtMost(worstWindow(calls(busy), 1000), 8)
        inOrder(busy)
        assert.deepStrictEqual([...new Set(quiet)], [0])
      }).pipe(Effect.provide(layer(Limiter.fixedWindow({ limit: 4, window: "1 second" })))))

    const total = arrivals.reduce((sum, arrival) => sum + arrival.tokens, 0)
    const largest = Math.max(...arrivals.map((arrival) => arrival.tokens))
    // A tenth less than what the minute brings, and never less than its largest request.
    const perTenSeconds = Math.max(largest, Math.floor(total / 6 * 0.9))
    const unit = "tokens"

    it.effect(`R15: ${trace}, sliding window of tokens: costs as weights, in their order`, () =>
      Effect.gen(function*() {
        const { busy, quiet } = yield* replay(arrivals, true)
        assert.isAtMost(worstWindow(tokens(busy), 10_000), perTenSeconds)
        assert.isAbove(worstWindow(tokens(busy), 10_000), perTenSeconds - largest)
        inOrder(busy)
        assert.deepStrictEqual([...new Set(quiet)], [0])
      }).pipe(Effect.provide(layer(
        Limiter.slidingWindow({ limit: perTenSeconds, window: "10 seconds", unit }),
        offered * 2
      ))))

    it.effect(`R15: ${trace}, token bucket of tokens: costs as weights, in their order`, () =>
      Effect.gen(function*() {
        const { busy, quiet } = yield* replay(arrivals, true)
        assertBucketBound(tokens(busy), perTenSeconds, perTenSeconds / 10_000)
        inOrder(busy)
        assert.deepStrictEqual([...new Set(quiet)], [0])
      }).pipe(Effect.provide(layer(
        Limiter.tokenBucket({ capacity: perTenSeconds, refill: perTenSeconds, every: "10 seconds", unit }),
        offered * 2
      ))))
  }
})
