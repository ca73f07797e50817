/**
 * The words of an admission: what is asked for, what is held, why not. Public through `Limiter`; kept here for the parts that
 * `Limiter` is made of.
 */
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"

/**
 * A place beside the limits, held by the caller: taken in the same step as the limits, so that whoever waits for a limit
 * holds no place, and whoever waits for a place holds nothing of a limit. The engine passes one with each call; a limiter that
 * wraps another hands it on, a limiter of its own may leave it alone (the engine then takes the place after the grant).
 *
 * **Shape** Gates of one `flow` open together and stand in one row: `tryTake` takes the place or says there is none;
 * `release` gives back a place that was not used; `onFree` calls `wake` once, when a place of the flow may be free.
 *
 * @category models
 * @since 0.1.0
 */
export interface Gate {
  readonly flow: object
  readonly tryTake: () => boolean
  readonly release: () => void
  readonly onFree: (wake: () => void) => void
}

/**
 * What is to be admitted.
 *
 * - `service`: whose limits it pays. Absent: the global ones only.
 * - `tenant`: on whose behalf; absent: {@link Tenant}.
 * - `calls`: an integer of at least 1; default 1. `tokens`: what it is expected to cost, an integer of at least 1; absent: it
 *   passes no limit counted in tokens. To be settled with the lease.
 * - `priority`: a higher one is asked for first within a lane; default 0. `speculative`: never queues: it passes now or is
 *   rejected.
 * - `slack`: of a speculative one, the share of every limit's capacity, from 0 (default) to 1, that must stay free after it.
 *   `giveWay`: it holds permits that somebody waits for; says whether it will end now. Called at most once, in the middle of the
 *   limiter's own step: it may stop the effect, and must not ask the limiter anything.
 * - `run`: whose turn it is: runs share a lane fairly.
 * - `maxWait`, `deadline`: how long it may wait from now. It is rejected at once when the earliest possible start is later.
 *   `deadline` is the caller's own clock and only shortens the answer; it is not watched.
 * - `repeat`: under `onExceeded: "adaptive"`, an effect refused by its service for its rate (429) waits and runs again. Only
 *   for what may be run twice.
 *
 * @category models
 * @since 0.1.0
 */
export interface Request {
  readonly service?: string | undefined
  readonly tenant?: string | undefined
  readonly calls?: number | undefined
  readonly tokens?: number | undefined
  readonly priority?: number | undefined
  readonly speculative?: boolean | undefined
  readonly slack?: number | undefined
  readonly giveWay?: (() => boolean) | undefined
  readonly run?: string | undefined
  readonly maxWait?: Duration.Input | undefined
  readonly deadline?: Duration.Input | undefined
  readonly repeat?: boolean | undefined
  readonly gate?: Gate | undefined
}

/**
 * What an admitted effect holds.
 *
 * **Shape** `settle` replaces the estimated tokens by what it really cost; the last one counts. `waitedMillis`: how long the
 * limits made it wait. `lost` ends when a permit's lease was lost (this process was paused for longer than the lease); it
 * never ends otherwise.
 *
 * @category models
 * @since 0.1.0
 */
export interface Lease {
  readonly settle: (actual: { readonly tokens: number }) => Effect.Effect<void>
  readonly waitedMillis: number
  readonly lost: Effect.Effect<void>
}

/**
 * The request was not admitted and took nothing.
 *
 * **Shape** `reason`: `Exceeded` (no room now, and it may not wait), `MaxWait` and `Deadline` (it would start, or has waited,
 * too long), `OverCapacity` (it asks for more than the limit ever holds), `InvalidRequest`, `StoreUnavailable`, `RateLimited`
 * (the service itself refused it and asks for a longer pause than may be waited). `limit` names the limit;
 * `retryAfterMillis` says how long to wait, where that is known.
 *
 * @category errors
 * @since 0.1.0
 */
export class Rejected extends Schema.TaggedError<Rejected>()("Rejected", {
  reason: Schema.Literals([
    "Exceeded",
    "MaxWait",
    "Deadline",
    "OverCapacity",
    "InvalidRequest",
    "StoreUnavailable",
    "RateLimited"
  ]),
  limit: Schema.String,
  message: Schema.String,
  retryAfterMillis: Schema.optionalKey(Schema.Finite),
  cause: Schema.optionalKey(Schema.Defect())
}) {}

/**
 * On whose behalf requests are made that do not say so. Default: nobody's.
 *
 * @category settings
 * @since 0.1.0
 */
export const Tenant: Context.Reference<string | undefined> = Context.Reference<string | undefined>(
  "effect-toolformer/Limiter/Tenant",
  { defaultValue: () => undefined }
)
