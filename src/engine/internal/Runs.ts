/**
 * The live runs of a program, by name: where `cancel` finds the call it means and `drain` the runs it waits for.
 */
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as CancelReason from "../../domain/CancelReason.ts"
import { OrchestratorError } from "./OrchestratorError.ts"
import type { Reason } from "./OrchestratorError.ts"
import { shutDown } from "./Run.ts"
import type { Run } from "./Run.ts"

/**
 * A registry of live runs. Opaque: use `Orchestrator.cancel` and `Orchestrator.drain`.
 *
 * @category models
 * @since 0.1.0
 */
export interface RunRegistry {
  /** Whether new runs are refused. */
  readonly isDraining: boolean
  readonly has: (runId: string) => boolean
  /** @internal */
  readonly get: (runId: string) => Run | undefined
  /** @internal */
  readonly register: <A, E, R>(run: Run, effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E | OrchestratorError, R>
  /** @internal */
  readonly drain: (grace: Duration.Input) => Effect.Effect<void>
  /** Answers every call that was told to stop, without waiting for its own grace any longer. @internal */
  readonly abandon: () => void
}

class Registry implements RunRegistry {
  isDraining = false
  private readonly runs = new Map<string, Run>()
  private readonly empty = new Set<() => void>()

  has(runId: string): boolean {
    return this.runs.has(runId)
  }

  get(runId: string): Run | undefined {
    return this.runs.get(runId)
  }

  register<A, E, R>(run: Run, effect: Effect.Effect<A, E, R>): Effect.Effect<A, E | OrchestratorError, R> {
    const { prompt, runId } = run.settings
    // Uninterruptible from the entry to its removal's being certain: a fiber may yield between any two operations.
    return Effect.uninterruptibleMask((restore): Effect.Effect<A, E | OrchestratorError, R> => {
      const refusal = this.refusal(runId)
      if (refusal !== undefined) return Effect.fail(new OrchestratorError({ runId, reason: refusal, prompt }))
      this.runs.set(runId, run)
      return Effect.ensuring(restore(effect), Effect.sync(() => this.remove(runId)))
    })
  }

  private refusal(runId: string): Reason | undefined {
    if (this.isDraining) return { _tag: "ShuttingDown" }
    return this.runs.has(runId)
      ? { _tag: "InvalidOptions", option: "runId", issue: `a run named "${runId}" is live` }
      : undefined
  }

  private remove(runId: string): void {
    this.runs.delete(runId)
    if (this.runs.size === 0) { for (const resume of this.empty) resume() }
  }

  readonly awaitEmpty: Effect.Effect<void> = Effect.callback<void>((resume) => {
    if (this.runs.size === 0) return resume(Effect.void)
    const done = () => {
      this.empty.delete(done)
      resume(Effect.void)
    }
    this.empty.add(done)
    return Effect.sync(() => this.empty.delete(done))
  })

  drain(grace: Duration.Input): Effect.Effect<void> {
    return Effect.suspend(() => {
      this.isDraining = true
      for (const run of this.runs.values()) run.shutDown()
      return Effect.timeoutOption(this.awaitEmpty, grace)
    }).pipe(
      Effect.andThen(Effect.suspend(() => {
        for (const run of this.runs.values()) run.fail(shutDown, "all", CancelReason.shutdown)
        return this.awaitEmpty
      }))
    )
  }

  abandon(): void {
    for (const run of this.runs.values()) {
      run.dispatcher.abandonAll()
      run.speculation?.abandonAll()
    }
  }
}

/**
 * Where live runs stand: one registry for the process unless a program brings its own with {@link layerRuns}.
 *
 * @category settings
 * @since 0.1.0
 */
export const Runs: Context.Reference<RunRegistry> = Context.Reference<RunRegistry>(
  "effect-toolformer/Orchestrator/Runs",
  {
    defaultValue: () => new Registry()
  }
)

/**
 * A private registry of runs that drains when the layer closes, with this `grace` (default 5 seconds); see {@link drain}.
 *
 * **Gotchas** What closes before it is gone while runs end: put it around the layers that runs need
 * (`layerRuns().pipe(Layer.provideMerge(services))`). A run whose own fiber is interrupted ends for `CallerGone` and has no grace.
 *
 * @category settings
 * @since 0.1.0
 */
export const layerRuns = (options?: { readonly grace?: Duration.Input | undefined }): Layer.Layer<never> =>
  Layer.effectContext(Effect.map(
    Effect.acquireRelease(
      Effect.sync(() => new Registry()),
      (registry) => registry.drain(options?.grace ?? "5 seconds")
    ),
    (registry) => Context.make(Runs, registry as RunRegistry)
  ))

/**
 * Stops a live run, or calls of it, by name. Idempotent.
 *
 * **Shape** With `callId` that call, with `group` the calls whose tool is annotated with that `ToolPolicy.Group` or in that
 * group of the run's `completion`, with neither
 * the whole run, which then fails with `OrchestratorError` (`Cancelled`). Gives how many calls were told to stop.
 *
 * **Errors** None; a run or call that is not there any more counts 0.
 *
 * @category cancelling
 * @since 0.1.0
 */
export const cancel = (
  target: { readonly runId: string; readonly callId?: string | undefined; readonly group?: string | undefined },
  reason: CancelReason.CancelReason = CancelReason.branchCancelled()
): Effect.Effect<number> =>
  Effect.map(Runs, (runs) => {
    const run = runs.get(target.runId)
    if (run === undefined) return 0
    const { callId, group } = target
    if (callId === undefined && group === undefined) {
      return run.fail({ _tag: "Cancelled", reason }, "all", reason)
    }
    if (callId === undefined && group !== undefined) run.groups?.cancel(group, reason)
    return run.dispatcher.stopAll(
      reason,
      (call) =>
        (callId === undefined || call.id === callId) &&
        (group === undefined || call.tool.compiled.policies.group === group || run.groups?.nameOf(call) === group)
    )
  })

/**
 * Ends the live runs in order, because the process goes down, and waits until they have ended. The registry stays closed.
 *
 * **Shape** At once nothing new: a run fails with `ShuttingDown`, no turn of the model is asked for, and calls that have not
 * started are answered `Cancelled` (`Shutdown`), those the model still makes too. Running handlers have `grace` (default 5
 * seconds) to end, and an answer of the model may be read to its end: one without calls is its run's good end. Other runs fail
 * with `OrchestratorError` (`Cancelled`, `Shutdown`), every result in its `prompt`. After the grace all is interrupted, each call
 * within its tool's own grace.
 *
 * **Gotchas** Idempotent; a second drain with a shorter grace makes the first one shorter. Only runs stand in the registry: a call
 * that code outside of any run made with `Executor.call` is its caller's to stop.
 *
 * **Example** (No new run after it)
 *
 * ```ts
 * import { Effect, Layer } from "effect"
 * import { Orchestrator } from "effect-toolformer"
 *
 * const program = Effect.gen(function*() {
 *   yield* Orchestrator.drain({ grace: "2 seconds" })
 *   return (yield* Orchestrator.Runs).isDraining
 * })
 * await Effect.runPromise(Effect.provide(program, Orchestrator.layerRuns())) // => true
 * ```
 *
 * @category cancelling
 * @since 0.1.0
 */
export const drain = (options?: { readonly grace?: Duration.Input | undefined }): Effect.Effect<void> =>
  Effect.flatMap(Runs, (runs) => runs.drain(options?.grace ?? "5 seconds"))
