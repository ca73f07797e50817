/** Random programs under random permits and caps, and guesses that are mostly wrong: no run of them takes longer for it. */
import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import { Limiter, ToolPolicy } from "../../../src/index.ts"
import { TestModel, TestTools } from "../../../src/testing/index.ts"
import { assertBalanced, guess, ledgerOf, made, played, seen, type Setting } from "../../faults/guessing.ts"
import { random } from "../../random.ts"

const Params = Schema.Struct({ key: Schema.String })
type Params = typeof Params.Type

/** A call takes as long as its key says. */
const kit = (annotations: ToolPolicy.Annotations<Params, string>) => (tools: TestTools.HandlerRecorder) => {
  const tool = (name: string, of: ToolPolicy.Annotations<Params, string>) =>
    ToolPolicy.tool({
      parameters: Params,
      success: Schema.String,
      annotations: of,
      handler: tools.handler(
        name,
        ({ key }: Params) => TestTools.succeed(key, { after: Number(key.split(".")[1]) })
      ) as never
    })
  const read = { readonly: true, ...annotations }
  return ToolPolicy.define({
    look: tool("look", read),
    scan: tool("scan", read),
    put: tool("put", { service: "api", concurrency: 1 })
  })
}

const settingOf = (seed: number): Setting => {
  const r = random(seed)
  const key = () => `${r.int(0, 5)}.${r.pick([0, 50, 300, 2000])}`
  const answers = Array.from(
    { length: r.int(1, 4) },
    () => Array.from({ length: r.int(1, 4) }, () => [r.pick(["look", "scan", "look", "put"]), key()] as const)
  )
  let ids = 0
  const guesses = answers.map((made) => [
    ...Array.from({ length: r.int(0, 5) }, () => guess(r.pick(["look", "scan"]), { key: key() })),
    ...(r.chance(0.5) ? made.map(([name, key]) => guess(name, { key })) : [])
  ])
  return {
    kit: kit(r.pick([{}, { service: "api" }, { concurrency: 1 }, { concurrency: 2, service: "api" }])),
    turns: answers.map((calls): TestModel.Turn => [
      TestModel.wait(r.int(0, 1000)),
      ...calls.flatMap(([name, key]) => [made(name, { key }, `c${ids++}`), TestModel.wait(r.int(0, 300))])
    ]),
    guesses: ({ step }) => guesses[step - 1] ?? [],
    options: { confidenceThreshold: 0, budget: { calls: 100_000 }, maxConcurrent: 8 },
    policies: r.pick([
      Layer.empty,
      Limiter.layer({ global: Limiter.permits(5) }),
      Limiter.layer({ services: { api: Limiter.permits(r.int(2, 3)) } })
    ]),
    run: { toolCallConcurrency: r.pick([1, 2, 30]) }
  }
}

it.effect("a run with guesses looks like one without, and takes no longer", () =>
  Effect.gen(function*() {
    const sum = { started: 0, hit: 0, lateHit: 0, miss: 0, failed: 0, preempted: 0 }
    for (let seed = 1; seed <= 150; seed++) {
      const setting = settingOf(seed)
      const plain = yield* played({ ...setting, guesses: undefined })
      const guessing = yield* played(setting)
      assert.strictEqual(seen(guessing), seen(plain), `seed ${seed}`)
      assertBalanced(guessing)
      // Sums of fractions, to the nanosecond of the clock.
      assert.isAtMost(guessing.finish.report.totalMillis, plain.finish.report.totalMillis + 0.01, `seed ${seed}`)
      const ledger = ledgerOf(guessing)
      for (const name of Object.keys(sum) as Array<keyof typeof sum>) sum[name] += ledger[name]
    }
    for (const name of ["hit", "lateHit", "miss", "preempted"] as const) assert.isAtLeast(sum[name], 10, name)
  }), 60_000)
