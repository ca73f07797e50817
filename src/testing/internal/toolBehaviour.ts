/**
 * What a scripted handler does with one call, as a value that is played: the behaviours of `TestTools` without their types.
 *
 * A behaviour is a function from the call to an effect. Nothing runs before a handler is started with it.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import { describe } from "../../domain/ToolFailure.ts"
import * as Executor from "../../engine/Executor.ts"

/** What a behaviour gets of the call it plays. */
export interface Playing {
  readonly id: string
  readonly name: string
  readonly params: unknown
  readonly nth: number
  readonly attempt: number
  /** Reports progress. */
  readonly preliminary: (result: unknown) => Effect.Effect<void>
  /** Waits until the test opens the gate. */
  readonly gate: (name: string) => Effect.Effect<void>
  /** Something of the call goes on beside its fiber; what this gives ends it. */
  readonly hold: () => () => void
}

export type Play<A, E, R> = (playing: Playing) => Effect.Effect<A, E, R>

export const TypeId = "~effect-toolformer/testing/TestTools/Behaviour"

export interface Behaviour<out A, out E = never, out R = never> {
  readonly [TypeId]: Play<A, E, R>
}

export const make = <A, E, R>(play: Play<A, E, R>): Behaviour<A, E, R> => ({ [TypeId]: play })

export const isBehaviour = (value: unknown): value is Behaviour<unknown, unknown, unknown> =>
  typeof value === "object" && value !== null && TypeId in value

export const die = (message: string): never => {
  throw new RangeError(message)
}

/** A duration of at least 0; dies naming what was given. */
export const latency = (option: string, input: Duration.Input): Duration.Duration => {
  const isNumber = typeof input !== "number" || !Number.isNaN(input)
  const duration = isNumber ? Option.getOrUndefined(Duration.fromInput(input)) : undefined
  return duration !== undefined && Duration.toMillis(duration) >= 0
    ? duration
    : die(`TestTools.${option} is ${describe(input)}; it must be a duration of at least 0`)
}

/** Nothing at all for 0, so that what has no latency ends in its first step. */
export const pause = (duration: Duration.Duration): Effect.Effect<void> =>
  Duration.isZero(duration) ? Effect.void : Duration.isFinite(duration) ? Effect.sleep(duration) : Effect.never

export const after = <A, E, R>(duration: Duration.Duration, effect: Effect.Effect<A, E, R>): Behaviour<A, E, R> => {
  const played = Duration.isZero(duration) ? effect : Effect.andThen(pause(duration), effect)
  return make(() => played)
}

/** A promise that runs the behaviour to its end, whatever its signal says. */
export const promised = <A, E, R>(behaviour: Behaviour<A, E, R> | undefined): Behaviour<A, E, R> =>
  make((playing) =>
    Effect.flatMap(Effect.context<R>(), (context) =>
      Executor.promise({
        try: () => {
          const ended = playing.hold()
          if (behaviour === undefined) return new Promise<Exit.Exit<A, E>>(() => {})
          return Effect.runPromiseExitWith(context)(Effect.onExit(
            Effect.suspend(() => behaviour[TypeId](playing)),
            () => Effect.sync(ended)
          ))
        },
        catch: (error) => error as never
      })).pipe(Effect.flatten)
  )

/** Reports each value, `every` after the one before, then plays the last behaviour. */
export const reporting = <A, E, R>(
  values: ReadonlyArray<unknown>,
  every: Duration.Duration,
  last: Behaviour<A, E, R>
): Behaviour<A, E, R> =>
  make((playing) =>
    Effect.forEach(values, (value) => Effect.andThen(pause(every), playing.preliminary(value)), {
      discard: true
    }).pipe(Effect.andThen(Effect.suspend(() => last[TypeId](playing))))
  )
