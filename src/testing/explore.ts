/**
 * Schedule exploration: a program is run once per seed, each time in another order of its fibers, in virtual time, and the first
 * seed that makes it fail is told, with the line that replays it.
 *
 * A race needs no luck to be found, and no sleep to be provoked: the seed decides who goes on, and where a fiber stands still.
 */
import type * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { runUnder } from "./internal/exploredRun.ts"
import type { Run } from "./internal/exploredRun.ts"
import { causeOf, ExploreError } from "./internal/ExploreError.ts"
import type { ExploreReason } from "./internal/ExploreError.ts"
import { isSamePlace, listedSchedule, seededSchedule } from "./internal/schedule.ts"
import type { Decision, Schedule } from "./internal/schedule.ts"
import { simplify } from "./internal/simplify.ts"
import type { Told } from "./internal/strands.ts"

export { ExploreError, type ExploreReason } from "./internal/ExploreError.ts"

/**
 * How far to explore.
 *
 * **Units**: `seeds`: how many, from `from` on (at least 1; 200), or which ones. `from`: the first seed (0). `hurry`: the
 * probability, before each step, that up to 64 milliseconds of virtual time pass although there is work, as on a machine that is
 * too slow (0 to 1; 0: time passes only when nothing else is left to do). `maxSteps`: after so many operations of all fibers a run
 * counts as one that never ends (at least 1; 1,000,000). `budget`: no further seed is begun after so much real time, at least one
 * is (unlimited).
 *
 * @category models
 * @since 0.1.0
 */
export interface ExploreOptions {
  readonly seeds?: number | ReadonlyArray<number> | undefined
  readonly from?: number | undefined
  readonly hurry?: number | undefined
  readonly maxSteps?: number | undefined
  readonly budget?: Duration.Input | undefined
}

/**
 * What was explored without a failure: how many schedules, how many operations in all of them, and how many of the schedules
 * differed in who went on after whom. Few interleavings of many schedules: there is little to interleave, and fewer seeds do.
 *
 * @category models
 * @since 0.1.0
 */
export interface ExploreReport {
  readonly schedules: number
  readonly steps: number
  readonly interleavings: number
}

/**
 * Runs a program once per seed, and fails at the first seed whose run fails.
 *
 * In each run the seed decides which of the fibers that can go on goes on, before which operations one is set aside, which of
 * the timers of one instant comes first, when promises get their turn, and what `Random` gives. The same seed gives the same run.
 * Time is virtual: it moves to the next sleeper when nothing else is left to do; `TestClock.adjust` works too. Seeds differ in how
 * finely they take the program apart: some only exchange who is next, some stop before nearly every operation, some rank the
 * fibers and change ranks a few times.
 *
 * **Shape** each run has its own scope, closed at its end in the same order of things. When the program ends, fibers it has left
 * running are interrupted and awaited. A debug log line tells how far it is, every few seconds.
 *
 * **Errors** `ExploreError` where a run fails, dies, interrupts itself, deadlocks, does not end, or leaves a fiber that cannot be
 * ended. A failure that is fine is one the program catches. Interruption ends the run that is going on, and waits for it. Options
 * that say nothing (no seed, a probability above 1) are defects.
 *
 * **Gotchas** services provided to `explore` are shared by all runs: what a run changes belongs inside of the program, as
 * `program.pipe(Effect.provide(layer))`; so are the budgets of a tool's own retries and hedges, unless the program builds a
 * `MockOrchestrator` or calls `Executor.forget`. Promises that only wait for each other are replayed by a seed; real I/O, worker threads,
 * `Date` and `Math.random` are not, and a run that waits for real I/O longer than a few milliseconds, with nothing else to do, is
 * taken for a deadlock or loses time to the next timer. A fiber can be set aside before any operation: more often than by the
 * real scheduler, which only does so every 2048 operations or where something waits. Effects run by `Effect.runPromise` inside of
 * the program are outside of the schedule.
 *
 * **Source** Burckhardt, Kothari, Musuvathi, Nagarakatte: A Randomized Scheduler with Probabilistic Guarantees of Finding Bugs,
 * ASPLOS 2010 (ranks and their rare changes).
 *
 * **Example** (A lost update)
 *
 * ```ts
 * import { Effect, Ref } from "effect"
 * import { explore } from "effect-toolformer/Testing"
 *
 * const program = Effect.gen(function*() {
 *   const count = yield* Ref.make(0)
 *   const increment = Effect.flatMap(Ref.get(count), (n) => Ref.set(count, n + 1))
 *   yield* Effect.all([increment, increment], { concurrency: "unbounded" })
 *   if ((yield* Ref.get(count)) !== 2) return yield* Effect.fail("an update was lost")
 * })
 *
 * const error = await Effect.runPromise(Effect.flip(explore(program)))
 * error._tag // => "ExploreError"
 * const again = await Effect.runPromise(Effect.flip(explore(program, { seeds: [error.seed] })))
 * again.seed === error.seed // => true
 * ```
 *
 * @category running
 * @since 0.1.0
 */
export const explore = <A, E, R>(
  program: Effect.Effect<A, E, R>,
  options: ExploreOptions = {}
): Effect.Effect<ExploreReport, ExploreError<E>, Exclude<R, Scope.Scope>> =>
  Effect.suspend(() => exploreAll(Effect.scoped(program), settle(options)))

interface Settled {
  readonly seeds: Iterable<number>
  readonly count: number
  readonly hurry: number
  readonly maxSteps: number
  readonly budgetMillis: number
  /** The options that must be given again to see the same run, as source text. */
  readonly replayOptions: string
}

const die = (message: string): never => {
  throw new RangeError(message)
}

const isCount = (value: number): boolean => Number.isSafeInteger(value) && value >= 1

const isSeed = (value: number): boolean => Number.isSafeInteger(value) && value >= 0

const settle = ({ budget, from = 0, hurry = 0, maxSteps = 1_000_000, seeds = 200 }: ExploreOptions): Settled => {
  if (!isSeed(from)) die(`explore: from must be a whole number from 0 on, not ${from}`)
  if (!isCount(maxSteps)) die(`explore: maxSteps must be a whole number from 1 on, not ${maxSteps}`)
  if (!(hurry >= 0 && hurry <= 1)) die(`explore: hurry must be a probability from 0 to 1, not ${hurry}`)
  const budgetMillis = budget === undefined ? Infinity : Duration.toMillis(budget)
  const replayOptions = (hurry === 0 ? "" : `, hurry: ${hurry}`) +
    (maxSteps === 1_000_000 ? "" : `, maxSteps: ${maxSteps}`)
  const rest = { hurry, maxSteps, budgetMillis, replayOptions }
  if (typeof seeds === "number") {
    if (!isCount(seeds)) die(`explore: seeds must be a whole number from 1 on, not ${seeds}`)
    return { ...rest, count: seeds, seeds: upTo(from, seeds) }
  }
  const wrong = seeds.find((seed) => !isSeed(seed))
  if (wrong !== undefined) die(`explore: a seed must be a whole number from 0 on, not ${wrong}`)
  if (seeds.length === 0) die("explore: seeds has no seed; nothing would be tried")
  return { ...rest, count: seeds.length, seeds }
}

const upTo = function*(from: number, count: number) {
  for (let i = 0; i < count; i++) yield from + i
}

/** Debug lines about a long exploration, at most one in so many milliseconds. */
const progressMillis = 5000

const exploreAll = <A, E, R>(program: Effect.Effect<A, E, R>, settled: Settled) =>
  Effect.gen(function*() {
    const { budgetMillis, count, hurry, maxSteps, seeds } = settled
    const begin = performance.now()
    const fingerprints = new Set<number>()
    let schedules = 0
    let steps = 0
    let toldAt = begin
    for (const seed of seeds) {
      const now = performance.now()
      if (schedules > 0 && now - begin >= budgetMillis) break
      if (now - toldAt >= progressMillis) {
        toldAt = now
        yield* Effect.logDebug(`explore: ${schedules} of ${count} schedules, ${fingerprints.size} interleavings`)
      }
      const run = yield* runUnder(program, seededSchedule(seed, { hurry }), { seed, maxSteps })
      schedules++
      steps += run.steps
      fingerprints.add(run.fingerprint)
      const reason = reasonOf(run)
      if (reason !== undefined) {
        return yield* Effect.flatMap(errorOf(program, settled, seed, schedules, reason), Effect.fail)
      }
    }
    return { schedules, steps, interleavings: fingerprints.size }
  })

const reasonOf = <A, E>({ ending, exit, steps }: Run<A, E>): ExploreReason<E> | undefined => {
  if (ending._tag === "StillRunning") return { ...ending, steps }
  if (ending._tag !== "Over") return ending
  return exit?._tag === "Failure" ? { _tag: "Failed", failure: exit.cause } : undefined
}

/** What a simplification may take: operations and runs in all; decisions to begin with, alone, in pairs, at last. */
const effort = { steps: 1_200_000, runs: 900, decisions: 4000, singles: 300, pairsOf: 16, worthTelling: 20 }

const errorOf = <A, E, R>(
  program: Effect.Effect<A, E, R>,
  { hurry, maxSteps, replayOptions }: Settled,
  seed: number,
  schedules: number,
  reason: ExploreReason<E>
): Effect.Effect<ExploreError<E>, never, R> =>
  Effect.gen(function*() {
    const attempt = (schedule: Schedule) =>
      runUnder(program, schedule, { seed, maxSteps, tells: true, isImpatient: reason._tag === "Deadlock" })
    const again = yield* attempt(seededSchedule(seed, { hurry }))
    const isReplayed = isAlike(reasonOf(again), reason)
    const least = isReplayed ? yield* fewest(again.told, attempt, (run) => isAlike(reasonOf(run), reason)) : undefined
    return new ExploreError<E>({
      seed,
      schedules,
      replay: `Testing.explore(program, { seeds: [${seed}]${replayOptions} })`,
      reason,
      isReplayed,
      switches: least?.map(switchText),
      cause: causeOf(reason)
    })
  })

type Tolds = ReadonlyArray<Told>

/** The fewest decisions found with which it fails; `undefined` where there are too many to begin with, or to be of use. */
const fewest = <A, E, R>(
  told: Tolds,
  attempt: (schedule: Schedule) => Effect.Effect<Run<A, E>, never, R>,
  isAlike: (run: Run<A, E>) => boolean
): Effect.Effect<Tolds | undefined, never, R> => {
  let steps = 0
  let runs = 0
  const listed = (decisions: ReadonlyArray<Decision>) =>
    Effect.map(attempt(listedSchedule(decisions)), (run) => {
      runs++
      steps += run.steps
      return isAlike(run) ? run.told : undefined
    })
  const mayGoOn = () => runs < effort.runs && steps < effort.steps
  return Effect.gen(function*() {
    if ((yield* listed([])) !== undefined) return []
    if (told.length > effort.decisions) return undefined
    const decisions = told.map(({ decision }) => decision)
    // Written down as a list, it may not fail: then nothing can be left out of it.
    const run = yield* listed(decisions)
    if (run === undefined) return undefined
    const least = yield* simplify({ decisions, run }, listed, { ...effort, mayGoOn, isStop })
    if (least.decisions.length > effort.worthTelling) return undefined
    return least.run.filter(({ decision }) => least.decisions.some((one) => isSamePlace(one, decision)))
  })
}

/** Whether two runs fail in the same way, as far as it can be told. */
const isAlike = (one: ExploreReason<unknown> | undefined, other: ExploreReason<unknown>): boolean => {
  if (one?._tag !== "Failed" || other._tag !== "Failed") return one?._tag === other._tag
  return kindOf(one.failure) === kindOf(other.failure)
}

const kindOf = (failure: Cause.Cause<unknown>): string =>
  failure.reasons.map((reason) => {
    const value: unknown = reason._tag === "Fail" ? reason.error : reason._tag === "Die" ? reason.defect : undefined
    if (typeof value !== "object" || value === null) return `${reason._tag} ${typeof value}`
    return `${reason._tag} ${"_tag" in value ? String(value._tag) : value.constructor?.name}`
  }).join()

const isStop = (decision: Decision): boolean => decision._tag === "Switch" && decision.isForced

const switchText = ({ decision, from, to }: Told): string => {
  switch (decision._tag) {
    case "Switch":
      return decision.isForced
        ? `${from} stops before its operation ${decision.at.operation}, ${to} goes on`
        : `after ${from}, ${to} goes on`
    case "Promises":
      return `after ${from}, promises have their turn`
    case "Pause":
      return `after ${from}, ${to} pass`
  }
}
