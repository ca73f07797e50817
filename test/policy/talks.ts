/** Conversations made by hand: what the user says, what the model says, and calls with their results. */
import * as Prompt from "effect/ai/Prompt"

let calls = 0

export const user = (text: string): ReadonlyArray<Prompt.Message> => [
  Prompt.makeMessage("user", { content: [Prompt.makePart("text", { text })] })
]

export const said = (text: string): ReadonlyArray<Prompt.Message> => [
  Prompt.makeMessage("assistant", { content: [Prompt.makePart("text", { text })] })
]

export const call = (
  name: string,
  params: unknown,
  result: unknown,
  isFailure = false
): ReadonlyArray<Prompt.Message> => {
  const id = `call-${calls++}`
  const content = [Prompt.makePart("tool-call", { id, name, params, providerExecuted: false })]
  const heard = [Prompt.makePart("tool-result", { id, name, result, isFailure, providerExecuted: false })]
  return [Prompt.makeMessage("assistant", { content }), Prompt.makeMessage("tool", { content: heard })]
}

export const talk = (...parts: ReadonlyArray<ReadonlyArray<Prompt.Message>>): Prompt.Prompt =>
  Prompt.fromMessages(parts.flat())
