/**
 * The moment before a turn: what happened last, how the conversation stands, and the contexts that what follows is counted in,
 * from the short (nothing at all) to the long (the last three happenings, with how calls ended). The model's own words just
 * before the turn are looked through: what a model announces, it goes on to do.
 */
import { mix, textKey } from "./historyHash.ts"
import type { Event, View } from "./historyView.ts"

export interface Moment {
  readonly view: View
  /** The happenings before the model's own last words. */
  readonly end: number
  readonly last: Event | undefined
  readonly lastUser: number
  readonly lastSaid: number
  readonly lastCall: Event | undefined
  readonly callsSince: number
  readonly calls: ReadonlyArray<Event>
  readonly users: number
  readonly spoke: boolean
  readonly done: ReadonlyMap<string, number>
  /** How many more values may be looked at before this turn. */
  readonly budget: { left: number }
  /** Orders 0 to 3, then: kind and last call, and what the user answered. */
  readonly contexts: ReadonlyArray<number>
}

const budget = 30_000
const nothing = textKey("^")
const tags = ["c0", "c1", "c2", "c3", "c4", "c5"].map(textKey)
const userKey = textKey("user")

const lastOf = (events: ReadonlyArray<Event>, end: number, kind: Event["kind"]): number => {
  for (let at = end - 1; at >= 0; at--) if (events[at]!.kind === kind) return at
  return -1
}

const contextsOf = (
  events: ReadonlyArray<Event>,
  end: number,
  lastCall: Event | undefined,
  spoke: boolean
): Array<number> => {
  const symbol = (back: number): number => events[end - back]?.symbol ?? nothing
  let since = 0
  while (since < 3 && since < end && events[end - 1 - since]!.kind !== "user") since++
  const fromUser = events[end - 1]?.kind === "user"
  const calm = mix(mix(fromUser ? userKey : nothing, lastCall?.symbol ?? nothing), since)
  const answered = mix(mix(fromUser ? symbol(2) : userKey, lastCall?.toolKey ?? nothing), spoke ? 1 : 0)
  const [one, two, three] = [symbol(1), mix(symbol(2), symbol(1)), mix(mix(symbol(3), symbol(2)), symbol(1))]
  return [0, one, two, three, calm, answered].map((context, at) => mix(tags[at]!, context))
}

/** The moment after everything the view has read. */
export const momentOf = (view: View): Moment => {
  const events = view.events
  let end = events.length
  while (end > 1 && events[end - 1]!.kind === "said") end--
  const calls = events.filter((event) => event.kind === "call")
  const done = new Map<string, number>()
  for (const event of calls) done.set(event.call, (done.get(event.call) ?? 0) + 1)
  let callsSince = 0
  while (callsSince < end && events[end - 1 - callsSince]!.kind === "call") callsSince++
  const lastCall = calls.at(-1)
  const spoke = end < events.length
  return {
    view,
    end,
    last: events[end - 1],
    lastUser: lastOf(events, end, "user"),
    lastSaid: lastOf(events, end, "said"),
    lastCall,
    callsSince,
    calls,
    users: events.filter((event) => event.kind === "user").length,
    spoke,
    done,
    budget: { left: budget },
    contexts: contextsOf(events, end, lastCall, spoke)
  }
}
