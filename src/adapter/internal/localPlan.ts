/**
 * The planner's decision, pure: request, tools, vectors and history in; calls or an answer out. A clause takes the tool
 * whose description is nearest, if it is near enough; the tool's slots are then filled (`localFill`). A clause that
 * needs something to be found first waits for a tool that finds it.
 */
import { canonical } from "../../domain/ToolCall.ts"
import { type Clause, clauseText, refersBack, splitClauses } from "./localClause.ts"
import { fill, type Filled } from "./localFill.ts"
import type { Answer } from "./localResult.ts"
import { type Slot, type SlotKind, slotsOf } from "./localSlot.ts"
import { type Token, tokenize } from "./localToken.ts"
import { currencyOf, openers, stem, stopWords, wordsOf } from "./localWords.ts"

/** What the planner knows of a tool. */
export interface PlannedTool {
  readonly name: string
  readonly title: string | undefined
  readonly description: string
  readonly examples: ReadonlyArray<string>
  readonly readonly: boolean
  readonly schema: unknown
}

export interface Call {
  readonly name: string
  readonly params: Record<string, unknown>
}

/** A tool that fits, without a value for a required slot. */
export interface Unfilled {
  readonly tool: string
  readonly slots: ReadonlyArray<string>
}

export interface Decision {
  readonly calls: ReadonlyArray<Call>
  readonly unfilled: ReadonlyArray<Unfilled>
}

export interface Situation {
  readonly request: string
  readonly tools: ReadonlyArray<PlannedTool>
  /** Answered calls of this run, in order. */
  readonly answers: ReadonlyArray<Answer>
  /** Every call of this run, answered or not. */
  readonly made: ReadonlyArray<Call>
  readonly threshold: number
  /** The caller demands a call: the nearest tool is taken however far it is. */
  readonly required: boolean
  readonly today: number
  /** Cosine similarity of two of the texts that `textsOf` lists; 0 for others. */
  readonly similarity: (a: string, b: string) => number
}

/** Every text whose vector `decide` will ask for, each once. */
export const textsOf = (request: string, tools: ReadonlyArray<PlannedTool>): ReadonlyArray<string> => {
  const clauses = splitClauses(tokenize(request))
  const choices = tools.flatMap((tool) => slotsOf(tool.schema))
    .filter((slot) => slot.required && slot.kind === "choice")
    .flatMap((slot) => slot.choices)
    .filter((choice) => typeof choice === "string")
  const words = choices.length === 0 ? [] : clauses.flatMap((clause) => clause.tokens)
    .filter((token) => token.kind === "word" && !stopWords.has(token.text.toLowerCase()))
    .map((token) => token.text.toLowerCase())
  return [...new Set([...clauses.map(clauseText), ...tools.flatMap(toolTexts), ...choices, ...words])]
    .filter((text) => text.trim() !== "")
}

const toolTexts = (tool: PlannedTool): ReadonlyArray<string> => [
  firstSentence(tool.description),
  tool.title ?? wordsOf(tool.name).join(" "),
  ...tool.examples
]

const firstSentence = (text: string): string => /^[\s\S]*?[.!?](?=\s|$)/.exec(text)?.[0] ?? text.slice(0, 300)

interface Choice {
  readonly clause: Clause
  readonly index: number
  readonly tool: PlannedTool
}

/** Decides the next turn. Deterministic; never a call that was already made. */
export const decide = (situation: Situation): Decision => {
  const clauses = joinOrphans(splitClauses(tokenize(situation.request)), situation)
  const choices = choose(clauses, situation)
  const made = new Set(situation.made.map((call) => key(call)))
  const filled = choices.map((choice) => ({ choice, filled: fillChoice(choice, choices, clauses, situation) }))
  const helpers = filled.flatMap(({ choice, filled }) =>
    filled._tag === "missing" ? producers(choice, filled.slots, choices, clauses, situation) : []
  )
  const calls: Array<Call> = []
  const add = (name: string, result: Filled): void => {
    if (result._tag === "missing") return
    for (const params of result.params) {
      const call = { name, params }
      if (made.has(key(call))) continue
      made.add(key(call))
      calls.push(call)
    }
  }
  // A later stage that writes waits until the stage before it has nothing left to call.
  const last = Math.max(0, ...choices.map(({ clause }) => clause.stage))
  for (let stage = 0; stage <= last; stage++) {
    for (const { choice, filled: result } of filled) {
      if (choice.clause.stage === stage || (stage === 0 && choice.tool.readonly)) add(choice.tool.name, result)
    }
    for (const helper of stage === 0 ? helpers : []) add(helper.name, { _tag: "calls", params: [helper.params] })
    if (calls.length > 0) break
  }
  return {
    calls,
    unfilled: filled.flatMap(({ choice, filled }) => filled._tag === "calls" ? [] : [unfilled(choice, filled.slots)])
  }
}

const key = (call: Call): string => `${call.name} ${canonical(call.params)}`

const unfilled = (choice: Choice, slots: ReadonlyArray<Slot>): Unfilled => ({
  tool: choice.tool.name,
  slots: slots.map((slot) => slot.name)
})

// --- choosing

const nameStems = (tool: PlannedTool): ReadonlyArray<string> =>
  wordsOf(tool.name).filter((word) => !["get", "do", "run", "make", "the", "fetch"].includes(word)).map(stem)

// Which slots can read a token whose shape says what it is. A tool that has no use for what is written is the wrong
// tool.
const readers: ReadonlyMap<string, ReadonlyArray<SlotKind>> = new Map<string, ReadonlyArray<SlotKind>>([
  ["quoted", ["text", "any", "identifier", "name"]],
  ["path or text", ["file", "directory", "glob", "text", "any"]],
  ["url", ["url", "any"]],
  ["email", ["email", "any"]],
  ["path", ["file", "directory", "glob", "extension", "any"]],
  ["identifier", ["identifier", "text", "any", "file", "name"]],
  ["currency", ["currency"]]
])

const shapes = (clause: Clause): ReadonlyArray<string> => clause.tokens.map(shape).filter((kind) => readers.has(kind))

const shape = (token: Token): string =>
  currencyOf(token.text) !== undefined
    ? "currency"
    : token.kind === "quoted" && /^[^\s]*[./*][^\s]*$/.test(token.text)
    ? "path or text"
    : token.kind

const readable = (clause: Clause, tool: PlannedTool): number => {
  const written = shapes(clause)
  const kinds = new Set(slotsOf(tool.schema).map((slot) => slot.kind))
  return written.length === 0
    ? 0
    : written.filter((shape) => readers.get(shape)!.some((kind) => kinds.has(kind))).length / written.length
}

/**
 * Similarity of sentences, plus a share for words in the tool's name and description and for values its slots can read.
 */
export const score = (clause: Clause, tool: PlannedTool, similarity: Situation["similarity"]): number => {
  const text = clauseText(clause)
  const near = Math.max(...toolTexts(tool).map((candidate) => similarity(text, candidate)))
  const words = new Set(
    clause.tokens.filter((token) => token.kind === "word").map((token) => token.text.toLowerCase())
      .filter((word) => !stopWords.has(word)).map(stem)
  )
  const name = nameStems(tool)
  const inName = name.filter((word) => words.has(word)).length / Math.max(1, name.length)
  const about = new Set(wordsOf(firstSentence(tool.description)).filter((word) => !stopWords.has(word)).map(stem))
  const inAbout = [...words].filter((word) => about.has(word)).length / Math.max(3, words.size)
  return near + 0.25 * inName + 0.2 * inAbout + 0.15 * readable(clause, tool)
}

// What is joined to a clause adds values; it must not blur what the clause is about.
const scoreOf = (clause: Clause, tool: PlannedTool, similarity: Situation["similarity"]): number =>
  Math.max(score(clause, tool, similarity), clause.head === undefined ? 0 : score(clause.head, tool, similarity))

const best = (
  clause: Clause,
  situation: Situation
): { readonly tool: PlannedTool; readonly score: number } | undefined => {
  let found: { readonly tool: PlannedTool; readonly score: number } | undefined
  for (const tool of situation.tools) {
    const value = scoreOf(clause, tool, situation.similarity)
    if (found === undefined || value > found.score) found = { tool, score: value }
  }
  return found
}

const isNamed = (clause: Clause, tool: PlannedTool): boolean =>
  clause.tokens.some((token) => token.text.toLowerCase() === tool.name.toLowerCase())

// A clause that no tool fits, or that goes on about the same tool without a verb of its own, belongs to the clause
// before it: "convert 10 euros to yen | and pounds", "a base of 10 | and a height of 5".
const joinOrphans = (clauses: ReadonlyArray<Clause>, situation: Situation): ReadonlyArray<Clause> => {
  const joined: Array<Clause> = []
  for (const clause of clauses) {
    const previous = joined.at(-1)
    if (
      previous !== undefined && !clause.opens && clause.stage === previous.stage && goesOn(clause, previous, situation)
    ) {
      joined[joined.length - 1] = {
        ...previous,
        head: clearer(previous.head ?? previous, clause, situation),
        tokens: [...previous.tokens, ...clause.tokens]
      }
    } else joined.push(clause)
  }
  return joined
}

const clearer = (a: Clause, b: Clause, situation: Situation): Clause =>
  (best(a, situation)?.score ?? 0) >= (best(b, situation)?.score ?? 0) ? a : b

const goesOn = (clause: Clause, previous: Clause, situation: Situation): boolean => {
  const nearest = best(clause, situation)
  if (nearest === undefined || nearest.score < situation.threshold) return true
  const first = clause.tokens.find((token) => token.kind === "word" && !joiners.has(token.text.toLowerCase()))
  const instructs = first !== undefined && openers.has(first.text.toLowerCase()) &&
    !stopWords.has(first.text.toLowerCase())
  const tool = best(previous, situation)?.tool
  return !instructs && tool !== undefined && (tool === nearest.tool || givesNumbers(clause, previous, tool, situation))
}

// "... an initial velocity of 20 m/s, | an acceleration of 5 m/s^2 and a time of 6 seconds"
const givesNumbers = (clause: Clause, previous: Clause, tool: PlannedTool, situation: Situation): boolean => {
  const lacking = (tokens: Clause["tokens"]): number => {
    const choice = { clause: { ...previous, tokens }, index: 0, tool }
    const filled = fillChoice(choice, [choice], [choice.clause], situation)
    return filled._tag === "calls" ? 0 : filled.slots.filter((slot) => slot.kind === "number").length
  }
  const before = lacking(previous.tokens)
  return before > 0 && lacking([...previous.tokens, ...clause.tokens]) < before
}

const joiners: ReadonlySet<string> = new Set(["and", "or", "also", "plus", "then"])

const choose = (clauses: ReadonlyArray<Clause>, situation: Situation): ReadonlyArray<Choice> => {
  const choices = clauses.flatMap((clause, index): ReadonlyArray<Choice> => {
    const named = situation.tools.filter((tool) => isNamed(clause, tool))
    if (named.length > 0) return named.map((tool) => ({ clause, index, tool }))
    const nearest = best(clause, situation)
    return nearest !== undefined && nearest.score >= situation.threshold ? [{ clause, index, tool: nearest.tool }] : []
  })
  return choices.length > 0 || !situation.required ? choices : forced(clauses, situation)
}

const forced = (clauses: ReadonlyArray<Clause>, situation: Situation): ReadonlyArray<Choice> =>
  clauses
    .flatMap((clause, index) =>
      situation.tools.map((tool) => ({ clause, index, tool, score: score(clause, tool, situation.similarity) }))
    )
    .sort((a, b) => b.score - a.score)
    .filter((choice) => fillChoice(choice, [choice], clauses, situation)._tag === "calls")
    .slice(0, 1)

// --- filling

const fillChoice = (
  choice: Choice,
  choices: ReadonlyArray<Choice>,
  clauses: ReadonlyArray<Clause>,
  situation: Situation
): Filled => {
  const back = refersBack(choice.clause)
  const others = clauses.filter((clause) => clause !== choice.clause)
  const before = clauses.slice(0, choice.index).reverse()
  return fill({
    slots: slotsOf(choice.tool.schema),
    clause: choice.clause.tokens,
    elsewhere: [...before, ...others.filter((clause) => !before.includes(clause))].map((clause) => clause.tokens),
    refersBack: back &&
      (situation.answers.some((answer) => answer.name !== choice.tool.name) ||
        choices.some((other) => other.tool !== choice.tool)),
    sources: sourcesOf(choice, choices, situation),
    toolStems: new Set([...nameStems(choice.tool), ...wordsOf(firstSentence(choice.tool.description)).map(stem)]),
    today: situation.today,
    similar: situation.similarity
  })
}

// "Each of them" means what the clause before found; a tool's own results are never its input.
const sourcesOf = (
  choice: Choice,
  choices: ReadonlyArray<Choice>,
  situation: Situation
): ReadonlyArray<ReadonlyArray<Answer>> => {
  const others = situation.answers.filter((answer) => answer.name !== choice.tool.name)
  const before = choices.filter((other) => other.index < choice.index && other.tool !== choice.tool).map((other) =>
    other.tool.name
  ).reverse()
  return [...before.map((name) => others.filter((answer) => answer.name === name)), others]
}

const finders: ReadonlySet<string> = new Set(["find", "list", "search", "glob", "lookup", "discover"].map(stem))

// "Analyse every file in src" names no file: a tool that lists such things goes first, if its own slots can be filled.
const producers = (
  choice: Choice,
  missing: ReadonlyArray<Slot>,
  choices: ReadonlyArray<Choice>,
  clauses: ReadonlyArray<Clause>,
  situation: Situation
): ReadonlyArray<Call> => {
  if (!refersBack(choice.clause) || missing.length !== 1) return []
  const wanted = new Set([...missing[0]!.words, missing[0]!.kind].map(stem))
  const lists = (tool: PlannedTool): boolean => {
    const words = [...wordsOf(tool.name), ...wordsOf(firstSentence(tool.description)).slice(0, 6)].map(stem)
    return tool !== choice.tool && words.some((word) => finders.has(word)) && words.some((word) => wanted.has(word))
  }
  if (choices.some((other) => lists(other.tool))) return []
  for (const tool of situation.tools.filter(lists)) {
    const filled = fillChoice({ ...choice, tool }, [], clauses, situation)
    if (filled._tag === "calls" && filled.params[0] !== undefined) {
      return [{ name: tool.name, params: filled.params[0] }]
    }
  }
  return []
}
