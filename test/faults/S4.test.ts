/** What was read before a write is never given to a call that came after it. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import * as Schema from "effect/Schema"
import { ToolPolicy } from "../../src/index.ts"
import type { ToolPolicy as Policies } from "../../src/index.ts"
import { explore, TestModel, TestTools } from "../../src/testing/index.ts"
import { random } from "../random.ts"
import {
  assertBalanced,
  guess,
  ledgerOf,
  made,
  type Played,
  played,
  run,
  type Setting,
  speculating
} from "./guessing.ts"

interface Params {
  readonly key: string
}

type Resources = Policies.Annotations<Params>["resources"]

/** A store with a version by key; reading takes its value at once or at its end, writing changes it at one moment of its time. */
class Shelf {
  private readonly versions = new Map<string, number>()
  /** Every change, in order, with the version that it made. */
  readonly log: Array<string> = []

  read(key: string): string {
    return `${key} ${this.versions.get(key) ?? 0}`
  }

  write(key: string): string {
    this.versions.set(key, (this.versions.get(key) ?? 0) + 1)
    return this.read(key)
  }
}

interface Times {
  /** How long the reader takes, and at what point it looks. */
  readonly read: readonly [before: number, after: number]
  readonly write: readonly [before: number, after: number]
}

const kit =
  (shelf: Shelf, times: Times, resources: { readonly read?: Resources; readonly write?: Resources }) =>
  (tools: TestTools.HandlerRecorder) => {
    const step = <A>([before, after]: readonly [number, number], act: () => A) =>
      TestTools.effect(
        Effect.sleep(before).pipe(Effect.andThen(Effect.sync(act)), Effect.tap(Effect.sleep(after)))
      )
    const parameters = Schema.Struct({ key: Schema.String })
    return ToolPolicy.define({
      look: ToolPolicy.tool({
        parameters,
        success: Schema.String,
        annotations: { readonly: true, ...(resources.read === undefined ? {} : { resources: resources.read }) },
        handler: tools.handler("look", ({ key }: Params) => step(times.read, () => shelf.read(key)))
      }),
      put: ToolPolicy.tool({
        parameters,
        success: Schema.String,
        annotations: resources.write === undefined ? {} : { resources: resources.write },
        handler: tools.handler("put", ({ key }: Params) => step(times.write, () => shelf.write(key)))
      })
    })
  }

const declared = {
  read: ({ key }: Params) => [{ read: `shelf:${key}` }],
  write: ({ key }: Params) => [{ write: `shelf:${key}` }]
}

const resultOf = ({ parts }: Played, id: string): unknown =>
  parts.find((part) => part.type === "tool-result" && part.id === id)!["result" as never]

const look = (key: string, id: string) => made("look", { key }, id)
const put = (key: string, id = `put ${key}`) => made("put", { key }, id)

/** A guess in the first turn, a write in it, the call in the second: at such times that all orders of the two come up. */
const scene = (shelf: Shelf, times: Times, resources: Parameters<typeof kit>[2], written: string): Setting => ({
  kit: kit(shelf, times, resources),
  turns: [
    [TestModel.wait(20), put(written), TestModel.wait(20)],
    [TestModel.wait(20), look("x", "read")]
  ],
  guesses: ({ step }) => step <= 2 ? [guess("look", { key: "x" })] : [],
  options: { maxAge: "1 hour" }
})

const cases: ReadonlyArray<readonly [string, Parameters<typeof kit>[2]]> = [
  ["declared by both", declared],
  ["undeclared by both", {}],
  ["declared by the reader only", { read: declared.read }],
  ["declared by the writer only", { write: declared.write }]
]

describe("S4 stale result", () => {
  for (const [what, resources] of cases) {
    it.live(
      `a write between guess and call is seen by the call, in every order and schedule: resources ${what}`,
      () =>
        explore(
          Effect.gen(function*() {
            const shelf = new Shelf()
            const r = random(yield* Random.nextInt)
            const times: Times = { read: [r.int(0, 50), r.int(0, 50)], write: [r.int(0, 50), r.int(0, 50)] }
            const result = yield* run(scene(shelf, times, resources, "x"))
            assert.strictEqual(resultOf(result, "read"), "x 1", JSON.stringify(times))
            assertBalanced(result)
          }),
          { seeds: 120 }
        ),
      60_000
    )
  }

  it.live("a write that the model made before the read, in one decision, is seen by the read", () =>
    explore(
      Effect.gen(function*() {
        const shelf = new Shelf()
        const r = random(yield* Random.nextInt)
        const times: Times = { read: [r.int(0, 50), r.int(0, 50)], write: [r.int(0, 50), r.int(0, 50)] }
        const result = yield* run({
          ...scene(shelf, times, declared, "x"),
          turns: [[TestModel.wait(50), put("x"), TestModel.wait(r.int(0, 20)), look("x", "read")]]
        })
        assert.strictEqual(resultOf(result, "read"), "x 1", JSON.stringify(times))
        assertBalanced(result)
      }),
      { seeds: 120 }
    ), 60_000)

  it.live("a write of something else leaves a declared guess as good as it was", () =>
    explore(
      Effect.gen(function*() {
        const shelf = new Shelf()
        const result = yield* run({
          ...scene(shelf, { read: [5, 5], write: [5, 5] }, declared, "y"),
          guesses: ({ step }) => step === 1 ? [guess("look", { key: "x" })] : []
        })
        assert.strictEqual(resultOf(result, "read"), "x 0")
        assert.deepStrictEqual(result.calls.filter(({ name }) => name === "look").length, 1, "claimed, not run again")
        assert.strictEqual(ledgerOf(result).hit, 1)
      }),
      { seeds: 20 }
    ), 60_000)

  it.live("a write of another run counts where both declare what they touch", () =>
    explore(
      Effect.gen(function*() {
        const shelf = new Shelf()
        const r = random(yield* Random.nextInt)
        const times: Times = { read: [r.int(0, 10), r.int(0, 10)], write: [r.int(0, 10), r.int(0, 10)] }
        const reading = run({
          kit: kit(shelf, times, declared),
          turns: [[TestModel.wait(100), look("x", "read")]],
          isShared: true
        })
        const writing = run({
          kit: kit(shelf, times, declared),
          turns: [[TestModel.wait(r.int(0, 60)), put("x")]],
          isShared: true
        })
        const [result] = yield* Effect.all([reading, writing], { concurrency: 2 }).pipe(
          Effect.provide(speculating({
            guesses: ({ step }) => step === 1 ? [guess("look", { key: "x" })] : [],
            options: { maxAge: "1 hour" }
          }))
        )
        assert.strictEqual(resultOf(result, "read"), "x 1", JSON.stringify(times))
      }),
      { seeds: 120 }
    ), 60_000)

  it.effect("a guess older than maxAge is thrown away", () =>
    Effect.gen(function*() {
      for (const [wait, runs] of [[900, 1], [1100, 2]] as const) {
        const result = yield* played({
          kit: kit(new Shelf(), { read: [5, 5], write: [0, 0] }, {}),
          turns: [[TestModel.wait(wait), look("x", "read")]],
          guesses: ({ step }) => step === 1 ? [guess("look", { key: "x" })] : [],
          options: { maxAge: "1 second" }
        })
        assert.strictEqual(result.calls.length, runs, `${wait} ms`)
        assert.strictEqual(ledgerOf(result).hit, 2 - runs)
      }
    }))
})
