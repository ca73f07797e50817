/**
 * Several predictors as one. Each keeps to itself: what one does wrong is its own affair, and the name of a guess says whose verdict
 * it gets.
 */
import type * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Stream from "effect/Stream"
import type { Guess, PredictorService } from "./predicting.ts"

export const mergedPredictor = (predictors: ReadonlyArray<PredictorService>): PredictorService => {
  const taken = new Set<string>()
  const members = predictors.flatMap((predictor) => predictor.members ?? [predictor]).map((one) => renamed(one, taken))
  return {
    names: members.flatMap(({ names }) => names),
    predict: (question) => interleaved(members.map(({ predict }) => Stream.suspend(() => predict(question)))),
    judged: (verdicts) =>
      each(members, ({ judged, names }) => {
        const own = verdicts.filter(({ guess }) => guess.predictor !== undefined && names.includes(guess.predictor))
        return own.length === 0 ? Effect.void : judged(own)
      }),
    learn: (run) => each(members, ({ learn }) => learn(run)),
    members
  }
}

// A failure waits until the others have said what they have to say.
const interleaved = (streams: ReadonlyArray<Stream.Stream<Guess, unknown>>): Stream.Stream<Guess, unknown> =>
  Stream.suspend(() => {
    let failed: Cause.Cause<unknown> | undefined
    const keptApart = streams.map((stream) =>
      Stream.catchCause(stream, (cause) => {
        failed ??= cause
        return Stream.empty
      })
    )
    const rest = Stream.suspend(() => failed === undefined ? Stream.empty : Stream.failCause(failed))
    return Stream.concat(Stream.mergeAll(keptApart, { concurrency: "unbounded" }), rest)
  })

const each = (
  members: ReadonlyArray<PredictorService>,
  tell: (member: PredictorService) => Effect.Effect<void, unknown>
): Effect.Effect<void, unknown> =>
  Effect.forEach(members, (member) => Effect.exit(Effect.suspend(() => tell(member))), { concurrency: "unbounded" })
    .pipe(Effect.flatMap((exits) => exits.find(Exit.isFailure) ?? Effect.void))

// ---- names --------------------------------------------------------------------------------------------------------------

const renamed = (predictor: PredictorService, taken: Set<string>): PredictorService => {
  const given = new Map(predictor.names.map((name) => [name, unique(name, taken)]))
  const own = new Map([...given].map(([name, other]) => [other, name]))
  const [usual] = predictor.names
  const called = (guess: Guess): Guess => {
    // What is no guess is for the engine to count.
    if (typeof guess !== "object" || guess === null) return guess
    return { ...guess, predictor: given.get(guess.predictor ?? usual ?? "") ?? given.get(usual ?? "") }
  }
  return {
    names: [...given.values()],
    predict: (question) => Stream.map(predictor.predict(question), called),
    judged: (verdicts) =>
      predictor.judged(verdicts.map(({ guess, right }) => {
        const name = guess.predictor === undefined ? undefined : own.get(guess.predictor)
        return { guess: { ...guess, predictor: name }, right }
      })),
    learn: (run) => predictor.learn(run)
  }
}

const unique = (name: string, taken: Set<string>): string => {
  let free = name
  for (let nth = 2; taken.has(free); nth++) free = `${name}-${nth}`
  taken.add(free)
  return free
}
