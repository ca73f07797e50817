/**
 * What the calls of one run have written, and whether a guess's result still stands. Reads and writes are what the tool's
 * `Resources` say; a write that says nothing may have written anything the run reads, and a read that says nothing may have read it.
 */
import * as Tool from "effect/ai/Tool"
import * as Context from "effect/Context"
import type { Resource } from "../../domain/ToolPolicy.ts"
import type { Call } from "./Call.ts"
import type { CompiledTool } from "./CompiledTool.ts"
import type { Epochs } from "./Epochs.ts"
import { orElse } from "./orElse.ts"

/** When a guess started: the epochs of what it reads. */
export interface Mark {
  readonly reads: ReadonlyArray<{ readonly slot: number; readonly epoch: number }>
  readonly run: number
  readonly declared: boolean
}

/** Whether calls of a tool may write. */
export const mayWrite = ({ policies, tool }: CompiledTool): boolean =>
  !Context.get(tool.annotations, Tool.Readonly) || policies.resources !== undefined

export class Freshness {
  private readonly epochs: Epochs
  private readonly written = new Map<Call, ReadonlyArray<number>>()
  /** Writes of the run, and those of them that said nothing of their resources: begun or ended, and at work. */
  private any = 0
  private undeclared = 0
  private anyWriting = 0
  private undeclaredWriting = 0

  constructor(epochs: Epochs) {
    this.epochs = epochs
  }

  /** A call that may write goes on its way. */
  begin(call: Call): void {
    const { compiled } = call.tool
    if (!mayWrite(compiled)) return
    const resources = resourcesOf(compiled, call.decoded)
    const slots = resources === undefined ? undefined : this.epochs.slotsOf(resources, "write")
    if (slots?.length === 0) return
    this.written.set(call, slots ?? [])
    this.epochs.begin(slots ?? [])
    this.any++
    this.anyWriting++
    if (slots !== undefined) return
    this.undeclared++
    this.undeclaredWriting++
  }

  /** It is answered. One that was left to itself may still write: nothing of the run is fresh any more. */
  end(call: Call): void {
    const slots = this.written.get(call)
    if (slots === undefined) return
    this.written.delete(call)
    this.epochs.end(slots)
    this.any++
    const undeclared = slots.length === 0
    if (undeclared) this.undeclared++
    if (isLeft(call)) this.undeclaredWriting += undeclared ? 0 : 1
    else {
      this.anyWriting--
      if (undeclared) this.undeclaredWriting--
    }
  }

  /** The mark of a guess that starts now; `undefined` where what it reads is being written. */
  mark(tool: CompiledTool, decoded: unknown): Mark | undefined {
    const resources = resourcesOf(tool, decoded)
    const declared = resources !== undefined
    const slots = declared ? this.epochs.slotsOf(resources, "read") : []
    const writing = declared
      ? this.undeclaredWriting > 0 || slots.some((slot) => this.epochs.isWriting(slot))
      : this.anyWriting > 0
    if (writing) return undefined
    return {
      reads: slots.map((slot) => ({ slot, epoch: this.epochs.at(slot) })),
      run: declared ? this.undeclared : this.any,
      declared
    }
  }

  isFresh({ declared, reads, run }: Mark): boolean {
    return run === (declared ? this.undeclared : this.any) &&
      reads.every(({ epoch, slot }) => epoch === this.epochs.at(slot))
  }

  /** The run is over: what it was writing it writes no more, or it was left to itself. */
  close(): void {
    for (const call of this.written.keys()) this.end(call)
  }
}

const isLeft = (call: Call): boolean => call.abandoned || call.governor?.abandoned !== undefined

// Of a tool that says nothing, or whose function fails: `undefined`.
const resourcesOf = (
  { policies: { resources } }: CompiledTool,
  decoded: unknown
): ReadonlyArray<Resource> | undefined =>
  resources === undefined ? undefined : orElse(() => resources(decoded as never), undefined)
