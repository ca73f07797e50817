/** The speculation of a program: what all its runs share, and where each gets its guesses. */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Predictor from "../../policy/Predictor.ts"
import { Appraisal } from "./Appraisal.ts"
import { Learning } from "./Learning.ts"
import { RunAppraisal } from "./RunAppraisal.ts"
import { Speculation } from "./speculating.ts"
import type { Host, RunSpeculation } from "./speculating.ts"
import type { Settings } from "./speculationSettings.ts"

/** What the guesses of a run get of the program. */
export interface Shared {
  readonly settings: Settings
  /** Counts for the run as well; its `report` is the run's. */
  readonly appraiser: RunAppraisal
  /** Of the run's context, else of the Layer's. */
  readonly predictor: Predictor.Predictor["Service"] | undefined
  /** Takes the run when it has ended. */
  readonly learning: Learning
}

export const makeSpeculation = (
  settings: Settings,
  makeGuesses: (host: Host, shared: Shared) => RunSpeculation
): Effect.Effect<Speculation["Service"], never, Scope.Scope> =>
  Effect.gen(function*() {
    const context = yield* Effect.context()
    const appraisal = new Appraisal(settings)
    const learning = new Learning(context)
    yield* Effect.addFinalizer(() => learning.close)
    const predictorOf = (run: typeof context): Predictor.Predictor["Service"] | undefined =>
      (run.mapUnsafe.get(Predictor.Predictor.key) ?? context.mapUnsafe.get(Predictor.Predictor.key)) as
        | Predictor.Predictor["Service"]
        | undefined
    return Speculation.of({
      begin: (host) =>
        makeGuesses(host, {
          settings,
          appraiser: new RunAppraisal(appraisal),
          predictor: predictorOf(host.settings.context),
          learning
        }),
      ledger: Effect.sync(() => appraisal.report())
    })
  })
