/** The notes of a test's model, whoever answers in it: a script or a recording. */
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type { ToolCall } from "../ToolCall.ts"
import type { TestModelError } from "./TestModelError.ts"
import type { Request } from "./turn.ts"

/**
 * What a scripted model was asked, and whether that fits its script.
 *
 * @category services
 * @since 0.1.0
 */
export class TestModel extends Context.Service<TestModel, {
  /** Every request so far, in the order of asking. */
  readonly requests: Effect.Effect<ReadonlyArray<Request>>
  /** Fails on turns left over and on an asking beyond the script. */
  readonly assertComplete: Effect.Effect<void, TestModelError>
  /**
   * The calls of each turn, with the ids they have on the wire; `undefined` for a turn that is known only when it is asked, and once
   * more at the end where `otherwise` may make calls.
   */
  readonly scriptedCalls: ReadonlyArray<ReadonlyArray<ToolCall & { readonly id: string }> | undefined>
}>()("effect-toolformer/testing/TestModel") {}
