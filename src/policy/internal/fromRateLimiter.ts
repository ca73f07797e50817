/**
 * Effect's own `RateLimiter` as a `Limiter`, for programs that already run on it: each rule becomes one `consume` with a key of
 * its own. That contract takes first and waits afterwards, one key at a time; what follows from this and cannot be mended here
 * is listed at `Limiter.fromRateLimiter`.
 */
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as RateLimiter from "effect/persistence/RateLimiter"
import * as Rejections from "./rejections.ts"
import { type Lease, Rejected, type Request, Tenant } from "./request.ts"
import type { Rule, Unit } from "./rule.ts"

type Rules = Rule | ReadonlyArray<Rule>

/** What {@link fromRateLimiter} is made from. */
export interface Options {
  readonly global?: Rules | undefined
  readonly services?: Readonly<Record<string, Rules>> | undefined
  readonly tenants?: Rules | Readonly<Record<string, Rules>> | undefined
  readonly onExceeded?: "wait" | "fail" | undefined
  readonly maxWait?: Duration.Input | undefined
  readonly prefix?: string | undefined
}

/** A rule in the words of `consume`. */
interface Consumed {
  readonly name: string
  readonly unit: Unit
  readonly key: string
  readonly algorithm: "fixed-window" | "token-bucket"
  readonly limit: number
  readonly window: Duration.Duration
}

/** A rule as `consume` has it: Effect refills `limit` in `window`, one by one. Rules it does not have die, by name. */
const consumed = (name: string, key: string) => (rule: Rule, index: number): Consumed => {
  const limit = { name, unit: rule.unit, key: `${key}/${index}` }
  switch (rule._tag) {
    case "TokenBucket": {
      const window = Duration.millis((rule.capacity * rule.everyMillis) / rule.refill)
      return { ...limit, algorithm: "token-bucket", limit: rule.capacity, window }
    }
    case "FixedWindow":
      return { ...limit, algorithm: "fixed-window", limit: rule.limit, window: Duration.millis(rule.windowMillis) }
    default:
      return die(`${name} has a rule ${rule._tag}; Effect's RateLimiter has token buckets and fixed windows only`)
  }
}

const die = (message: string): never => {
  throw new RangeError(`Limiter.fromRateLimiter: ${message}`)
}

const all = (name: string, key: string, rules: Rules | undefined): ReadonlyArray<Consumed> =>
  (rules === undefined ? [] : Array.isArray(rules) ? rules as ReadonlyArray<Rule> : [rules as Rule])
    .map(consumed(name, key))

const isRules = (value: Rules | Readonly<Record<string, Rules>>): value is Rules =>
  Array.isArray(value) || typeof (value as { readonly _tag?: unknown })._tag === "string"

const own = <A>(record: Readonly<Record<string, A>> | undefined, name: string): A | undefined =>
  record !== undefined && Object.hasOwn(record, name) ? record[name] : undefined

/** The limits of a request, the narrowest first: one that is refused has taken nothing of those that others need too. */
interface Book {
  readonly limitsOf: (service: string | undefined, tenant: string | undefined) => ReadonlyArray<Consumed>
  readonly add: (service: string, rule: Rule) => void
}

const book = (options: Options): Book => {
  const prefix = options.prefix ?? "effect-toolformer"
  const global = all("global", `${prefix}/global`, options.global)
  const services = new Map(
    Object.entries(options.services ?? {}).map(([name, rules]) =>
      [name, all(`service "${name}"`, `${prefix}/service/${name}`, rules)] as const
    )
  )
  const ofTenant = (tenant: string): Rules | undefined => {
    const { tenants } = options
    return tenants === undefined || isRules(tenants) ? tenants : own(tenants, tenant) ?? own(tenants, "default")
  }
  return {
    limitsOf: (service, tenant) => [
      ...(tenant === undefined ? [] : all(`tenant "${tenant}"`, `${prefix}/tenant/${tenant}`, ofTenant(tenant))),
      ...(service === undefined ? [] : services.get(service) ?? []),
      ...global
    ],
    add: (service, rule) => {
      const before = services.get(service) ?? []
      const added = consumed(`service "${service}"`, `${prefix}/service/${service}`)(rule, before.length)
      services.set(service, [...before, added])
    }
  }
}

const wanted = (request: Request, unit: Unit): number | undefined =>
  unit === "calls" ? request.calls ?? 1 : request.tokens

/** What is wrong with a request whatever the time: a cost that is no count, or more than a limit ever holds. */
const refused = (request: Request, limits: ReadonlyArray<Consumed>): Rejected | undefined => {
  for (const name of ["calls", "tokens"] as const) {
    const value = request[name]
    if (value !== undefined && !(Number.isSafeInteger(value) && value >= 1)) {
      return Rejections.invalid(name, value, "an integer of at least 1")
    }
  }
  const over = limits.find(({ limit, unit }) => (wanted(request, unit) ?? 0) > limit)
  return over === undefined ? undefined : new Rejected({
    reason: "OverCapacity",
    limit: over.name,
    message: `${over.name}: ${wanted(request, over.unit)} ${over.unit} are more than the ${over.limit} it ever holds`
  })
}

const rejected = (name: string) => ({ reason }: RateLimiter.RateLimiterError): Rejected =>
  reason._tag === "RateLimitExceeded"
    ? Rejections.exceeded(name, Duration.toMillis(reason.retryAfter))
    : new Rejected({ reason: "StoreUnavailable", limit: name, message: `${name}: ${reason.message}`, cause: reason })

const millisOf = (input: Duration.Input | undefined): number =>
  input === undefined ? Number.POSITIVE_INFINITY : Duration.toMillis(Duration.fromInputUnsafe(input))

/** Takes of every limit in turn; the longest wait any of them asks for, or the first refusal. */
const take = (
  limiter: RateLimiter.RateLimiter,
  limits: ReadonlyArray<Consumed>,
  request: Request,
  options: { readonly onExceeded: "delay" | "fail"; readonly maxWaitMillis: number }
): Effect.Effect<number, Rejected> =>
  Effect.gen(function*() {
    const deadlineMillis = millisOf(request.deadline)
    let wait = 0
    for (const { name, unit, ...limit } of limits) {
      const tokens = wanted(request, unit)
      if (tokens === undefined) continue
      const taken = yield* Effect.mapError(
        limiter.consume({ ...limit, tokens, onExceeded: options.onExceeded }),
        rejected(name)
      )
      wait = Math.max(wait, Duration.toMillis(taken.delay))
      if (wait > deadlineMillis) return yield* Rejections.tooLate("Deadline", name, deadlineMillis, wait)
      if (wait > options.maxWaitMillis) return yield* Rejections.tooLate("MaxWait", name, options.maxWaitMillis, wait)
    }
    return wait
  })

/** More than the estimate is taken as well, though it overdraws the bucket; less cannot be given back. */
const settleWith = (
  limiter: RateLimiter.RateLimiter,
  limits: ReadonlyArray<Consumed>,
  request: Request
): Lease["settle"] => {
  const counted = limits.filter(({ unit }) => unit === "tokens")
  let paid = request.tokens ?? Number.POSITIVE_INFINITY
  return ({ tokens }) =>
    Effect.suspend(() => {
      const more = tokens - paid
      if (!(more > 0)) return Effect.void
      paid = tokens
      return Effect.forEach(
        counted,
        ({ name: _name, unit: _unit, ...limit }) =>
          Effect.ignore(limiter.consume({ ...limit, tokens: more, onExceeded: "delay" })),
        { discard: true }
      )
    })
}

/** The service behind `Limiter.fromRateLimiter`, but for the types of its `withAdmission`. */
export interface FromRateLimiter {
  readonly withAdmission: (request: Request) => (use: unknown) => never
  readonly add: (service: string, rule: Rule) => Effect.Effect<void>
  readonly feedback: () => Effect.Effect<void>
  readonly explain: () => Effect.Effect<never, Rejected>
}

/** Makes it on the `RateLimiter` of the context. */
export const fromRateLimiter = (options: Options): Effect.Effect<FromRateLimiter, never, RateLimiter.RateLimiter> =>
  Effect.gen(function*() {
    const limiter = yield* RateLimiter.RateLimiter
    const { add, limitsOf } = book(options)
    const optionsMaxWait = millisOf(options.maxWait ?? "1 minute")
    const withAdmission = (request: Request) => (use: unknown) =>
      Effect.withFiber((fiber) => {
        const limits = limitsOf(request.service, request.tenant ?? Context.get(fiber.context, Tenant))
        const refusal = refused(request, limits)
        if (refusal !== undefined) return Effect.fail(refusal)
        const onExceeded = request.speculative === true || options.onExceeded === "fail" ? "fail" : "delay"
        const maxWaitMillis = request.maxWait === undefined ? optionsMaxWait : millisOf(request.maxWait)
        const taken = take(limiter, limits, request, { onExceeded, maxWaitMillis })
        return Effect.flatMap(taken, (waitedMillis) => {
          const lease = { settle: settleWith(limiter, limits, request), waitedMillis, lost: Effect.never }
          const admitted = typeof use === "function"
            ? Effect.suspend(() => (use as (lease: Lease) => Effect.Effect<unknown>)(lease))
            : use as Effect.Effect<unknown>
          return waitedMillis === 0 ? admitted : Effect.delay(admitted, waitedMillis)
        })
      })
    return {
      withAdmission: withAdmission as FromRateLimiter["withAdmission"],
      add: (service, rule) => Effect.sync(() => add(service, rule)),
      feedback: () => Effect.void,
      explain: () =>
        Effect.fail(
          new Rejected({
            reason: "InvalidRequest",
            limit: "",
            message: "explain: Effect's RateLimiter cannot be asked without taking"
          })
        )
    }
  })
