/**
 * `onExceeded: "adaptive"` around an admission: what the effect's exit says about the service goes back to the limit, and an
 * effect that may be repeated waits again when it was refused for its rate.
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { millisOf } from "./plan.ts"
import { Rejected } from "./request.ts"
import type { Lease, Request } from "./request.ts"
import { signalOf } from "./signals.ts"
import type { Said } from "./signals.ts"
import type { Limit, Signal } from "./store.ts"

type Admitted = Effect.Effect<unknown, unknown, unknown>
type Use = Admitted | ((lease: Lease) => Admitted)

type WithAdmission = (request: Request) => (use: Use) => Admitted

/** What learning stands on: an admission that does not learn, and the state that does. */
export interface Base {
  readonly admit: WithAdmission
  readonly maxWaitMillis: number
  /** The learnt limit of a service. */
  readonly limitOf: (service: string) => Limit
  /** A store that is away learns nothing, and stops nobody here. */
  readonly feedback: (limit: Limit, signal: Signal) => Effect.Effect<void, unknown>
}

/** The part of a limiter that learns. */
export const adapting = (base: Base): {
  readonly withAdmission: WithAdmission
  readonly feedback: (service: string, signal: Said) => Effect.Effect<void>
} => {
  const own = new News()
  const others = new News()
  // The grant's time on the store's clock is not known here; the store counts back from its own.
  const send = (service: string, signal: Said): Effect.Effect<void> =>
    Effect.ignore(base.feedback(base.limitOf(service), { ...signal, grantedAt: Number.NaN }))
  const feedback = (service: string, signal: Said): Effect.Effect<void> =>
    Effect.clockWith((clock) =>
      others.isDue(service, signal, clock.currentTimeMillisUnsafe()) ? send(service, signal) : Effect.void
    )
  const withAdmission: WithAdmission = (request) => {
    const admit = base.admit(request)
    const { service } = request
    if (service === undefined) return admit
    const maxWaitMillis = request.maxWait === undefined ? base.maxWaitMillis : millisOf(request.maxWait)
    const call: Call = {
      request,
      limit: base.limitOf(service).name,
      maxWaitMillis,
      admit: base.admit,
      tell: (signal, now) => own.isDue(service, signal, now) ? send(service, signal) : Effect.void
    }
    return (use) => attempt(call, admit, use, undefined)
  }
  return { feedback, withAdmission }
}

interface Call {
  readonly request: Request
  readonly limit: string
  readonly maxWaitMillis: number
  readonly admit: WithAdmission
  readonly tell: (signal: Said, now: number) => Effect.Effect<void>
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
  call: Call,
  exit: Exit.Exit<unknown, unknown>,
  said: Said | undefined,
  latencyMillis: number,
  now: number
): Effect.Effect<void> =>
  said === undefined && Exit.isFailure(exit)
    ? Effect.void
    : call.tell({ congested: false, ...said, latencyMillis, isGuess: (call.request.slack ?? 0) > 0 }, now)

const again = (call: Call, use: Use, refused: Refused, said: Said, now: () => number): Admitted =>
  Effect.suspend(() => {
    const { maxWaitMillis, request } = call
    const left = maxWaitMillis - refused.waitedMillis
    const untilDeadline = request.deadline === undefined
      ? Number.POSITIVE_INFINITY
      : millisOf(request.deadline) - (now() - refused.begunAt)
    const asked = said.retryAfterMillis ?? 0
    if (left <= 0 || untilDeadline <= 0 || asked > Math.min(left, untilDeadline)) {
      return Effect.fail(rateLimited(call, said.retryAfterMillis, refused.error))
    }
    const next: Request = {
      ...request,
      maxWait: left,
      ...(request.deadline === undefined ? undefined : { deadline: untilDeadline })
    }
    return attempt(call, call.admit(next), use, refused)
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
  return error.reason === "MaxWait" && error.limit === call.limit
    ? Exit.fail(rateLimited(call, error.retryAfterMillis, undefined))
    : exit
}

const rateLimited = (call: Call, retryAfterMillis: number | undefined, cause: unknown): Rejected => {
  const { limit } = call
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

/** Runs an effect and tells what its answer said. */
export const watched = <A, E, R>(
  effect: Effect.Effect<A, E, R>,
  feedback: (signal: Said) => Effect.Effect<void>
): Effect.Effect<A, E, R> =>
  Effect.clockWith((clock) => {
    const begunAt = clock.currentTimeNanosUnsafe()
    return Effect.onExit(effect, (exit) => {
      const said = signalOf(exit, clock.currentTimeMillisUnsafe())
      if (said === undefined && Exit.isFailure(exit)) return Effect.void
      const latencyMillis = Number(clock.currentTimeNanosUnsafe() - begunAt) / 1e6
      return feedback({ congested: false, ...said, latencyMillis })
    })
  })
