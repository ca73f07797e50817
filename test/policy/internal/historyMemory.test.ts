import { assert, describe, it } from "@effect/vitest"
import * as Prompt from "effect/ai/Prompt"
import { Memory, type MemoryOptions, View } from "../../../src/policy/internal/historyMemory.ts"
import type { Choice, Situation } from "../../../src/policy/internal/historyTypes.ts"
import { random } from "../../random.ts"
import { sourceOf, speculable } from "../historySource.ts"
import { call, said, talk, user } from "../talks.ts"

type Talk = (chance: ReturnType<typeof random>) => Prompt.Prompt

const seed = 20_311

/** A memory of so many talks of a kind. */
const taught = (make: Talk, options: MemoryOptions = {}, times = 25) => {
  const chance = random(seed)
  const memory = new Memory(options)
  for (let n = 0; n < times; n++) memory.learn(make(chance), 0)
  return memory
}

const situation = (memory: Memory, prompt: Prompt.Prompt, ...tools: ReadonlyArray<string>) =>
  memory.situation(View.of(prompt), new Set(tools))

const brief = ({ params, tool }: Choice) => ({ tool, params })
const plain = ({ choices, turn }: Situation) => ({
  choices: choices.map(({ features, params, tool }) => ({ tool, params, features: [...features] })),
  turn: [...turn]
})

const firstOf = (memory: Memory, prompt: Prompt.Prompt, ...tools: ReadonlyArray<string>) => {
  const first = situation(memory, prompt, ...tools).choices[0]
  return first === undefined ? undefined : brief(first)
}

const parcel = (chance: ReturnType<typeof random>) => `PX-${chance.int(10_000, 99_999)}`
const depot = (chance: ReturnType<typeof random>) => `D${chance.int(100, 999)}Q`

describe("what a memory learns", () => {
  it("is that an argument stands in the words of the user", () => {
    const memory = taught((chance) => {
      const id = parcel(chance)
      return talk(
        user(`Where is my parcel ${id}, please?`),
        call("get_parcel", { parcel_id: id }, { state: "lost" }),
        said("Lost.")
      )
    })
    assert.deepStrictEqual(firstOf(memory, talk(user("I look for PX-31415.")), "get_parcel"), {
      tool: "get_parcel",
      params: { parcel_id: "PX-31415" }
    })
  })

  it("is that an argument stands at a path of an earlier result", () => {
    const memory = taught((chance) => {
      const [id, at] = [parcel(chance), depot(chance)]
      const found = { from: { depot: { code: depot(chance) } }, to: { depot: { code: at } } }
      return talk(
        user(`Parcel ${id}?`),
        call("get_parcel", { parcel_id: id }, found),
        call("get_depot", { code: at }, { open: true })
      )
    })
    const found = { from: { depot: { code: "D111Q" } }, to: { depot: { code: "D222Q" } } }
    const prompt = talk(user("Parcel PX-31415?"), call("get_parcel", { parcel_id: "PX-31415" }, JSON.stringify(found)))
    assert.deepStrictEqual(firstOf(memory, prompt, "get_depot", "get_parcel"), {
      tool: "get_depot",
      params: { code: "D222Q" }
    })
  })

  it("is that an argument is the one of an earlier call", () => {
    const memory = taught((chance) => {
      const id = parcel(chance)
      return talk(
        user("The parcel of my neighbour?"),
        call("find_parcel", { near: "here", id }, "found"),
        call("get_history", { parcel_id: id }, "long"),
        said("A long history.")
      )
    })
    const prompt = talk(user("The parcel of my aunt?"), call("find_parcel", { near: "here", id: "PX-31415" }, "found"))
    assert.deepStrictEqual(firstOf(memory, prompt, "get_history"), {
      tool: "get_history",
      params: { parcel_id: "PX-31415" }
    })
  })

  it("is that an argument is always the same", () => {
    const memory = taught((chance) =>
      talk(user(`Rates of ${depot(chance)}?`), call("list_rates", { currency: "EUR", kind: 3 }, [1, 2]))
    )
    assert.deepStrictEqual(firstOf(memory, talk(user("Rates?")), "list_rates"), {
      tool: "list_rates",
      params: { currency: "EUR", kind: 3 }
    })
  })

  it("is that the elements of a list come one after the other", () => {
    const memory = taught((chance) => {
      const ids = [parcel(chance), parcel(chance), parcel(chance)]
      return talk(
        user("All my parcels!"),
        call("list_parcels", {}, { parcels: ids }),
        ...ids.map((parcel_id) => call("get_parcel", { parcel_id }, { state: "sent" })),
        said("All are sent.")
      )
    })
    const ids = ["PX-10001", "PX-10002", "PX-10003"]
    const so = [user("All my parcels!"), call("list_parcels", {}, { parcels: ids })]
    for (const parcel_id of ids) {
      assert.deepStrictEqual(firstOf(memory, talk(...so), "get_parcel"), { tool: "get_parcel", params: { parcel_id } })
      so.push(call("get_parcel", { parcel_id }, { state: "sent" }))
    }
  })

  it("is the code that goes with a name, also in runs that do not tell it", () => {
    const codes = { Oslo: "OSL", Lima: "LIM", Rome: "ROM", Paris: "PAR" }
    const memory = taught((chance) => {
      const [name, code] = chance.pick(Object.entries(codes))
      return talk(said(`We serve ${name} (${code}).`), user(`To ${name}!`), call("search", { city: code }, "none"))
    })
    const back = Memory.fromPages(memory.pages())!
    for (const [name, city] of Object.entries(codes)) {
      assert.deepStrictEqual(firstOf(back, talk(user(`To ${name}!`)), "search"), { tool: "search", params: { city } })
    }
  })

  it("is a day in words as a date", () => {
    const memory = taught((chance) => {
      const day = chance.int(10, 28)
      return talk(
        user(`May ${day} would be good. Today is 2031-05-01.`),
        call("search", { day: `2031-05-${day}` }, "none")
      )
    })
    assert.deepStrictEqual(firstOf(memory, talk(user("March 3rd, please")), "search"), {
      tool: "search",
      params: { day: "2031-03-03" }
    })
  })

  it("is that the next tool depends on how the last call ended", () => {
    const memory = taught((chance) => {
      const [id, at] = [parcel(chance), depot(chance)]
      return chance.chance(0.5)
        ? talk(user(`Parcel ${id}?`), call("get_parcel", { id }, { at }), call("get_depot", { at }, "open"))
        : talk(user(`Parcel ${id}?`), call("get_parcel", { id }, "unknown", true), call("find_lost", { id }, "none"))
    })
    const asked = user("Parcel PX-31415?")
    const tools = ["get_parcel", "get_depot", "find_lost"]
    const good = talk(asked, call("get_parcel", { id: "PX-31415" }, { at: "D222Q" }))
    const bad = talk(asked, call("get_parcel", { id: "PX-31415" }, "unknown", true))
    assert.deepStrictEqual(firstOf(memory, good, ...tools), { tool: "get_depot", params: { at: "D222Q" } })
    assert.deepStrictEqual(firstOf(memory, bad, ...tools), { tool: "find_lost", params: { id: "PX-31415" } })
  })

  it("is when the user is answered", () => {
    const memory = taught((chance) => {
      const id = parcel(chance)
      return talk(user(`Parcel ${id}?`), call("get_parcel", { id }, "sent"), said("Sent."))
    })
    const reply = Memory.featureNames.slice(Memory.choiceFeatures + 1).indexOf("reply after one")
    const asked = user("Parcel PX-31415?")
    const before = situation(memory, talk(asked), "get_parcel").turn[reply]!
    const after = situation(memory, talk(asked, call("get_parcel", { id: "PX-31415" }, "sent")), "get_parcel")
      .turn[reply]!
    assert.isBelow(before, -2)
    assert.isAbove(after, 2)
  })

  it("weighs what stays as in the last call of the tool", () => {
    const route = (from: string, to: string, day: number) => call("search", { from, to, day }, "none")
    const memory = taught((chance) => {
      const [one, two, day] = [depot(chance), depot(chance), chance.int(10, 28)]
      return talk(user(`${one} to ${two} on ${day} or 9?`), route(one, two, day), route(one, two, 9))
    })
    const kept = Memory.featureNames.indexOf("kept")
    const asked = user("D111Q to D222Q on 12 or 9?")
    const before = situation(memory, talk(asked), "search").choices
    assert.deepStrictEqual(new Set(before.map(({ features }) => features[kept])), new Set([-1]))
    for (const { features, params } of situation(memory, talk(asked, route("D111Q", "D222Q", 12)), "search").choices) {
      const same = [params["from"] === "D111Q", params["to"] === "D222Q", params["day"] === 12].filter((one) => one)
      assert.strictEqual(features[kept], same.length / 3)
    }
  })

  it("is told before it is learned: the rows of a run know nothing of it", () => {
    const chance = random(seed)
    const make = () =>
      talk(user(`Parcel ${parcel(chance)}?`), call("get_parcel", { id: "PX-11111" }, "sent"), said("Sent."))
    const memory = new Memory()
    const rows = memory.learn(make(), 0)
    assert.deepStrictEqual(rows.map(({ situation, truth }) => [situation.choices.length, truth]), [
      [0, { calls: 1, right: [] }],
      [0, { calls: 0, right: [] }]
    ])
    memory.learn(make(), 0)
    const [row] = memory.learn(make(), 0)
    assert.deepStrictEqual(row!.truth.calls, 1)
    assert.deepStrictEqual(row!.truth.right.map((at) => brief(row!.situation.choices[at]!)), [
      { tool: "get_parcel", params: { id: "PX-11111" } }
    ])
    assert.isTrue(row!.situation.choices.every(({ features }) => features.length === Memory.choiceFeatures))
    assert.strictEqual(row!.situation.turn.length, Memory.turnFeatures)
  })
})

const pagesOf = (memory: Memory) => Object.fromEntries(memory.pages())

describe("a memory", () => {
  it("counts a conversation of several runs once", () => {
    const first = talk(
      said("Oslo (OSL), 2031-05-01"),
      user("PX-12345?"),
      call("get_parcel", { id: "PX-12345" }, "sent"),
      said("Sent.")
    )
    const whole = Prompt.concat(
      first,
      talk(user("PX-67890?"), call("get_parcel", { id: "PX-67890" }, "lost"), said("Lost."))
    )
    const [once, twice] = [new Memory(), new Memory()]
    once.learn(whole, 0)
    twice.learn(first, 0)
    assert.strictEqual(twice.learn(whole, first.content.length).length, 2)
    // Where each value stood is known after the first run already: nothing more, and the rest is the same.
    const tools = (memory: Memory) => memory.pages().get("tools")
    assert.strictEqual(tools(twice), tools(once))
    assert.strictEqual(twice.pages().get("names"), once.pages().get("names"))
    assert.deepStrictEqual(twice.learn(whole, whole.content.length), [])
    assert.strictEqual(tools(twice), tools(once))
  })

  it("says and keeps the same for the same past", () => {
    const [one, other] = [new Memory(), new Memory()]
    for (const memory of [one, other]) {
      const next = sourceOf(seed)
      for (let n = 0; n < 30; n++) memory.learn(next().prompt, 0)
    }
    assert.deepStrictEqual(pagesOf(one), pagesOf(other))
    const next = sourceOf(seed + 1)
    for (let n = 0; n < 10; n++) {
      for (const { prompt } of next().turns) {
        const situations = [one, other].map((memory) => plain(memory.situation(View.of(prompt), speculable)))
        assert.deepStrictEqual(situations[0], situations[1])
      }
    }
  })

  it("finds the same in a view that grew as in one made anew", () => {
    for (let at = 0; at < 4; at++) {
      const next = sourceOf(seed + at)
      const memory = new Memory()
      for (let n = 0; n < 15; n++) memory.learn(next().prompt, 0)
      const chance = random(seed + at)
      // Long enough to forget what was first, with names that other runs did not tell.
      const long = Array.from({ length: 40 }, () => [...next().prompt.content, ...said("Bern (BRN) on May 3")]).flat()
      const grown = View.of(Prompt.empty)
      for (let end = 0; end <= long.length; end += chance.int(1, 9)) {
        const prompt = Prompt.fromMessages(long.slice(0, end))
        const [one, other] = [grown.extend(prompt), View.of(prompt)].map((view) =>
          plain(memory.situation(view, speculable))
        )
        assert.deepStrictEqual(one, other, `seed ${seed + at}, ${end} messages`)
      }
      const elsewhere = next().turns.at(-1)!.prompt
      assert.deepStrictEqual(
        plain(memory.situation(grown.extend(elsewhere), speculable)),
        plain(memory.situation(View.of(elsewhere), speculable)),
        `seed ${seed + at}, another conversation`
      )
    }
  })

  it("comes back from its pages with the same to say, and learns on in the same way", () => {
    const next = sourceOf(seed)
    const memory = new Memory()
    for (let n = 0; n < 30; n++) memory.learn(next().prompt, 0)
    const back = Memory.fromPages(memory.pages())!
    assert.deepStrictEqual(pagesOf(back), pagesOf(memory))
    for (let n = 0; n < 10; n++) {
      const { prompt, turns } = next()
      for (const turn of turns) {
        const situations = [memory, back].map((one) => plain(one.situation(View.of(turn.prompt), speculable)))
        assert.deepStrictEqual(situations[0], situations[1])
      }
      memory.learn(prompt, 0)
      back.learn(prompt, 0)
    }
    assert.deepStrictEqual(pagesOf(back), pagesOf(memory))
  })

  it("tells which pages have changed, and those are all that changed", () => {
    const next = sourceOf(seed)
    const memory = new Memory()
    memory.learn(next().prompt, 0)
    const kept = new Map(memory.changedPages())
    for (let n = 0; n < 10; n++) {
      memory.learn(next().prompt, 0)
      for (const [name, page] of memory.changedPages()) kept.set(name, page)
    }
    for (const [name, page] of memory.pages()) if (page !== "") assert.strictEqual(kept.get(name), page, name)
    assert.isFalse([...memory.changedPages().keys()].some((name) => name.startsWith("counts/")))
  })
})

describe("pages that are damaged", () => {
  const next = sourceOf(seed)
  const memory = new Memory()
  for (let n = 0; n < 10; n++) memory.learn(next().prompt, 0)
  const pages = memory.pages()

  it("are nothing, where one is missing", () => {
    for (const name of pages.keys()) {
      assert.isUndefined(Memory.fromPages(new Map([...pages].filter(([other]) => other !== name))), name)
    }
    assert.isUndefined(Memory.fromPages(new Map()))
  })

  it("are nothing, where they are not what was written", () => {
    const wrong = [
      "",
      "[",
      "null",
      "{}",
      "[1]",
      "[{\"name\":1}]",
      "\u0000",
      "[".repeat(100_000),
      "AAAA",
      "A".repeat(1_000_000),
      "§"
    ]
    for (const text of wrong) {
      for (const name of ["tools", "names", "counts/3"]) {
        if (name === "counts/3" && text === "") continue
        assert.isUndefined(Memory.fromPages(new Map([...pages, [name, text]])), `${name}: ${text.slice(0, 20)}`)
      }
    }
  })

  it("are nothing, where a whole call lacks a place for one of its arguments", () => {
    const [first, ...rest] = JSON.parse(pages.get("tools")!) as ReadonlyArray<object>
    const pagesWith = (places: ReadonlyArray<number>) => {
      const frames = [{ tool: 1, back: 0, names: ["a", "b"], places, times: 9 }]
      return new Map([...pages, ["tools", JSON.stringify([{ ...first, frames }, ...rest])]])
    }
    assert.isDefined(Memory.fromPages(pagesWith([1, 2])))
    assert.isUndefined(Memory.fromPages(pagesWith([1])))
  })

  it("never harm: cut or changed anywhere they are nothing, or a memory that can be asked", () => {
    const chance = random(seed)
    const { turns } = next()
    for (let n = 0; n < 300; n++) {
      const [name, page] = chance.pick([...pages])
      if (page === "") continue
      const at = chance.int(0, page.length - 1)
      const changed = chance.pick([
        () => page.slice(0, at),
        () => page.slice(0, at) + chance.pick([..."0159-e\"[]{},.A/+"]) + page.slice(at + 1),
        () => page.slice(0, at) + page.slice(at + chance.int(1, 40))
      ])()
      const back = Memory.fromPages(new Map([...pages, [name, changed]]))
      if (back === undefined) continue
      for (const turn of turns) {
        const { choices } = back.situation(View.of(turn.prompt), speculable)
        assert.isTrue(
          choices.every(({ features }) => features.every(Number.isFinite)),
          `seed ${seed}, ${name} at ${at}`
        )
      }
      back.learn(turns.at(-1)!.prompt, 0)
    }
  })
})

describe("a memory that keeps no values", () => {
  const secrets = ["PX-12345", "mia.li@post.test", "Oslo", "OSL", "Elm Street", "diamonds"]
  const run = talk(
    said("We serve Oslo (OSL)."),
    user("I am mia.li@post.test, Elm Street 5. Where is PX-12345 from Oslo, with my diamonds?"),
    call("get_parcel", { id: "PX-12345", by: "mia.li@post.test" }, { owner: { street: "Elm Street" }, from: "Oslo" }),
    call("search", { city: "OSL", what: "diamonds" }, ["Elm Street"]),
    said("Here is PX-12345.")
  )
  const textOf = (memory: Memory) =>
    [...memory.pages().values()].map((page) => page + Buffer.from(page, "base64").toString("latin1")).join("\n")
  const found = (memory: Memory) => secrets.filter((secret) => textOf(memory).includes(secret))
  const learned = (options: MemoryOptions) => {
    const memory = new Memory(options)
    for (let n = 0; n < 5; n++) memory.learn(run, 0)
    return memory
  }

  it("has none in any page, where one that keeps them has", () => {
    assert.deepStrictEqual(found(learned({ keepValues: false })), [])
    assert.includeMembers(found(learned({})), ["PX-12345", "Oslo", "OSL", "diamonds"])
  })

  it("forgets those it finds", () => {
    const back = Memory.fromPages(learned({}).pages(), { keepValues: false })!
    assert.deepStrictEqual(found(back), [])
    back.learn(run, 0)
    assert.deepStrictEqual(found(back), [])
  })

  it("still finds values where they stand", () => {
    const asked = talk(user("I am bo.ra@post.test, where is PX-99999?"))
    assert.deepStrictEqual(firstOf(learned({ keepValues: false }), asked, "get_parcel"), {
      tool: "get_parcel",
      params: { id: "PX-99999", by: "bo.ra@post.test" }
    })
  })
})

const nested = (depth: number): unknown => {
  let value: unknown = "x"
  for (let at = 0; at < depth; at++) value = at % 2 === 0 ? [value] : { a: value }
  return value
}

const ring = (): unknown => {
  const value: { self?: unknown; id: string } = { id: "PX-10000" }
  value.self = [value]
  return value
}

const many = (times: number) =>
  Object.fromEntries(Array.from({ length: times }, (_, n) => [`key${n}`, `PX-${10_000 + n}`]))

describe("whatever comes", () => {
  const size = (memory: Memory) => [...memory.pages().values()].reduce((sum, page) => sum + page.length, 0)
  const toolsOf = (memory: Memory) =>
    JSON.parse(memory.pages().get("tools")!) as ReadonlyArray<{
      readonly arguments: ReadonlyArray<{ readonly places: ReadonlyArray<unknown> }>
    }>
  const odd: ReadonlyArray<readonly [string, unknown]> = [
    ["megabytes of one letter", "a".repeat(3_000_000)],
    ["megabytes of words", "Mia Li-PX-12345 \"May 5th\" (OSL) 2031-05-05 ".repeat(60_000)],
    ["megabytes of JSON text", JSON.stringify(many(20_000))],
    ["twenty thousand keys", many(20_000)],
    ["a long list", Array.from({ length: 100_000 }, (_, n) => ({ id: `PX-${n}` }))],
    ["a long key", { ["k".repeat(1_000_000)]: 1 }],
    ["great depth", nested(50_000)],
    ["text of great depth", "[".repeat(200_000)],
    ["a ring", ring()],
    [
      "names of prototypes",
      JSON.parse("{\"__proto__\":{\"id\":\"PX-10000\"},\"constructor\":1,\"toString\":\"a\",\"hasOwnProperty\":2}")
    ],
    ["odd values", {
      nan: NaN,
      nothing: undefined,
      big: 10n,
      symbol: Symbol.iterator,
      fun: () => 1,
      date: new Date(0),
      none: null
    }],
    ["a list with holes", Object.assign([], { length: 1_000 })],
    ["half a surrogate pair", "\ud800 \udfff PX-\ud83d"],
    ["nothing", undefined],
    ["a number", -0.5e300],
    ["brackets", "((((".repeat(100_000) + "A (".repeat(100_000)],
    ["dates", "May ".repeat(200_000) + "9".repeat(100_000)]
  ]

  for (const [name, value] of odd) {
    it(`a memory takes it, and stays small: ${name}`, () => {
      const text = typeof value === "string" ? value : "PX-31415?"
      const run = talk(
        user(text),
        call("get_parcel", value, value),
        call("get", { value, id: "PX-10000" }, value, true),
        said(text)
      )
      const memory = new Memory()
      for (let n = 0; n < 3; n++) assert.strictEqual(memory.learn(run, 0).length, 3)
      const view = View.of(run)
      const { choices, turn } = memory.situation(view, new Set(["get_parcel", "get"]))
      assert.isTrue([turn, ...choices.map(({ features }) => features)].every((row) => row.every(Number.isFinite)))
      assert.isAtMost(view.values.length, 4_000)
      assert.isAtMost(Math.max(...view.values.map(({ text }) => text.length)), 100_000)
      const back = Memory.fromPages(memory.pages())!
      assert.deepStrictEqual(pagesOf(back), pagesOf(memory))
      assert.isAtMost(size(memory), 600_000)
      for (const { arguments: all } of toolsOf(memory)) {
        assert.isAtMost(all.length, 64)
        assert.isTrue(all.every(({ places }) => places.length <= 64))
      }
    })
  }

  it("an argument remembers at most sixty-four kinds of places", () => {
    const chance = random(seed)
    const memory = new Memory()
    for (let n = 0; n < 100; n++) {
      const id = parcel(chance)
      memory.learn(
        talk(user("All!"), call("find", {}, { [`field ${"x".repeat(n)}`]: id }), call("get", { id }, "sent")),
        0
      )
    }
    const [most] = toolsOf(memory).flatMap((tool) => tool.arguments.map(({ places }) => places.length))
      .sort((a, b) => b - a)
    assert.strictEqual(most, 64)
  })

  it("arguments named like prototypes are arguments", () => {
    const params = (id: string) => JSON.parse(`{"__proto__":${JSON.stringify(id)},"constructor":"c"}`) as unknown
    const memory = taught((chance) => {
      const id = parcel(chance)
      return talk(user(`Parcel ${id}?`), call("__proto__", params(id), "sent"))
    })
    const first = firstOf(memory, talk(user("Parcel PX-31415?")), "__proto__")
    assert.deepStrictEqual(first, { tool: "__proto__", params: params("PX-31415") as never })
    assert.strictEqual(JSON.stringify(first?.params), "{\"__proto__\":\"PX-31415\",\"constructor\":\"c\"}")
    assert.strictEqual(Object.getPrototypeOf({}), Object.prototype)
  })

  it("ten thousand tools leave the ones that are used", () => {
    const memory = new Memory()
    const used = talk(user("PX-12345?"), call("get_parcel", { id: "PX-12345" }, "sent"))
    const chance = random(seed)
    for (let n = 0; n < 20; n++) {
      const id = parcel(chance)
      memory.learn(talk(user(`${id}?`), call("get_parcel", { id }, "sent")), 0)
    }
    for (let n = 0; n < 100; n++) {
      const calls = Array.from({ length: 100 }, (_, at) => call(`tool_${n}_${at}`, { [`a${at}`]: at }, at))
      memory.learn(talk(user("All!"), ...calls), 0)
    }
    assert.deepStrictEqual(firstOf(memory, talk(user("PX-31415?")), "get_parcel"), {
      tool: "get_parcel",
      params: { id: "PX-31415" }
    })
    const tools = JSON.parse(memory.pages().get("tools")!) as ReadonlyArray<unknown>
    assert.isAtMost(tools.length, 256)
    assert.isAtMost(size(memory), 1_000_000)
    const all = new Set(Array.from({ length: 10_000 }, (_, n) => `tool_${Math.floor(n / 100)}_${n % 100}`))
    assert.isAtMost(memory.situation(View.of(used), all).choices.length, 16)
  })

  it("ten thousand messages leave the newest, and are learned from in part", () => {
    const chance = random(seed)
    const parts = Array.from({ length: 3_334 }, () => {
      const id = parcel(chance)
      return [...user(`Parcel ${id}?`), ...call("get_parcel", { id }, { state: "sent", id })]
    })
    const run = talk(...parts)
    const memory = new Memory()
    assert.strictEqual(memory.learn(run, 0).length, 256)
    const view = View.of(Prompt.concat(run, talk(user("Parcel PX-31415?"))))
    const [first] = memory.situation(view, new Set(["get_parcel"])).choices
    assert.deepStrictEqual(brief(first!), { tool: "get_parcel", params: { id: "PX-31415" } })
    assert.isAtMost(view.events.length, 96)
    assert.isAtMost(view.values.length, 1_000)
  })

  it("ten thousand calls in one turn are one turn, and the past keeps the newest", () => {
    const calls = Array.from(
      { length: 10_000 },
      (_, n) =>
        Prompt.makePart("tool-call", { id: `c${n}`, name: `tool${n}`, params: many(40), providerExecuted: false })
    )
    const run = Prompt.fromMessages([...user("Go!"), Prompt.makeMessage("assistant", { content: calls })])
    const memory = new Memory()
    assert.strictEqual(memory.learn(run, 0).length, 1)
    const view = View.of(run)
    memory.situation(view, new Set(["tool1"]))
    assert.isAtMost(view.events.length, 96)
    assert.isAtMost((JSON.parse(memory.pages().get("tools")!) as ReadonlyArray<unknown>).length, 16)
  })
})
