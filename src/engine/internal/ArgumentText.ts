/** The arguments that the model is writing: what looks complete before the wire says so. */
import { isCompleteObject, parseArguments } from "../../domain/ToolCall.ts"
import type { BoundTool } from "./Call.ts"
import type { Guess } from "./Guess.ts"

/** What is longer is nobody's guess. */
const mostCharacters = 65_536

interface Writing {
  readonly tool: BoundTool
  text: string
  guess: Guess | undefined
}

export class ArgumentText {
  private readonly calls = new Map<string, Writing>()

  opened(id: string, tool: BoundTool | undefined): void {
    if (tool?.compiled.policies.speculate === true) this.calls.set(id, { tool, text: "", guess: undefined })
  }

  /** The text grew: gives what it says where that looks complete. A guess made of less is thrown away. */
  grew(id: string, delta: string): { readonly tool: BoundTool; readonly params: unknown } | undefined {
    const call = this.calls.get(id)
    if (call === undefined) return undefined
    call.text += delta
    if (call.guess !== undefined && delta.trim() !== "") {
      call.guess.discard("refuted")
      call.guess = undefined
    }
    if (call.text.length > mostCharacters) {
      this.calls.delete(id)
      return undefined
    }
    return delta.trimEnd().endsWith("}") && isCompleteObject(call.text)
      ? { tool: call.tool, params: parseArguments(call.text) }
      : undefined
  }

  guessed(id: string, guess: Guess | undefined): void {
    const call = this.calls.get(id)
    if (call !== undefined) call.guess = guess
  }

  clear(): void {
    this.calls.clear()
  }
}
