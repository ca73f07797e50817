/**
 * What one finished run teaches: what followed what, which words were said before, where each argument's value stood, and which
 * of all that stood there was the one. Read twice, since what could have been the one depends on where values were found.
 */
import * as Prompt from "effect/ai/Prompt"
import { namesOf, textsOf } from "./historyChoices.ts"
import type { Counts } from "./historyCounts.ts"
import { reply, wordKeys } from "./historyFeatures.ts"
import { filledFrames, frameId, frameKeys, framesOf, learnFrame } from "./historyFrames.ts"
import { canonical, mix, textKey } from "./historyHash.ts"
import type { ArgumentKnowledge, ToolKnowledge } from "./historyKnowledge.ts"
import { bump, limits, newArgument, newTool } from "./historyKnowledge.ts"
import type { Lore } from "./historyLore.ts"
import type { Moment } from "./historyMoment.ts"
import { momentOf } from "./historyMoment.ts"
import { formOf } from "./historyText.ts"
import { countStanding, formKeys, standings } from "./historyValues.ts"
import { callsOf, View } from "./historyView.ts"

/** A history to learn from: its messages, the first that is new, and those that are turns of the model to learn. */
export interface Lesson {
  readonly view: View
  readonly from: number
  readonly messages: ReadonlyArray<Prompt.Message>
  readonly turns: ReadonlyArray<number>
}

/** A turn of the model in a history: what it did, and the moment before. */
export interface Taught {
  readonly moment: Moment
  readonly calls: ReadonlyArray<Prompt.ToolCallPart>
}

const messagesLimit = 1_024
const turnsLimit = 256
const callsLimit = 16

/** The part of a history that is learned from: of what is new the newest 256 turns, and at most 1,024 messages in all. */
export const lesson = (prompt: Prompt.Prompt, from: number): Lesson => {
  const start = Math.max(0, prompt.content.length - messagesLimit)
  const messages = prompt.content.slice(start)
  const turns = messages.flatMap(({ role }, at) => role === "assistant" && at >= from - start ? [at] : [])
  return {
    view: View.of(Prompt.fromMessages(messages)),
    from: Math.max(0, from - start),
    messages,
    turns: turns.slice(-turnsLimit)
  }
}

/** Gives every turn of a lesson. The moment is good until the next. */
export const eachTurn = ({ messages, turns, view }: Lesson, lore: Lore, take: (turn: Taught) => void): void => {
  for (const at of turns) {
    take({ moment: momentOf(view.readWith(lore, at)), calls: callsOf(messages[at]!).slice(0, callsLimit) })
  }
}

const toolOf = (tools: Map<string, ToolKnowledge>, name: string): ToolKnowledge => {
  const known = tools.get(name)
  if (known !== undefined) return known
  if (tools.size >= limits.tools) {
    const [least] = [...tools.values()].sort((a, b) => a.calls - b.calls)
    tools.delete(least!.name)
  }
  const made = newTool(name)
  tools.set(name, made)
  return made
}

const argumentOf = (tool: ToolKnowledge, name: string): ArgumentKnowledge | undefined => {
  const known = tool.arguments.get(name)
  if (known !== undefined || tool.arguments.size >= limits.arguments) return known
  const made = newArgument(tool.name, name)
  tool.arguments.set(name, made)
  return made
}

/** One run's lessons. */
export class Lessons {
  private readonly counts: Counts
  private readonly tools: Map<string, ToolKnowledge>
  private readonly keepValues: boolean
  private readonly guessable: (tool: string) => boolean
  private readonly constants = new Set<string>()

  constructor(
    counts: Counts,
    tools: Map<string, ToolKnowledge>,
    keepValues: boolean,
    guessable: (tool: string) => boolean
  ) {
    this.guessable = guessable
    this.counts = counts
    this.tools = tools
    this.keepValues = keepValues
  }

  readonly follow = ({ calls, moment }: Taught): void => {
    const symbols = calls.length === 0 ? [reply] : [...new Set(calls.map(({ name }) => textKey(name)))]
    const { all, said, user } = wordKeys(moment)
    for (const under of [moment.contexts, user, said, all]) {
      for (const key of under) {
        this.counts.add(key)
        for (const symbol of symbols) this.counts.add(mix(key, symbol))
      }
    }
    for (const call of calls) if (this.guessable(call.name)) this.origin(moment, call)
  }

  private origin(moment: Moment, { name, params }: Prompt.ToolCallPart): void {
    const tool = toolOf(this.tools, name)
    tool.calls++
    const names = namesOf(params)
    if (names === undefined) return
    bump(tool.signatures, names.join("\n"), limits.signatures)
    const texts = textsOf(params, names)
    names.forEach((each, at) => {
      const argument = argumentOf(tool, each)
      if (argument === undefined) return
      const value = (params as Readonly<Record<string, unknown>>)[each]
      for (const key of formKeys(argument, formOf(value))) this.counts.add(key)
      this.constant(tool, argument, texts[at]!)
      for (const place of placesOf(moment, texts[at]!)) bump(argument.places, place, limits.places)
    })
    for (const frame of framesOf(moment, names, texts)) {
      learnFrame(tool, frame)
      this.counts.add(frameKeys(tool, frameId(frame))[0])
    }
  }

  // Once a run: a value that one user repeats is nobody else's.
  private constant(tool: ToolKnowledge, argument: ArgumentKnowledge, text: string): void {
    const once = `${tool.name}.${argument.name} ${text}`
    if (!this.keepValues || text.length >= limits.constantText || this.constants.has(once)) return
    this.constants.add(once)
    bump(argument.constants, text, limits.constants)
  }

  readonly choose = ({ calls, moment }: Taught): void => {
    for (const { name, params } of calls) {
      const tool = this.tools.get(name)
      const names = namesOf(params)
      if (tool === undefined || names === undefined || !this.guessable(name)) continue
      for (const each of names) this.standing(moment, tool, each, params)
      for (const filled of filledFrames(moment, tool)) {
        if (!isDone(moment, tool, filled)) this.counts.add(frameKeys(tool, filled.id)[1])
      }
    }
  }

  private standing(moment: Moment, tool: ToolKnowledge, name: string, params: unknown): void {
    const argument = tool.arguments.get(name)
    if (argument === undefined) return
    const id = moment.view.idOf(canonical((params as Readonly<Record<string, unknown>>)[name]))
    const add = (key: number): void => this.counts.add(key)
    standings(
      moment,
      argument,
      tool.key,
      (standing) => countStanding(argument, standing, standing.offer.value === id, add)
    )
  }
}

const placesOf = (moment: Moment, text: string): ReadonlySet<number> => {
  const places = new Set<number>()
  const id = moment.view.idOf(text)
  if (id === undefined) return places
  for (const event of moment.view.events) {
    for (const offer of event.offers) if (offer.value === id) places.add(offer.place)
  }
  return places
}

const isDone = (
  moment: Moment,
  tool: ToolKnowledge,
  { names, values }: { readonly names: ReadonlyArray<string>; readonly values: ReadonlyArray<number | undefined> }
): boolean => {
  if (values.some((value) => value === undefined)) return false
  const params = names.map((name, at) => `${JSON.stringify(name)}:${moment.view.values[values[at]!]!.text}`)
  return moment.done.has(`${tool.name} {${params.join(",")}}`)
}
