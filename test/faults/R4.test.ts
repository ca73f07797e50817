import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Limiter from "../../src/policy/Limiter.ts"
import { proxy } from "../proxy.ts"
import { describeRedis, redisServer } from "../redis.ts"
import { connected, eventually, lateness, named, percentile } from "./redisClient.ts"
import { assertOnly, count, limiterOn, request, requests, underLoad } from "./redisLimiter.ts"

describeRedis("R4: a partition that drops packets and resets nothing", () => {
  it.live("R4: a command fails within 1.2 x commandTimeout, whoever waits with it; afterwards it works again", () =>
    Effect.gen(function*() {
      const commandTimeout = 400
      const server = yield* redisServer()
      const front = yield* proxy(server.port)
      const { redis } = yield* connected({ url: front.url, commandTimeout })
      yield* redis.send("PING")
      const late = yield* lateness
      front.blackhole()
      const timed = Effect.gen(function*() {
        const began = performance.now()
        const result = yield* Effect.result(redis.send("INCR", "k"))
        return {
          millis: performance.now() - began,
          said: Result.isFailure(result) ? named(result.failure) : "answered"
        }
      })
      const all = yield* Effect.forEach(
        Array.from({ length: 40 }),
        () => Effect.replicateEffect(timed, 10),
        { concurrency: "unbounded" }
      ).pipe(Effect.map((each) => each.flat()))
      assert.isAtMost(percentile(0.99, all.map(({ millis }) => millis)), 1.2 * commandTimeout + late())
      // The connection that does not answer is given up; from then on nobody waits.
      const said = new Set(all.map((each) => each.said))
      assert.isTrue(said.delete("TimedOut") && said.delete("Unreachable"))
      assert.deepStrictEqual([...said].filter((each) => each !== "Disconnected"), [])
      yield* front.heal()
      assert.strictEqual(yield* eventually(redis.send("PING")), "PONG")
      assert.isAtMost(yield* server.calls("incr"), front.requests("incr"))
    }))

  it.live("R4: p99 of an admission is at most 1.2 x commandTimeout; an open circuit lets only probes through", () =>
    Effect.gen(function*() {
      const commandTimeout = 400
      const probeInterval = 500
      const server = yield* redisServer()
      const front = yield* proxy(server.port)
      const limiter = yield* limiterOn(front.url, {
        services: { api: Limiter.slidingWindow({ limit: 30, window: "1 hour" }) },
        onExceeded: "fail",
        onStoreError: "open",
        commandTimeout,
        probeInterval
      })
      const first = yield* requests(limiter, 40)
      assert.deepStrictEqual([count(first, "admitted"), count(first, "Exceeded")], [30, 10])
      const before = front.requests("evalsha")
      const late = yield* lateness
      front.blackhole()
      const began = performance.now()
      const during = yield* underLoad(limiter, 20, 3000)
      const elapsed = performance.now() - began
      assertOnly(during, "admitted")
      assert.isAtMost(percentile(0.99, during.map(({ tookMillis }) => tookMillis)), 1.2 * commandTimeout + late())
      const sent = front.requests("evalsha") - before
      assert.isAtLeast(sent, 3)
      assert.isAtMost(sent, 3 + Math.ceil(elapsed / probeInterval))
      yield* front.heal()
      // A good probe closes the circuit, and the limit counts again.
      while ((yield* request(limiter)).said !== "Exceeded") yield* Effect.sleep(20)
      assertOnly(yield* requests(limiter, 10), "Exceeded")
    }))

  for (const onStoreError of ["open", "closed", "local"] as const) {
    it.live(`R4: of 200 at once, none waits longer than 1.2 x commandTimeout to be decided ("${onStoreError}")`, () =>
      Effect.gen(function*() {
        const commandTimeout = 400
        const server = yield* redisServer()
        const front = yield* proxy(server.port)
        const limiter = yield* limiterOn(front.url, {
          services: { api: Limiter.slidingWindow({ limit: 500, window: "1 hour" }) },
          onStoreError,
          commandTimeout
        })
        yield* request(limiter)
        const late = yield* lateness
        front.blackhole()
        const all = yield* requests(limiter, 200)
        assertOnly(all, onStoreError === "closed" ? "StoreUnavailable" : "admitted")
        assert.isAtMost(Math.max(...all.map(({ tookMillis }) => tookMillis)), 1.2 * commandTimeout + late())
      }))
  }
})
