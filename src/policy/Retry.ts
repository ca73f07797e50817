/**
 * Trying again what may succeed later: how often, how soon, and how much of it in all. A service that says when to come back is
 * asked by nobody before, and what is tried again is bounded by a budget over all of a service's calls, so that a dead API is
 * not hammered.
 *
 * The contract decides and waits for nobody: the engine, or `withRetry` for any effect, does the waiting.
 */
import * as Cause from "effect/Cause"
import type * as Config from "effect/Config"
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Result from "effect/Result"
import type { RetryOptions } from "../domain/ToolPolicy.ts"
import * as Failures from "./internal/failures.ts"
import { Rejected } from "./internal/request.ts"
import { readRetry } from "./internal/retryConfig.ts"
import { Retrying } from "./internal/retrying.ts"
import { rulesOf, settings } from "./internal/retrySettings.ts"

/**
 * What is about to be attempted: the service it asks (its failures, pauses and budget are shared by all that name it) and rules
 * of its own, which win over the layer's.
 *
 * @category models
 * @since 0.1.0
 */
export interface Request {
  readonly service: string
  readonly options?: RetryOptions | undefined
}

/**
 * One call, or one turn of the model, over its attempts.
 *
 * **Units** Milliseconds, from now.
 *
 * @category models
 * @since 0.1.0
 */
export interface Attempts {
  /**
   * How long to wait before the next attempt of any kind, since the service has asked for a pause; 0 where it has not. To be
   * asked again after the wait: the service may have asked for more.
   */
  readonly pauseMillis: () => number
  /**
   * How long the service still wants to be left alone, where that is longer than this call may wait (`maxRetryAfter` before each
   * attempt, over all pauses in a row): it is to be turned away at once, with this time. `undefined` where it may be made, now
   * or after `pauseMillis`. Asked before each attempt and after each wait.
   */
  readonly refusedMillis: () => number | undefined
  /**
   * An attempt failed: how long to wait before the next one, the service's pause included; `undefined` where the failure
   * stands. Never fails: a `while` or a schedule that throws is logged, and the failure stands.
   */
  readonly failed: (failure: unknown) => Effect.Effect<number | undefined>
  /** An attempt succeeded. Nothing depends on it here; it is for policies of your own. */
  readonly succeeded: () => void
}

/**
 * The retry policy of a program. A policy of your own is a Layer of this service.
 *
 * @category services
 * @since 0.1.0
 */
export class Retry extends Context.Service<Retry, {
  /** Begins a call. `context`: the caller's, for its `Clock` and `Random`. Costs no fiber. */
  readonly begin: (request: Request, context: Context.Context<never>) => Attempts
}>()("effect-toolformer/policy/Retry") {}

/**
 * How the calls of a program are tried again.
 *
 * - All of `ToolPolicy.RetryOptions`: for every call that does not say otherwise.
 * - `services`: the same by the service's name, over the former.
 * - `budget`: per service, retries in any `window` (default 1 minute) are at most `ratio` (default 0.1) of its requests, or
 *   `reserve` (default 10) where that is more. A call that finds the budget spent ends with its failure.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options extends RetryOptions {
  readonly budget?: {
    readonly ratio?: number | undefined
    readonly reserve?: number | undefined
    readonly window?: Duration.Input | undefined
  } | undefined
  readonly services?: Readonly<Record<string, RetryOptions>> | undefined
}

/**
 * Makes the retries of a program.
 *
 * **Shape** Budget and pauses are shared by all calls that name one service, and kept in this process's memory. A service that
 * answers with a time (`Retry-After` in any form, a reset header, Google's `RetryInfo`, a `retryAfter` of Effect's errors) is
 * asked by nobody before; those who waited come back spread over a tenth of the pause, at least over `base`. Where the first of
 * them is refused again, the others wait on. A pause of more than `maxRetryAfter`, or several that are as long together, are
 * waited for by nobody: who was told ends with its failure, who comes later is turned away with the time. A pause counts for
 * an hour at most.
 *
 * **Errors** Options that make no sense, and names that are none, die here, naming them.
 *
 * **Example** (The second attempt succeeds)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Retry } from "effect-toolformer"
 *
 * let attempts = 0
 * const ask = Effect.suspend(() => ++attempts === 1 ? Effect.fail({ status: 503 }) : Effect.succeed("answer"))
 * const program = ask.pipe(Retry.withRetry({ service: "maps", base: "5 millis" }))
 * await Effect.runPromise(Effect.provide(program, Retry.layer({ attempts: 4 }))) // => "answer"
 * ```
 *
 * @see {@link layerConfig} for options from the environment
 * @category layers
 * @since 0.1.0
 */
export const layer = (options: Options = {}): Layer.Layer<Retry> => {
  const given = settings(options)
  return Layer.sync(Retry, () => fromSettings(given))
}

/**
 * Makes a retry policy without a Layer; its budget and pauses are its own.
 *
 * **Errors** Options that make no sense die here, naming them.
 *
 * @category constructors
 * @since 0.1.0
 */
export const makeUnsafe = (options: Options = {}): Retry["Service"] => fromSettings(settings(options))

const fromSettings = (given: ReturnType<typeof settings>): Retry["Service"] => {
  const retrying = new Retrying(given)
  return Retry.of({ begin: ({ options, service }, context) => retrying.begin(service, options, context) })
}

/**
 * The options of a program's retries as the environment has them. What is absent keeps its default.
 *
 * - `TOOLFORMER_RETRY_ATTEMPTS`, `TOOLFORMER_RETRY_FACTOR`: numbers.
 * - `TOOLFORMER_RETRY_BASE`, `TOOLFORMER_RETRY_MAX_DELAY`, `TOOLFORMER_RETRY_MAX_RETRY_AFTER`: durations, such as `30 seconds`.
 * - `TOOLFORMER_RETRY_BUDGET_RATIO`, `TOOLFORMER_RETRY_BUDGET_RESERVE`, `TOOLFORMER_RETRY_BUDGET_WINDOW`.
 *
 * **Errors** A `ConfigError` that names the variable and says what is wrong with it, also for a name that begins with
 * `TOOLFORMER_RETRY` and is none of these.
 *
 * @category settings
 * @since 0.1.0
 */
export const optionsConfig: Effect.Effect<Options, Config.ConfigError> = readRetry

/**
 * Makes the retries that the environment names.
 *
 * @see {@link optionsConfig} for the variables
 * @category layers
 * @since 0.1.0
 */
export const layerConfig: Layer.Layer<Retry, Config.ConfigError> = Layer.unwrap(Effect.map(optionsConfig, layer))

/**
 * Whether the same again may succeed later, judged by any failure of anyone.
 *
 * **Shape** In this order, through `reason`s and `cause`s: a boolean `isRetryable` of the failure; a spent quota or a bill: no;
 * the service's `x-should-retry`; an HTTP status (408, 425, 429, 500, 502, 503, 504, 529: yes, other errors no, but for a refusal
 * for the rate under another status); codes of a lost connection, of DNS, time-outs, a request that never got through; else no. Of
 * a `ToolFailure` only an attempt's time-out and a rejection: what else is retryable there is so with other arguments.
 *
 * **Errors** Never fails: failures with throwing getters and the like are not tried again.
 *
 * **Example** (What may pass)
 *
 * ```ts
 * import { Retry } from "effect-toolformer"
 *
 * Retry.isRetryable({ status: 503 }) // => true
 * Retry.isRetryable({ status: 429, error: { code: "insufficient_quota" } }) // => false
 * Retry.isRetryable(new TypeError("fetch failed", { cause: { code: "ECONNRESET" } })) // => true
 * Retry.isRetryable(new Error("no such file")) // => false
 * ```
 *
 * @category reading
 * @since 0.1.0
 */
export const isRetryable: (failure: unknown) => boolean = Failures.isRetryable

/**
 * How long a failure asks to wait before the next attempt, in milliseconds; `undefined` where it does not say. `now`: our clock,
 * in milliseconds since 1970, for dates in answers that do not tell their own time.
 *
 * **Errors** Never fails.
 *
 * **Example** (Forms of one wish)
 *
 * ```ts
 * import { Retry } from "effect-toolformer"
 *
 * Retry.retryAfter({ status: 429, headers: { "retry-after": "20" } }, 0) // => 20000
 * Retry.retryAfter({ status: 503, headers: { "retry-after": "Thu, 01 Jan 1970 00:00:40 GMT" } }, 0) // => 40000
 * ```
 *
 * @category reading
 * @since 0.1.0
 */
export const retryAfter: (failure: unknown, now: number) => number | undefined = Failures.retryAfterOf

/**
 * Tries an effect again when it fails, as the program's `Retry` and the given options say.
 *
 * **Shape** Only typed failures are tried again; a defect and an interruption end it at once, also during a wait. What was
 * tried last is what it ends with.
 *
 * **Errors** The effect's own; and `Rejected` (`RateLimited`, with the time) where the service has asked for a longer pause than may
 * be waited, before anything was run. Options that make no sense die where this is called.
 *
 * **Gotchas** Only for what may be run twice.
 *
 * **Example** (With rules of its own)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Retry } from "effect-toolformer"
 *
 * const down = Effect.fail({ status: 500 }).pipe(Retry.withRetry({ service: "crm", attempts: 2, base: 0 }))
 * await Effect.runPromise(Effect.provide(Effect.flip(down), Retry.layer())) // => { status: 500 }
 * ```
 *
 * @category running
 * @since 0.1.0
 */
export const withRetry = (
  request: { readonly service: string } & RetryOptions
): <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E | Rejected, R | Retry> => {
  const { service, ...options } = request
  rulesOf("Retry.withRetry", options)
  return (effect) =>
    Effect.flatMap(
      Retry,
      (retry) =>
        Effect.contextWith((context: Context.Context<never>) =>
          started(effect, service, retry.begin({ service, options }, context))
        )
    )
}

const started = <A, E, R>(
  effect: Effect.Effect<A, E, R>,
  service: string,
  attempts: Attempts
): Effect.Effect<A, E | Rejected, R> => {
  const attempt = (last: Cause.Cause<E> | undefined): Effect.Effect<A, E | Rejected, R> =>
    Effect.andThen(
      paused(service, attempts, last),
      Effect.matchCauseEffect(effect, {
        onSuccess: (value) => {
          attempts.succeeded()
          return Effect.succeed(value)
        },
        onFailure: (cause) => {
          const failure = Cause.findError(cause)
          if (Result.isFailure(failure) || Cause.hasDies(cause) || Cause.hasInterrupts(cause)) {
            return Effect.failCause(cause)
          }
          return Effect.flatMap(attempts.failed(failure.success), (millis) =>
            millis === undefined ? Effect.failCause(cause) : Effect.andThen(Effect.sleep(millis), attempt(cause)))
        }
      })
    )
  return attempt(undefined)
}

/** Waits for the end of the service's pause; where that is too far, what was tried last stands, or nothing is tried. */
const paused = <E>(
  service: string,
  attempts: Attempts,
  last: Cause.Cause<E> | undefined
): Effect.Effect<void, E | Rejected> =>
  Effect.suspend(() => {
    const refused = attempts.refusedMillis()
    if (refused !== undefined) return last === undefined ? turnedAway(service, refused) : Effect.failCause(last)
    const millis = attempts.pauseMillis()
    return millis === 0 ? Effect.void : Effect.andThen(Effect.sleep(millis), paused(service, attempts, last))
  })

const turnedAway = (service: string, retryAfterMillis: number): Effect.Effect<never, Rejected> =>
  Effect.fail(
    new Rejected({
      reason: "RateLimited",
      limit: `service ${JSON.stringify(service)}`,
      retryAfterMillis,
      message: `The service ${JSON.stringify(service)} has asked to be left alone for ${retryAfterMillis} ms more.`
    })
  )
