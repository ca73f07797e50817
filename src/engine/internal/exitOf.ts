/** An effect that is already its exit, as most decoders' answers are: read it without a fiber. */
import type * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"

export const exitOf = <A, E, R>(effect: Effect.Effect<A, E, R>): Exit.Exit<A, E> | undefined =>
  Exit.isExit(effect) ? effect as Exit.Exit<A, E> : undefined
