/** What a run's predictor is told, once it is known: what came of its guesses, and how the run went. Nobody waits for it. */
import type * as Effect from "effect/Effect"
import type * as Predictor from "../../policy/Predictor.ts"
import type { Considered } from "./Foreseeing.ts"
import { copyOf } from "./Foresight.ts"
import type { Learning } from "./Learning.ts"
import type { Appraiser, Host } from "./speculating.ts"

export interface School {
  readonly appraiser: Appraiser
  readonly predictor: Predictor.PredictorService | undefined
  readonly learning: Learning
}

export class Lessons {
  private readonly school: School

  constructor(school: School) {
    this.school = school
  }

  /** What came of a turn's guesses, started or not. */
  tell(considered: ReadonlyArray<Considered>): void {
    const verdicts = considered.map(({ guess, right }) => ({ guess, right }))
    if (verdicts.length > 0) this.offer((predictor) => predictor.judged(verdicts))
  }

  /** How the run went, where anything happened in it. */
  learn({ prompt, settings: { prompt: { content }, runId } }: Host, tools: Predictor.FinishedRun["tools"]): void {
    if (prompt.content.length <= content.length) return
    this.offer((predictor) => predictor.learn({ runId, prompt: copyOf(prompt), from: content.length, tools }))
  }

  private offer(learn: (predictor: Predictor.PredictorService) => Effect.Effect<void, unknown>): void {
    const { appraiser, learning, predictor } = this.school
    if (predictor === undefined) return
    learning.offer({
      learn: () => learn(predictor),
      failed: () => appraiser.failed(predictor.names[0] ?? "custom")
    })
  }
}
