/** When the text of a call's arguments is looked at as a guess, character by character. */
import { assert, describe, it } from "@effect/vitest"
import * as Tool from "effect/ai/Tool"
import * as Context from "effect/Context"
import { ArgumentText } from "../../../src/engine/internal/ArgumentText.ts"
import type { Guess } from "../../../src/engine/internal/Guess.ts"
import { bind } from "../../../src/engine/internal/Pipeline.ts"
import { random } from "../../random.ts"

const tool = bind(Tool.make("look").annotate(Tool.Readonly, true), Context.empty(), undefined)
const writer = bind(Tool.make("save"), Context.empty(), undefined)

const read = (pieces: ReadonlyArray<string>): ReadonlyArray<unknown> => {
  const writing = new ArgumentText()
  writing.opened("a", tool)
  return pieces.flatMap((piece) => {
    const complete = writing.grew("a", piece)
    return complete === undefined ? [] : [complete.params]
  })
}

const texts = [
  "{}",
  "{\"id\":\"a b\"}",
  " { \"id\" : \"}\" , \"list\" : [ { } , [ ] ] }\n",
  "{\"text\":\"\\\"}{\\\\\"}",
  "{\"a\":{\"b\":{\"c\":[1,2,{\"d\":null}]}},\"e\":true}",
  "{\"u\":\"\\u007b \\u007d\",\"n\":-1.5e3}"
]

describe("the text of a call's arguments", () => {
  it("is a guess once, where it is one whole object, however it is cut", () => {
    for (let seed = 1; seed <= 200; seed++) {
      const { int, pick } = random(seed)
      const text = pick(texts)
      const pieces: Array<string> = []
      for (let at = 0; at < text.length;) {
        const size = int(1, 5)
        pieces.push(text.slice(at, at + size))
        at += size
      }
      assert.deepStrictEqual(read(pieces), [JSON.parse(text)], `seed ${seed}: ${JSON.stringify(pieces)}`)
    }
  })

  it("is none where it is no object, or not yet", () => {
    for (const text of ["[{}]", "\"{}\"", "{\"id\":", "{\"id\":\"}", "{id:1}", "7", "}{", "{}}"]) {
      assert.deepStrictEqual(read([...text]).filter((_, i) => text !== "{}}" || i > 0), [], text)
    }
  })

  it("throws its guess away when it goes on, and makes no other", () => {
    const writing = new ArgumentText()
    const whys: Array<string> = []
    writing.opened("a", tool)
    assert.deepStrictEqual(writing.grew("a", "{}")?.params, {})
    writing.guessed("a", { discard: (why: string) => void whys.push(why) } as unknown as Guess)
    assert.isUndefined(writing.grew("a", " \n"))
    assert.deepStrictEqual(whys, [])
    assert.isUndefined(writing.grew("a", "{"))
    assert.isUndefined(writing.grew("a", "}"))
    assert.deepStrictEqual(whys, ["refuted"])
  })

  it("is followed to 65,536 characters, and only of tools that may be guessed", () => {
    const text = (length: number) => `{"t":"${"x".repeat(length - 8)}"}`
    assert.strictEqual(read([text(65_536)]).length, 1)
    assert.strictEqual(read([text(65_537)]).length, 0)
    const writing = new ArgumentText()
    writing.opened("a", writer)
    writing.opened("b", undefined)
    assert.isUndefined(writing.grew("a", "{}"))
    assert.isUndefined(writing.grew("b", "{}"))
    assert.isUndefined(writing.grew("c", "{}"))
  })
})
