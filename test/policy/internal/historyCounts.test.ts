import { assert, describe, it } from "@effect/vitest"
import { countPages, Counts } from "../../../src/policy/internal/historyCounts.ts"
import { canonical, mix, textKey } from "../../../src/policy/internal/historyHash.ts"
import { random } from "../../random.ts"

const seed = 4_411
const pages = Array.from({ length: countPages }, (_, page) => page)

describe("counts", () => {
  it("are what a map would count", () => {
    const chance = random(seed)
    const [counts, map] = [new Counts(), new Map<number, number>()]
    for (let n = 0; n < 50_000; n++) {
      const key = chance.int(-5_000, 5_000) * 420_001 | 0
      counts.add(key, 0.5)
      map.set(key, (map.get(key) ?? 0) + 0.5)
    }
    for (const [key, times] of map) assert.strictEqual(counts.get(key), times)
    assert.strictEqual(counts.size, map.size)
    assert.strictEqual(counts.get(12_345), 0)
  })

  it("never hold more names than they may, and keep what is seen often", () => {
    const counts = new Counts()
    const often = Array.from({ length: 100 }, (_, n) => mix(1, n))
    for (let n = 0; n < 200_000; n++) {
      counts.add(mix(2, n))
      if (n % 10 === 0) { for (const key of often) counts.add(key) }
      if (n % 1_000 === 0) assert.isBelow(counts.size, 32_768)
    }
    assert.isTrue(often.every((key) => counts.get(key) > 1_000))
  })

  it("make room also where all names are seen often", () => {
    const counts = new Counts()
    for (let n = 0; n < 40_000; n++) counts.add(mix(3, n), 1_000)
    assert.isBelow(counts.size, 32_768)
    assert.isAbove(counts.size, 0)
  })

  it("take no count that is none", () => {
    const counts = new Counts()
    for (const times of [0, -1, NaN]) counts.add(7, times)
    assert.strictEqual(counts.size, 0)
    assert.deepStrictEqual(counts.takeChanged(), [])
  })

  it("come back from their pages", () => {
    const chance = random(seed)
    const [counts, back] = [new Counts(), new Counts()]
    const keys = Array.from({ length: 5_000 }, () => chance.int(-2_147_483_648, 2_147_483_647))
    for (const key of [0, -1, ...keys]) counts.add(key, chance.next() * 9)
    for (const page of pages) assert.isTrue(back.readPage(page, counts.page(page)))
    assert.strictEqual(back.size, counts.size)
    for (const key of [0, -1, ...keys]) assert.strictEqual(back.get(key), counts.get(key))
    assert.deepStrictEqual(pages.map((page) => back.page(page)), pages.map((page) => counts.page(page)))
  })

  it("tell once which pages have changed", () => {
    const counts = new Counts()
    counts.add(0x3000_0000)
    counts.add(-1)
    assert.deepStrictEqual(counts.takeChanged(), [3, 15])
    assert.deepStrictEqual(counts.takeChanged(), [])
  })

  it("read nothing from a page that is not one", () => {
    const counts = new Counts()
    counts.add(0x3000_0000, 2)
    const page = counts.page(3)
    const entry = (key: number, value: number) => {
      const bytes = new DataView(new ArrayBuffer(8))
      bytes.setInt32(0, key, true)
      bytes.setFloat32(4, value, true)
      return Buffer.from(bytes.buffer).toString("base64")
    }
    const back = new Counts()
    const wrong = [
      page.slice(1),
      page.slice(0, 8),
      "§",
      ...[0, -1, NaN, Infinity, 1e30].map((n) => entry(0x3000_0001, n))
    ]
    for (const text of wrong) assert.isFalse(back.readPage(3, text), text)
    assert.isFalse(back.readPage(4, page))
    const many = Buffer.concat(
      Array.from({ length: 40_000 }, (_, n) => Buffer.from(entry(0x3000_0000 + n, 1), "base64"))
    )
    assert.isFalse(back.readPage(3, many.toString("base64")))
    assert.strictEqual(back.size, 0)
    assert.isTrue(back.readPage(3, page))
    assert.strictEqual(back.get(0x3000_0000), 2)
  })
})

describe("names of values", () => {
  it("are one for equal values, whatever the order of their keys", () => {
    assert.strictEqual(
      canonical({ b: [1, { d: null, c: "x" }], a: true }),
      canonical({ a: true, b: [1, { c: "x", d: null }] })
    )
    assert.strictEqual(canonical({ b: [1], a: "\"" }), "{\"a\":\"\\\"\",\"b\":[1]}")
    assert.notStrictEqual(canonical([1, 2]), canonical([2, 1]))
    assert.notStrictEqual(canonical("1"), canonical(1))
    assert.notStrictEqual(canonical("x".repeat(5_000) + "a"), canonical("x".repeat(5_000) + "b"))
  })

  it("do not collide more often than chance", () => {
    const names = new Set<number>()
    for (let n = 0; n < 20_000; n++) names.add(mix(textKey(`tool ${n % 200}`), n)).add(textKey(`user_${n}`))
    assert.isAbove(names.size, 40_000 - 8)
  })
})
