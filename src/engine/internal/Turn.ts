/**
 * One turn of the model as it is read: which calls are open, which are sealed, what goes into the history. Ids are made unique
 * here, so that from here on one id is one call. Pure bookkeeping; the Run decides what to do with a call.
 */
import type * as Response from "effect/ai/Response"
import { deriveId } from "../../domain/ToolCall.ts"
import type { PendingApproval } from "../../domain/ToolEvent.ts"
import { Earlier } from "./Adoption.ts"
import type { Call } from "./Call.ts"
import * as usage from "./usage.ts"

export interface Opened {
  readonly id: string
  readonly name: string
  readonly wireId: string
}

export class Turn {
  /** What the history keeps, in order. */
  readonly parts: Array<Response.AnyPart> = []
  readonly calls: Array<Call> = []
  readonly approvals: Array<PendingApproval> = []
  readonly text: Array<string> = []
  finish: Response.FinishPart | undefined = undefined
  /** Over all its answers. */
  usage: Response.Usage = usage.empty
  /** The calls of its answers that broke off, once one has. */
  earlier: Earlier | undefined = undefined
  /** How often it was asked, and what was spent on answers that broke off and on waiting to ask again. */
  attempts = 1
  /** Calls of the answer that have the outcome of an earlier one, and how many earlier ones had started. */
  adopted = 0
  startedEarlier = 0
  spentMillis = 0
  /** When the model was asked: after the wait for a limit. */
  startedAt: number
  endedAt = Number.NaN
  limiterMillis = 0
  /** How often the model was asked, or its answer has ended: what belongs to an earlier answer can tell. */
  era = 0
  /** The model is being asked or has answered: no wait for a limit, nor to ask again. */
  isAsked = false
  /** Something of the answer has been read, so it must not be asked for again. */
  touched = false
  private readonly lost: Array<Opened> = []
  private readonly opened = new Map<string, Array<Opened>>()
  readonly step: number
  private readonly taken: Set<string>

  constructor(step: number, startedAt: number, taken: Set<string>) {
    this.step = step
    this.startedAt = startedAt
    this.taken = taken
  }

  /** A call's arguments begin; reserves its id. */
  open(wireId: string, name: string): Opened {
    const opened: Opened = { id: this.reserve(wireId), name, wireId }
    const same = this.opened.get(wireId)
    if (same === undefined) this.opened.set(wireId, [opened])
    else same.push(opened)
    return opened
  }

  /** The id under which fragments of a wire id go on: the newest call opened under it. */
  idOf(wireId: string): string {
    return this.opened.get(wireId)?.at(-1)?.id ?? wireId
  }

  /** A call is sealed: its id, reserved when it was opened, or now. */
  seal(wireId: string): string {
    const same = this.opened.get(wireId)
    if (same === undefined) return this.reserve(wireId)
    const opened = same.shift()!
    if (same.length === 0) this.opened.delete(wireId)
    return opened.id
  }

  /** How many calls the turn has run or runs: of all its answers, and none twice. */
  get running(): number {
    return this.calls.length - this.adopted + this.startedEarlier
  }

  /** Calls that were opened and never sealed. */
  get unsealed(): ReadonlyArray<Opened> {
    return [...this.opened.values()].flat()
  }

  /** The same, over all its answers. */
  get incomplete(): ReadonlyArray<Opened> {
    return [...this.lost, ...this.unsealed]
  }

  /** The answer broke off, and the turn is asked again: of what was said nothing counts but the calls that started. */
  restart(now: number): void {
    this.earlier ??= new Earlier()
    this.earlier.add(this.calls, this.parts)
    this.lost.push(...this.unsealed)
    this.opened.clear()
    for (const list of [this.calls, this.parts, this.approvals, this.text]) list.length = 0
    this.finish = undefined
    this.adopted = 0
    this.startedEarlier = this.earlier.started.length
    this.touched = false
    this.isAsked = false
    this.attempts++
    this.spend(now)
  }

  /** Counts the time up to now as the model's. */
  spend(now: number): void {
    this.spentMillis += now - this.startedAt
    this.startedAt = now
  }

  /** Counts the time up to now as a limit's. */
  paused(now: number): void {
    this.limiterMillis += now - this.startedAt
    this.startedAt = now
  }

  /** What the history keeps: calls of broken answers stand before the answer's own. `failed`: it is not asked any more. */
  history(failed: boolean): { readonly parts: ReadonlyArray<Response.AnyPart>; readonly calls: ReadonlyArray<Call> } {
    const kept = this.earlier?.kept(failed) ?? []
    if (kept.length === 0) return this
    const first = this.parts.findIndex((part) => part.type === "tool-call" && !part.providerExecuted)
    const at = first === -1 ? this.parts.length : first
    return {
      parts: [...this.parts.slice(0, at), ...kept.map(({ part }) => part), ...this.parts.slice(at)],
      calls: [...kept.map(({ call }) => call), ...this.calls]
    }
  }

  private reserve(wireId: string): string {
    const id = deriveId(wireId, (id) => this.taken.has(id))
    this.taken.add(id)
    return id
  }
}

/** Whether a turn with this finish reason ended well: what lets `after-finish` calls start. */
export const endedWell = (reason: Response.FinishReason): boolean =>
  reason === "stop" || reason === "tool-calls" || reason === "pause"

/** Whether the provider gave the answer up: nothing of it is to be acted on further. */
export const gaveUp = (reason: Response.FinishReason): boolean => reason === "content-filter" || reason === "error"
