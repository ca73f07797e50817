/**
 * What the history predictor remembers of finished runs, and what it makes of it before a turn: the situation, that is the calls
 * that could be next, each with what speaks for it. A run is learned from once it has ended; the situations of its turns are made
 * from what was known before it, so that whoever learns to weigh them learns from honest examples.
 */
import type * as Prompt from "effect/ai/Prompt"
import * as Option from "effect/Option"
import type { Combination } from "./historyChoices.ts"
import { paramsOf, ToolChoices } from "./historyChoices.ts"
import { countPages, Counts } from "./historyCounts.ts"
import {
  choiceFeatures,
  choiceNames,
  seenWords,
  stepLikely,
  toolFeatures,
  turnFeatures,
  turnNames,
  wordKeys
} from "./historyFeatures.ts"
import { parseJson } from "./historyHash.ts"
import { namesIn, namesPage, toolsIn, toolsPage } from "./historyKept.ts"
import type { Names } from "./historyKept.ts"
import type { ToolKnowledge } from "./historyKnowledge.ts"
import { bump, limits } from "./historyKnowledge.ts"
import type { Lesson } from "./historyLearning.ts"
import { eachTurn, lesson, Lessons } from "./historyLearning.ts"
import type { Lore } from "./historyLore.ts"
import { noLore } from "./historyLore.ts"
import type { Moment } from "./historyMoment.ts"
import { momentOf } from "./historyMoment.ts"
import type { Choice, Pages, Row, Situation } from "./historyTypes.ts"
import type { View } from "./historyView.ts"
import { callText } from "./historyView.ts"

export { View } from "./historyView.ts"

const perTool = 5
const inAll = 16
const toolsTried = 32
const pageNames = { tools: "tools", names: "names" }

/** How a memory is kept. `keepValues`: whether values of users may be kept as they are; else only how often places held them. */
export interface MemoryOptions {
  readonly keepValues?: boolean | undefined
}

interface Found {
  readonly tool: ToolKnowledge
  readonly one: Combination
  readonly score: number
  readonly features: () => Float64Array
}

export class Memory {
  static readonly choiceFeatures: number = choiceNames.length
  static readonly turnFeatures: number = turnNames.length
  static readonly featureNames: ReadonlyArray<string> = [...choiceNames, "|", ...turnNames]

  private readonly keepValues: boolean
  private readonly counts = new Counts()
  private tools = new Map<string, ToolKnowledge>()
  private names: Names = { codes: new Map(), years: new Map() }
  private lore: Lore = noLore

  constructor(options: MemoryOptions = {}) {
    this.keepValues = options.keepValues ?? true
  }

  /** What could be next, of these tools. */
  situation(view: View, tools: ReadonlySet<string>): Situation {
    return this.before(momentOf(view.readWith(this.lore)), (tool) => tools.has(tool))
  }

  private before(moment: Moment, guessable: (tool: string) => boolean): Situation {
    const words = seenWords(this.counts, wordKeys(moment))
    const turn = turnFeatures(this.counts, moment, words, guessable)
    const found: Array<Found> = []
    for (const tool of this.likeliestTools(moment, guessable)) {
      const best = new ToolChoices(this.counts, moment, tool, constantOf).best(perTool)
      if (best.length === 0) continue
      const of = toolFeatures(this.counts, moment, words, tool.key)
      const sum = best.reduce((all, { likely }) => all + likely, 0)
      best.forEach((one, rank) => {
        const score = of.likely[3]! * one.likely
        found.push({ tool, one, score, features: () => choiceFeatures(moment, tool.name, of, one, rank, sum, turn) })
      })
    }
    const choices = found.sort((a, b) => b.score - a.score).slice(0, inAll).map(({ features, one, tool }): Choice => ({
      tool: tool.name,
      params: paramsOf(one),
      features: features()
    }))
    return { choices, turn: Float64Array.from(turn) }
  }

  /** The tools worth a look, at most thirty-two. */
  private likeliestTools(moment: Moment, guessable: (tool: string) => boolean): ReadonlyArray<ToolKnowledge> {
    const tools = [...this.tools.values()].filter((tool) => guessable(tool.name))
    if (tools.length <= toolsTried) return tools
    return tools.map((tool) => ({ tool, likely: stepLikely(this.counts, moment.contexts, tool.key)[3]! }))
      .sort((a, b) => b.likely - a.likely)
      .slice(0, toolsTried)
      .map(({ tool }) => tool)
  }

  /** Learns the messages of a finished run from one on. `guessable`: whose calls are ever guessed; all, where it is not said. */
  learn(prompt: Prompt.Prompt, from: number, guessable: (tool: string) => boolean = () => true): Array<Row> {
    const rows: Array<Row> = []
    const { lore } = this
    const taught = lesson(prompt, from)
    eachTurn(taught, lore, ({ calls, moment }) => {
      const situation = this.before(moment, guessable)
      const made = new Set(calls.map(({ name, params }) => callText(name, params)))
      const right = situation.choices.flatMap(({ params, tool }, at) => made.has(callText(tool, params)) ? [at] : [])
      rows.push({ situation, truth: { calls: calls.length, right } })
    })
    if (rows.length === 0) return rows
    const lessons = new Lessons(this.counts, this.tools, this.keepValues, guessable)
    eachTurn(taught, lore, lessons.follow)
    eachTurn(taught, lore, lessons.choose)
    this.learnNames(taught)
    return rows
  }

  // What the conversation said in earlier runs was learned with them.
  private learnNames({ from, view }: Lesson): void {
    const { codes, years } = this.names
    const before = view.readWith(this.lore, from)
    const [oldYear, oldCodes] = [before.ownYear(), new Map(before.ownCodes())]
    view.readWith(this.lore)
    const year = view.ownYear()
    if (year !== undefined && year !== oldYear) bump(years, year, limits.years)
    if (this.keepValues) {
      for (const [name, code] of view.ownCodes()) {
        if (oldCodes.get(name) === code) continue
        let known = codes.get(name)
        if (known === undefined && codes.size >= limits.codes) continue
        if (known === undefined) codes.set(name, known = new Map())
        bump(known, code, limits.codesOfOne)
      }
    }
    this.tell()
  }

  // Views read anew when this changes, so it changes only where it says something else.
  private tell(): void {
    const codes = new Map([...this.names.codes].map(([name, of]) => [name, mostOf(of)!]))
    const year = mostOf(this.names.years)
    const same = year === this.lore.year && codes.size === this.lore.codes.size &&
      [...codes].every(([name, code]) => this.lore.codes.get(name) === code)
    if (!same) this.lore = { codes, year }
  }

  /** All that is to be kept. */
  pages(): Pages {
    return this.pagesOf(Array.from({ length: countPages }, (_, page) => page))
  }

  /** What has changed since this was last asked. */
  changedPages(): Pages {
    return this.pagesOf(this.counts.takeChanged())
  }

  private pagesOf(counts: ReadonlyArray<number>): Pages {
    return new Map([
      ...counts.map((page): readonly [string, string] => [`counts/${page}`, this.counts.page(page)]),
      [pageNames.tools, toolsPage(this.tools.values())],
      [pageNames.names, namesPage(this.names)]
    ])
  }

  /** Reads what was kept; nothing, where any of it is missing or damaged. */
  static fromPages(pages: Pages, options: MemoryOptions = {}): Memory | undefined {
    const memory = new Memory(options)
    const tools = toolsIn(pages.get(pageNames.tools) ?? "")
    const names = namesIn(pages.get(pageNames.names) ?? "")
    if (tools === undefined || names === undefined) return undefined
    for (let page = 0; page < countPages; page++) {
      const text = pages.get(`counts/${page}`)
      if (text === undefined || !memory.counts.readPage(page, text)) return undefined
    }
    memory.tools = new Map(tools)
    memory.names = names
    if (options.keepValues === false) memory.forgetValues()
    memory.counts.takeChanged()
    memory.tell()
    return memory
  }

  private forgetValues(): void {
    this.names.codes.clear()
    for (const tool of this.tools.values()) for (const argument of tool.arguments.values()) argument.constants.clear()
  }
}

const constantOf = (text: string): unknown => Option.getOrUndefined(parseJson(text))

const mostOf = <A>(times: ReadonlyMap<A, number>): A | undefined => {
  let best: A | undefined
  let most = 0
  for (const [value, count] of times) if (count > most) [best, most] = [value, count]
  return best
}
