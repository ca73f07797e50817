/**
 * The simple baseline that the history predictor is measured against: an order-2 Markov chain over tool names, and for each argument
 * the copy source that was right most often.
 *
 * A source is where a value stands: a path in a tool's result (`R:`), an argument of an earlier call (`A:`), or a word of the user of
 * some shape (`U:`). Of a source that stands in several places the newest is taken, of a list its first element. The two likeliest
 * read tools whose arguments all have a source are guessed; nothing is known of calls already made, nor of answers to the user.
 */
import type * as Prompt from "effect/ai/Prompt"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import * as Predictor from "../../../src/policy/Predictor.ts"
import { canonical } from "./canonical.ts"
import { keyOf } from "./conversation.ts"

/** `skipsRepeats`: calls made before are not guessed again, which the plain baseline does. */
export interface Options {
  readonly name?: string
  readonly skipsRepeats?: boolean
}

/** The baseline; it learns from the runs that it hears of. */
export const layer = (options: Options = {}): Layer.Layer<Predictor.Predictor> => {
  const baseline = new Baseline(options.skipsRepeats ?? false)
  return Predictor.make({
    name: options.name ?? "baseline",
    predict: ({ prompt, speculable }) =>
      Stream.suspend(() => Stream.fromIterable(baseline.guesses(prompt.content, speculable))),
    learn: ({ from, prompt }) => Effect.sync(() => baseline.learn(prompt.content, from))
  })
}

/** A value and the source it stands at, the oldest first. */
interface Offer {
  readonly source: string
  readonly value: unknown
  readonly text: string
}

interface Made {
  readonly name: string
  readonly params: Readonly<Record<string, unknown>>
}

class Counts {
  private readonly of = new Map<string, Map<string, number>>()

  add(context: string, what: string): void {
    const counts = this.of.get(context) ?? new Map<string, number>()
    this.of.set(context, counts.set(what, (counts.get(what) ?? 0) + 1))
  }

  /** The most frequent first, each with its share. */
  ranked(context: string): ReadonlyArray<readonly [what: string, share: number]> {
    const counts = [...this.of.get(context) ?? []].sort(([, a], [, b]) => b - a)
    const all = counts.reduce((sum, [, count]) => sum + count, 0)
    return counts.map(([what, count]) => [what, count / all])
  }
}

class Baseline {
  private readonly next = new Counts()
  private readonly argumentsOf = new Counts()
  private readonly sources = new Counts()
  private turns = 0
  private calling = 0
  private readonly skipsRepeats: boolean

  constructor(skipsRepeats: boolean) {
    this.skipsRepeats = skipsRepeats
  }

  learn(messages: ReadonlyArray<Prompt.Message>, from: number): void {
    const past = new Past()
    for (const [index, message] of messages.entries()) {
      if (index >= from && message.role === "assistant") this.learnTurn(past, callsOf(message))
      past.add(message)
    }
  }

  private learnTurn(past: Past, calls: ReadonlyArray<Made>): void {
    this.turns++
    if (calls.length > 0) this.calling++
    for (const { name, params } of calls) {
      for (const context of past.contexts) this.next.add(context, name)
      this.argumentsOf.add(name, JSON.stringify(Object.keys(params).sort()))
      for (const [argument, value] of Object.entries(params)) {
        for (const source of past.sourcesOf(value)) this.sources.add(`${name}.${argument}`, source)
      }
    }
  }

  guesses(messages: ReadonlyArray<Prompt.Message>, reads: ReadonlySet<string>): ReadonlyArray<Predictor.Guess> {
    const past = new Past()
    for (const message of messages) past.add(message)
    const calls = this.turns === 0 ? 0 : this.calling / this.turns
    const found = new Map<string, Predictor.Guess>()
    for (const context of past.contexts) {
      for (const [tool, share] of this.next.ranked(context)) {
        if (found.size === 2) return [...found.values()]
        if (!reads.has(tool) || found.has(tool)) continue
        const params = this.paramsOf(past, tool)
        if (params !== undefined) found.set(tool, { tool, params, confidence: share * calls, ifCalling: share })
      }
    }
    return [...found.values()]
  }

  private paramsOf(past: Past, tool: string): Readonly<Record<string, unknown>> | undefined {
    const names = this.argumentsOf.ranked(tool)[0]
    if (names === undefined) return undefined
    const params: Record<string, unknown> = {}
    for (const argument of JSON.parse(names[0]) as ReadonlyArray<string>) {
      const isNew = (value: unknown): boolean =>
        !this.skipsRepeats || !past.made.has(keyOf(tool, { ...params, [argument]: value }))
      const offer = past.newest(this.sources.ranked(`${tool}.${argument}`).map(([source]) => source), isNew)
      if (offer === undefined) return undefined
      params[argument] = offer.value
    }
    return params
  }
}

const callsOf = (message: Prompt.AssistantMessage): ReadonlyArray<Made> =>
  message.content.flatMap((part) =>
    part.type === "tool-call" ? [{ name: part.name, params: (part.params ?? {}) as Made["params"] }] : []
  )

/** What stands before a turn. */
class Past {
  readonly made = new Set<string>()
  private readonly names: Array<string> = []
  /** Newest event last; within an event the first element of a list first. */
  private readonly events: Array<ReadonlyArray<Offer>> = []

  /** The contexts of the chain, the longest first. What nothing came before has its beginning as context. */
  get contexts(): ReadonlyArray<string> {
    const last = ["^", "^", ...this.names].slice(-2)
    return [last.join(">"), last[1]!, ""]
  }

  add(message: Prompt.Message): void {
    if (message.role === "user") {
      for (const part of message.content) if (part.type === "text") this.events.push(words(part.text))
    } else if (message.role === "assistant") {
      for (const { name, params } of callsOf(message)) {
        this.names.push(name)
        this.made.add(keyOf(name, params))
        this.events.push(leaves(`A:${name}`, params))
      }
    } else if (message.role === "tool") {
      for (const part of message.content) {
        if (part.type === "tool-result") this.events.push(leaves(`R:${part.name}`, part.result))
      }
    }
  }

  sourcesOf(value: unknown): ReadonlySet<string> {
    const text = canonical(value)
    return new Set(this.events.flat().filter((offer) => offer.text === text).map(({ source }) => source))
  }

  newest(sources: ReadonlyArray<string>, isNew: (value: unknown) => boolean): Offer | undefined {
    for (const source of sources) {
      for (const event of this.events.toReversed()) {
        const offer = event.find((offer) => offer.source === source && isNew(offer.value))
        if (offer !== undefined) return offer
      }
    }
    return undefined
  }
}

const offer = (source: string, value: unknown): Offer => ({ source, value, text: canonical(value) })

const leaves = (source: string, value: unknown): ReadonlyArray<Offer> =>
  Array.isArray(value)
    ? value.flatMap((element) => leaves(`${source}[]`, element))
    : typeof value === "object" && value !== null
    ? Object.entries(value).flatMap(([key, inner]) => leaves(`${source}.${key}`, inner))
    : [offer(source, value)]

// Between the signs: digits and codes by their length, words as words: `mia_li_3668` is `a_a_94`, `HAT069` is `X6`.
const shapeOf = (word: string): string =>
  word.replaceAll(
    /[A-Za-z0-9]+/g,
    (part) =>
      /^[0-9]+$/.test(part)
        ? `9${part.length}`
        : /^[A-Z0-9]+$/.test(part)
        ? `X${part.length}`
        : /^[a-z]+$/.test(part)
        ? "a"
        : "m"
  )

const words = (text: string): ReadonlyArray<Offer> =>
  [...text.matchAll(/[A-Za-z0-9]+(?:[-_@.:/][A-Za-z0-9]+)*/g)].flatMap(([word]) => {
    const said = offer(`U:${shapeOf(word)}`, word)
    return /^\d+$/.test(word) ? [said, offer("U:number", Number(word))] : [said]
  })
