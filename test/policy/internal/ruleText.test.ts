import { assert, describe, it } from "@effect/vitest"
import * as Result from "effect/Result"
import { formatMillis, formatRule, parseRule, parseRules } from "../../../src/policy/internal/ruleText.ts"
import { fixedWindow, permits, type Rule, slidingWindow, tokenBucket } from "../../../src/policy/Limiter.ts"
import { random } from "../../random.ts"

const rule = (text: string): Rule => {
  const parsed = parseRule(text)
  return Result.isSuccess(parsed) ? parsed.success : assert.fail(parsed.failure)
}

const failure = (text: string): string => {
  const parsed = parseRules(text)
  return Result.isFailure(parsed)
    ? parsed.failure
    : assert.fail(`"${text}" was read as ${JSON.stringify(parsed.success)}`)
}

describe("ruleText", () => {
  const cases: ReadonlyArray<readonly [string, Rule]> = [
    ["500 calls / 1 minute sliding", slidingWindow({ limit: 500, window: "1 minute" })],
    ["500 calls / 1 minute", slidingWindow({ limit: 500, window: "1 minute" })],
    ["500 / minute", slidingWindow({ limit: 500, window: "1 minute" })],
    ["500/min", slidingWindow({ limit: 500, window: "1 minute" })],
    ["1 call per second", slidingWindow({ limit: 1, window: "1 second" })],
    ["3 requests per 250 millis", slidingWindow({ limit: 3, window: 250 })],
    ["  500  CALLS\t/ 1   Minute ", slidingWindow({ limit: 500, window: "1 minute" })],
    ["200_000 tokens / 1 minute", slidingWindow({ limit: 200_000, window: "1 minute", unit: "tokens" })],
    ["10000 calls / 1 day fixed", fixedWindow({ limit: 10_000, window: "1 day" })],
    [
      "200000 tokens / 1 minute bucket",
      tokenBucket({ capacity: 200_000, refill: 200_000, every: 60_000, unit: "tokens" })
    ],
    ["4 calls / 1 second bucket of 10", tokenBucket({ capacity: 10, refill: 4, every: "1 second" })],
    ["0.5 calls / 1 second bucket of 1", tokenBucket({ capacity: 1, refill: 0.5, every: "1 second" })],
    ["10 at once", permits(10)],
    ["10 at once lease 2 minutes", permits(10, { lease: "2 minutes" })],
    ["1 call / 1.5 s", slidingWindow({ limit: 1, window: 1500 })]
  ]

  it.each(cases)("reads \"%s\"", (text, expected) => {
    assert.deepStrictEqual(rule(text), expected)
  })

  it("reads several rules, in their order", () => {
    const parsed = parseRules("500 calls / 1 minute, 200000 tokens / 1 minute bucket ,10 at once")
    assert.deepStrictEqual(Result.getOrThrow(parsed).map(formatRule), [
      "500 calls / 1 minute sliding",
      "200000 tokens / 1 minute bucket",
      "10 at once"
    ])
  })

  const wrong: ReadonlyArray<readonly [string, ReadonlyArray<string>]> = [
    ["", ["\"\"", "no rule"]],
    ["500", ["\"500\"", "no rule"]],
    ["200,000 tokens / 1 minute", ["\"200\"", "no rule"]],
    ["500 calls / 1 minute,", ["\"\"", "no rule"]],
    ["0 calls / 1 minute", ["0 must be an integer of at least 1"]],
    ["1.5 calls / 1 minute", ["1.5 must be an integer of at least 1"]],
    ["-5 calls / 1 minute", ["no rule"]],
    ["NaN calls / 1 minute", ["no rule"]],
    ["500 calls / 0 minutes", ["0 minutes must be above 0"]],
    ["500 calls / 1 fortnight", ["\"fortnight\" is no unit of time"]],
    ["500 cals / 1 minute", ["no rule"]],
    ["500 calls / 1 minute leaky", ["no rule"]],
    ["0.5 calls / 1 second bucket", ["bucket of 1"]],
    ["5 calls / 1 second bucket of 0", ["bucket of 0"]],
    ["5 calls / 1 second sliding of 7", ["no rule"]],
    ["0 at once", ["0 must be an integer"]],
    ["1.5 at once", ["1.5 must be an integer"]],
    ["10 at once lease 0 seconds", ["must be above 0"]],
    ["10 tokens at once", ["no rule"]],
    [`${"9".repeat(400)} calls / 1 minute`, ["must be an integer"]],
    [`1 call / ${"9".repeat(400)} days`, ["must be above 0"]],
    ["x".repeat(100_000), ["no rule", "..."]]
  ]

  it.each(wrong.map(([text, parts]) => [text.slice(0, 40), text, parts] as const))(
    "refuses \"%s\"",
    (_, text, parts) => {
      const message = failure(text)
      for (const part of parts) assert.include(message, part)
      assert.isBelow(message.length, 1000)
    }
  )

  it("writes what it reads: every rule comes back the same", () => {
    for (let seed = 1; seed <= 2000; seed++) {
      const r = random(seed)
      const window = r.pick([r.int(1, 5000), r.int(1, 500) * 1000, r.int(1, 100) * 60_000, r.int(1, 40) * 3_600_000])
      const unit = r.pick(["calls", "tokens"] as const)
      const count = r.pick([1, r.int(1, 50), r.int(1, 1e9), Number.MAX_SAFE_INTEGER])
      const one = r.pick<Rule>([
        slidingWindow({ limit: count, window, unit }),
        fixedWindow({ limit: count, window: r.chance(0.2) ? window / 3 : window, unit }),
        tokenBucket({ capacity: count, refill: r.pick([count, r.next() + 1e-9, 1e-9, 1e21]), every: window, unit }),
        permits(count, r.chance(0.5) ? {} : { lease: window })
      ])
      assert.deepStrictEqual(rule(formatRule(one)), one, `seed ${seed}: ${formatRule(one)}`)
    }
  })

  it.each([
    [1, "1 milli"],
    [250, "250 millis"],
    [1000, "1 second"],
    [90_000, "90 seconds"],
    [60_000, "1 minute"],
    [5_400_000, "90 minutes"],
    [86_400_000, "1 day"],
    [0.5, "0.5 millis"]
  ])("writes %d ms as %s", (millis, text) => {
    assert.strictEqual(formatMillis(millis), text)
  })
})
