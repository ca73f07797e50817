import { assert, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Redis from "effect/persistence/Redis"
import * as IoRedis from "../../src/adapter/IoRedis.ts"
import * as Limiter from "../../src/policy/Limiter.ts"
import { random } from "../random.ts"
import { describeRedis, redisServer } from "../redis.ts"

const seed = Number(process.env["SEED"] ?? 11)

describeRedis("R11: waiters that leave, on a real Redis", () => {
  it.live(`R11: 2,000 random interruptions leave no permit and no entry of a call that never started (seed ${seed})`, () =>
    Effect.gen(function*() {
      const server = yield* redisServer()
      const connection = yield* Layer.build(IoRedis.layer({ url: server.url, commandTimeout: 10_000 }))
      const redis = Context.get(connection, Redis.Redis)
      const context = yield* Layer.build(
        Limiter.layerRedis({
          global: Limiter.slidingWindow({ limit: 5000, window: "1 hour" }),
          services: {
            api: [Limiter.tokenBucket({ capacity: 100, refill: 2000, every: "1 second" }), Limiter.permits(4)]
          },
          commandTimeout: 10_000,
          name: "r11"
        }).pipe(Layer.provide(Layer.succeedContext(connection)))
      )
      const limiter = Context.get(context, Limiter.Limiter)
      const { chance, int } = random(seed)
      let started = 0
      const call = (millis: number) =>
        limiter.withAdmission({ service: "api" })(Effect.suspend(() => {
          started++
          return Effect.sleep(millis)
        }))
      for (let round = 0; round < 400; round++) {
        const fibers = yield* Effect.forEach(
          Array.from({ length: 5 }),
          () => Effect.forkChild(call(int(0, 3)), { startImmediately: true })
        )
        // Some leave before they are asked for, most while they are, some in their line, some when they have started.
        for (let turns = int(0, 3); turns > 0; turns--) yield* Effect.yieldNow
        if (chance(0.2)) yield* Effect.sleep(int(1, 3))
        yield* Effect.forEach(fibers, (fiber) => Fiber.interrupt(fiber), { discard: true })
      }
      assert.isAbove(started, 0)
      // What came back late is told in the background.
      const keys = yield* redis.send<ReadonlyArray<string>>("KEYS", "*")
      const count = (type: string, command: string, ...ends: ReadonlyArray<string>) =>
        Effect.forEach(
          keys,
          (key) =>
            Effect.flatMap(redis.send<string>("TYPE", key), (found) =>
              found === type ? redis.send<number>(command, key, ...ends) : Effect.succeed(0))
        ).pipe(
          Effect.map((each) =>
            each.reduce((sum, n) => sum + n, 0)
          )
        )
      let held = -1
      let entries = -1
      for (let tries = 0; tries < 500 && (held !== 0 || entries !== started); tries++) {
        yield* Effect.sleep(10)
        held = yield* count("zset", "ZCARD")
        entries = yield* count("list", "LLEN")
      }
      assert.deepStrictEqual({ held, entries }, { held: 0, entries: started }, `seed ${seed}`)
    }))
})
