/** What a predictor was asked, what it said, and what it was told: written down around any predictor. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Stream from "effect/Stream"
import type { FinishedRun, Guess, PredictorService, Question, Verdict } from "../../policy/Predictor.ts"

/**
 * One question, and what came of it. `status`: `"asked"` while it is being answered, then `"answered"`, `"failed"` or `"interrupted"`
 * (the model's answer had ended).
 *
 * **Units** `at`: milliseconds of the run's `Clock`.
 *
 * @category models
 * @since 0.1.0
 */
export interface Asked {
  readonly question: Question
  readonly at: number
  readonly guesses: ReadonlyArray<Guess>
  readonly status: "asked" | "answered" | "failed" | "interrupted"
}

interface Draft {
  readonly question: Question
  readonly at: number
  readonly guesses: Array<Guess>
  status: Asked["status"]
}

export class PredictorRecord {
  private readonly asked: Array<Draft> = []
  private readonly judged: Array<Verdict> = []
  private readonly learned: Array<FinishedRun> = []

  get questions(): ReadonlyArray<Asked> {
    return this.asked.map((draft) => ({ ...draft, guesses: [...draft.guesses] }))
  }

  get verdicts(): ReadonlyArray<Verdict> {
    return [...this.judged]
  }

  get finishedRuns(): ReadonlyArray<FinishedRun> {
    return [...this.learned]
  }

  /** The same predictor, written down. */
  around(predictor: PredictorService): PredictorService {
    return {
      names: predictor.names,
      members: predictor.members?.map((member) => this.around(member)),
      predict: (question) =>
        Stream.unwrap(Effect.map(Clock.currentTimeMillis, (at) => this.watched(predictor, question, at))),
      judged: (verdicts) =>
        Effect.suspend(() => {
          this.judged.push(...verdicts)
          return predictor.judged(verdicts)
        }),
      learn: (run) =>
        Effect.suspend(() => {
          this.learned.push(run)
          return predictor.learn(run)
        })
    }
  }

  private watched(predictor: PredictorService, question: Question, at: number): Stream.Stream<Guess, unknown> {
    const draft: Draft = { question, at, guesses: [], status: "asked" }
    this.asked.push(draft)
    return Stream.suspend(() => predictor.predict(question)).pipe(
      Stream.tap((guess) => Effect.sync(() => draft.guesses.push(guess))),
      Stream.onExit((exit) => Effect.sync(() => draft.status = statusOf(exit)))
    )
  }
}

const statusOf = (exit: Exit.Exit<unknown, unknown>): Asked["status"] =>
  Exit.isSuccess(exit) ? "answered" : Exit.hasInterrupts(exit) ? "interrupted" : "failed"
