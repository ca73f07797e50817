/**
 * One turn of the model as it is read: which calls are open, which are sealed, what goes into the history. Ids are made unique
 * here, so that from here on one id is one call. Pure bookkeeping; the Run decides what to do with a call.
 */
import type * as Response from "effect/ai/Response"
import { deriveId } from "../../domain/ToolCall.ts"
import type { PendingApproval } from "../../domain/ToolEvent.ts"
import type { Call } from "./Call.ts"

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
  /** When the model was asked: after the wait for a limit. */
  startedAt: number
  endedAt = Number.NaN
  limiterMillis = 0
  /** How often the model was asked, or its answer has ended: what belongs to an earlier answer can tell. */
  era = 0
  /** The model is asked, or being read, now: no wait for a limit. */
  isAsked = false
  /** Something of the answer has been read, so it must not be asked for again. */
  touched = false
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

  /** Calls that were opened and never sealed. */
  get unsealed(): ReadonlyArray<Opened> {
    return [...this.opened.values()].flat()
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
