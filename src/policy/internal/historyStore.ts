/**
 * Pages in a KeyValueStore, which knows no transactions: a page has two places, and is written to the one that is not in force; the
 * meta page, written last, says which are, with a digest of each. A process that dies while it writes leaves what was there. Of two
 * processes on one store the last writer wins: who finds another's meta page writes all its own pages. What the other learned is
 * lost to the store then. Two that write at the same moment may overwrite each other's pages; the digests tell, and the store is
 * taken for empty until one of them writes again.
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as KeyValueStore from "effect/persistence/KeyValueStore"
import * as Schema from "effect/Schema"
import type { Pages } from "./historyTypes.ts"

const version = 1
const prefix = "predictor/v1/"

const Meta = Schema.Struct({
  version: Schema.Literal(version),
  features: Schema.String,
  generation: Schema.Finite,
  writer: Schema.String,
  pages: Schema.Record(Schema.String, Schema.Tuple([Schema.Literals(["a", "b"]), Schema.String]))
})

type Meta = typeof Meta.Type

const decodeMeta = Schema.decodeUnknownOption(Schema.fromJsonString(Meta))

/** Two 32-bit hashes (FNV-1a, and one of another base) in hexadecimal: to find accidents, not forgery. */
export const digest = (text: string): string => {
  let one = 0x811c9dc5
  let two = 0x9747b28c
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i)
    one = Math.imul(one ^ code, 0x01000193)
    two = Math.imul((two << 5) ^ (two >>> 2) ^ code, 0x5bd1e995)
  }
  return (one >>> 0).toString(16).padStart(8, "0") + (two >>> 0).toString(16).padStart(8, "0")
}

/** What was found in a store: pages, nothing, or something that is not to be used, and why. */
export type Found =
  | { readonly _tag: "pages"; readonly pages: Pages }
  | { readonly _tag: "nothing" }
  | { readonly _tag: "unusable"; readonly why: string }

const unusable = (why: string): Found => ({ _tag: "unusable", why })

/** Pages of one process in a store. `features`: what the numbers in them mean; of other features they are of no use. */
export class PageStore {
  readonly #store: KeyValueStore.KeyValueStore
  readonly #features: string
  readonly #writer: string
  #generation = 0

  constructor(store: KeyValueStore.KeyValueStore, features: string, writer: string) {
    this.#store = store
    this.#features = features
    this.#writer = writer
  }

  readonly read: Effect.Effect<Found, KeyValueStore.KeyValueStoreError> = Effect.suspend(() =>
    Effect.flatMap(this.#store.get(`${prefix}meta`), (text) => {
      if (text === undefined) return Effect.succeed<Found>({ _tag: "nothing" })
      const meta = Option.getOrUndefined(decodeMeta(text))
      if (meta === undefined) return Effect.succeed(unusable("is of an unknown version, or damaged"))
      this.#generation = meta.generation
      if (meta.features !== this.#features) return Effect.succeed(unusable("was written with other features"))
      return this.#readPages(meta)
    })
  )

  #readPages(meta: Meta): Effect.Effect<Found, KeyValueStore.KeyValueStoreError> {
    const names = Object.keys(meta.pages)
    const texts = Effect.forEach(names, (name) => this.#store.get(keyOf(name, meta.pages[name]![0])))
    return Effect.map(texts, (texts) => {
      const pages = new Map<string, string>()
      for (const [i, name] of names.entries()) {
        const text = texts[i]
        if (text === undefined || digest(text) !== meta.pages[name]![1]) return unusable(`is damaged (page ${name})`)
        pages.set(name, text)
      }
      return { _tag: "pages", pages }
    })
  }

  /** Writes the changed pages; all of them if another has written since, or nothing is there. */
  write(changed: Pages, all: () => Pages): Effect.Effect<void, KeyValueStore.KeyValueStoreError> {
    return Effect.flatMap(this.#store.get(`${prefix}meta`), (text) => {
      const inForce = text === undefined ? undefined : Option.getOrUndefined(decodeMeta(text))
      const mine = inForce?.writer === this.#writer && inForce.generation === this.#generation
      return this.#put(inForce, mine ? changed : all(), mine)
    })
  }

  #put(inForce: Meta | undefined, pages: Pages, mine: boolean) {
    const next: Record<string, readonly ["a" | "b", string]> = mine ? { ...inForce?.pages } : {}
    for (const [name, text] of pages) {
      next[name] = [inForce?.pages[name]?.[0] === "a" ? "b" : "a", digest(text)]
    }
    const generation = Math.max(inForce?.generation ?? 0, this.#generation) + 1
    const meta: Meta = { version, features: this.#features, generation, writer: this.#writer, pages: next }
    return Effect.forEach(pages, ([name, text]) => this.#store.set(keyOf(name, next[name]![0]), text), {
      discard: true
    })
      .pipe(
        Effect.andThen(this.#store.set(`${prefix}meta`, JSON.stringify(meta))),
        Effect.andThen(Effect.sync(() => {
          this.#generation = generation
        }))
      )
  }
}

const keyOf = (name: string, place: "a" | "b"): string => `${prefix}${name}.${place}`
