/**
 * The whole measurement: which sets, who learns on what, and what is printed.
 */
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import { dirname } from "node:path"
import * as Predictor from "../../../src/policy/Predictor.ts"
import * as Baseline from "./baseline.ts"
import { learn, predictorOf, type Progress, test, timed } from "./contest.ts"
import type { Conversation } from "./conversation.ts"
import type { Asked } from "./metrics.ts"
import { type Cast, castOf } from "./replay.ts"
import { curveTable, figureTable, lineOf, type Result, type TimeRow, timeTable } from "./report.ts"
import { type Fold, halves, ruleOf, tasksOf } from "./sets.ts"
import { drawn, type Recorded, recorded } from "./times.ts"
import { load, type TraceSet } from "./Trace.ts"
import { type TracesError, usage } from "./TracesError.ts"

/** `times`: where recorded times are looked for, beside the data itself. */
export interface Options {
  readonly data: string
  readonly train: string | undefined
  readonly set: string | undefined
  readonly json: boolean
  readonly times: string
}

/** Where it goes: results, remarks, and what passes by. */
export interface Output {
  readonly print: (text: string) => void
  readonly say: (text: string) => void
  readonly progress: (text: string) => void
}

export interface Contestant {
  readonly name: string
  /** Made anew for each fold. */
  readonly make: () => Layer.Layer<Predictor.Predictor>
}

export const contestants: ReadonlyArray<Contestant> = [
  { name: "history", make: () => Predictor.layerHistory() },
  { name: "baseline", make: () => Baseline.layer() },
  {
    name: "baseline-unrepeated",
    make: () => Baseline.layer({ name: "baseline-unrepeated", skipsRepeats: true })
  }
]

const toolSeconds = [0.25, 1, 3]
const seed = 6

interface Job {
  readonly set: string
  readonly cast: Cast
  readonly folds: ReadonlyArray<Fold<Conversation>>
  readonly recorded: Recorded
}

/** Measures, and prints each set as soon as it is measured. */
export const bench = (options: Options, output: Output): Effect.Effect<void, TracesError> =>
  Effect.gen(function*() {
    for (const job of yield* jobsOf(options, output)) {
      if (!options.json) output.print(headOf(job))
      const measured = yield* Effect.forEach(contestants, (contestant) => measure(job, contestant, options, output))
      if (!options.json) output.print(pageOf(job, measured))
    }
  })

// ---- which sets ---------------------------------------------------------------------------------------------------------

const jobsOf = (options: Options, output: Output): Effect.Effect<ReadonlyArray<Job>, TracesError> =>
  Effect.gen(function*() {
    const tested = yield* load(options.data, options.set)
    const learned = options.train === undefined ? undefined : yield* load(options.train, options.set)
    const jobs = tested.flatMap((set) => jobOf(set, learned, options, output))
    return jobs.length > 0 ? jobs : yield* usage(
      learned === undefined
        ? `nothing in ${options.data} can be measured`
        : `no set of ${options.train} is one of ${options.data} that can be measured`
    )
  })

const jobOf = (
  { conversations, namesOnly, set }: TraceSet,
  learned: ReadonlyArray<TraceSet> | undefined,
  options: Options,
  { say }: Output
): ReadonlyArray<Job> => {
  if (namesOnly) {
    say(`${set} is left out: its calls have no arguments, so none can be compared`)
    return []
  }
  const train = learned?.find((other) => other.set === set)
  if (learned !== undefined && train === undefined) {
    say(`${set} is left out: there is nothing to learn it from`)
    return []
  }
  const folds = train === undefined ? halves(conversations) : [apart(set, train.conversations, conversations, say)]
  return [{
    set,
    cast: castOf([...conversations, ...train?.conversations ?? []], ruleOf(set).isRead),
    folds,
    recorded: recorded([options.data, dirname(options.data), options.times], conversations)
  }]
}

/** What is learned, and what is tested. A task that is tested is not learned. */
const apart = (
  set: string,
  learned: ReadonlyArray<Conversation>,
  tested: ReadonlyArray<Conversation>,
  say: (text: string) => void
): Fold<Conversation> => {
  const tasks = new Set(tasksOf(tested))
  const learn = learned.filter(({ task }) => !tasks.has(task))
  if (learn.length < learned.length) {
    say(
      `${set}: ${
        learned.length - learn.length
      } of ${learned.length} traces are of tasks that are tested, and not learned`
    )
  }
  return { name: "learned on --train, tested on --data", learn, test: tested }
}

// ---- one set ------------------------------------------------------------------------------------------------------------

interface Measured {
  readonly result: Result
  readonly times: ReadonlyArray<TimeRow>
}

const measure = (
  job: Job,
  contestant: Contestant,
  { json }: Options,
  output: Output
): Effect.Effect<Measured, TracesError> =>
  Effect.gen(function*() {
    const folds = yield* Effect.forEach(job.folds, (fold, index) => {
      const where = `${job.set}, ${contestant.name}, fold ${index + 1} of ${job.folds.length}`
      return Effect.scoped(measureFold(job, contestant, fold, json, (what) => (done, of) =>
        output.progress(`${where}: ${what} ${done} of ${of}`)))
    })
    const result: Result = {
      predictor: contestant.name,
      folds: folds.map(({ turns }, index) => ({ name: job.folds[index]!.name, turns })),
      differences: folds.flatMap(({ differences }) =>
        differences
      )
    }
    for (const difference of result.differences.slice(0, 5)) output.say(`engine and guesses differ: ${difference}`)
    if (json) output.print(JSON.stringify(lineOf(job.set, result)))
    const times = !json
      ? toolSeconds.map((_, index) => sum(folds.map(({ times }) => times[index]!)))
      : []
    return { result, times }
  })

interface MeasuredFold {
  readonly turns: ReadonlyArray<Asked>
  readonly differences: ReadonlyArray<string>
  readonly times: ReadonlyArray<TimeRow>
}

const measureFold = Effect.fnUntraced(function*(
  { cast, recorded }: Job,
  contestant: Contestant,
  fold: Fold<Conversation>,
  json: boolean,
  progress: (what: string) => Progress
) {
  const predictor = yield* predictorOf(contestant.make())
  yield* learn(predictor, cast, fold.learn, progress("learned"))
  const tested = yield* test(predictor, cast, fold.test, progress("tested"))
  const times = json ? [] : yield* Effect.forEach(toolSeconds, (toolSeconds) =>
    Effect.map(
      timed(
        predictor,
        cast,
        fold.test,
        drawn(recorded, toolSeconds * 1000, seed),
        progress(`tools of ${toolSeconds} s`)
      ),
      (timed): TimeRow => ({ toolSeconds, ...timed })
    ))
  const measured: MeasuredFold = { ...tested, times }
  return measured
})

const sum = (rows: ReadonlyArray<TimeRow>): TimeRow => {
  const of = (field: "without" | "with" | "bound" | "hits"): number => rows.reduce((sum, row) => sum + row[field], 0)
  return {
    toolSeconds: rows[0]!.toolSeconds,
    without: of("without"),
    with: of("with"),
    bound: of("bound"),
    hits: of("hits")
  }
}

// ---- for a person -------------------------------------------------------------------------------------------------------

const headOf = ({ folds, set }: Job): string =>
  [
    `${set}: reads are ${ruleOf(set).reads}`,
    ...folds.map(({ learn, name, test }, index) =>
      `  (${index + 1}) ${name}: ${learn.length} traces of ${tasksOf(learn).length} tasks learned, `
      + `${test.length} of ${tasksOf(test).length} tested`
    )
  ].join("\n")

const pageOf = ({ recorded, set }: Job, measured: ReadonlyArray<Measured>): string => {
  const results = measured.map(({ result }) => result)
  const differences = results.reduce((sum, { differences }) => sum + differences.length, 0)
  return [
    figureTable(set, results),
    curveTable(set, results),
    ...measured.flatMap(({ result, times }) =>
      times.length === 0 ? [] : [timeTable(result.predictor, recorded.from, times)]
    ),
    `what the engine started and claimed is what was guessed: ${
      differences === 0 ? "yes" : `NO, ${differences} differences`
    }`,
    ""
  ].join("\n\n")
}
