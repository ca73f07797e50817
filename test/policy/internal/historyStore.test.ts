import * as NodeFileSystem from "@effect/platform-node/NodeFileSystem"
import * as NodePath from "@effect/platform-node/NodePath"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Layer from "effect/Layer"
import * as KeyValueStore from "effect/persistence/KeyValueStore"
import { digest, PageStore } from "../../../src/policy/internal/historyStore.ts"

const pagesOf = (record: Record<string, string>) => new Map(Object.entries(record))
const nothing = () => new Map<string, string>()

const found = (store: KeyValueStore.KeyValueStore, features = "f") => new PageStore(store, features, "reader").read

const expectPages = Effect.fnUntraced(function*(store: KeyValueStore.KeyValueStore, expected: Record<string, string>) {
  const read = yield* found(store)
  assert.strictEqual(read._tag, "pages")
  if (read._tag === "pages") assert.deepStrictEqual(Object.fromEntries(read.pages), expected)
})

/** A store that dies after so many sets: what a process that is killed leaves. */
const dyingAfter = (store: KeyValueStore.KeyValueStore, sets: number): KeyValueStore.KeyValueStore => {
  let left = sets
  return { ...store, set: (key, value) => left-- > 0 ? store.set(key, value) : Effect.interrupt }
}

describe("historyStore", () => {
  it.effect("gives back what was written, and says when there is nothing", () =>
    Effect.gen(function*() {
      const store = yield* KeyValueStore.KeyValueStore
      assert.deepStrictEqual(yield* found(store), { _tag: "nothing" })
      const writer = new PageStore(store, "f", "w1")
      yield* writer.write(nothing(), () => pagesOf({ one: "1", two: "2" }))
      yield* expectPages(store, { one: "1", two: "2" })
      yield* writer.write(pagesOf({ two: "22" }), () => assert.fail("all pages asked for"))
      yield* expectPages(store, { one: "1", two: "22" })
    }).pipe(Effect.provide(KeyValueStore.layerMemory)))

  it.effect("survives a process that dies at any point of a write", () =>
    Effect.gen(function*() {
      for (let sets = 0; sets < 3; sets++) {
        const store = yield* Effect.provide(KeyValueStore.KeyValueStore, Layer.fresh(KeyValueStore.layerMemory))
        yield* new PageStore(store, "f", "w1").write(nothing(), () => pagesOf({ one: "1", two: "2" }))
        const dying = new PageStore(dyingAfter(store, sets), "f", "w2")
        yield* Effect.exit(dying.write(nothing(), () => pagesOf({ one: "changed", two: "changed" })))
        yield* expectPages(store, { one: "1", two: "2" })
      }
    }))

  it.effect("writes all pages when another process has written since", () =>
    Effect.gen(function*() {
      const store = yield* KeyValueStore.KeyValueStore
      const one = new PageStore(store, "f", "w1")
      const two = new PageStore(store, "f", "w2")
      yield* one.write(nothing(), () => pagesOf({ a: "one", b: "one" }))
      yield* two.write(nothing(), () => pagesOf({ a: "two", b: "two", c: "two" }))
      yield* one.write(pagesOf({ a: "one again" }), () => pagesOf({ a: "one again", b: "one" }))
      yield* expectPages(store, { a: "one again", b: "one" })
      yield* two.write(pagesOf({ c: "two again" }), () => pagesOf({ a: "two", b: "two", c: "two again" }))
      yield* expectPages(store, { a: "two", b: "two", c: "two again" })
    }).pipe(Effect.provide(KeyValueStore.layerMemory)))

  it.effect("finds the mixture of two writes at the same moment, and the next write heals it", () =>
    Effect.gen(function*() {
      const store = yield* KeyValueStore.KeyValueStore
      const one = new PageStore(store, "f", "w1")
      const two = new PageStore(store, "f", "w2")
      const oneHas = () => pagesOf({ a: "one", b: "one" })
      // Both have read the meta page before either writes; `two` writes its pages between the pages and the meta page of `one`.
      const interleaved: KeyValueStore.KeyValueStore = {
        ...store,
        set: (key, value) =>
          key.endsWith("meta")
            ? Effect.andThen(two.write(nothing(), () => pagesOf({ a: "two" })), store.set(key, value))
            : store.set(key, value)
      }
      yield* new PageStore(interleaved, "f", "w3").write(nothing(), oneHas)
      assert.strictEqual((yield* found(store))._tag, "unusable")
      yield* one.write(nothing(), oneHas)
      yield* expectPages(store, { a: "one", b: "one" })
    }).pipe(Effect.provide(KeyValueStore.layerMemory)))

  it.effect("takes nothing of another version, of other features, or damaged", () =>
    Effect.gen(function*() {
      const store = yield* KeyValueStore.KeyValueStore
      const write = new PageStore(store, "f", "w1").write(nothing(), () => pagesOf({ one: "1" }))
      yield* write
      assert.strictEqual((yield* found(store, "others"))._tag, "unusable")
      yield* store.set("predictor/v1/one.a", "2")
      assert.strictEqual((yield* found(store))._tag, "unusable")
      yield* store.remove("predictor/v1/one.a")
      assert.strictEqual((yield* found(store))._tag, "unusable")
      const meta = (yield* store.get("predictor/v1/meta"))!
      for (const bad of ["", "{", "null", meta.replace("\"version\":1", "\"version\":2"), meta.slice(0, -3)]) {
        yield* store.set("predictor/v1/meta", bad)
        assert.strictEqual((yield* found(store))._tag, "unusable", bad)
      }
    }).pipe(Effect.provide(KeyValueStore.layerMemory)))

  it.effect("keeps at most two of each page", () =>
    Effect.gen(function*() {
      const store = yield* KeyValueStore.KeyValueStore
      const writer = new PageStore(store, "f", "w1")
      for (let i = 0; i < 50; i++) {
        yield* writer.write(pagesOf({ one: `${i}` }), () => pagesOf({ one: `${i}`, two: "2" }))
      }
      yield* expectPages(store, { one: "49", two: "2" })
      assert.strictEqual(yield* store.size, 4)
    }).pipe(Effect.provide(KeyValueStore.layerMemory)))

  it.effect("works on files", () =>
    Effect.gen(function*() {
      const directory = yield* (yield* FileSystem.FileSystem).makeTempDirectoryScoped()
      const open = Effect.provide(KeyValueStore.KeyValueStore, Layer.fresh(KeyValueStore.layerFileSystem(directory)))
      yield* new PageStore(yield* open, "f", "w1").write(nothing(), () => pagesOf({ "rows/0": "ä\n1", two: "2" }))
      yield* expectPages(yield* open, { "rows/0": "ä\n1", two: "2" })
    }).pipe(Effect.scoped, Effect.provide(Layer.merge(NodeFileSystem.layer, NodePath.layer))))

  it("tells texts apart that differ in one character", () => {
    const texts = ["", "a", "b", "ab", "ba", "aab", "aba", "x".repeat(1000), "x".repeat(999) + "y"]
    assert.strictEqual(new Set(texts.map(digest)).size, texts.length)
  })
})
