/**
 * What one argument could be: every value that stands where values of this argument were found before, with how likely it is the
 * one. That is learned from how often such a value, in such a state, was: named in the last message, new, the first of its list
 * not used yet, next to the last used. Kinds of place never seen before borrow from their origin, and from arguments of the same
 * name in other tools.
 */
import type { Counts } from "./historyCounts.ts"
import { mix, textKey } from "./historyHash.ts"
import type { ArgumentKnowledge } from "./historyKnowledge.ts"
import { sharedKey } from "./historyKnowledge.ts"
import type { Moment } from "./historyMoment.ts"
import { formOf } from "./historyText.ts"
import type { Offer, Value } from "./historyView.ts"

/** A value an argument could have, and what speaks for it. */
export interface ArgumentValue {
  readonly text: string
  readonly value: unknown
  readonly likely: number
  readonly place: number
  readonly origin: number
  readonly event: number
  readonly last: number
  readonly list: number
  readonly times: number
  readonly used: number
  readonly status: number
  readonly left: number
  readonly position: number
  readonly age: number
}

/** The state of an offered value, as bits. */
export const status = { used: 1, mentioned: 2, fresh: 4, newest: 8, first: 16, next: 32, single: 64, elsewhere: 128 }

const offered = textKey("offered")
const taken = textKey("taken")
const form = textKey("form")
const known = textKey("argument")
const elementsLimit = 24
const valuesLimit = 12

/** An offered value with its state. */
export interface Standing {
  readonly offer: Offer
  readonly status: number
  readonly used: number
  readonly left: number
}

interface Use {
  readonly times: ReadonlyMap<number, number>
  readonly last: number | undefined
}

const usesOf = (moment: Moment, tool: number, name: string): Use => {
  const times = new Map<number, number>()
  let last: number | undefined
  for (const event of moment.calls) {
    const id = event.toolKey === tool ? event.params.get(name) : undefined
    if (id === undefined) continue
    times.set(id, (times.get(id) ?? 0) + 1)
    last = id
  }
  return { times, last }
}

const isElsewhere = (value: Value, places: ReadonlyMap<number, number>): boolean => {
  for (const place of value.places) if (!places.has(place)) return true
  return false
}

const standingsOf = (
  moment: Moment,
  places: ReadonlyMap<number, number>,
  use: Use,
  group: ReadonlyArray<Offer>,
  newestEvent: number,
  take: (standing: Standing) => void
): void => {
  let left = 0
  let first: number | undefined
  for (const offer of group) {
    if (use.times.has(offer.value)) continue
    left++
    first ??= offer.value
  }
  const end = Math.min(group.length, elementsLimit)
  for (let at = 0; at < end; at++) {
    const offer = group[at]!
    const value = moment.view.values[offer.value]!
    const used = use.times.get(offer.value) ?? 0
    const bits = (used > 0 ? status.used : 0)
      | (moment.lastUser >= 0 && value.lastUser === moment.lastUser ? status.mentioned : 0)
      | (value.first >= moment.end - 1 ? status.fresh : 0)
      | (offer.event === newestEvent ? status.newest : 0)
      | (first === offer.value ? status.first : 0)
      | (at > 0 && group[at - 1]!.value === use.last ? status.next : 0)
      | (group.length === 1 ? status.single : 0)
      | (isElsewhere(value, places) ? status.elsewhere : 0)
    take({ offer, status: bits, used, left })
  }
}

/** Every value that stands where this argument's values were found, with its state, place by place. */
export const standings = (
  moment: Moment,
  argument: ArgumentKnowledge,
  tool: number,
  take: (standing: Standing) => void
): void => {
  const use = usesOf(moment, tool, argument.name)
  for (const place of argument.places.keys()) {
    const groups = moment.view.groupsAt(place)
    const newest = groups.at(-1)?.at(-1)!.event ?? -1
    for (const group of groups) {
      if ((moment.budget.left -= group.length) < 0) return
      standingsOf(moment, argument.places, use, group, newest, take)
    }
  }
}

/** The names that an offered value is counted under, from the general to the special. */
export const standingKeys = (
  argument: ArgumentKnowledge,
  standing: Standing
): readonly [number, number, number, number] => {
  const { offer, status } = standing
  const own = mix(argument.key, offer.place)
  const shared = mix(mix(sharedKey(argument.name), offer.place), status)
  return [mix(offer.origin, status), shared, own, mix(own, status)]
}

/** Counts an offered value: it stood there, and it was, or was not, the one. */
export const countStanding = (
  argument: ArgumentKnowledge,
  standing: Standing,
  right: boolean,
  add: (key: number) => void
): void => {
  for (const key of standingKeys(argument, standing)) {
    add(mix(offered, key))
    if (right) add(mix(taken, key))
  }
}

/** The names that the form of an argument's value is counted under: all, and this form. */
export const formKeys = (argument: ArgumentKnowledge, formed: number): readonly [number, number] => [
  mix(known, argument.key),
  mix(mix(form, argument.key), formed)
]

const likelihood = (counts: Counts, argument: ArgumentKnowledge, standing: Standing): number => {
  const [general, shared, own, special] = standingKeys(argument, standing)
  const seen = (key: number): number => counts.get(mix(offered, key))
  const hits = (key: number): number => counts.get(mix(taken, key))
  const first = (standing.status & status.first) !== 0
  const p0 = (hits(general) + (first ? 2 : 0.2)) / (seen(general) + 4)
  const ps = (hits(shared) + 2 * p0) / (seen(shared) + 2)
  const p1 = (hits(own) + 2 * p0) / (seen(own) + 2)
  return Math.min(1, (hits(special) + 3 * (0.5 * ps + 0.5 * p1)) / (seen(special) + 3))
}

const formFactor = (counts: Counts, argument: ArgumentKnowledge, value: Value): number => {
  const [all, one] = formKeys(argument, value.form ??= formOf(value.value))
  const times = counts.get(all)
  return times === 0 ? 1 : Math.min(1, 2 * (counts.get(one) + 0.05) / (times + 0.5))
}

/** The same, looked up once for values that stand alike. */
const likelihoods = (counts: Counts, moment: Moment, argument: ArgumentKnowledge): (standing: Standing) => number => {
  const forms = new Map<number, number>()
  const alike = new Map<number, number>()
  let place: number | undefined
  return (standing) => {
    const id = standing.offer.value
    let factor = forms.get(id)
    if (factor === undefined) forms.set(id, factor = formFactor(counts, argument, moment.view.values[id]!))
    if (place !== standing.offer.place) alike.clear()
    place = standing.offer.place
    let likely = alike.get(standing.status)
    if (likely === undefined) alike.set(standing.status, likely = likelihood(counts, argument, standing))
    return likely * factor
  }
}

const valueOf = (moment: Moment, standing: Standing, likely: number): ArgumentValue => {
  const { offer } = standing
  const value = moment.view.values[offer.value]!
  return {
    text: value.text,
    value: value.value,
    likely,
    place: offer.place,
    origin: offer.origin,
    event: offer.event,
    last: value.last,
    list: offer.list,
    times: value.times,
    used: standing.used,
    status: standing.status,
    left: standing.left,
    position: offer.position,
    age: moment.end - 1 - value.first
  }
}

/** A value that nothing in this conversation speaks for. */
export const loneValue = (text: string, value: unknown, likely: number): ArgumentValue => ({
  text,
  value,
  likely,
  place: 0,
  origin: -1,
  event: -1,
  last: -1,
  list: -1,
  times: 0,
  used: 0,
  status: 0,
  left: 0,
  position: 0,
  age: 99
})

/** The twelve likeliest values of an argument. */
export const valuesOf = (
  counts: Counts,
  moment: Moment,
  tool: number,
  argument: ArgumentKnowledge,
  constant: (text: string) => unknown
): ReadonlyArray<ArgumentValue> => {
  const best = new Map<number, readonly [Standing, number]>()
  const likelyOf = likelihoods(counts, moment, argument)
  standings(moment, argument, tool, (standing) => {
    const id = standing.offer.value
    const likely = likelyOf(standing)
    if (likely > (best.get(id)?.[1] ?? 0)) best.set(id, [standing, likely])
  })
  const values = [...best.values()].sort((a, b) => b[1] - a[1]).slice(0, valuesLimit)
    .map(([standing, likely]) => valueOf(moment, standing, likely))
  const all = counts.get(mix(known, argument.key))
  for (const [text, runs] of argument.constants) {
    const id = moment.view.idOf(text)
    if (runs < 2 || (id !== undefined && best.has(id))) continue
    values.push(loneValue(text, constant(text), runs / (all + 4) * 0.8))
  }
  return values.sort((a, b) => b.likely - a.likely).slice(0, valuesLimit)
}
