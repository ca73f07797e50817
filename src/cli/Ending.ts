/**
 * How the command ends before its work is done. SIGTERM drains: nothing new starts, running tools have a grace, what is left is
 * interrupted, and the process is gone within a second after that. Ctrl-C is the same without a grace. A second signal ends the
 * process at once; that, and the exit codes, are in `main`.
 */
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Orchestrator from "../engine/Orchestrator.ts"
import { usage } from "./CommandError.ts"
import type { CommandError } from "./CommandError.ts"
import * as Output from "./Output.ts"

/**
 * What the work tells whoever ends it: the grace that was asked for, whether there is anything to drain yet, and how to say
 * something without disturbing the screen.
 *
 * @category services
 * @since 0.1.0
 */
export class Ending extends Context.Service<Ending, {
  grace: Duration.Duration
  hasBegun: boolean
  say: (line: string) => Effect.Effect<void>
}>()("effect-toolformer/cli/Ending") {}

/** Nothing has begun; a grace of 5 seconds. @category constructors @since 0.1.0 */
export const make = (): Ending["Service"] => ({
  grace: Duration.seconds(5),
  hasBegun: false,
  say: Output.complain
})

/**
 * Takes the grace from `--grace`, else from `TOOLFORMER_GRACE`.
 *
 * **Errors** What is no length of time is bad usage, by name.
 *
 * @category running
 * @since 0.1.0
 */
export const setGrace = (
  flag: string | undefined,
  environment: { readonly [name: string]: string | undefined }
): Effect.Effect<void, CommandError, Ending> =>
  Effect.gen(function*() {
    const set = environment["TOOLFORMER_GRACE"]?.trim()
    const [name, text] = flag !== undefined ? ["--grace", flag.trim()] : ["TOOLFORMER_GRACE", set ?? ""]
    if (flag === undefined && text === "") return
    const grace = Duration.fromInput(text as Duration.Input)
    if (Option.isNone(grace) || !Duration.isFinite(grace.value) || Duration.isNegative(grace.value)) {
      return yield* usage(`${name} is ${JSON.stringify(text)}; write it as "5 seconds" or "500 millis"`)
    }
    ;(yield* Ending).grace = grace.value
  })

/**
 * How long the last steps may take.
 *
 * @category models
 * @since 0.1.0
 */
export interface Limits {
  /** From the interruption until calls are answered whose tools wanted more time. */
  readonly answerMillis: number
  /** From there until those answers are printed. */
  readonly printMillis: number
  /** From there until the rest is cleaned up. */
  readonly closeMillis: number
}

/** Within a second of the grace, on a slow machine too. @category constants @since 0.1.0 */
export const onTermination: Limits = { answerMillis: 500, printMillis: 200, closeMillis: 100 }

/** A person waits, and can press again. @category constants @since 0.1.0 */
export const onInterrupt: Limits = { answerMillis: 2000, printMillis: 1000, closeMillis: 2000 }

/**
 * Ends the command's fiber: gives its runs `grace`, then interrupts them. `force` is told when the grace was not enough; `leave`
 * when the fiber has not ended although everything was tried.
 *
 * @category running
 * @since 0.1.0
 */
export const end = Effect.fnUntraced(function*(options: {
  readonly fiber: Fiber.Fiber<unknown>
  readonly hasBegun: boolean
  readonly grace: Duration.Input
  readonly limits: Limits
  readonly force: () => void
  readonly leave: () => void
}) {
  const { fiber, force, grace, hasBegun, leave, limits } = options
  const isOverIn = (duration: Duration.Input) =>
    Effect.map(Effect.timeoutOption(Fiber.await(fiber), duration), Option.isSome)
  // Before the first run there is nothing to wait for: loading and connecting are just stopped.
  if (!hasBegun) fiber.interruptUnsafe()
  else yield* Effect.forkChild(Orchestrator.drain({ grace }))
  if (yield* isOverIn(grace)) return
  force()
  if (yield* isOverIn(limits.answerMillis)) return
  const runs = yield* Orchestrator.Runs
  runs.abandon()
  // The runs' answers are being printed; whatever else the command does is interrupted after that.
  if (yield* isOverIn(limits.printMillis)) return
  fiber.interruptUnsafe()
  if (yield* isOverIn(limits.closeMillis)) return
  leave()
})
