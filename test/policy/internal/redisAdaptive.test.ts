import { assert, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Adaptive from "../../../src/policy/internal/adaptive.ts"
import { adaptive, adaptiveObserve } from "../../../src/policy/internal/redisAdaptive.ts"
import type { Signal } from "../../../src/policy/LimiterStore.ts"
import { random } from "../../random.ts"
import { describeRedis, RedisServer } from "../../redis.ts"

type Step =
  | { readonly _tag: "Take"; readonly now: number; readonly calls: number }
  | { readonly _tag: "Observe"; readonly now: number; readonly signal: Signal }

const fields = [
  "rate",
  "ceiling",
  "nextAt",
  "pausedUntil",
  "decreasedAt",
  "grownAt",
  "used",
  "usedAt",
  "latency",
  "baseline"
] as const

// Plays steps on the script's functions, packed and loaded between any two, as the store does.
const player = `
local floor, ceil, max, min, huge = math.floor, math.ceil, math.max, math.min, math.huge
local pack, bytes = struct.pack, struct.unpack
${adaptive}${adaptiveObserve}
local answer, kept = {}, false
for _, step in ipairs(cjson.decode(ARGV[1])) do
  local s, now = adaptiveLoad(kept), step[2]
  if step[1] == 'Take' then adaptiveTake(s, now, step[3]) else
    observe(s, now, step[3], step[4], step[5], step[6], step[7], step[8])
  end
  kept = adaptivePack(s)
  for _, value in ipairs({${fields.map((field) => `s.${field}`).join(", ")}, rateAt(s, now), adaptiveWait(s, now)}) do
    answer[#answer + 1] = string.format('%.17g', value)
  end
end
return answer
`

const encoded = (step: Step): ReadonlyArray<unknown> => {
  if (step._tag === "Take") return ["Take", step.now, step.calls]
  const { congested, grantedAt, latencyMillis, remaining, resetMillis, retryAfterMillis } = step.signal
  const said = [retryAfterMillis, remaining, resetMillis, latencyMillis].map((value) => value ?? false)
  return ["Observe", step.now, grantedAt, congested, ...said]
}

// A service with jams, calm, budgets, slow answers and long silences, all drawn.
const story = (seed: number, count: number): ReadonlyArray<Step> => {
  const r = random(seed)
  let now = 2.8e10 + r.next()
  return Array.from({ length: count }, (): Step => {
    now += r.chance(0.01) ? r.int(60_000, 1_500_000) : r.chance(0.1) ? r.int(1000, 40_000) : r.next() * 200
    if (r.chance(0.5)) return { _tag: "Take", now, calls: r.chance(0.9) ? 1 : r.int(2, 50) }
    const some = <A>(p: number, value: A): A | undefined => r.chance(p) ? value : undefined
    return {
      _tag: "Observe",
      now,
      signal: {
        congested: r.chance(0.1),
        grantedAt: now - (r.chance(0.9) ? r.int(0, 3000) : r.int(0, 100_000)),
        retryAfterMillis: some(0.1, r.pick([0, 1, 500, 30_000, 86_400_000])),
        remaining: some(0.2, r.pick([0, 0.5, 1, 10, 10_000])),
        resetMillis: some(0.3, r.pick([0, 10, 1000, 60_000, 3_600_000])),
        latencyMillis: some(0.7, r.chance(0.05) ? r.int(5000, 60_000) : r.int(1, 400))
      }
    }
  })
}

const play = (steps: ReadonlyArray<Step>): ReadonlyArray<number> => {
  const state = Adaptive.make()
  return steps.flatMap((step) => {
    if (step._tag === "Take") Adaptive.take(state, step.now, step.calls)
    else Adaptive.observe(state, step.now, step.signal)
    const values = fields.map((field) => state[field])
    return [...values, Adaptive.rateAt(state, step.now), Adaptive.wait(state, step.now)]
  })
}

const names = [...fields, "rateAt", "wait"]

describeRedis("redisAdaptive", () => {
  layer(RedisServer.layer(), { excludeTestServices: true })((it) => {
    for (let seed = 1; seed <= 20; seed++) {
      it.effect(`the script learns what adaptive.ts learns, from the same 1,000 signals (seed ${seed})`, () =>
        Effect.gen(function*() {
          const server = yield* RedisServer
          const steps = story(seed, 1000)
          const expected = play(steps)
          const reply = yield* server.send("EVAL", player, "0", JSON.stringify(steps.map(encoded)))
          const found = (reply as ReadonlyArray<string>).map(Number)
          assert.strictEqual(found.length, expected.length)
          for (const [i, value] of expected.entries()) {
            // A power of two may differ in its last digit.
            const slack = 1e-9 * Math.max(1, Math.abs(value))
            const step = Math.floor(i / names.length)
            assert.approximately(found[i]!, value, slack, `${names[i % names.length]} after step ${step}, seed ${seed}`)
          }
          assert.isTrue(expected.some((value, i) => i % names.length === 0 && value > 0), "something was learnt")
        }))
    }
  })
})
