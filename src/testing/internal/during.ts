import * as Effect from "effect/Effect"

/**
 * Notes something for as long as an effect runs. `begin` gives how to cross it out. A fiber may be interrupted between any two
 * operations, so it is noted only where it is sure to be crossed out.
 */
export const during = <A, E, R>(begin: () => () => void, effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.suspend(() => {
    let end: (() => void) | undefined
    return Effect.ensuring(
      Effect.suspend(() => {
        end = begin()
        return effect
      }),
      Effect.sync(() => end?.())
    )
  })
