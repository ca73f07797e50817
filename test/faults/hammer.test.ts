/**
 * 500 requests against a service that refuses in every known form: nothing is asked before its time, the extra load is at most
 * a tenth, and who waited does not come back as a herd. Over real HTTP, waiting in virtual time.
 */
import { afterAll, assert, describe, it } from "@effect/vitest"
import * as LanguageModel from "effect/ai/LanguageModel"
import * as Toolkit from "effect/ai/Toolkit"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Random from "effect/Random"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as OpenAi from "../../src/adapter/OpenAi.ts"
import { Orchestrator, Retry, ToolPolicy } from "../../src/index.ts"
import { TestModel, ToolCall } from "../../src/testing/index.ts"
import { scripted } from "../model.ts"
import { seeded } from "../policy/chance.ts"
import { forms, hammered, passTime, spreadOf, VirtualClock } from "./hammering.ts"
import type { Form, Hammered, Spread } from "./hammering.ts"

const seed = Number(process.env["TOOLFORMER_FUZZ_SEED"] ?? 1)
const requests = 500
// One window for all of a test: the reserve of ten would be there again in each.
const options: Retry.Options = { attempts: 5, maxRetryAfter: "2 minutes", budget: { window: "10 minutes" } }
const withTime = forms.filter(({ askedMillis }) => askedMillis > 0)

/** Makes all requests, each after its own time, and says how many succeeded. */
type Client = (
  server: Hammered,
  startMillis: (index: number) => number,
  pass: (isDone: () => boolean) => Effect.Effect<void>
) => Effect.Effect<number>

const indexes = Array.from({ length: requests }, (_, index) => index)

/** One fiber for each request; all of them under one `Retry`. */
const together = <E>(
  startMillis: (index: number) => number,
  pass: (isDone: () => boolean) => Effect.Effect<void>,
  each: (call: string) => Effect.Effect<unknown, E, Retry.Retry>
): Effect.Effect<number> =>
  Effect.gen(function*() {
    const exits: Array<Exit.Exit<unknown, E>> = []
    for (const index of indexes) {
      const one = Effect.exit(Effect.delay(each(`call ${index}`), startMillis(index)))
      yield* Effect.forkChild(Effect.map(one, (exit) => void exits.push(exit)))
    }
    yield* pass(() => exits.length === requests)
    return exits.filter(Exit.isSuccess).length
  }).pipe(Effect.provide(Retry.layer(options)))

const withRetry: Client = (server, startMillis, pass) =>
  together(startMillis, pass, (call) => server.ask(call).pipe(Retry.withRetry({ service: "api" })))

/** A run of one turn each, through the adapter. */
const turns: Client = (server, startMillis, pass) =>
  Effect.gen(function*() {
    const { onTheWay: { begin, end } } = server
    const model = yield* LanguageModel.LanguageModel
    const noted = LanguageModel.LanguageModel.of({
      ...model,
      streamText: ((options: never) =>
        Stream.unwrap(Effect.as(begin, Stream.ensuring(model.streamText(options), end)))) as never
    })
    return yield* together(startMillis, pass, (prompt) =>
      Effect.provideService(
        Orchestrator.run({ prompt, toolkit: Toolkit.empty, modelService: "api" }),
        LanguageModel.LanguageModel,
        noted
      ))
  }).pipe(Effect.provide(OpenAi.layer({ model: "m", baseURL: server.url, api: "chat", apiKey: "k" })))

/** The calls of one run, made by one turn. */
const calls: Client = (server, startMillis, pass) => {
  const { layer, toolkit } = ToolPolicy.define({
    ask: ToolPolicy.tool({
      parameters: Schema.Struct({ call: Schema.String }),
      success: Schema.String,
      failure: Schema.Struct({
        status: Schema.optionalKey(Schema.Finite),
        headers: Schema.optionalKey(Schema.Record(Schema.String, Schema.String)),
        body: Schema.optionalKey(Schema.String),
        code: Schema.optionalKey(Schema.String)
      }),
      annotations: { readonly: true, service: "api" },
      handler: ({ call }) => server.ask(call)
    })
  })
  const chunks = indexes.map((index): TestModel.Item => {
    const made = ToolCall("ask", { call: `call ${index}` }, { id: `id ${index}` })
    const after = startMillis(index) - startMillis(Math.max(0, index - 1))
    return TestModel.call(made, { after })
  })
  return Effect.gen(function*() {
    const run = yield* Effect.forkChild(
      Orchestrator.run({ prompt: "go", toolkit, toolCallConcurrency: requests })
    )
    yield* pass(() => run.pollUnsafe() !== undefined)
    const { toolResults } = yield* Effect.orDie(Fiber.join(run))
    assert.lengthOf(toolResults, requests)
    return toolResults.filter(({ isFailure }) => !isFailure).length
  }).pipe(Effect.provide([layer, scripted(chunks), Retry.layer(options)]))
}

const clients: ReadonlyArray<readonly [string, Client]> = [["effects", withRetry], ["tool calls", calls], [
  "model turns",
  turns
]]

const lines: Array<string> = []
const note = (what: string, form: Form, server: Hammered, spread: Spread): void => {
  const { count, firstMillis, fullestPart, lastMillis } = spread
  lines.push(
    `${what}: ${form.name}: ${server.arrivals.length} requests on the wire; ${count} came back from ` +
      `${firstMillis.toFixed(0)} to ${lastMillis.toFixed(0)} ms, at most ${
        (100 * fullestPart).toFixed(0)
      } % in any twentieth of that`
  )
}
afterAll(() => console.log(`seed ${seed}\n${lines.join("\n")}`))

for (const [what, client] of clients) {
  describe(`500 ${what} against a service that refuses`, () => {
    it.live.each(withTime)("wait for one pause, and come back spread: $name", (form) =>
      Effect.gen(function*() {
        const clock = new VirtualClock()
        const server = yield* hammered(clock, form, true, 100)
        // A hundred at once are refused; the others come during the pause.
        const startMillis = (index: number) => index < 100 ? 0 : 1 + (index - 100) * form.askedMillis / 401
        const succeeded = yield* client(server, startMillis, (isDone) => passTime(clock, server, isDone)).pipe(
          Effect.provideService(Clock.Clock, clock)
        )
        assert.deepStrictEqual(server.early, [], `seed ${seed}`)
        const back = server.arrivals.filter(({ refused }) => !refused).map(({ at }) => at)
        const spread = spreadOf(back)
        note(`${what}, recovers`, form, server, spread)
        assert.isAtLeast(spread.firstMillis, form.askedMillis)
        // Ten of the first hundred had a retry, all others were asked once.
        assert.strictEqual(succeeded, 410, `seed ${seed}`)
        assert.strictEqual(back.length, 410, `seed ${seed}`)
        assert.strictEqual(server.arrivals.length, 510, `seed ${seed}`)
        const width = Math.max(200, form.askedMillis / 10)
        assert.isAtLeast(spread.lastMillis - spread.firstMillis, 0.9 * width, `seed ${seed}`)
        assert.isBelow(spread.fullestPart, 0.15, `seed ${seed}`)
      }).pipe(Effect.scoped, Effect.provideService(Random.Random, seeded(seed))), 120_000)

    it.live.each(forms)(
      "make at most a tenth more requests when it never recovers: $name",
      (form) =>
        Effect.gen(function*() {
          const clock = new VirtualClock()
          const server = yield* hammered(clock, form, false, requests)
          const succeeded = yield* client(server, () => 0, (isDone) => passTime(clock, server, isDone)).pipe(
            Effect.provideService(Clock.Clock, clock)
          )
          assert.deepStrictEqual(server.early, [], `seed ${seed}`)
          const again = server.arrivals.filter(({ again }) => again)
          note(`${what}, is down`, form, server, spreadOf(again.map(({ at }) => at)))
          assert.strictEqual(succeeded, 0)
          assert.strictEqual(server.arrivals.length, requests + again.length)
          assert.isAbove(again.length, 0)
          // Where a pause is asked for, the first to come back finds out for all, and some wait in vain.
          if (form.askedMillis > 0) assert.isAtMost(again.length, requests / 10, `seed ${seed}`)
          else assert.strictEqual(again.length, requests / 10, `seed ${seed}`)
        }).pipe(Effect.scoped, Effect.provideService(Random.Random, seeded(seed))),
      120_000
    )
  })
}
