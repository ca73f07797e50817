/** Guesses as predictors state them, and an appraiser that judges them, without a run. */
import * as Tool from "effect/ai/Tool"
import * as Context from "effect/Context"
import * as ToolPolicy from "../../../src/domain/ToolPolicy.ts"
import { Appraisal } from "../../../src/engine/internal/Appraisal.ts"
import type { BoundTool } from "../../../src/engine/internal/Call.ts"
import { bind } from "../../../src/engine/internal/Pipeline.ts"
import type { Candidate, Settled } from "../../../src/engine/internal/speculating.ts"
import { settings } from "../../../src/engine/internal/speculationSettings.ts"
import type { Given } from "../../../src/engine/internal/speculationSettings.ts"

export type Price = Context.Service.Shape<typeof ToolPolicy.Price>

export const boundTool = (
  name = "look_up",
  price?: Price,
  context: Context.Context<never> = Context.empty()
): BoundTool =>
  bind(
    Tool.make(name).annotate(Tool.Readonly, true).annotate(ToolPolicy.Price, price),
    context,
    undefined
  )

export const appraisal = (given: Given = {}): Appraisal => new Appraisal(settings(given))

const anyTool = boundTool()

export const candidate = (stated: number, over: Partial<Candidate> = {}): Candidate => ({
  predictor: "custom",
  tool: anyTool,
  stated,
  decoded: {},
  ...over
})

export const came = (outcome: Settled["outcome"], over: Partial<Settled> = {}): Settled => {
  const saves = outcome === "hit" || outcome === "lateHit"
  return {
    outcome,
    savedMillis: saves ? 500 : 0,
    wastedMillis: saves ? 0 : 500,
    wastedTokens: 0,
    rateLimited: false,
    ...over
  }
}

/**
 * One turn with one guess: admitted or not, run, settled and judged. Gives why it did not start, or `undefined`.
 */
export const turn = (
  appraiser: Appraisal,
  guess: Candidate,
  right: boolean,
  now: number,
  settled: Settled = came(right ? "hit" : "miss")
): ReturnType<Appraisal["admit"]> => {
  const refusal = appraiser.admit(guess, now, undefined)
  if (refusal === undefined) {
    appraiser.ended(guess)
    appraiser.settled(guess, settled, now)
  }
  appraiser.judged(guess, right, refusal === undefined, now)
  return refusal
}
