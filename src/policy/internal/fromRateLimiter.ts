/**
 * Effect's own `RateLimiter` as a `Limiter`, for programs that already run on it: each rule becomes one `consume` with a key of
 * its own. That contract takes first and waits afterwards, one key at a time; what follows from this and cannot be mended here
 * is listed at `Limiter.fromRateLimiter`.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as RateLimiter from "effect/persistence/RateLimiter"
import type { Plan, Use } from "./lane.ts"
import { Lanes } from "./lanes.ts"
import { type Given, settings } from "./options.ts"
import { makePlan, place } from "./plan.ts"
import * as Rejections from "./rejections.ts"
import { type Lease, Rejected, type Request, Tenant } from "./request.ts"
import type { Rule } from "./rule.ts"
import type { Lane, Limit } from "./store.ts"

/** What {@link fromRateLimiter} is made from. */
export interface Options extends Omit<Given, "onExceeded"> {
  readonly onExceeded?: "wait" | "fail" | undefined
  readonly prefix?: string | undefined
}

/** A limit in the words of `consume`. */
interface Consumed {
  readonly limit: Limit
  readonly options: {
    readonly key: string
    readonly algorithm: "fixed-window" | "token-bucket"
    readonly limit: number
    readonly window: Duration.Duration
  }
}

interface ConsumedLane extends Lane {
  readonly consumed: ReadonlyArray<Consumed>
}

const die = (message: string): never => {
  throw new RangeError(`Limiter.fromRateLimiter: ${message}`)
}

/** A rule as `consume` has it: Effect refills `limit` in `window`, one by one. Rules it does not have die, by name. */
const wordsOf = (name: string, rule: Rule): Omit<Consumed["options"], "key"> => {
  switch (rule._tag) {
    case "TokenBucket": {
      const window = Duration.millis((rule.capacity * rule.everyMillis) / rule.refill)
      return { algorithm: "token-bucket", limit: rule.capacity, window }
    }
    case "FixedWindow":
      return { algorithm: "fixed-window", limit: rule.limit, window: Duration.millis(rule.windowMillis) }
    default:
      return die(`${name} has a rule ${rule._tag}; Effect's RateLimiter has token buckets and fixed windows only`)
  }
}

// The narrowest limit first: a request refused there has taken nothing of those that others need too.
const prepare = (prefix: string) => (key: string, limits: ReadonlyArray<Limit>): ConsumedLane => ({
  key,
  owner: "",
  limits,
  consumed: limits.toReversed().map((limit) => ({
    limit,
    options: { key: `${prefix}/${limit.key}`, ...wordsOf(limit.name, limit.rule) }
  }))
})

const makeLanes = (options: Options, { book }: ReturnType<typeof settings>): Lanes => {
  if (book.adaptive) die("onExceeded is \"adaptive\"; it must be \"wait\" or \"fail\"")
  const all = [
    ["global", book.global],
    ["tenants", book.everyTenant],
    ...[...book.services].map(([name, rules]) => [`service "${name}"`, rules] as const),
    ...[...book.tenants].map(([name, rules]) => [`tenant "${name}"`, rules] as const)
  ] as const
  for (const [name, rules] of all) for (const rule of rules) wordsOf(name, rule)
  return new Lanes(book, prepare(options.prefix ?? "effect-toolformer"), () => undefined)
}

const rejected = (name: string) => ({ reason }: RateLimiter.RateLimiterError): Rejected =>
  reason._tag === "RateLimitExceeded"
    ? Rejections.exceeded(name, Duration.toMillis(reason.retryAfter))
    : new Rejected({ reason: "StoreUnavailable", limit: name, message: `${name}: ${reason.message}`, cause: reason })

/** Takes of every limit in turn; the longest wait any of them asks for, or the first refusal. */
const take = (
  limiter: RateLimiter.RateLimiter,
  consumed: ReadonlyArray<Consumed>,
  { calls, deadlineMillis, maxWaitMillis, once, tokens }: Plan
): Effect.Effect<number, Rejected> =>
  Effect.gen(function*() {
    let wait = 0
    for (const { limit: { name, rule }, options } of consumed) {
      const cost = rule.unit === "calls" ? calls : tokens
      const taking = limiter.consume({ ...options, tokens: cost, onExceeded: once ? "fail" : "delay" })
      wait = Math.max(wait, Duration.toMillis((yield* Effect.mapError(taking, rejected(name))).delay))
      if (wait > deadlineMillis) return yield* Rejections.tooLate("Deadline", name, deadlineMillis, wait)
      if (wait > maxWaitMillis) return yield* Rejections.tooLate("MaxWait", name, maxWaitMillis, wait)
    }
    return wait
  })

/** More than the estimate is taken as well, though it overdraws the bucket; less cannot be given back. */
const settleWith = (
  limiter: RateLimiter.RateLimiter,
  consumed: ReadonlyArray<Consumed>,
  estimate: number
): Lease["settle"] => {
  const counted = consumed.filter(({ limit }) => limit.rule.unit === "tokens")
  let paid = estimate
  return ({ tokens }) =>
    Effect.suspend(() => {
      const more = tokens - paid
      if (!(more > 0)) return Effect.void
      paid = tokens
      const takeMore = ({ options }: Consumed) =>
        Effect.ignore(limiter.consume({ ...options, tokens: more, onExceeded: "delay" }))
      return Effect.forEach(counted, takeMore, { discard: true })
    })
}

const admitted = (use: Use, lease: Lease): Effect.Effect<unknown, unknown, unknown> =>
  Effect.isEffect(use) ? use : Effect.suspend(() => use(lease))

/** The service behind `Limiter.fromRateLimiter`; what it leaves out `Limiter.make` fills in. */
export interface FromRateLimiter {
  readonly withAdmission: (request: Request) => (use: Use) => Effect.Effect<unknown, unknown, unknown>
  readonly add: (service: string, rule: Rule) => Effect.Effect<void>
}

/** Makes it on the `RateLimiter` of the context. */
export const fromRateLimiter = (options: Options): Effect.Effect<FromRateLimiter, never, RateLimiter.RateLimiter> =>
  Effect.gen(function*() {
    const limiter = yield* RateLimiter.RateLimiter
    const given = settings(options)
    const lanes = makeLanes(options, given)
    const withAdmission = (request: Request) => (use: Use) =>
      Effect.withFiber((fiber) => {
        const plan = makePlan(request, lanes, given.defaults)
        if (plan.invalid !== undefined) return Effect.fail(plan.invalid)
        if (plan.readsTenant) place(plan, lanes, fiber.getRef(Tenant))
        if (plan.overCapacity !== undefined) return Effect.fail(plan.overCapacity)
        // It cannot look at what would be left.
        const [first] = plan.slack > 0 ? plan.lane.limits : []
        if (first !== undefined) return Effect.fail(Rejections.exceeded(first.limit.name))
        const { consumed } = plan.lane.lane as ConsumedLane
        return Effect.flatMap(take(limiter, consumed, plan), (waitedMillis) => {
          const settle = settleWith(limiter, consumed, plan.tokens)
          const effect = admitted(use, { settle, waitedMillis, lost: Effect.never })
          return waitedMillis === 0 ? effect : Effect.delay(effect, waitedMillis)
        })
      })
    return {
      withAdmission,
      add: (service, rule) =>
        Effect.sync(() => {
          wordsOf(`service "${service}"`, rule)
          lanes.add(service, rule)
        })
    }
  })
