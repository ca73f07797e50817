/**
 * What a call waits for once, however often it is attempted: that the model's turn has ended well (`after-finish`) and that the
 * resources it touches are its own, in the order the model asked for them. It keeps them until it and all its attempts have
 * really ended.
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type { BoundTool, Call, Runner } from "./Call.ts"
import { ResourceLocks } from "./ResourceLocks.ts"

/** Whether a call of this tool has anything to wait for here. */
export const isOrdered = ({ compiled: { policies } }: Pick<BoundTool, "compiled">): boolean =>
  policies.resources !== undefined || policies.eager === "after-finish"

/** What becomes of calls that will not get what they wait for. */
export interface Refusals {
  /** The tool's `Resources` function failed. */
  readonly invalid: (call: Call) => void
  readonly reject: (call: Call, limit: string) => void
}

export class Ordering {
  /** Whether `after-finish` calls need not wait any more (approved calls, calls after the finish). */
  turnEndedWell = false
  private readonly locks = new ResourceLocks<Call>()
  private readonly locked = new Map<Call, Runner>()
  /** Abandoned calls that still hold resources. */
  private readonly stuck = new Set<Call>()
  private held: Array<{ readonly call: Call; readonly next: Runner }> = []
  private readonly refusals: Refusals

  constructor(refusals: Refusals) {
    this.refusals = refusals
  }

  /** Takes the call onward when it is its turn. */
  order(call: Call, next: Runner): void {
    if (call.tool.compiled.policies.eager === "after-finish" && !this.turnEndedWell) this.held.push({ call, next })
    else this.lock(call, next)
  }

  /** The turn ended well: starts what was held back for that. */
  releaseHeld(): void {
    const held = this.held
    this.held = []
    for (const { call, next } of held) if (call.state !== "answered") this.lock(call, next)
  }

  private lock(call: Call, next: Runner): void {
    const { resources } = call.tool.compiled.policies
    if (resources === undefined) return next(call)
    // A throwing `Resources` function is that call's failure.
    const wanted = Effect.runSyncExit(Effect.sync(() => resources(call.decoded as never)))
    if (Exit.isFailure(wanted)) return this.refusals.invalid(call)
    if (this.locks.request(call, wanted.value)) return next(call)
    this.locked.set(call, next)
    for (const holder of this.stuck) if (this.locks.behind(holder).includes(call)) this.rejectBehind(holder, call)
  }

  /** The call holds and waits for nothing any more. */
  free(call: Call): void {
    if (call.tool.compiled.policies.resources === undefined) return
    this.locked.delete(call)
    this.stuck.delete(call)
    for (const freed of this.locks.release(call)) {
      const next = this.locked.get(freed)
      this.locked.delete(freed)
      next?.(freed)
    }
  }

  /** The call keeps what it holds and may never give it back. */
  abandon(call: Call): void {
    if (call.tool.compiled.policies.resources === undefined) return
    this.stuck.add(call)
    for (const waiting of this.locks.behind(call)) this.rejectBehind(call, waiting)
  }

  private rejectBehind(holder: Call, call: Call): void {
    this.refusals.reject(
      call,
      `it waits for a resource held by ${holder.name} (${holder.id}), which did not stop when asked`
    )
  }
}
