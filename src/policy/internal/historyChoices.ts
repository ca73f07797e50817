/**
 * The calls a tool could get next: values put together to whole calls. The likeliest combinations, everything from one happening,
 * the arguments of another tool's call again, and the frames that are known. A call made already is unlikely, and so is one
 * that uses a value twice.
 */
import type { Counts } from "./historyCounts.ts"
import { filledFrames, frameKeys } from "./historyFrames.ts"
import { canonical } from "./historyHash.ts"
import type { ToolKnowledge } from "./historyKnowledge.ts"
import type { Moment } from "./historyMoment.ts"
import { type ArgumentValue, loneValue, valuesOf } from "./historyValues.ts"
import type { Event } from "./historyView.ts"

/** How a call was put together. */
export const joint = { none: 0, together: 1, again: 2, frame: 3 }

/** A whole call, and what speaks for it. */
export interface Combination {
  readonly names: ReadonlyArray<string>
  readonly values: ReadonlyArray<ArgumentValue>
  /** The call as one text, as calls of the past are told apart by. */
  readonly call: string
  joint: number
  likely: number
  frame: number
}

const signaturesLimit = 2
const beam = 12
const recentCalls = 4
const repeated = 0.15
const sameTwice = 0.05

type Lists = ReadonlyArray<ReadonlyArray<ArgumentValue>>

const product = (values: ReadonlyArray<ArgumentValue>): number => values.reduce((p, value) => p * value.likely, 1)

interface Some {
  readonly values: ReadonlyArray<ArgumentValue>
  readonly likely: number
}

const likeliest = (lists: Lists): ReadonlyArray<ReadonlyArray<ArgumentValue>> => {
  const each = lists.length === 1 ? 8 : 4
  let rows: ReadonlyArray<Some> = [{ values: [], likely: 1 }]
  for (const list of lists) {
    const next: Array<Some> = []
    for (const { likely, values } of rows) {
      for (let at = 0; at < each && at < list.length; at++) {
        next.push({ values: [...values, list[at]!], likely: likely * list[at]!.likely })
      }
    }
    rows = next.sort((a, b) => b.likely - a.likely).slice(0, beam)
  }
  return rows.map(({ values }) => values)
}

/** One value a list, from the happening where it can be, none twice. */
const together = (lists: Lists, at: number, here: ReadonlySet<string>, skip: number): ReadonlyArray<ArgumentValue> => {
  const taken = new Set<string>()
  return lists.map((list) => {
    const own = list.filter((value) => value.event === at && !taken.has(value.text))
    const chosen = own[skip === 0 ? 0 : Math.min(1, list.length - 1)]
      ?? list.find((value) => here.has(value.text) && !taken.has(value.text))
      ?? list.find((value) => !taken.has(value.text))
      ?? list[0]!
    taken.add(chosen.text)
    return chosen
  })
}

const again = (
  moment: Moment,
  event: Event,
  names: ReadonlyArray<string>,
  lists: Lists
): ReadonlyArray<ArgumentValue> | undefined => {
  const found = names.map((name, at) => {
    const id = event.params.get(name)
    return id === undefined ? undefined : lists[at]!.find((value) => value.text === moment.view.values[id]!.text)
  })
  return found.every((value) => value !== undefined) ? found : undefined
}

const hasTwins = (values: ReadonlyArray<ArgumentValue>): boolean =>
  values.some((value, at) => values.findIndex((other) => other.text === value.text) < at)

/** What is asked of one tool at one moment; values of an argument are looked up once. */
export class ToolChoices {
  private readonly found = new Map<string, Combination>()
  private readonly quotes = new Map<string, string>()
  private readonly lists = new Map<string, ReadonlyArray<ArgumentValue>>()
  private readonly counts: Counts
  private readonly moment: Moment
  private readonly tool: ToolKnowledge
  private readonly constant: (text: string) => unknown

  constructor(counts: Counts, moment: Moment, tool: ToolKnowledge, constant: (text: string) => unknown) {
    this.counts = counts
    this.moment = moment
    this.tool = tool
    this.constant = constant
  }

  private values(name: string): ReadonlyArray<ArgumentValue> {
    const known = this.lists.get(name)
    if (known !== undefined) return known
    const argument = this.tool.arguments.get(name)
    const values = argument === undefined
      ? []
      : valuesOf(this.counts, this.moment, this.tool.key, argument, this.constant)
    this.lists.set(name, values)
    return values
  }

  private quoted(name: string): string {
    let quoted = this.quotes.get(name)
    if (quoted === undefined) this.quotes.set(name, quoted = JSON.stringify(name))
    return quoted
  }

  private put(
    names: ReadonlyArray<string>,
    values: ReadonlyArray<ArgumentValue>,
    how: number,
    share: number
  ): Combination {
    let call = this.tool.name + " {"
    for (let at = 0; at < names.length; at++) {
      call += (at === 0 ? "" : ",") + this.quoted(names[at]!) + ":" + values[at]!.text
    }
    call += "}"
    const likely = share * product(values)
    const before = this.found.get(call)
    if (before !== undefined) {
      before.likely = Math.max(before.likely, likely)
      before.joint = Math.max(before.joint, how)
      return before
    }
    const made: Combination = { names, values, call, joint: how, likely, frame: 0 }
    this.found.set(call, made)
    return made
  }

  private combine(names: ReadonlyArray<string>, share: number): void {
    if (names.length === 0) return void this.put([], [], joint.none, share)
    const lists = names.map((name) => this.values(name))
    if (lists.some((list) => list.length === 0)) return
    for (const values of likeliest(lists)) this.put(names, values, joint.none, share)
    if (names.length < 2) return
    const { events } = this.moment.view
    for (let at = events.length - 1, calls = 0; at >= 0 && calls < recentCalls; at--) {
      const event = events[at]!
      if (event.kind !== "call") continue
      calls++
      const same = event.toolKey === this.tool.key ? undefined : again(this.moment, event, names, lists)
      if (same !== undefined) this.put(names, same, joint.again, share)
      const here = this.moment.view.textsIn(event)
      for (const skip of [0, 1]) this.put(names, together(lists, at, here, skip), joint.together, share)
    }
  }

  private frames(): void {
    for (const filled of filledFrames(this.moment, this.tool)) {
      const [hit, tried] = frameKeys(this.tool, filled.id)
      // Hits are counted before a frame is known well enough to be tried.
      const p = Math.min(0.95, (this.counts.get(hit) + 0.1) / (this.counts.get(tried) + 2))
      const hole = filled.values.indexOf(undefined)
      const given = filled.values.map((id) => id === undefined ? undefined : this.moment.view.values[id]!)
      const texts = new Set(given.map((value) => value?.text))
      const fill = hole < 0
        ? [undefined]
        : this.values(filled.names[hole]!).filter((value) => !texts.has(value.text)).slice(0, 2)
      for (const value of fill) {
        const values = given.map((own, at) =>
          own === undefined
            ? value!
            : this.values(filled.names[at]!).find((other) => other.text === own.text) ?? {
              ...loneValue(own.text, own.value, p),
              last: this.moment.view.events.length - 1,
              times: 1,
              left: 1,
              age: 3
            }
        )
        this.frame(filled.names, values, p * (value === undefined ? 1 : Math.min(1, value.likely * 1.5)))
      }
    }
  }

  private frame(names: ReadonlyArray<string>, values: ReadonlyArray<ArgumentValue>, likely: number): void {
    const made = this.put(names, values, joint.frame, 0)
    if (this.moment.done.has(made.call)) return
    made.frame = Math.max(made.frame, likely)
  }

  /** The likeliest whole calls. */
  best(most: number): ReadonlyArray<Combination> {
    const signatures = [...this.tool.signatures].sort((a, b) => b[1] - a[1]).slice(0, signaturesLimit)
    for (const [signature, times] of signatures) {
      this.combine(signature === "" ? [] : signature.split("\n"), times / Math.max(1, this.tool.calls))
    }
    this.frames()
    const all = [...this.found.values()]
    for (const one of all) {
      if (this.moment.done.has(one.call)) one.likely *= repeated
      if (one.joint === joint.again) one.likely = Math.max(one.likely, 0.5 * one.likely + 0.2)
      if (hasTwins(one.values)) one.likely *= sameTwice
      one.likely = Math.max(one.likely, one.frame)
    }
    return all.sort((a, b) => b.likely - a.likely).slice(0, most)
  }
}

/** The params of a combination, as a model would send them. */
export const paramsOf = (one: Combination): Readonly<Record<string, unknown>> =>
  Object.fromEntries(one.names.map((name, at) => [name, one.values[at]!.value]))

/** The names of a call's arguments, sorted, or nothing where it has none that can be named. */
export const namesOf = (params: unknown): ReadonlyArray<string> | undefined => {
  if (typeof params !== "object" || params === null || Array.isArray(params)) return undefined
  const names = Object.keys(params)
  return names.length > 24 || names.some((name) => name.length > 100 || name.includes("\n") || name === "")
    ? undefined
    : names.sort()
}

/** The canonical texts of a call's arguments, by their names. */
export const textsOf = (params: unknown, names: ReadonlyArray<string>): ReadonlyArray<string> =>
  names.map((name) => canonical((params as Readonly<Record<string, unknown>>)[name]))
