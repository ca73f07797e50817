/** The speculation of a program: what all its runs share, and where each gets its guesses. */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Predictor from "../../policy/Predictor.ts"
import { Appraisal } from "./Appraisal.ts"
import { Epochs } from "./Epochs.ts"
import { makeGuesses } from "./Guesses.ts"
import { Learning } from "./Learning.ts"
import { RunAppraisal } from "./RunAppraisal.ts"
import { Speculation } from "./speculating.ts"
import type { Settings } from "./speculationSettings.ts"

export const makeSpeculation = (
  settings: Settings
): Effect.Effect<Speculation["Service"], never, Scope.Scope> =>
  Effect.gen(function*() {
    const context = yield* Effect.context()
    const appraisal = new Appraisal(settings)
    const learning = new Learning(context)
    const epochs = new Epochs()
    const deaf = new WeakSet<object>()
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
          learning,
          epochs,
          deaf
        }),
      ledger: Effect.sync(() => appraisal.report())
    })
  })
