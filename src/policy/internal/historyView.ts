/**
 * The past of one conversation as the predictor sees it: what happened in order (a text of the user, a text of the model, a call
 * and how it ended), and an index of every value that stood somewhere, with the kind of place it stood in.
 *
 * It reads lazily and only what is new: a turn costs its own messages. The newest 64 happenings are kept, at most 400 values of
 * each. When the history it is given is not the one it read, it begins anew.
 */
import type * as Prompt from "effect/ai/Prompt"
import { canonical, mix, textKey } from "./historyHash.ts"
import { asJson, type Ending, endingOf, readJson } from "./historyJson.ts"
import { knownIn, type Lore, noLore } from "./historyLore.ts"
import { codesIn, lastYearIn, readPaths, readText, textLimit, wordsOf } from "./historyText.ts"

const keptEvents = 64
const slackEvents = 32
const resultBudget = 400
const paramsBudget = 100
const offersLimit = 600
const codesLimit = 256
const conversationWords = 200
const keptGroups = 16
const groupLimit = 64

/** Where a value stood: in the user's text, in the model's, in a result, in the arguments of a call. */
export type Origin = 0 | 1 | 2 | 3
export const user = 0
export const said = 1
export const result = 2
export const argument = 3

/** One value at one place: the happening, the kind of place, the list it is in (-1: none) and where in it. */
export interface Offer {
  readonly value: number
  readonly place: number
  readonly origin: Origin
  readonly event: number
  readonly list: number
  readonly position: number
  /** The place alone tells little (an element of a list, a token of a common shape). */
  readonly loose: boolean
}

/** A value that stood somewhere: first and last, how often, in which kinds of results and arguments. */
export interface Value {
  readonly text: string
  readonly value: unknown
  first: number
  last: number
  times: number
  lastUser: number
  readonly places: Array<number>
  /** The form of the value, once somebody asked. */
  form: number | undefined
}

/** Something that happened. */
export interface Event {
  readonly kind: "user" | "said" | "call"
  symbol: number
  readonly tool: string
  readonly toolKey: number
  readonly call: string
  readonly params: ReadonlyMap<string, number>
  ending: Ending
  readonly question: boolean
  readonly words: ReadonlyArray<number>
  offers: ReadonlyArray<Offer>
}

const symbols = { user: textKey("user"), said: textKey("said") }
const origins = [textKey("U"), textKey("S"), textKey("R"), textKey("A")]
const noParams: ReadonlyMap<string, number> = new Map()
const noGroups: ReadonlyArray<ReadonlyArray<Offer>> = []

/** Whether two values stand in one list, or outside of lists in one happening. */
const sameGroup = (one: Offer, other: Offer): boolean =>
  one.list === other.list && (one.list >= 0 || one.event === other.event)

/** What a call is in the history of calls: which tool, and how it ended. */
export const callSymbol = (tool: string, ending: Ending): number => mix(textKey(tool), textKey(ending))

/** One text for one call. */
export const callText = (tool: string, params: unknown): string => tool + " " + canonical(params)

const isRecord = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === "object" && value !== null && !Array.isArray(value)

const textOf = (content: ReadonlyArray<Prompt.UserMessagePart | Prompt.AssistantMessagePart>): string =>
  content.flatMap((part) => part.type === "text" ? [part.text] : []).join("\n")

/** The calls of a message, in order: at most sixty-four, those that the past keeps. */
export const callsOf = (message: Prompt.Message): ReadonlyArray<Prompt.ToolCallPart> =>
  message.role === "assistant"
    ? message.content.filter((part): part is Prompt.ToolCallPart => part.type === "tool-call" && !part.providerExecuted)
      .slice(-keptEvents)
    : []

export class View {
  events: Array<Event> = []
  values: Array<Value> = []
  private ids = new Map<string, number>()
  private places = new Map<number, Array<Array<Offer>>>()
  private readonly texts = new WeakMap<ReadonlyArray<Offer>, ReadonlySet<string>>()
  private pending = new Map<string, number>()
  private codes = new Map<string, string>()
  private words = new Set<number>()
  private year: string | undefined
  private lists = 0
  private readonly read: Array<Prompt.Message> = []
  private messages: ReadonlyArray<Prompt.Message>
  private lore: Lore = noLore

  private constructor(messages: ReadonlyArray<Prompt.Message>) {
    this.messages = messages
  }

  /** The past that a prompt tells. */
  static of(prompt: Prompt.Prompt): View {
    return new View(prompt.content)
  }

  /** The same conversation further on, or another. */
  extend(prompt: Prompt.Prompt): View {
    this.messages = prompt.content
    return this
  }

  /** Reads what is not read yet, of the first `end` messages. */
  readWith(lore: Lore, end = this.messages.length): View {
    if (lore !== this.lore || !this.continues(end)) this.forget(lore)
    for (let at = this.read.length; at < end; at++) this.readMessage(this.messages[at]!)
    return this
  }

  private continues(end: number): boolean {
    return this.read.length <= end && this.read.every((message, at) => message === this.messages[at])
  }

  private forget(lore: Lore): void {
    this.lore = lore
    this.read.length = 0
    this.events = []
    this.values = []
    this.ids = new Map()
    this.places = new Map()
    this.pending = new Map()
    this.codes = new Map()
    this.words = new Set()
    this.year = undefined
    this.lists = 0
  }

  /** The newest sixteen lists of values that stood in this kind of place, in order. */
  groupsAt(place: number): ReadonlyArray<ReadonlyArray<Offer>> {
    return this.places.get(place) ?? noGroups
  }

  /** What stood in a happening, as texts. */
  textsIn(event: Event): ReadonlySet<string> {
    let texts = this.texts.get(event.offers)
    if (texts === undefined) {
      texts = new Set(event.offers.map((offer) => this.values[offer.value]!.text))
      this.texts.set(event.offers, texts)
    }
    return texts
  }

  /** The number of a value that stood somewhere. */
  idOf(text: string): number | undefined {
    return this.ids.get(text)
  }

  /** The words of the user so far, the first two hundred. */
  userWords(): ReadonlySet<number> {
    return this.words
  }

  /** What the conversation itself says about names. */
  ownCodes(): ReadonlyMap<string, string> {
    return this.codes
  }

  /** The year of the newest date. */
  ownYear(): string | undefined {
    return this.year
  }

  private readMessage(message: Prompt.Message): void {
    this.read.push(message)
    if (message.role === "user") this.addText("user", textOf(message.content))
    if (message.role === "assistant") this.readAnswer(message)
    if (message.role === "tool") {
      for (const part of message.content) if (part.type === "tool-result") this.addResult(part)
    }
  }

  private readAnswer(message: Prompt.AssistantMessage): void {
    const text = textOf(message.content)
    if (text.trim() !== "") this.addText("said", text)
    for (const call of callsOf(message)) this.addCall(call)
    for (const part of message.content) if (part.type === "tool-result") this.addResult(part)
  }

  private learnNames(text: string): void {
    for (const [name, code] of codesIn(text)) {
      if (this.codes.size < codesLimit || this.codes.has(name)) this.codes.set(name, code)
    }
    this.year = lastYearIn(text) ?? this.year
  }

  private addText(kind: "user" | "said", text: string): void {
    this.makeRoom()
    this.learnNames(text)
    const words = wordsOf(text)
    if (kind === "user") { for (const word of words) if (this.words.size < conversationWords) this.words.add(word) }
    const event = this.events.length
    const offers = this.textOffers(text, kind === "user" ? user : said, 0, event)
    this.events.push({
      kind,
      symbol: symbols[kind],
      tool: "",
      toolKey: 0,
      call: "",
      params: noParams,
      ending: "none",
      question: text.includes("?"),
      words,
      offers
    })
    this.index(offers)
  }

  private textOffers(text: string, origin: Origin, under: number, event: number): Array<Offer> {
    const offers: Array<Offer> = []
    const seen = new Set<string>()
    const list = this.lists++
    readText(text, knownIn(this.lore, { codes: this.codes, year: this.year }), (value, at, loose) => {
      if (offers.length >= offersLimit) return
      const once = at + " " + typeof value + value
      if (seen.has(once)) return
      seen.add(once)
      const place = mix(mix(origins[origin]!, under), at)
      offers.push({ value: this.intern(value), place, origin, event, list, position: offers.length, loose })
    })
    return offers
  }

  private intern(value: unknown): number {
    const text = canonical(value)
    const known = this.ids.get(text)
    if (known !== undefined) return known
    this.ids.set(text, this.values.length)
    this.values.push({ text, value, first: -1, last: -1, times: 0, lastUser: -1, places: [], form: undefined })
    return this.values.length - 1
  }

  private index(offers: ReadonlyArray<Offer>): void {
    for (const offer of offers) {
      const value = this.values[offer.value]!
      if (value.first < 0 || offer.event < value.first) value.first = offer.event
      if (offer.event > value.last) value.last = offer.event
      if (offer.origin === user) value.lastUser = offer.event
      if (offer.origin >= result && value.places.length < 64 && !value.places.includes(offer.place)) {
        value.places.push(offer.place)
      }
      value.times++
      this.indexPlace(offer)
    }
  }

  private indexPlace(offer: Offer): void {
    const groups = this.places.get(offer.place)
    if (groups === undefined) return void this.places.set(offer.place, [[offer]])
    const group = groups.at(-1)!
    if (sameGroup(group[0]!, offer)) {
      if (group.length < groupLimit) group.push(offer)
      return
    }
    groups.push([offer])
    if (groups.length > keptGroups) groups.shift()
  }

  private addCall(call: Prompt.ToolCallPart): void {
    this.makeRoom()
    const event = this.events.length
    const params = new Map<string, number>()
    const offers: Array<Offer> = []
    if (isRecord(call.params)) {
      for (const name of Object.keys(call.params).slice(0, 64)) {
        params.set(name, this.intern(call.params[name]))
        this.addLeaves(call.params[name], argument, mix(textKey(call.name), textKey(name)), paramsBudget, event, offers)
      }
    }
    this.pending.set(call.id, event)
    this.events.push({
      kind: "call",
      symbol: callSymbol(call.name, "none"),
      tool: call.name,
      toolKey: textKey(call.name),
      call: callText(call.name, call.params),
      params,
      ending: "none",
      question: false,
      words: [],
      offers
    })
    this.index(offers)
  }

  private addLeaves(
    value: unknown,
    origin: Origin,
    under: number,
    budget: number,
    event: number,
    offers: Array<Offer>
  ): void {
    readJson(
      value,
      mix(origins[origin]!, under),
      budget,
      () => this.lists++,
      (found, place, list, position, inList) => {
        if (offers.length >= offersLimit) return
        offers.push({ value: this.intern(found), place, origin, event, list, position, loose: inList })
      }
    )
  }

  private addResult(part: Prompt.ToolResultPart): void {
    const at = this.pending.get(part.id)
    const event = at === undefined ? undefined : this.events[at]
    if (at === undefined || event === undefined || event.ending !== "none") return
    this.pending.delete(part.id)
    const value = asJson(part.result)
    const offers: Array<Offer> = []
    this.addLeaves(value, result, event.toolKey, typeof value === "object" ? resultBudget : 5, at, offers)
    if (typeof value !== "object" && typeof part.result === "string") {
      this.addResultText(part.result, event.toolKey, at, offers)
    }
    if (typeof part.result === "string") this.learnNames(part.result.slice(0, 4 * textLimit))
    else this.year = lastYearIn(canonical(part.result).slice(0, 4 * textLimit)) ?? this.year
    event.ending = endingOf(value, part.isFailure)
    event.symbol = callSymbol(event.tool, event.ending)
    event.offers = [...event.offers, ...offers]
    this.index(offers)
  }

  private addResultText(text: string, tool: number, event: number, offers: Array<Offer>): void {
    for (const offer of this.textOffers(text.slice(0, 4_000), result, tool, event)) offers.push(offer)
    const list = this.lists++
    readPaths(text.slice(0, 4_000), (value, at) => {
      if (offers.length >= offersLimit) return
      const place = mix(mix(origins[result]!, tool), at)
      offers.push({
        value: this.intern(value),
        place,
        origin: result,
        event,
        list,
        position: offers.length,
        loose: false
      })
    })
  }

  /** When there are too many: forgets all but the newest happenings, and the values that only stood in the others. */
  private makeRoom(): void {
    const gone = this.events.length - keptEvents
    if (gone < slackEvents) return
    const kept = this.events.slice(gone)
    const before = this.values
    this.values = []
    this.ids = new Map()
    this.places = new Map()
    const move = (id: number) => this.intern(before[id]!.value)
    this.events = kept.map((event) => ({
      ...event,
      params: new Map([...event.params].map(([name, id]) => [name, move(id)])),
      offers: event.offers.map((offer) => ({ ...offer, event: offer.event - gone, value: move(offer.value) }))
    }))
    for (const event of this.events) this.index(event.offers)
    for (const [id, at] of this.pending) {
      if (at < gone) this.pending.delete(id)
      else this.pending.set(id, at - gone)
    }
  }
}
