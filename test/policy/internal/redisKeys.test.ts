import { assert, describe, it } from "@effect/vitest"
import { createHash } from "node:crypto"
import { digest, escape, short, tagOf, unescape } from "../../../src/policy/internal/redisKeys.ts"
import { random } from "../../random.ts"

// What means something to Redis, Lua, JSON or a pattern, and what is no character at all.
const units = [
  "a",
  "Z",
  "0",
  "_",
  ":",
  "/",
  ".",
  "-",
  "{",
  "}",
  "%",
  "~",
  "\"",
  "\\",
  "\n",
  "\0",
  " ",
  "é",
  "\ud800",
  "😀"
]

const texts = (seed: number, count: number): ReadonlyArray<string> => {
  const r = random(seed)
  return Array.from(
    { length: count },
    () => Array.from({ length: r.chance(0.1) ? r.int(150, 400) : r.int(0, 6) }, () => r.pick(units)).join("")
  )
}

describe("redisKeys", () => {
  it("the digest is SHA-256", () => {
    for (const length of [0, 1, 55, 56, 63, 64, 65, 119, 120, 1000, 10_000]) {
      const text = Array.from({ length }, (_, i) => String.fromCharCode(32 + (i * 7) % 95)).join("")
      assert.strictEqual(digest(text), createHash("sha256").update(text).digest("hex"), `of ${length} letters`)
    }
  })

  it("an escaped name has only harmless letters, and can be read back", () => {
    for (const text of texts(1, 2000)) {
      assert.match(escape(text), /^[\w:./%-]*$/)
      assert.strictEqual(unescape(escape(text)), text)
    }
  })

  it("two names are never written alike, however long", () => {
    const all = [...new Set(texts(2, 5000))]
    assert.isAbove(all.length, 1000)
    assert.strictEqual(new Set(all.map(short)).size, all.length)
    const long = "x".repeat(10_000)
    assert.notStrictEqual(short(long), short(`${long}y`))
    // No name is written as another's digest.
    assert.notStrictEqual(short(short(long)), short(long))
  })

  it("a long name is short", () => {
    assert.isAtMost(short("}".repeat(10_000)).length, 160)
    assert.isAtMost(short("a".repeat(161)).length, 160)
    assert.strictEqual(short("a".repeat(160)), "a".repeat(160))
  })

  it("the tag is one: it opens once, closes at its end and is not empty, whatever the names", () => {
    for (const text of ["", "{", "}", "{}", "a}b", "{a}{b}", ...texts(3, 500)]) {
      for (const tag of [tagOf(text, "name"), tagOf("prefix", text), tagOf(text, text)]) {
        assert.match(tag, /^\{[^{}]+\}$/)
      }
    }
    assert.notStrictEqual(tagOf("a:b", "c"), tagOf("a", "b:c"))
  })
})
