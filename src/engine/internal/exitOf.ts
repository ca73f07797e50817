/** Effects that are already their exit, as most decoders' answers are: made and read without a fiber. */
import type * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"

export const exitOf = <A, E, R>(effect: Effect.Effect<A, E, R>): Exit.Exit<A, E> | undefined =>
  Exit.isExit(effect) ? effect as Exit.Exit<A, E> : undefined

/** Makes an effect outside any fiber; what it throws on the way is its defect. */
export const evaluate = <A, E, R>(make: () => Effect.Effect<A, E, R>): Effect.Effect<A, E, R> => {
  try {
    return make()
  } catch (error) {
    return Exit.die(error)
  }
}
