/** What a run may not see of its guesses, however they are made: found by attacking it. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as SchemaGetter from "effect/SchemaGetter"
import { Executor, ToolPolicy } from "../../../src/index.ts"
import { TestModel, TestTools } from "../../../src/testing/index.ts"
import { both, guess, ledgerOf, made, played, seen, type Setting } from "../../faults/guessing.ts"

const Params = Schema.Struct({ key: Schema.String })

describe("comparison", () => {
  class Secret {
    readonly #value: string
    constructor(value: string) {
      this.#value = value
    }
    get value() {
      return this.#value
    }
  }
  const SecretSchema = Schema.String.pipe(Schema.decodeTo(
    Schema.instanceOf(Secret),
    { decode: SchemaGetter.transform((text: string) => new Secret(text)), encode: SchemaGetter.transform((s: Secret) => s.value) }
  ))
  const kits = {
    secret: SecretSchema,
    url: Schema.URLFromString,
    regexp: Schema.String.pipe(Schema.decodeTo(Schema.RegExp, {
      decode: SchemaGetter.transform((text: string) => new RegExp(text)),
      encode: SchemaGetter.transform((r: RegExp) => r.source)
    })),
    bytes: Schema.Uint8ArrayFromBase64,
    redacted: Schema.RedactedFromValue(Schema.String),
    unknown: Schema.Unknown,
    date: Schema.DateFromString,
    fn: Schema.String.pipe(Schema.decodeTo(Schema.Unknown, {
      decode: SchemaGetter.transform((text: string) => Object.assign(new WeakMap(), {}) as unknown ?? text),
      encode: SchemaGetter.transform(() => "")
    })),
    buffer: Schema.String.pipe(Schema.decodeTo(Schema.instanceOf(ArrayBuffer), {
      decode: SchemaGetter.transform((text: string) => new TextEncoder().encode(text).buffer as ArrayBuffer),
      encode: SchemaGetter.transform(() => "")
    })),
    closure: Schema.String.pipe(Schema.decodeTo(Schema.Unknown, {
      decode: SchemaGetter.transform((text: string): unknown => ({ get: () => text })),
      encode: SchemaGetter.transform(() => "")
    }))
  }
  const values: Record<string, [string, string]> = { url: ["http://a.b/", "http://c.d/"], date: ["2020-01-01T00:00:00.000Z", "2021-01-01T00:00:00.000Z"], bytes: ["AAAA", "BBBB"] }
  for (const [name, schema] of Object.entries(kits)) {
    it.effect(name, () =>
      Effect.gen(function*() {
        const [one, other] = values[name] ?? ["aaa", "bbb"]
        const run = yield* played({
          kit: (tools) => ToolPolicy.define({
            look: ToolPolicy.tool({
              parameters: Schema.Struct({ at: schema as Schema.Codec<unknown, string> }),
              success: Schema.String,
              annotations: { readonly: true },
              handler: tools.handler("look", () => TestTools.succeed("x", { after: "10 millis" })) as never
            })
          }),
          turns: [[TestModel.wait("1 second"), made("look", { at: other }, "c1")]],
          guesses: ({ step }) => step === 1 ? [guess("look", { at: one })] : []
        })
        const l = ledgerOf(run)
        assert.strictEqual(l.hit + l.lateHit, 0, JSON.stringify(l))
        assert.strictEqual(l.started, 1)
      }))
  }
})

const store = () => {
  let version = 0
  return { read: () => version, write: () => ++version }
}

const kit = (annotate: { touch: object }, body?: (s: ReturnType<typeof store>, tools: TestTools.HandlerRecorder) => object) => (tools: TestTools.HandlerRecorder) => {
  const s = store()
  return ToolPolicy.define({
    look: ToolPolicy.tool({
      parameters: Params,
      success: Schema.String,
      annotations: { readonly: true, resources: ({ key }) => [{ read: key }] },
      handler: tools.handler("look", () => TestTools.effect(Effect.sync(() => `v${s.read()}`))) as never
    }),
    touch: ToolPolicy.tool({
      parameters: Params,
      success: Schema.String,
      annotations: annotate.touch as never,
      handler: tools.handler("touch", () => TestTools.effect(Effect.sync(() => `w${s.write()}`))) as never
    }),
    ...body?.(s, tools)
  })
}

describe("writes", () => {
  it.effect("a tool that may be guessed and says that it writes", () =>
    Effect.gen(function*() {
      const setting: Setting = {
        kit: kit({ touch: { speculate: true, resources: ({ key }: { key: string }) => [{ write: key }] } }),
        turns: [
          [TestModel.wait("1 second"), made("touch", { key: "a" }, "t1")],
          [TestModel.wait("1 second"), made("look", { key: "a" }, "l1")]
        ],
        guesses: ({ step }) => step === 1 ? [guess("look", { key: "a" }), guess("touch", { key: "a" })] : []
      }
      const [run, plain] = yield* both(setting)
      assert.strictEqual(seen(run), seen(plain))
    }))
  it.effect("wrong guess of a declared writer writes nothing", () =>
    Effect.gen(function*() {
      const setting: Setting = {
        kit: kit({ touch: { readonly: true, resources: ({ key }: { key: string }) => [{ write: key }] } }),
        turns: [[TestModel.wait("1 second"), made("look", { key: "a" }, "l1")]],
        guesses: ({ step }) => step === 1 ? [guess("touch", { key: "a" })] : []
      }
      const [run, plain] = yield* both(setting)
      assert.strictEqual(seen(run), seen(plain))
    }))
  it.effect("a write by Executor.call in the handler of a tool that says it writes nothing itself", () =>
    Effect.gen(function*() {
      const setting: Setting = {
        kit: (tools) => {
          const s = store()
          const inner = ToolPolicy.define({
            touch: ToolPolicy.tool({
              parameters: Params,
              success: Schema.String,
              annotations: { resources: ({ key }) => [{ write: key }] },
              handler: () => Effect.sync(() => `w${s.write()}`)
            })
          })
          const outer = ToolPolicy.define({
            look: ToolPolicy.tool({
              parameters: Params,
              success: Schema.String,
              annotations: { readonly: true, resources: ({ key }) => [{ read: key }] },
              handler: tools.handler("look", () => TestTools.effect(Effect.sync(() => `v${s.read()}`))) as never
            }),
            workflow: ToolPolicy.tool({
              parameters: Params,
              success: Schema.String,
              annotations: { resources: () => [] },
              handler: ({ key }) => Effect.orDie(Effect.provide(Executor.call(inner.toolkit.tools.touch, { key }), inner.layer)) as never
            })
          })
          return outer
        },
        turns: [
          [TestModel.wait("1 second"), made("workflow", { key: "a" }, "t1")],
          [TestModel.wait("1 second"), made("look", { key: "a" }, "l1")]
        ],
        guesses: ({ step }) => step === 1 ? [guess("look", { key: "a" })] : []
      }
      const [run, plain] = yield* both(setting)
      assert.strictEqual(seen(run), seen(plain))
    }))
})

describe("report", () => {
  it.effect("is that of a run without guesses but for its own fields", () =>
    Effect.gen(function*() {
      const setting: Setting = {
        kit: kit({ touch: {} }),
        turns: [
          [TestModel.wait("1 second"), made("look", { key: "a" }, "l1")],
          [TestModel.wait("1 second"), made("look", { key: "z" }, "l2")]
        ],
        guesses: () => ["b", "c", "d"].map((key) => guess("look", { key }))
      }
      const [run, plain] = yield* both(setting)
      const { runId: _run, speculation: _, ...report } = run.finish.report
      const { runId: _plain, ...expected } = plain.finish.report
      assert.deepStrictEqual(report, expected)
    }))
})

describe("hedges", () => {
  it.effect("a joined guess that is slow is hedged as its call would be", () =>
    Effect.gen(function*() {
      let n = 0
      const setting: Setting = {
        kit: (tools) => ToolPolicy.define({
          look: ToolPolicy.tool({
            parameters: Params,
            success: Schema.String,
            annotations: { readonly: true, hedge: { after: "100 millis" } },
            handler: tools.handler("look", () => TestTools.succeed("x", { after: n++ % 2 === 0 ? "60 seconds" : "10 millis" })) as never
          })
        }),
        turns: [[TestModel.wait("1 second"), made("look", { key: "a" }, "l1")]],
        guesses: ({ step }) => step === 1 ? [guess("look", { key: "a" })] : []
      }
      const plain = yield* played({ ...setting, guesses: undefined })
      n = 0
      const run = yield* played(setting)
      assert.isAtMost(run.finish.report.totalMillis, plain.finish.report.totalMillis, `${plain.finish.report.totalMillis}`)
    }))
})

describe("deaf", () => {
  it.effect("a guess that never stops makes no call of its tool fail", () =>
    Effect.gen(function*() {
      const setting: Setting = {
        kit: (tools) => ToolPolicy.define({
          look: ToolPolicy.tool({
            parameters: Params,
            success: Schema.String,
            annotations: { readonly: true, concurrency: 1, grace: "100 millis" },
            handler: tools.handler("look", ({ key }: { key: string }) => TestTools.effect(
              key === "b" ? Effect.uninterruptible(Effect.as(Effect.sleep("5 seconds"), "b")) : Effect.succeed(key))) as never
          })
        }),
        turns: [[TestModel.wait("1 second"), made("look", { key: "a" }, "l1")]],
        guesses: ({ step }) => step === 1 ? [guess("look", { key: "b" })] : []
      }
      const [run, plain] = yield* both(setting)
      assert.strictEqual(seen(run), seen(plain))
    }))
})

describe("params", () => {
  it.effect("10 MB", () =>
    Effect.gen(function*() {
      const big = "x".repeat(10_000_000)
      const t = performance.now()
      const run = yield* played({
        kit: kit({ touch: {} }),
        turns: [[TestModel.wait("1 second"), made("look", { key: "a" }, "l1")]],
        guesses: ({ step }) => step === 1 ? Array.from({ length: 64 }, (_, i) => guess("look", { key: big + i })) : []
      })
      console.log("10MB x64", performance.now() - t, JSON.stringify(ledgerOf(run)))
    }), 120000)
})
