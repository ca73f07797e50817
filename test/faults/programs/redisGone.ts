/**
 * Uses Redis in every way while it is killed under it, closes, and must then end by itself: no timer, socket or rejection left.
 * Arguments: the port of a server that will be killed at the word "ready".
 */
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Redis from "effect/persistence/Redis"
import * as Result from "effect/Result"
import * as IoRedis from "../../../src/adapter/IoRedis.ts"

const [port = ""] = process.argv.slice(2)
const address = `127.0.0.1:${port}`

const use = Effect.gen(function*() {
  const redis = yield* Redis.Redis
  yield* redis.subscribe("channel")
  const reserved = yield* Effect.result(redis.reserve)
  const blocked = yield* Effect.forkScoped(
    Result.isSuccess(reserved) ? Effect.exit(reserved.success.send("BLPOP", "none", "0")) : Effect.void
  )
  process.stdout.write("ready\n")
  // Until the server is gone, and for a while after.
  for (let failures = 0; failures < 20;) {
    const result = yield* Effect.result(redis.send("PING"))
    if (Result.isFailure(result)) failures++
    yield* Effect.sleep(5)
  }
  yield* Fiber.join(blocked)
})

const run = (options: IoRedis.Options) =>
  Effect.scoped(use).pipe(Effect.provide(IoRedis.layer({ connect: "background", ...options })))

await Effect.runPromise(Effect.all([
  run({ url: `redis://${address}` }),
  run({ sentinels: [address], name: "main" }),
  run({ cluster: [address] })
], { concurrency: "unbounded" }))
process.stdout.write("closed\n")
