import { assert, describe, it } from "@effect/vitest"
import * as Prompt from "effect/ai/Prompt"
import { asJson, endingOf, readJson } from "../../../src/policy/internal/historyJson.ts"
import { noLore } from "../../../src/policy/internal/historyLore.ts"
import { codesIn, formOf, lastYearIn, readText, shapeOf, wordsOf } from "../../../src/policy/internal/historyText.ts"
import { callsOf, View } from "../../../src/policy/internal/historyView.ts"
import { call, said, talk, user } from "../talks.ts"

const leaves = (value: unknown, budget = 400) => {
  const found: Array<{ value: string | number; path: number; list: number; position: number; inList: boolean }> = []
  let lists = 0
  readJson(
    value,
    0,
    budget,
    () => lists++,
    (value, path, list, position, inList) => found.push({ value, path, list, position, inList })
  )
  return found
}
const valuesIn = (value: unknown, budget?: number) => leaves(value, budget).map((leaf) => leaf.value)
const pathOf = (value: unknown, leaf: string) => leaves(value).find((one) => one.value === leaf)!.path

describe("a JSON value", () => {
  it("offers the same path for the same place, and another for another", () => {
    const one = { owner: { id: "a" }, other: { id: "b" } }
    assert.strictEqual(pathOf(one, "a"), pathOf({ x: 1, owner: { y: [], id: "c" } }, "c"))
    assert.notStrictEqual(pathOf(one, "a"), pathOf(one, "b"))
  })

  it("offers elements by their list and place, and the first and last on their own", () => {
    const found = leaves({ ids: [{ id: "a" }, { id: "b" }, { id: "c" }] })
    const listed = found.filter(({ inList }) => inList)
    assert.deepStrictEqual(listed.map(({ position, value }) => [value, position]), [["a", 0], ["b", 1], ["c", 2]])
    assert.strictEqual(new Set(listed.map(({ list, path }) => `${list} ${path}`)).size, 1)
    assert.deepStrictEqual(found.filter(({ inList }) => !inList).map(({ value }) => value), ["a", "c"])
  })

  it("offers the keys of a map, and reads its values as one kind", () => {
    const found = leaves({ P1: { price: 5 }, P2: { price: 7 } })
    assert.deepStrictEqual(found.map(({ position, value }) => [value, position]), [["P1", 0], [5, 0], ["P2", 1], [
      7,
      1
    ]])
    assert.strictEqual(found[1]!.path, found[3]!.path)
    assert.deepStrictEqual(valuesIn({ price: "P1", name: "P2" }), ["P1", "P2"])
  })

  it("offers the days around a date", () => {
    assert.deepStrictEqual(valuesIn({ day: "2031-02-28" }), ["2031-02-28", "2031-03-01", "2031-02-27"])
    assert.deepStrictEqual(valuesIn({ day: "2031-13-39" }).length, 3)
  })

  it("offers no more than its budget, nor long texts", () => {
    assert.isAtMost(leaves(Array.from({ length: 1_000 }, (_, n) => ({ n })), 100).length, 100)
    assert.deepStrictEqual(valuesIn(["x".repeat(81), "x".repeat(80), "", null, true, undefined]), ["x".repeat(80)])
  })

  it("is read from the text of a result where that is JSON", () => {
    assert.deepStrictEqual(asJson(" {\"a\":1}"), { a: 1 })
    assert.strictEqual(asJson("12"), 12)
    for (const text of ["", "hello", "{broken", "[1,"]) assert.strictEqual(asJson(text), text)
    assert.deepStrictEqual(asJson({ a: 1 }), { a: 1 })
  })

  it("tells how a call ended", () => {
    const cases: ReadonlyArray<readonly [unknown, boolean, string]> = [
      ["fine", true, "error"],
      ["Error: no such thing", false, "error"],
      [{ error: "no" }, false, "error"],
      [{ success: false }, false, "error"],
      [{ error: null, a: 1 }, false, "ok"],
      [[], false, "empty"],
      [{}, false, "empty"],
      [null, false, "empty"],
      [undefined, false, "empty"],
      ["  ", false, "empty"],
      [[0], false, "ok"],
      [0, false, "ok"],
      ["done", false, "ok"]
    ]
    for (const [value, failed, ending] of cases) {
      assert.strictEqual(endingOf(value, failed), ending, JSON.stringify(value))
    }
  })
})

const codes = new Map([["Seattle", "SEA"], ["New York", "NYC"]])
const offered = (text: string) => {
  const found: Array<string | number> = []
  readText(text, { code: (name) => codes.get(name), year: () => "2031" }, (value) => found.push(value))
  return found
}
const offers = (text: string, ...values: ReadonlyArray<string | number>) =>
  assert.includeMembers(offered(text), [...values])

describe("a text", () => {
  it("offers tokens, numbers, quoted passages and names", () => {
    offers("I am mia_li_3668, not HAT136.", "mia_li_3668", "HAT136")
    offers("It costs 12.50 or 3000 in all", 12.5, 3000)
    offers("Call it \"my own list\" or ‘that one’", "my own list", "that one")
    offers("My name is Mia Li.", "Mia Li", "mia li")
    offers("Write to mia@post.test", "mia@post.test", "mia")
    offers("run getUser in src/index.ts", "getUser", "src/index.ts")
  })

  it("offers the codes of names, also where a sentence begins with one more capital", () => {
    offers("From New York to Seattle", "NYC", "SEA")
    offers("To Seattle!", "SEA")
    assert.notInclude(offered("To York!"), "NYC")
  })

  it("offers days in words as dates", () => {
    for (const day of ["May 5", "May 5th", "5 May", "5th of May", "May 5, 2031", "5 May 2031"]) {
      offers(`On ${day}.`, "2031-05-05")
    }
    offers("On May 5th, 2029", "2029-05-05")
    const found: Array<string | number> = []
    readText("On May 5", { code: () => undefined, year: () => undefined }, (value) => found.push(value))
    assert.notInclude(found.join(), "05-05")
  })

  it("tells the codes it gives for names, and the year of its last date", () => {
    assert.deepStrictEqual(codesIn("from Seattle (SEA) to New York (NYC), (X) a (B1)"), [["Seattle", "SEA"], [
      "New York",
      "NYC"
    ]])
    assert.strictEqual(lastYearIn("2030-01-01 and 2031-02-02, 1999-01-01"), "2031")
    assert.isUndefined(lastYearIn("May 5"))
  })

  it("tells its words once each, at most 120", () => {
    assert.deepStrictEqual(wordsOf("the cat, THE dog?"), wordsOf("the cat dog ?"))
    const long = Array.from({ length: 500 }, (_, n) => `w${String.fromCharCode(97 + n % 26, 97 + Math.floor(n / 26))}`)
    assert.strictEqual(wordsOf(long.join(" ")).length, 120)
  })

  it("has one form for what looks alike", () => {
    assert.strictEqual(shapeOf("mia_li_3668"), "a_a_94")
    assert.strictEqual(shapeOf("HAT136"), "X6")
    assert.strictEqual(formOf("PX-10"), formOf("QY-99"))
    assert.strictEqual(formOf(1), formOf(2))
    assert.notStrictEqual(formOf("PX-10"), formOf("a long word"))
  })
})

const textOf = (view: View, value: string) => {
  const id = view.idOf(JSON.stringify(value))
  return id === undefined ? undefined : view.values[id]
}

describe("a view", () => {
  const ask = (text: string, ...rest: ReadonlyArray<ReadonlyArray<Prompt.Message>>) =>
    View.of(talk(user(text), ...rest)).readWith(noLore)

  it("tells what happened in order, and how calls ended", () => {
    const view = ask(
      "PX-1?",
      said("I look."),
      call("get", { id: "PX-1" }, { at: "D1" }),
      call("put", {}, "no", true),
      said("Well.")
    )
    assert.deepStrictEqual(view.events.map(({ ending, kind, tool }) => `${kind} ${tool} ${ending}`), [
      "user  none",
      "said  none",
      "call get ok",
      "call put error",
      "said  none"
    ])
    assert.deepInclude(textOf(view, "PX-1"), { first: 0, last: 2, times: 2, lastUser: 0 })
    assert.deepInclude(textOf(view, "D1"), { first: 2, last: 2, times: 1, lastUser: -1 })
  })

  it("hears a result only once, and only of a call it knows", () => {
    const [asked, heard] = call("get", { id: "PX-1" }, "one")
    const again = call("get", { id: "PX-1" }, "two")[1]!
    const view = View.of(Prompt.fromMessages([heard!, asked!, again, heard!, heard!])).readWith(noLore)
    assert.deepStrictEqual(view.events.map(({ ending }) => ending), ["ok"])
  })

  it("does not see calls that the provider makes itself", () => {
    const content = [
      Prompt.makePart("tool-call", { id: "a", name: "web", params: { q: "PX-1" }, providerExecuted: true })
    ]
    const message = Prompt.makeMessage("assistant", { content })
    assert.deepStrictEqual(callsOf(message), [])
    assert.deepStrictEqual(View.of(Prompt.fromMessages([message])).readWith(noLore).events, [])
  })

  it("begins anew when the conversation is another, and reads only what is new when it is not", () => {
    const one = talk(user("PX-1?"), call("get", { id: "PX-1" }, "D1"))
    const view = View.of(one).readWith(noLore)
    const first = view.events[0]
    view.extend(Prompt.concat(one, talk(said("Well.")))).readWith(noLore)
    assert.strictEqual(view.events[0], first)
    assert.strictEqual(view.events.length, 3)
    view.extend(talk(user("PX-2?"))).readWith(noLore)
    assert.deepStrictEqual(view.events.map(({ kind }) => kind), ["user"])
    assert.isUndefined(textOf(view, "PX-1"))
  })

  it("reads anew when more is known of names", () => {
    const view = ask("To Oslo")
    assert.isUndefined(textOf(view, "OSL"))
    view.readWith({ codes: new Map([["Oslo", "OSL"]]), year: undefined })
    assert.isDefined(textOf(view, "OSL"))
  })

  it("keeps the newest happenings, with their values where they were", () => {
    const calls = Array.from({ length: 200 }, (_, n) => call("get", { id: `PX-${n}` }, { at: `D${n}` }))
    const view = ask("All!", ...calls)
    assert.isAtMost(view.events.length, 96)
    assert.isAtLeast(view.events.length, 64)
    assert.isUndefined(textOf(view, "PX-0"))
    view.events.forEach((event, at) => {
      for (const offer of event.offers) {
        assert.strictEqual(offer.event, at)
        assert.strictEqual(view.values[offer.value]!.first, at)
      }
      assert.deepStrictEqual([...event.params.keys()], ["id"])
      assert.strictEqual(event.call, `get {"id":${view.values[event.params.get("id")!]!.text}}`)
    })
    assert.strictEqual(view.events.at(-1)!.call, "get {\"id\":\"PX-199\"}")
  })
})
