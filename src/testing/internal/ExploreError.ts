/**
 * Why an exploration failed: one error, four reasons, and how to see it again.
 */
import * as Cause from "effect/Cause"
import * as Data from "effect/Data"
import { NodeInspectSymbol } from "effect/Inspectable"

/**
 * What went wrong in a run. `Failed`: the program failed, died or interrupted itself. `Deadlock`: all its fibers waited, and
 * nothing could wake them: no timer, no promise. `StillRunning`: it was not over after `maxSteps`. `LeftBehind`: it ended, and
 * fibers it had started could not be ended. `fibers` tells each one that was alive and where it stood.
 *
 * @category errors
 * @since 0.1.0
 */
export type ExploreReason<E> =
  | { readonly _tag: "Failed"; readonly failure: Cause.Cause<E> }
  | { readonly _tag: "Deadlock"; readonly fibers: ReadonlyArray<string> }
  | { readonly _tag: "StillRunning"; readonly fibers: ReadonlyArray<string>; readonly steps: number }
  | { readonly _tag: "LeftBehind"; readonly fibers: ReadonlyArray<string> }

/**
 * A schedule in which the program fails.
 *
 * `seed` replays it, as `replay` writes it down. `schedules`: how many were tried, this one included. `switches`: the fewest
 * decisions found with which it still fails alike, each in one line; `undefined` where that is not known. `isReplayed`: false where the
 * same seed did not fail when it was run again, so that something else than the seed decides. `cause` is the program's own failure.
 *
 * @category errors
 * @since 0.1.0
 */
export class ExploreError<out E = never> extends Data.TaggedError("ExploreError")<{
  readonly seed: number
  readonly schedules: number
  readonly replay: string
  readonly reason: ExploreReason<unknown>
  readonly isReplayed: boolean
  readonly switches: ReadonlyArray<string> | undefined
  readonly cause?: unknown
}> {
  declare readonly reason: ExploreReason<E>
  /** Several lines: the seed, the line that replays it, what happened, and the switches that made it so. */
  override get message(): string {
    const tried = this.schedules === 1 ? "the first schedule tried" : `after ${this.schedules} schedules`
    return [
      `Seed ${this.seed} fails, ${tried}. Replay: ${this.replay}`,
      "",
      ...reasonLines(this.reason),
      ...switchLines(this.isReplayed, this.switches)
    ].join("\n")
  }

  /** Printed as any error is, by its message; what Effect prints of an error with fields is these alone. */
  override [NodeInspectSymbol](): unknown {
    return this.stack
  }
}

/** The failure the program itself is to blame with, for those who show the cause of an error. */
export const causeOf = (reason: ExploreReason<unknown>): unknown =>
  reason._tag === "Failed" ? Cause.squash(reason.failure) : undefined

const reasonLines = (reason: ExploreReason<unknown>): ReadonlyArray<string> => {
  switch (reason._tag) {
    case "Failed":
      return [Cause.pretty(reason.failure)]
    case "Deadlock":
      return [
        "Deadlock: every fiber waits, and no timer or promise is left to wake one. Alive:",
        ...listed(reason.fibers)
      ]
    case "StillRunning":
      return [`Still running after ${reason.steps} steps (maxSteps). Alive:`, ...listed(reason.fibers)]
    case "LeftBehind":
      return ["The program ended, and these fibers of it could not be interrupted:", ...listed(reason.fibers)]
  }
}

const most = 12

const listed = (lines: ReadonlyArray<string>): ReadonlyArray<string> => [
  ...lines.slice(0, most).map((line) => `  ${line}`),
  ...(lines.length > most ? [`  and ${lines.length - most} more`] : [])
]

const switchLines = (isReplayed: boolean, switches: ReadonlyArray<string> | undefined): ReadonlyArray<string> =>
  !isReplayed
    ? [
      "",
      "Run again with the same seed, it did not fail: something else decides, too. Look for state shared by the runs",
      "(build it inside of the program), real I/O, Date, Math.random."
    ]
    : switches === undefined
    ? []
    : switches.length === 0
    ? ["", "It fails in the plain order, too: no switch is needed."]
    : [
      "",
      "The fewest switches found that still make it fail (#1 is the program, the others in order of birth):",
      ...listed(switches)
    ]
