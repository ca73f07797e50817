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
    return Effect.suspend((): Effect.Effect<A, E | OrchestratorError, R> => {
      const refusal = this.refusal(runId)
      if (refusal !== undefined) return Effect.fail(new OrchestratorError({ runId, reason: refusal, prompt }))
      this.runs.set(runId, run)
      return Effect.ensuring(effect, Effect.sync(() => this.remove(runId)))
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

  readonly awaitEmpty: Effect.Effect<void> = Effect.suspend(() =>
    this.runs.size === 0 ? Effect.void : Effect.callback<void>((resume) => {
      const done = () => {
        this.empty.delete(done)
        resume(Effect.void)
      }
      this.empty.add(done)
      return Effect.sync(() => this.empty.delete(done))
    })
  )

  drain(grace: Duration.Input): Effect.Effect<void> {
    return Effect.suspend(() => {
      this.isDraining = true
      return Effect.timeoutOption(this.awaitEmpty, grace)
    }).pipe(
      Effect.andThen(Effect.suspend(() => {
        for (const run of this.runs.values()) {
          run.fail({ _tag: "Cancelled", reason: CancelReason.shutdown }, "all", CancelReason.shutdown)
        }
        return this.awaitEmpty
      }))
    )
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
 * A private registry of runs that drains when the layer closes: new runs are refused, live ones have `grace` to finish (default
 * 5 seconds), then they are stopped for `Shutdown`.
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
      const { outstanding } = run.dispatcher
      run.fail({ _tag: "Cancelled", reason }, "all", reason)
      return outstanding
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
 * Takes no new runs, gives the live ones `grace` to finish (default 5 seconds), then stops them for `Shutdown` and waits until
 * they have ended. The registry stays closed.
 *
 * @category cancelling
 * @since 0.1.0
 */
export const drain = (options?: { readonly grace?: Duration.Input | undefined }): Effect.Effect<void> =>
  Effect.flatMap(Runs, (runs) => runs.drain(options?.grace ?? "5 seconds"))
