/**
 * What a body says, wherever it is cut: the strings of its JSON, and the texts that a stream sends in fragments over
 * many events (a model says a word in three deltas). A secret stands in such a text, not in its fragments. Pure.
 */
import * as Option from "effect/Option"
import * as Json from "./recordingJson.ts"
import type { Edit, Span } from "./recordingText.ts"

/** One literal of the body. */
interface Fragment {
  readonly value: string
  readonly start: number
  readonly end: number
}

/** Fragments that are one text together; most have one. `name` says where, for messages. */
export interface Said {
  readonly name: string
  readonly fragments: ReadonlyArray<Fragment>
}

interface Payload {
  readonly text: string
  readonly start: number
}

// The JSON texts of a body: itself, or the data of each server-sent event.
const payloadsOf = (body: string): ReadonlyArray<Payload> => {
  if (Option.isSome(Json.parse(body))) return [{ text: body, start: 0 }]
  return [...body.matchAll(/^data:[ ]?([^\r\n]*)/gm)].map((match) => {
    const text = match[1] ?? ""
    return { text, start: match.index + match[0].length - text.length }
  })
}

/** All texts of a body. */
export const textsOf = (body: string): ReadonlyArray<Said> => {
  const single: Array<Said> = []
  const streams = new Map<string, Array<Fragment>>()
  for (const { start, text } of payloadsOf(body)) {
    Option.map(Json.parse(text), (value) => {
      for (const leaf of Json.leavesOf(text)) {
        const fragment = { value: leaf.value, start: start + leaf.start, end: start + leaf.end }
        const name = nameOf(value, leaf)
        const stream = leaf.isName || !leaf.path.includes("delta") ? undefined : streams.get(name) ?? []
        if (stream === undefined) single.push({ name, fragments: [fragment] })
        else streams.set(name, stream).get(name)?.push(fragment)
      }
    })
  }
  return [...single, ...[...streams].map(([name, fragments]) => ({ name, fragments }))]
}

// The same text of several events has the same name: an element of an array goes by its `index` where it has one.
const nameOf = (value: unknown, leaf: Json.Leaf): string => {
  const steps = leaf.path.map((step, depth) => {
    const index = typeof step === "number" ? Json.at(value, [...leaf.path.slice(0, depth + 1), "index"]) : undefined
    return typeof index === "number" ? index : step
  })
  const event = ["type", "output_index", "content_index", "summary_index"].map((name) => Json.at(value, [name]))
    .filter((part) => typeof part === "string" || typeof part === "number")
  return [...event, ...steps].join(".")
}

/** The edits that put placeholders in the place of what `find` finds in the texts of a body, in the body's order. */
export const editsOf = (
  body: string,
  find: (text: string) => ReadonlyArray<Span>,
  placeholder: (secret: string) => string
): ReadonlyArray<Edit> => {
  const edits: Array<Edit> = []
  for (const { fragments } of textsOf(body)) {
    const spans = find(fragments.map(({ value }) => value).join(""))
    if (spans.length === 0) continue
    let begin = 0
    for (const { end, start, value } of fragments) {
      const left = remaining(value, begin, spans, placeholder)
      if (left !== value) edits.push({ start, end, text: JSON.stringify(left) })
      begin += value.length
    }
  }
  return edits.sort((a, b) => a.start - b.start)
}

// What is left of a fragment that begins at `begin` of its text. The placeholder stands where the secret begins.
const remaining = (
  value: string,
  begin: number,
  spans: ReadonlyArray<Span>,
  placeholder: (secret: string) => string
): string => {
  const end = begin + value.length
  let result = ""
  let at = begin
  for (const span of spans) {
    if (span.end <= begin || span.start >= end) continue
    result += value.slice(at - begin, Math.max(span.start, begin) - begin)
    if (span.start >= begin) result += placeholder(span.secret)
    at = Math.min(span.end, end)
  }
  return result + value.slice(at - begin)
}

/** The edits that empty what repeats a text in other words: the tokens' probabilities, bytes included. */
export const logprobEdits = (body: string): ReadonlyArray<Edit> =>
  payloadsOf(body).flatMap(({ start, text }) => {
    if (!text.includes("\"logprobs\"") || Option.isNone(Json.parse(text))) return []
    const edits: Array<Edit> = []
    const leaves = Json.leavesOf(text)
    for (const name of leaves.filter((leaf) => leaf.isName && leaf.path.at(-1) === "logprobs")) {
      const from = text.indexOf(":", name.end) + 1
      const inner = edits.at(-1)
      if (inner !== undefined && start + from < inner.end) continue
      const to = from + valueLength(text.slice(from))
      if (text.slice(from, to).trim() !== "null") edits.push({ start: start + from, end: start + to, text: "null" })
    }
    return edits
  })

// How long the JSON value is with which a text begins.
const valueLength = (text: string): number => {
  let depth = 0
  for (const match of text.matchAll(/"[^"\\]*(?:\\.[^"\\]*)*"|[{}[\],]/g)) {
    if (match[0] === "{" || match[0] === "[") depth++
    else if (match[0] === "}" || match[0] === "]") depth--
    if (depth < 0 || (depth === 0 && match[0] === ",")) return match.index
    if (depth === 0 && (match[0] === "}" || match[0] === "]")) return match.index + 1
  }
  return text.length
}

/** A body without the texts of {@link textsOf}: what stands between them, each on a line of its own. */
export const withoutTexts = (body: string): string => {
  const fragments = textsOf(body).flatMap((said) => said.fragments).sort((a, b) => a.start - b.start)
  let result = ""
  let at = 0
  for (const { end, start } of fragments) {
    result += `${body.slice(at, start)}\n`
    at = end
  }
  return result + body.slice(at)
}
