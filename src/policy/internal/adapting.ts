/**
 * `onExceeded: "adaptive"` around an admission: what the effect's exit says about the service goes back to the limit, and an
 * effect that may be repeated waits again when it was refused for its rate.
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { Rejected } from "./request.ts"
import type { Lease, Request } from "./request.ts"
import { signalOf } from "./signals.ts"
import type { Said } from "./signals.ts"
import type { Signal } from "./store.ts"

type Admitted = Effect.Effect<unknown, unknown, unknown>
type Use = Admitted | ((lease: Lease) => Admitted)

/** What it stands on. */
export interface Base {
  /** Admits once. */
  readonly admit: (request: Request) => (use: Use) => Admitted
  readonly tell: (service: string, signal: Signal) => Effect.Effect<void>
  readonly millisOf: (input: Duration.Input) => number
  readonly maxWaitMillis: number
  /** The name of a service's learnt limit, as rejections say it. */
  readonly paceOf: (service: string) => string
}

/** `withAdmission` that learns. */
export const adapting = (base: Base): (request: Request) => (use: Use) => Admitted => {
  const news = new News()
  return (request) => {
    const admit = base.admit(request)
    if (request.service === undefined) return admit
    const call: Call = {
      base,
      news,
      request,
      service: request.service,
      maxWaitMillis: request.maxWait === undefined ? base.maxWaitMillis : base.millisOf(request.maxWait)
    }
    return (use) => attempt(call, admit, use, undefined)
  }
}

interface Call {
  readonly base: Base
  readonly news: News
  readonly request: Request
  readonly service: string
  readonly maxWaitMillis: number
}

// A refusal that the call has behind it.
interface Refused {
  readonly error: unknown
  readonly waitedMillis: number
  readonly begunAt: number
}

// A rate grows with time and not with answers, so good ones are told four times a second: a shared store is spared the rest.
const tellEveryMillis = 250

class News {
  readonly #told = new Map<string, number>()

  isDue(service: string, signal: Said, now: number): boolean {
    const told = this.#told.get(service)
    if (signal.congested || signal.remaining === 0) return true
    if (told !== undefined && now >= told && now - told < tellEveryMillis) return false
    if (this.#told.size > 1024) this.#told.clear()
    this.#told.set(service, now)
    return true
  }
}

const attempt = (
  call: Call,
  admit: (use: Use) => Admitted,
  use: Use,
  refused: Refused | undefined
): Admitted =>
  Effect.withFiber((fiber) => {
    const clock = fiber.getRef(Clock.Clock)
    const now = (): number => Number(clock.currentTimeNanosUnsafe()) / 1e6
    const askedAt = now()
    let grantedAt = Number.NaN
    const body: Use = Effect.isEffect(use)
      ? Effect.suspend(() => {
        grantedAt = now()
        return use
      })
      : (lease) => {
        grantedAt = now()
        return use(lease)
      }
    const ended = (exit: Exit.Exit<unknown, unknown>): Admitted => {
      if (Number.isNaN(grantedAt)) return rejected(call, exit, refused)
      const said = signalOf(exit, clock.currentTimeMillisUnsafe())
      const told = tell(call, exit, said, now() - grantedAt, now())
      if (said?.congested !== true || call.request.repeat !== true || call.request.speculative === true) {
        return Effect.andThen(told, exit)
      }
      const waitedMillis = (refused?.waitedMillis ?? 0) + grantedAt - askedAt
      return Effect.andThen(
        told,
        again(call, use, { error: errorOf(exit), waitedMillis, begunAt: refused?.begunAt ?? askedAt }, said, now)
      )
    }
    return Effect.matchCauseEffect(admit(body), {
      onSuccess: (value) => ended(Exit.succeed(value)),
      onFailure: (cause) => ended(Exit.failCause(cause))
    })
  })

// A failure that says nothing of limits is no good answer either: it may have come early.
const tell = (
  { base, news, service }: Call,
  exit: Exit.Exit<unknown, unknown>,
  said: Said | undefined,
  latencyMillis: number,
  now: number
): Effect.Effect<void> => {
  if (said === undefined && Exit.isFailure(exit)) return Effect.void
  // The grant's time on the store's clock is not known here; the store counts back from its own.
  const signal: Signal = { congested: false, ...said, latencyMillis, grantedAt: Number.NaN }
  return news.isDue(service, signal, now) ? base.tell(service, signal) : Effect.void
}

const again = (call: Call, use: Use, refused: Refused, said: Said, now: () => number): Admitted =>
  Effect.suspend(() => {
    const { base, maxWaitMillis, request } = call
    const left = maxWaitMillis - refused.waitedMillis
    const untilDeadline = request.deadline === undefined
      ? Number.POSITIVE_INFINITY
      : base.millisOf(request.deadline) - (now() - refused.begunAt)
    const asked = said.retryAfterMillis ?? 0
    if (left <= 0 || untilDeadline <= 0 || asked > Math.min(left, untilDeadline)) {
      return Effect.fail(rateLimited(call, said.retryAfterMillis, refused.error))
    }
    const next: Request = {
      ...request,
      maxWait: left,
      ...(request.deadline === undefined ? undefined : { deadline: untilDeadline })
    }
    return attempt(call, base.admit(next), use, refused)
  })

// Who waits for what the service asked, and not for a limit of ours, is told so.
const rejected = (
  call: Call,
  exit: Exit.Exit<unknown, unknown>,
  refused: Refused | undefined
): Exit.Exit<unknown, unknown> => {
  const error = errorOf(exit)
  if (!(error instanceof Rejected) || (error.reason !== "MaxWait" && error.reason !== "Deadline")) return exit
  if (refused !== undefined) return Exit.fail(rateLimited(call, error.retryAfterMillis, refused.error))
  return error.reason === "MaxWait" && error.limit === call.base.paceOf(call.service)
    ? Exit.fail(rateLimited(call, error.retryAfterMillis, undefined))
    : exit
}

const rateLimited = (call: Call, retryAfterMillis: number | undefined, cause: unknown): Rejected => {
  const limit = call.base.paceOf(call.service)
  const when = retryAfterMillis === undefined ? "" : ` for ${Math.ceil(retryAfterMillis)} ms`
  return new Rejected({
    reason: "RateLimited",
    limit,
    message: `${limit}: the service refuses calls${when}, and this one may wait ${call.maxWaitMillis} ms`,
    ...(retryAfterMillis === undefined ? undefined : { retryAfterMillis: Math.ceil(retryAfterMillis) }),
    ...(cause === undefined ? undefined : { cause })
  })
}

// A refusal may be an answer, too: a response that its client did not turn into an error.
const errorOf = (exit: Exit.Exit<unknown, unknown>): unknown =>
  Exit.isSuccess(exit) ? exit.value : Cause.squash(exit.cause)
