/** What a model was asked, in a line: for messages. Pure. */
import type * as Prompt from "effect/ai/Prompt"
import type { Request } from "./turn.ts"
import { shown } from "./turn.ts"

/** The last message of a prompt: its role and what it says, cut at 200 characters. */
export const lastMessageOf = ({ content }: Prompt.Prompt): string => {
  const last = content.at(-1)
  if (last === undefined) return "none, its prompt is empty"
  return `${last.role}: ${
    typeof last.content === "string" ? shown(last.content) : last.content.map(partText).join(", ")
  }`
}

const partText = (part: Exclude<Prompt.Message["content"], string>[number]): string => {
  switch (part.type) {
    case "text":
    case "reasoning":
      return shown(part.text)
    case "tool-call":
      return `calls ${part.name}(${shown(part.params)}) as ${part.id}`
    case "tool-result":
      return `${part.name} (${part.id}) gave ${shown(part.result)}`
    default:
      return `a ${part.type} part`
  }
}

const most = 10

/** One line a request, the newest ten. */
export const requestLines = (requests: ReadonlyArray<Request>): ReadonlyArray<string> => {
  const earlier = Math.max(0, requests.length - most)
  return [
    ...(earlier === 0 ? [] : [`${earlier} earlier`]),
    ...requests.slice(earlier).map(({ at, number, prompt }) =>
      `${number}. at ${at} ms, last message ${lastMessageOf(prompt)}`
    )
  ]
}
