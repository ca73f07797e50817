/** Circuits in a real Redis, shared by breakers that have nothing else in common. Time is the server's. */
import { assert, it, layer } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as CircuitBreaker from "effect/persistence/CircuitBreaker"
import * as IoRedis from "../../src/adapter/IoRedis.ts"
import { Breaker } from "../../src/index.ts"
import { describeRedis, RedisServer, redisServer } from "../redis.ts"

const down = Effect.fail({ status: 503 })

/** A breaker with a connection of its own, as another process has it. */
const breakerOn = (url: string, options: Breaker.Options) =>
  Effect.map(
    Layer.build(
      Breaker.layerStore(options).pipe(
        Layer.provide(CircuitBreaker.layerStoreRedis({ prefix: "test:" })),
        Layer.provide(IoRedis.layer({ url, commandTimeout: 5000, connectTimeout: 5000 }))
      )
    ),
    (context) => Context.get(context, Breaker.Breaker)
  )

const until = <E>(what: string, check: Effect.Effect<boolean, E>): Effect.Effect<void, E> =>
  Effect.gen(function*() {
    for (let i = 0; i < 1000; i++) {
      if (yield* check) return
      yield* Effect.sleep(10)
    }
    assert.fail(`ten seconds passed without: ${what}`)
  })

const reasonOf = (exit: Exit.Exit<unknown, unknown>): string => {
  const error = Exit.isFailure(exit) ? exit.cause.reasons[0] : assert.fail("it succeeded")
  const failure = error?._tag === "Fail" ? error.error : assert.fail("it did not fail")
  assert.instanceOf(failure, CircuitBreaker.CircuitBreakerError)
  return failure.reason._tag
}

describeRedis("Breaker.layerStore on a real Redis", () => {
  layer(RedisServer.layer(), { excludeTestServices: true })((it) => {
    it.effect(
      "opens for all when the failures of all are enough, for as long as the service asks",
      () =>
        Effect.gen(function*() {
          const { url } = yield* RedisServer
          const options = { failures: 4, openDuration: "1 minute" } as const
          const [one, two] = [yield* breakerOn(url, options), yield* breakerOn(url, options)]
          for (const breaker of [one, two, one]) yield* Effect.exit(breaker.execute("crm")(down))
          assert.strictEqual((yield* one.state("crm"))._tag, "Closed")
          // A not found is an answer: the row begins anew.
          yield* Effect.exit(two.execute("crm")(Effect.fail({ status: 404 })))
          for (const breaker of [one, two, one]) yield* Effect.exit(breaker.execute("crm")(down))
          assert.strictEqual((yield* two.state("crm"))._tag, "Closed")
          yield* Effect.exit(two.execute("crm")(Effect.fail({ status: 503, headers: { "retry-after": "600" } })))
          for (const breaker of [one, two]) {
            let runs = 0
            const exit = yield* Effect.exit(breaker.execute("crm")(Effect.sync(() => runs++)))
            assert.strictEqual(reasonOf(exit), "CircuitOpen")
            assert.strictEqual(runs, 0)
            const state = yield* breaker.state("crm")
            assert.isTrue(state._tag === "Open" && Duration.toMillis(state.retryAfter) > 60_000, JSON.stringify(state))
          }
          const ttl = Number(yield* (yield* RedisServer).send("PTTL", "test:crm"))
          // Ten minutes open, then an hour idle; well above the minute it would have been.
          assert.isAbove(ttl, 65 * 60_000)
          assert.strictEqual((yield* one.state("other"))._tag, "Closed")
        }),
      60_000
    )

    it.effect("lets one probe of all pass, and closes for all when it is answered", () =>
      Effect.gen(function*() {
        const { url } = yield* RedisServer
        const options = { failures: 1, openDuration: "50 millis" } as const
        const [one, two] = [yield* breakerOn(url, options), yield* breakerOn(url, options)]
        yield* Effect.exit(one.execute("maps")(down))
        const [began, answer] = [yield* Deferred.make<void>(), yield* Deferred.make<string>()]
        const probing = Effect.andThen(Deferred.succeed(began, undefined), Deferred.await(answer))
        // It is asked until the 50 milliseconds are over on the server's clock.
        const probe = yield* Effect.forkChild(
          Effect.retry(two.execute("maps")(probing), { while: (error) => error.reason._tag === "CircuitOpen" })
        )
        yield* Deferred.await(began)
        assert.strictEqual(reasonOf(yield* Effect.exit(one.execute("maps")(Effect.void))), "CircuitHalfOpen")
        yield* Deferred.succeed(answer, "here")
        assert.strictEqual(yield* Fiber.join(probe), "here")
        assert.strictEqual(yield* one.execute("maps")(Effect.succeed("both")), "both")
        assert.strictEqual((yield* one.state("maps"))._tag, "Closed")
      }), 60_000)

    it.effect("frees the probe's place when the probe is interrupted", () =>
      Effect.gen(function*() {
        const { url } = yield* RedisServer
        const breaker = yield* breakerOn(url, { failures: 1, openDuration: "20 millis" })
        yield* Effect.exit(breaker.execute("mail")(down))
        const began = yield* Deferred.make<void>()
        const probe = yield* Effect.forkChild(
          Effect.retry(breaker.execute("mail")(Effect.andThen(Deferred.succeed(began, undefined), Effect.never)), {
            while: (error) => error.reason._tag === "CircuitOpen"
          })
        )
        yield* Deferred.await(began)
        yield* Fiber.interrupt(probe)
        assert.strictEqual(yield* breaker.execute("mail")(Effect.succeed("next")), "next")
        assert.strictEqual((yield* breaker.state("mail"))._tag, "Closed")
      }), 60_000)
  })

  it.live(
    "runs calls unrecorded while Redis is away, or turns them away where it is told to",
    () =>
      Effect.gen(function*() {
        const server = yield* redisServer()
        const open = yield* breakerOn(server.url, { failures: 1 })
        const closed = yield* breakerOn(server.url, { failures: 1, onStoreError: "fail" })
        assert.strictEqual(yield* open.execute("s")(Effect.succeed("up")), "up")
        yield* server.kill
        yield* Effect.exit(open.execute("s")(down))
        assert.strictEqual(yield* open.execute("s")(Effect.succeed("runs")), "runs")
        assert.strictEqual(reasonOf(yield* Effect.exit(closed.execute("s")(Effect.void))), "CircuitBreakerStoreError")
        yield* server.start()
        yield* until(
          "Redis is asked again",
          Effect.map(Effect.exit(closed.execute("s")(Effect.void)), Exit.isSuccess)
        )
        assert.strictEqual((yield* closed.state("s"))._tag, "Closed")
      }),
    60_000
  )
})
