import { assert, describe, it } from "@effect/vitest"
import * as Tool from "effect/ai/Tool"
import * as Schedule from "effect/Schedule"
import { ToolPolicy } from "../../src/index.ts"

const repeatable = Tool.make("work").annotate(Tool.Readonly, true)

const retryOf = (options: unknown) => () => ToolPolicy.read(repeatable.annotate(ToolPolicy.Retry, options as never))
const hedgeOf = (options: unknown) => () => ToolPolicy.read(repeatable.annotate(ToolPolicy.Hedge, options as never))

describe("ToolPolicy.Retry", () => {
  it.each([
    {},
    false,
    { attempts: 1 },
    { base: 0, factor: 1, maxDelay: 0, maxRetryAfter: 0 },
    { base: "1 seconds", factor: 2.5, maxDelay: "1 minutes", maxRetryAfter: Infinity },
    { schedule: Schedule.spaced("1 seconds"), while: () => true },
    { attempts: undefined, base: undefined, schedule: undefined }
  ])("takes %o", (options) => {
    assert.strictEqual<unknown>(retryOf(options)().retry, options)
  })

  it.each([
    [{ attempts: 0 }, "Retry.attempts of tool \"work\" is 0; it must be an integer of at least 1"],
    [{ attempts: -1 }, "is -1"],
    [{ attempts: 1.5 }, "is 1.5"],
    [{ attempts: NaN }, "is NaN"],
    [{ attempts: Infinity }, "is Infinity"],
    [{ attempts: "3" }, "Retry.attempts"],
    [{ base: -1 }, "Retry.base of tool \"work\" is -1; it must be a finite duration of at least 0"],
    [{ base: NaN }, "is NaN"],
    [{ base: Infinity }, "is Infinity"],
    [{ base: "soon" }, "is soon"],
    [{ maxDelay: -1 }, "Retry.maxDelay"],
    [{ maxDelay: Infinity }, "Retry.maxDelay"],
    [{ factor: 0.5 }, "Retry.factor of tool \"work\" is 0.5; it must be a finite number of at least 1"],
    [{ factor: NaN }, "is NaN"],
    [{ factor: Infinity }, "is Infinity"],
    [{ maxRetryAfter: -1 }, "Retry.maxRetryAfter"],
    [{ maxRetryAfter: NaN }, "Retry.maxRetryAfter"],
    [{ schedule: "1 seconds" }, "it must be a Schedule"],
    [{ while: true }, "it must be a function"],
    [{ schedule: Schedule.spaced("1 seconds"), base: 1 }, "it must be given alone"],
    [{ retries: 3 }, "Retry.retries of tool \"work\" is given; it must be one of attempts"],
    [3, "Retry of tool \"work\" is 3; it must be an object of options"],
    [true, "is true"],
    [null, "is null"]
  ])("dies on %o, naming the tool, the option and the value", (options, message) => {
    assert.throws(retryOf(options), message)
  })
})

describe("ToolPolicy.Hedge", () => {
  it.each([{}, { after: "1 seconds" }, { max: 3 }, { budget: 1 }, { budget: 0.01 }, { after: undefined }])(
    "takes %o",
    (options) => {
      assert.strictEqual<unknown>(hedgeOf(options)().hedge, options)
    }
  )

  it.each([
    [{ after: 0 }, "Hedge.after of tool \"work\" is 0; it must be a finite duration above 0"],
    [{ after: -1 }, "is -1"],
    [{ after: NaN }, "is NaN"],
    [{ after: Infinity }, "is Infinity"],
    [{ after: "later" }, "is later"],
    [{ max: 0 }, "Hedge.max of tool \"work\" is 0; it must be an integer of at least 1"],
    [{ max: 0.5 }, "Hedge.max"],
    [{ max: NaN }, "Hedge.max"],
    [{ max: Infinity }, "Hedge.max"],
    [{ budget: 0 }, "Hedge.budget of tool \"work\" is 0; it must be a number above 0 and at most 1"],
    [{ budget: -0.1 }, "Hedge.budget"],
    [{ budget: 1.1 }, "Hedge.budget"],
    [{ budget: NaN }, "Hedge.budget"],
    [{ times: 3 }, "one of after, max, budget"],
    [false, "it must be an object of options"]
  ])("dies on %o, naming the tool, the option and the value", (options, message) => {
    assert.throws(hedgeOf(options), message)
  })
})

describe("a tool that may not be repeated", () => {
  it("has neither retries nor hedges: it dies and says which annotation is missing; switching off is fine", () => {
    const write = Tool.make("write")
    const annotation = "Tool.Readonly or Tool.Idempotent"
    assert.throws(() => ToolPolicy.read(write.annotate(ToolPolicy.Retry, {})), annotation)
    assert.throws(() => ToolPolicy.read(write.annotate(ToolPolicy.Hedge, {})), annotation)
    assert.strictEqual(ToolPolicy.read(write.annotate(ToolPolicy.Retry, false)).retry, false)
    assert.isDefined(ToolPolicy.read(write.annotate(Tool.Idempotent, true).annotate(ToolPolicy.Hedge, {})).hedge)
  })
})
