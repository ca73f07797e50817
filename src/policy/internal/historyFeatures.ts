/**
 * What speaks for a choice, as numbers of a fixed meaning: how often its tool follows what happened, in short and long contexts;
 * the words said; how its values stand; what was done already; and how things stand with the turn as a whole. The names are the
 * contract with whoever weighs them: weights learned for other names are worth nothing.
 */
import type { Combination } from "./historyChoices.ts"
import type { Counts } from "./historyCounts.ts"
import { mix, textKey } from "./historyHash.ts"
import type { Moment } from "./historyMoment.ts"
import { type ArgumentValue, status } from "./historyValues.ts"
import type { Event } from "./historyView.ts"

/** The next step "the user is answered". */
export const reply = textKey("reply")

const contextNames = ["anything", "one", "two", "three", "calm", "answered"]

/** The names of the features of the turn as a whole. */
export const turnNames: ReadonlyArray<string> = [
  ...contextNames.slice(1).map((name) => `reply after ${name}`),
  ...["words", "words for", "words against", "said", "said for", "said against"].map((name) => `reply ${name}`),
  "calls since",
  "calls",
  "users",
  "after user",
  "after text",
  "after ok",
  "after error",
  "after empty",
  "after guessable",
  "length of words",
  "values named",
  "context seen",
  "asked",
  "spoke"
]

/** The names of the features of a choice, those of the turn last. */
export const choiceNames: ReadonlyArray<string> = [
  ...contextNames.map((name) => `tool after ${name}`),
  ...["words", "words for", "words against", "said", "said for", "said against"].map((name) => `tool ${name}`),
  ...["all words", "all words for", "all words against"].map((name) => `tool ${name}`),
  "likely",
  "share",
  "rank",
  "arguments",
  "joint",
  "weakest",
  "frame",
  "any mentioned",
  "all mentioned",
  "any fresh",
  "all first",
  "any next",
  "least left",
  "most left",
  "all used",
  "position",
  "youngest",
  "oldest",
  "last stood",
  "times stood",
  "any elsewhere",
  "made",
  "made by another",
  "tool's calls",
  "tool again",
  "kept",
  "happenings",
  "mentioned",
  "fresh",
  ...turnNames
]

/** The logarithm of the odds. */
export const odds = (p: number): number => Math.log((Math.min(p, 1) + 1e-4) / (1 - Math.min(p, 1) + 1e-4))

const tag = {
  words: textKey("w"),
  old: textKey("wr"),
  answered: textKey("wa"),
  said: textKey("ws"),
  all: textKey("cv")
}

/** The words of a moment, under the names they are counted by. */
export interface WordKeys {
  readonly user: ReadonlyArray<number>
  readonly said: ReadonlyArray<number>
  readonly all: ReadonlyArray<number>
}

/** The names that the words of a moment are counted under. */
export const wordKeys = (moment: Moment): WordKeys => {
  const events = moment.view.events
  const fromUser = moment.last?.kind === "user"
  const keys = (words: Iterable<number>, under: number): Array<number> => Array.from(words, (word) => mix(under, word))
  const spoken = events.at(-1)?.kind === "said" ? events.at(-1) : undefined
  const before = moment.lastSaid < 0 ? undefined : events[moment.lastSaid]
  const answered = fromUser && spoken === undefined ? keys(before?.words ?? [], tag.answered) : []
  return {
    user: keys(events[moment.lastUser]?.words ?? [], fromUser ? tag.words : tag.old),
    said: spoken === undefined ? answered : keys(spoken.words, tag.said),
    all: keys(moment.view.userWords(), tag.all)
  }
}

/** How likely a next step is in each context; what is seldom seen leans on the shorter context. */
export const stepLikely = (counts: Counts, contexts: ReadonlyArray<number>, symbol: number): Array<number> => {
  const out: Array<number> = []
  contexts.forEach((context, at) => {
    const hits = counts.get(mix(context, symbol))
    const seen = counts.get(context)
    if (at === 0) return void out.push((hits + 0.2) / (seen + 2))
    const shorter = at <= 3 ? out[at - 1]! : out[1]!
    out.push((hits + 2 * shorter) / (seen + 2))
  })
  return out
}

const wordsFor = (
  counts: Counts,
  words: ReadonlyArray<SeenWord>,
  symbol: number,
  prior: number
): readonly [number, number, number] => {
  let sum = 0
  let most = 0
  let least = 0
  for (const { key, seen } of words) {
    const ratio = Math.log((counts.get(mix(key, symbol)) + 4 * prior) / (seen + 4) / prior)
    sum += ratio
    if (ratio > most) most = ratio
    if (ratio < least) least = ratio
  }
  return [Math.max(-6, Math.min(6, sum)), most, least]
}

/** A word that was seen three times or more, and how often. */
interface SeenWord {
  readonly key: number
  readonly seen: number
}

/** The words of a moment that something is known of. */
export interface SeenWords {
  readonly user: ReadonlyArray<SeenWord>
  readonly said: ReadonlyArray<SeenWord>
  readonly all: ReadonlyArray<SeenWord>
}

export const seenWords = (counts: Counts, words: WordKeys): SeenWords => {
  const seen = (keys: ReadonlyArray<number>): ReadonlyArray<SeenWord> =>
    keys.map((key) => ({ key, seen: counts.get(key) })).filter((word) => word.seen >= 3)
  return { user: seen(words.user), said: seen(words.said), all: seen(words.all) }
}

const bit = (value: boolean): number => value ? 1 : 0

const after = (event: Event | undefined, ending: Event["ending"]): number =>
  bit(event?.kind === "call" && event.ending === ending)

/** The features of the turn as a whole. */
export const turnFeatures = (
  counts: Counts,
  moment: Moment,
  words: SeenWords,
  guessable: (tool: string) => boolean
): Array<number> => {
  const { last, view } = moment
  const p = stepLikely(counts, moment.contexts, reply)
  const fromUser = last?.kind === "user"
  const lastUser = view.events[moment.lastUser]
  return [
    ...p.slice(1).map(odds),
    ...wordsFor(counts, words.user, reply, p[1]!),
    ...wordsFor(counts, words.said, reply, p[1]!),
    Math.min(moment.callsSince, 3),
    Math.min(moment.calls.length, 4),
    Math.min(moment.users, 5),
    bit(fromUser),
    bit(last?.kind === "said"),
    after(last, "ok"),
    after(last, "error"),
    after(last, "empty"),
    bit(moment.lastCall !== undefined && guessable(moment.lastCall.tool)),
    Math.min(60, lastUser?.words.length ?? 0),
    fromUser ? Math.min(60, lastUser?.offers.length ?? 0) : -1,
    Math.min(1, counts.get(moment.contexts[2]!) / 20),
    bit(fromUser && (view.events[moment.lastSaid]?.question ?? false)),
    bit(moment.spoke)
  ]
}

/** What is the same for all choices of one tool. */
export interface ToolFeatures {
  readonly likely: ReadonlyArray<number>
  readonly shared: ReadonlyArray<number>
  readonly calls: number
  readonly last: Event | undefined
}

/** The features that all choices of a tool share. */
export const toolFeatures = (counts: Counts, moment: Moment, words: SeenWords, tool: number): ToolFeatures => {
  const likely = stepLikely(counts, moment.contexts, tool)
  return {
    likely,
    shared: [
      ...likely.map(odds),
      ...wordsFor(counts, words.user, tool, likely[1]!),
      ...wordsFor(counts, words.said, tool, likely[1]!),
      ...wordsFor(counts, words.all, tool, likely[0]!)
    ],
    calls: moment.calls.filter((event) => event.toolKey === tool).length,
    last: moment.calls.findLast((event) => event.toolKey === tool)
  }
}

const smallest = (values: ReadonlyArray<ArgumentValue>, of: (value: ArgumentValue) => number): number => {
  if (values.length === 0) return -1
  let least = Infinity
  for (const value of values) least = Math.min(least, of(value))
  return least
}

const largest = (values: ReadonlyArray<ArgumentValue>, of: (value: ArgumentValue) => number): number => {
  if (values.length === 0) return -1
  let most = -Infinity
  for (const value of values) most = Math.max(most, of(value))
  return most
}

const has = (bits: number) => (value: ArgumentValue): number => (value.status & bits) === 0 ? 0 : 1
const mentioned = has(status.mentioned)
const fresh = has(status.fresh)
const first = has(status.first)
const next = has(status.next)
const elsewhere = has(status.elsewhere)

const madeByAnother = (moment: Moment, one: Combination, tool: string): boolean => {
  const params = one.call.slice(tool.length)
  return moment.calls.some((event) => event.tool !== tool && event.call.slice(event.tool.length) === params)
}

const share = (values: ReadonlyArray<ArgumentValue>, of: (value: ArgumentValue) => number): number =>
  values.length === 0 ? 0 : values.reduce((sum, value) => sum + of(value), 0) / values.length

/** How many of the arguments are as in the last call of the tool. */
const keptOf = (moment: Moment, last: Event | undefined, one: Combination): number => {
  if (last === undefined || one.values.length === 0) return -1
  let kept = 0
  one.names.forEach((name, at) => {
    const id = last.params.get(name)
    if (id !== undefined && moment.view.values[id]!.text === one.values[at]!.text) kept++
  })
  return kept / one.values.length
}

/** The features of one choice; `rank` and `share` among those of its tool. */
export const choiceFeatures = (
  moment: Moment,
  tool: string,
  of: ToolFeatures,
  one: Combination,
  rank: number,
  sum: number,
  turn: ReadonlyArray<number>
): Float64Array => {
  const { values } = one
  return Float64Array.from([
    ...of.shared,
    odds(one.likely),
    one.likely / Math.max(sum, one.likely, 0.05),
    rank,
    values.length,
    one.joint,
    smallest(values, (value) => value.likely),
    odds(one.frame),
    largest(values, mentioned),
    smallest(values, mentioned),
    largest(values, fresh),
    smallest(values, first),
    largest(values, next),
    Math.min(3, smallest(values, (value) => value.left)),
    Math.min(3, largest(values, (value) => value.left)),
    Math.min(2, smallest(values, (value) => value.used)),
    Math.min(3, largest(values, (value) => value.position)),
    smallest(values, (value) => value.age),
    largest(values, (value) => value.age),
    smallest(values, (value) => moment.end - 1 - value.last),
    largest(values, (value) => Math.min(value.times, 6)),
    largest(values, elsewhere),
    Math.min(2, moment.done.get(one.call) ?? 0),
    bit(madeByAnother(moment, one, tool)),
    Math.min(2, of.calls),
    bit(moment.lastCall?.tool === tool),
    keptOf(moment, of.last, one),
    new Set(values.map((value) => value.event)).size,
    share(values, mentioned),
    share(values, fresh),
    ...turn
  ])
}
