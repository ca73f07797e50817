/**
 * A source of conversations whose probabilities are known: a customer service as a Markov chain. What comes next depends on what
 * came last, and arguments are copied from the words of the user and from results. `habits` are the probabilities; of two sets
 * of them the second does other things in the same places.
 */
import * as Prompt from "effect/ai/Prompt"
import { random } from "../random.ts"

export interface Call {
  readonly tool: string
  readonly params: Readonly<Record<string, string>>
}

/** A turn: what the model is asked with, and the calls it makes; none: it answers. */
export interface Turn {
  readonly prompt: Prompt.Prompt
  readonly calls: ReadonlyArray<Call>
}

export interface Conversation {
  readonly turns: ReadonlyArray<Turn>
  readonly prompt: Prompt.Prompt
}

/** A probability for each thing that may come after a happening, in order; what is missing to 1 is a reply. */
export interface Habits {
  readonly afterName: { readonly user: number }
  readonly afterUser: { readonly first: number; readonly last: number; readonly places: number }
  readonly afterOrder: { readonly item: number; readonly next: number; readonly cancel: number }
  readonly afterItem: { readonly next: number }
  readonly afterOrderNamed: { readonly order: number; readonly both: number }
}

export const habits: Habits = {
  afterName: { user: 0.85 },
  afterUser: { first: 0.45, last: 0.2, places: 0.1 },
  afterOrder: { item: 0.5, next: 0.15, cancel: 0.05 },
  afterItem: { next: 0.25 },
  afterOrderNamed: { order: 0.6, both: 0.2 }
}

export const otherHabits: Habits = {
  afterName: { user: 0.3 },
  afterUser: { first: 0.1, last: 0.7, places: 0.05 },
  afterOrder: { item: 0.1, next: 0.6, cancel: 0.1 },
  afterItem: { next: 0.7 },
  afterOrderNamed: { order: 0.2, both: 0.7 }
}

export const speculable = new Set(["get_user", "get_order", "get_item", "list_places"])

const user = (text: string) => Prompt.makeMessage("user", { content: [Prompt.makePart("text", { text })] })
const said = (text: string) => Prompt.makeMessage("assistant", { content: [Prompt.makePart("text", { text })] })

/** One conversation under way. */
class Talk {
  readonly messages: Array<Prompt.Message> = []
  readonly turns: Array<Turn> = []
  readonly chance: ReturnType<typeof random>
  orders: Array<string> = []
  used = new Set<string>()
  named: ReadonlyArray<string> = []
  city = ""
  item = ""
  id = 0

  constructor(chance: ReturnType<typeof random>) {
    this.chance = chance
  }

  code(letter: string): string {
    return letter + this.chance.int(10_000, 99_999)
  }

  /** What the model does: answers, or calls and hears the results. */
  turn(calls: ReadonlyArray<Call>): void {
    this.turns.push({ prompt: Prompt.fromMessages([...this.messages]), calls })
    if (calls.length === 0) return void this.messages.push(said("Here you are. Anything else?"))
    const made = calls.map((call) => ({ ...call, id: `c${this.id++}`, result: this.result(call) }))
    this.messages.push(Prompt.makeMessage("assistant", {
      content: made.map(({ id, params, tool }) =>
        Prompt.makePart("tool-call", { id, name: tool, params, providerExecuted: false })
      )
    }))
    this.messages.push(Prompt.makeMessage("tool", {
      content: made.map(({ id, result, tool }) =>
        Prompt.makePart("tool-result", { id, name: tool, isFailure: false, result, providerExecuted: false })
      )
    }))
  }

  result({ params, tool }: Call): unknown {
    if (tool === "get_user") {
      this.orders = Array.from({ length: this.chance.int(2, 4) }, () => this.code("O"))
      this.city = this.chance.pick(["Paris", "Oslo", "Lima", "Rome"])
      return { user_id: params["user_id"], home: { city: this.city }, orders: this.orders }
    }
    if (tool === "get_order") {
      this.used.add(params["order_id"]!)
      this.item = this.code("I")
      return { status: this.chance.pick(["sent", "packed"]), line: { item_id: this.item } }
    }
    return tool === "get_item" ? { title: "A chair", pieces: this.chance.int(1, 9) } : { places: [this.code("P")] }
  }

  order(id: string | undefined): ReadonlyArray<Call> {
    return id === undefined ? [] : [{ tool: "get_order", params: { order_id: id } }]
  }

  next(): ReadonlyArray<Call> {
    return this.order(this.orders.find((id) => !this.used.has(id)))
  }
}

const choose = (talk: Talk, ways: ReadonlyArray<readonly [number, () => ReadonlyArray<Call>]>): ReadonlyArray<Call> => {
  let at = talk.chance.next()
  for (const [share, way] of ways) if ((at -= share) < 0) return way()
  return []
}

const follow = (talk: Talk, last: string, by: Habits): ReadonlyArray<Call> => {
  switch (last) {
    case "get_user":
      return choose(talk, [
        [by.afterUser.first, () => talk.order(talk.orders[0])],
        [by.afterUser.last, () => talk.order(talk.orders.at(-1))],
        [by.afterUser.places, () => [{ tool: "list_places", params: { city: talk.city } }]]
      ])
    case "get_order":
      return choose(talk, [
        [by.afterOrder.item, () => [{ tool: "get_item", params: { item_id: talk.item } }]],
        [by.afterOrder.next, () => talk.next()],
        [by.afterOrder.cancel, () => [{ tool: "cancel", params: { order_id: [...talk.used].at(-1)! } }]]
      ])
    case "get_item":
      return choose(talk, [[by.afterItem.next, () => talk.next()]])
    case "named":
      return choose(talk, [
        [by.afterOrderNamed.order, () => talk.order(talk.named[0])],
        [by.afterOrderNamed.both, () => talk.named.flatMap((id) => talk.order(id))]
      ])
    default:
      return []
  }
}

const answerTo = (talk: Talk, first: ReadonlyArray<Call>, by: Habits): void => {
  let calls = first
  for (let turns = 0; turns < 8; turns++) {
    talk.turn(calls)
    if (calls.length === 0) return
    calls = follow(talk, calls[0]!.tool, by)
  }
  talk.turn([])
}

/** Conversations, one after the other. */
export const sourceOf = (seed: number) => {
  const chance = random(seed)
  return (by: Habits = habits): Conversation => {
    const talk = new Talk(chance)
    const id = talk.code("U")
    talk.messages.push(user(`Hello, I am ${id}, where are my things?`))
    answerTo(talk, choose(talk, [[by.afterName.user, () => [{ tool: "get_user", params: { user_id: id } }]]]), by)
    if (chance.chance(0.6)) {
      talk.named = [talk.code("O"), talk.code("O")]
      talk.messages.push(user(`And what of ${talk.named.join(" and ")}?`))
      answerTo(talk, follow(talk, "named", by), by)
    }
    return { turns: talk.turns, prompt: Prompt.fromMessages(talk.messages) }
  }
}
