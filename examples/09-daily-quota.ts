/**
 * A limiter of your own: a daily quota, kept in a file, around the built-in limiter.
 *
 * A limiter is a Layer of the service `Limiter`. This one counts first, in a file that outlives the program (written beside and
 * renamed, so that no half-written count is ever read), and hands the request on to the limiter it wraps. What that one rejects, or
 * what is cancelled while it waits there, is not counted.
 *
 * Run: npx node examples/09-daily-quota.ts
 * No key, no network; on a test clock, so that a day passes at once. In a program of your own write "effect-toolformer" for "../src/index.ts".
 *
 * Expected output:
 *   first start of the program:
 *     a ok
 *     b ok
 *     c ok
 *   a waiter that was cancelled is not counted: 3 used
 *   second start, same day:
 *     d ok
 *     e ok
 *     f rejected: daily quota: 5 of 5 calls used
 *   the next day:
 *     g ok
 */
import * as NodeFileSystem from "@effect/platform-node/NodeFileSystem"
import { DateTime, Effect, Fiber, FileSystem, Layer, Schema, Semaphore } from "effect"
import { TestClock } from "effect/testing"
import { Limiter } from "../src/index.ts"

// ---- the quota: a day, a count, a file

const Used = Schema.fromJsonString(Schema.Struct({ day: Schema.String, calls: Schema.Int }))

const today = Effect.map(DateTime.now, DateTime.formatIsoDateUtc)

const makeQuota = (file: string) =>
  Effect.gen(function*() {
    const files = yield* FileSystem.FileSystem
    const oneByOne = yield* Semaphore.make(1)
    const used = Effect.gen(function*() {
      const day = yield* today
      if (!(yield* files.exists(file))) return 0
      const kept = yield* Schema.decodeEffect(Used)(yield* files.readFileString(file))
      return kept.day === day ? kept.calls : 0
    })
    // A rename is atomic: whoever reads finds the old count or the new one.
    const write = (calls: number) =>
      Effect.gen(function*() {
        const text = yield* Schema.encodeEffect(Used)({ day: yield* today, calls })
        yield* files.writeFileString(`${file}.new`, text)
        yield* files.rename(`${file}.new`, file)
      })
    const change = (next: (calls: number) => number) =>
      oneByOne.withPermit(Effect.gen(function*() {
        const before = yield* used
        const after = next(before)
        if (after !== before) yield* write(after)
        return before
      }))
    return { used, change }
  })

/** The limiter of the context, and at most so many calls a day. */
const dailyQuota = (options: { readonly file: string; readonly calls: number }) =>
  Layer.effect(
    Limiter.Limiter,
    Effect.gen(function*() {
      const inner = yield* Limiter.Limiter
      const quota = yield* makeQuota(options.file)
      const take = (calls: number) =>
        quota.change((used) => used + calls > options.calls ? used : used + calls).pipe(
          Effect.orDie,
          Effect.flatMap((used) =>
            used + calls <= options.calls ? Effect.void : new Limiter.Rejected({
              reason: "Exceeded",
              limit: "daily quota",
              message: `daily quota: ${used} of ${options.calls} calls used`
            })
          )
        )
      const giveBack = (calls: number) => Effect.orDie(quota.change((used) => Math.max(0, used - calls)))
      const withAdmission = (request: Limiter.Request) =>
      <A, E, R>(
        use: Effect.Effect<A, E, R> | ((lease: Limiter.Lease) => Effect.Effect<A, E, R>)
      ) =>
        Effect.uninterruptibleMask((restore) =>
          Effect.gen(function*() {
            const calls = request.calls ?? 1
            let started = false
            yield* take(calls)
            const admitted = inner.withAdmission(request)((lease) => {
              started = true
              return typeof use === "function" ? use(lease) : use
            })
            return yield* Effect.ensuring(
              restore(admitted),
              Effect.suspend(() => started ? Effect.void : giveBack(calls))
            )
          })
        )
      return Limiter.make({ ...inner, withAdmission })
    })
  )

// ---- three starts of one program

const limits = Limiter.layer({
  services: { slow: Limiter.tokenBucket({ capacity: 1, refill: 1, every: "1 minute" }) }
})

const call = (name: string, service?: string) =>
  Limiter.withAdmission({ service })(Effect.sync(() => console.log(`  ${name} ok`))).pipe(
    Effect.catchTag("Rejected", ({ message }) => Effect.sync(() => console.log(`  ${name} rejected: ${message}`)))
  )

const program = Effect.scoped(Effect.gen(function*() {
  const files = yield* FileSystem.FileSystem
  const file = `${yield* files.makeTempDirectoryScoped()}/quota.json`
  const started = <A, E, R>(program: Effect.Effect<A, E, R>) =>
    Effect.provide(program, dailyQuota({ file, calls: 5 }).pipe(Layer.provide(limits)))

  console.log("first start of the program:")
  yield* started(Effect.gen(function*() {
    yield* call("a", "slow")
    yield* call("b")
    yield* call("c")
    const waiter = yield* Effect.forkChild(call("waits for slow", "slow"))
    yield* Effect.yieldNow
    yield* Fiber.interrupt(waiter)
  }))
  console.log(`a waiter that was cancelled is not counted: ${yield* (yield* makeQuota(file)).used} used`)

  console.log("second start, same day:")
  yield* started(Effect.forEach(["d", "e", "f"], (name) => call(name)))

  yield* TestClock.adjust("1 day")
  console.log("the next day:")
  yield* started(call("g"))
}))

await Effect.runPromise(program.pipe(Effect.provide([NodeFileSystem.layer, TestClock.layer()])))
