/**
 * A process that shares limits in Redis, and says what happens to it, a line of JSON each: `granted`, `refused`, `lost`, `over`.
 *
 * `node limitWorker.ts <url> <name> <skew> <work>`: its own clock runs `skew` milliseconds off, and steps there only after its
 * first grant when `skew` ends in `later`. Work: `bucket <rate> <millis>` takes from a bucket of `rate` a second as often as it
 * can, for so long by the store's time; `permit <count> <lease>` holds one of `count` permits and renews it; `release` on standard
 * input gives it back.
 */
const [url, name, skewText, work, ...numbers] = process.argv.slice(2) as [string, string, string, string]
const [first, second] = numbers.map(Number) as [number, number]

let skew = skewText.endsWith("later") ? 0 : Number.parseInt(skewText, 10)
const stepClock = (): void => void (skew = Number.parseInt(skewText, 10))

// Every clock a program can read, before anything else is loaded.
const OriginalDate = Date
globalThis.Date = class extends OriginalDate {
  constructor(...args: ReadonlyArray<unknown>) {
    super(...(args.length === 0 ? [OriginalDate.now() + skew] : args) as [])
  }
  static override now(): number {
    return OriginalDate.now() + skew
  }
} as DateConstructor
const now = performance.now.bind(performance)
performance.now = () => now() + skew
const nanos = process.hrtime.bigint.bind(process.hrtime)
process.hrtime.bigint = () => nanos() + BigInt(skew) * 1_000_000n

const { redisStore } = await import("../../policy/redisStore.ts")
const { head, limit } = await import("../../policy/store.ts")
const { permits, tokenBucket } = await import("../../../src/policy/Limiter.ts")
const Effect = await import("effect/Effect")

const say = (event: Record<string, unknown>): void =>
  console.log(JSON.stringify({ ...event, skew: Date.now() - OriginalDate.now() }))

const takeFromBucket = Effect.gen(function*() {
  const { store } = yield* redisStore({ url }, { name })
  const lane = store.lane("lane", [
    limit("bucket", tokenBucket({ capacity: 10_000, refill: first, every: "1 second" }))
  ])
  let granted = 0
  let grantedAt = 0
  let until = Number.POSITIVE_INFINITY
  while (grantedAt < until) {
    const [answer] = yield* store.ask([{ lane, heads: [head()], waiting: 1 }])
    grantedAt = answer!.grantedAt
    until = Math.min(until, grantedAt + second)
    granted += answer!.granted
    if (answer!.granted > 0) stepClock()
    else yield* Effect.sleep(5)
  }
  say({ event: "over", granted })
})

const holdPermit = Effect.gen(function*() {
  const { store } = yield* redisStore({ url }, { name })
  const lane = store.lane("lane", [limit("permits", permits(first, { lease: second }))])
  const own = head()
  let grantedAt: number | undefined
  while (grantedAt === undefined) {
    const [answer] = yield* store.ask([{ lane, heads: [own], waiting: 1 }])
    if (answer!.granted === 1) grantedAt = answer!.grantedAt
    else yield* Effect.sleep(20)
  }
  const grant = { lane, head: own, grantedAt }
  say({ event: "granted", grantedAt })
  stepClock()
  const released = new Promise((resolve) => process.stdin.once("data", resolve))
  let held = true
  const pause = Effect.timeoutOption(Effect.promise(() => released), second / 5)
  while ((yield* pause)._tag === "None") {
    const lost = held ? yield* store.renew([grant]) : []
    if (lost.length > 0) {
      held = false
      say({ event: "lost" })
    }
  }
  yield* store.change([{ _tag: "Release", grant }])
  say({ event: "over" })
})

await Effect.runPromise(Effect.scoped(work === "bucket" ? takeFromBucket : holdPermit))
process.exit(0)
