/**
 * The arguments that the model is writing: what looks complete before the wire says so. Each character is looked at once, and parsed
 * once, when the outermost bracket closes.
 */
import { isCompleteObject, parseArguments } from "../../domain/ToolCall.ts"
import type { BoundTool } from "./Call.ts"
import type { Guess } from "./Guess.ts"

/** What is longer is nobody's guess. */
const mostCharacters = 65_536

class Writing {
  readonly tool: BoundTool
  text = ""
  guess: Guess | undefined = undefined
  private depth = 0
  private isInString = false
  private isEscaped = false

  constructor(tool: BoundTool) {
    this.tool = tool
  }

  /** Whether its outermost bracket has closed with this text. */
  grew(delta: string): boolean {
    this.text += delta
    let closed = false
    for (let i = 0; i < delta.length; i++) if (this.closes(delta.charCodeAt(i))) closed = true
    return closed && this.depth === 0
  }

  private closes(character: number): boolean {
    if (this.isInString) {
      if (this.isEscaped) this.isEscaped = false
      else if (character === 92) this.isEscaped = true
      else if (character === 34) this.isInString = false
    } else if (character === 34) this.isInString = true
    else if (character === 123 || character === 91) this.depth++
    else if (character === 125 || character === 93) return --this.depth === 0
    return false
  }
}

export class ArgumentText {
  private readonly calls = new Map<string, Writing>()

  opened(id: string, tool: BoundTool | undefined): void {
    if (tool?.compiled.policies.speculate === true) this.calls.set(id, new Writing(tool))
  }

  /** The text grew: gives what it says where that looks complete. A guess made of less is thrown away, and no other is made. */
  grew(id: string, delta: string): { readonly tool: BoundTool; readonly params: unknown } | undefined {
    const writing = this.calls.get(id)
    if (writing === undefined) return undefined
    const isChanged = writing.guess !== undefined && delta.trim() !== ""
    if (isChanged || writing.text.length + delta.length > mostCharacters) {
      writing.guess?.discard("refuted")
      this.calls.delete(id)
      return undefined
    }
    return writing.grew(delta) && isCompleteObject(writing.text)
      ? { tool: writing.tool, params: parseArguments(writing.text) }
      : undefined
  }

  guessed(id: string, guess: Guess | undefined): void {
    const writing = this.calls.get(id)
    if (writing !== undefined) writing.guess = guess
  }

  clear(): void {
    this.calls.clear()
  }
}
