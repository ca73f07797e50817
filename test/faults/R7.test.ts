import { assert, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { tokenBucket } from "../../src/policy/Limiter.ts"
import { freshName, redisStore, serverTime, setClock } from "../policy/redisStore.ts"
import { askMany, askOne, limit } from "../policy/store.ts"
import { describeRedis, RedisServer } from "../redis.ts"
import { limitWorker } from "./limitWorkers.ts"

const rate = 20
const minutes = 60_000

// Four processes take from one bucket for a second and a half, as fast as they can; whatever is left then, the test takes. The
// bucket is emptied first and too large to be full again, so nothing that flows in is lost, on the slowest machine.
const admitted = (skews: ReadonlyArray<string>) =>
  Effect.gen(function*() {
    const { url } = yield* RedisServer
    const name = freshName()
    const { store } = yield* redisStore({ url }, { name })
    const rule = tokenBucket({ capacity: 10_000, refill: rate, every: "1 second" })
    const lane = store.lane("lane", [limit("bucket", rule)])
    const start = yield* askOne(store, lane, 10_000)
    assert.isTrue(start.passed)
    const workers = yield* Effect.forEach(skews, (skew) => limitWorker(url, name, skew, "bucket", rate, 1500))
    const ends = yield* Effect.forEach(workers, (worker) => worker.heard("over"))
    const last = yield* askMany(store, lane, 1000)
    return {
      granted: ends.reduce((sum, { granted }) => sum + granted!, last.granted),
      seconds: (last.grantedAt - start.grantedAt) / 1000,
      ends
    }
  })

describeRedis("R7: clocks that are wrong", () => {
  layer(RedisServer.layer(), { excludeTestServices: true })((it) => {
    for (
      const [name, skews] of [
        ["all clocks right", ["0", "0", "0", "0"]],
        ["one process 5 s ahead, one 5 s behind", ["0", "5000", "-5000", "0"]],
        ["one process 10 min ahead, one 10 min behind", [`${10 * minutes}`, "0", "0", `-${10 * minutes}`]],
        ["clocks that step in mid-run", ["5000later", "-5000later", `${10 * minutes}later`, `-${10 * minutes}later`]]
      ] as const
    ) {
      it.effect(
        `R7: ${name}: what the server's clock allows is admitted, within one token`,
        () =>
          Effect.gen(function*() {
            const { ends, granted, seconds } = yield* admitted(skews)
            assert.approximately(granted, rate * seconds, 1, `in ${seconds} s`)
            for (const [i, end] of ends.entries()) {
              assert.isAbove(end.granted!, 0, "every process took part")
              assert.approximately(end.skew, Number.parseInt(skews[i]!, 10), 1, "its clock really was wrong")
            }
          }),
        60_000
      )
    }

    it.effect("R7: the server's clock steps back by ten minutes in mid-run: nothing more is admitted, nobody stalls", () =>
      Effect.gen(function*() {
        const { url } = yield* RedisServer
        const name = freshName()
        const { redis, store } = yield* redisStore({ url }, { name, prefix: "R7" })
        const lane = store.lane("lane", [
          limit("bucket", tokenBucket({ capacity: rate, refill: rate, every: "1 second" }))
        ])
        const tag = `{R7:${name}}`
        // What was written before the step was written by a clock ten minutes ahead of the one there is now.
        const ahead = (yield* serverTime(redis)) + 10 * minutes * 1000
        yield* setClock(redis, tag, ahead)
        assert.strictEqual((yield* askMany(store, lane, 2 * rate)).granted, rate)
        yield* setClock(redis, tag, ahead)
        const refused = yield* askOne(store, lane)
        assert.isFalse(refused.passed)
        const began = yield* serverTime(redis)
        yield* Effect.sleep(500)
        const after = yield* askMany(store, lane, 10 * rate)
        const seconds = ((yield* serverTime(redis)) - began) / 1e6
        assert.isAtLeast(after.granted, Math.floor(rate * 0.49))
        assert.isAtMost(after.granted, Math.ceil(rate * seconds) + 1)
      }))
  })
})
