/**
 * What the calls of one run have written, and whether a guess's result still stands. Reads and writes are what the tool's
 * `Resources` say; a write that says nothing may have written anything the run reads, and a read that says nothing may have read it.
 */
import * as Tool from "effect/ai/Tool"
import * as Context from "effect/Context"
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

/** Whether calls of a tool may write. Whose calls may start on a guess writes nothing but what it says. */
export const mayWrite = ({ policies, tool }: CompiledTool): boolean =>
  policies.resources !== undefined || !(policies.speculate || Context.get(tool.annotations, Tool.Readonly))

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

  /** A call that may write goes on its way; whether it does. */
  begin(call: Call): boolean {
    const { compiled } = call.tool
    if (!mayWrite(compiled)) return false
    const slots = this.slotsOf(compiled, call.decoded, "write")
    if (slots?.length === 0) return false
    this.written.set(call, slots ?? [])
    this.epochs.begin(slots ?? [])
    this.any++
    this.anyWriting++
    if (slots !== undefined) return true
    this.undeclared++
    this.undeclaredWriting++
    return true
  }

  /** It has really ended, or never began. One that never ends keeps what it writes from being guessed about. */
  end(call: Call): void {
    const slots = this.written.get(call)
    if (slots === undefined) return
    this.written.delete(call)
    this.epochs.end(slots)
    this.any++
    this.anyWriting--
    if (slots.length > 0) return
    this.undeclared++
    this.undeclaredWriting--
  }

  /** The mark of a guess that starts now; `undefined` where it says that it writes, or what it reads is being written. */
  mark(tool: CompiledTool, decoded: unknown): Mark | undefined {
    const written = this.slotsOf(tool, decoded, "write")
    if (written !== undefined && written.length > 0) return undefined
    const slots = this.slotsOf(tool, decoded, "read")
    const declared = slots !== undefined
    const writing = declared
      ? this.undeclaredWriting > 0 || slots.some((slot) => this.epochs.isWriting(slot))
      : this.anyWriting > 0
    if (writing) return undefined
    return {
      reads: (slots ?? []).map((slot) => ({ slot, epoch: this.epochs.at(slot) })),
      run: declared ? this.undeclared : this.any,
      declared
    }
  }

  // Of a tool that says nothing, or whose function fails: `undefined`.
  private slotsOf(
    { policies: { resources } }: CompiledTool,
    decoded: unknown,
    kind: "read" | "write"
  ): ReadonlyArray<number> | undefined {
    return resources === undefined
      ? undefined
      : orElse(() => this.epochs.slotsOf(resources(decoded as never), kind), undefined)
  }

  isFresh({ declared, reads, run }: Mark): boolean {
    return run === (declared ? this.undeclared : this.any) &&
      reads.every(({ epoch, slot }) => epoch === this.epochs.at(slot))
  }
}
