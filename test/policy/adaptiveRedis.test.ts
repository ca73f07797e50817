import { assert, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Adaptive from "../../src/policy/internal/adaptive.ts"
import { adaptive, adaptiveObserve } from "../../src/policy/internal/redisAdaptive.ts"
import type { Signal } from "../../src/policy/LimiterStore.ts"
import { limiterOn } from "../faults/redisLimiter.ts"
import { random } from "../random.ts"
import { describeRedis, RedisServer } from "../redis.ts"

interface Step {
  readonly now: number
  readonly calls: number
  readonly signal: Signal
}

// Numbers as both sides read them: the encoder of the Redis store bounds what a service says.
const told = (value: number | undefined): number | false => value === undefined || Number.isNaN(value) ? false : value

// The port, step by step with the clock that the test gives it; the state after each step, with the wait.
const twin = `local min, max, pack, bytes = math.min, math.max, struct.pack, struct.unpack
${adaptive}${adaptiveObserve}
local s = adaptiveLoad(false)
local answer = {}
for i, step in ipairs(cjson.decode(ARGV[1])) do
  local now = step[1]
  if step[2] > 0 then adaptiveTake(s, now, step[2]) end
  local said = step[3]
  observe(s, now, said[1], said[2], said[3], said[4], said[5], said[6], said[7])
  s = adaptiveLoad(adaptivePack(s))
  local line = {}
  for j, name in ipairs({ 'rate', 'ceiling', 'nextAt', 'pausedUntil', 'decreasedAt', 'grownAt', 'used', 'usedAt', 'latency',
    'baseline' }) do line[j] = string.format('%.17g', s[name]) end
  line[11] = string.format('%.17g', adaptiveWait(s, now))
  answer[i] = table.concat(line, ' ')
end
return answer`

const stepsOf = (seed: number): ReadonlyArray<Step> => {
  const { next, pick } = random(seed)
  let now = next() < 0.2 ? 0 : 1_800_000_000_000
  return Array.from({ length: 300 }, () => {
    now += pick([0, 1, 3.125, 20, 150, 150, 1000, 5000, 70_000, 660_000])
    const amount = (values: ReadonlyArray<number>) => next() < 0.7 ? undefined : pick(values)
    const often = next()
    return {
      now,
      calls: pick([0, 1, 1, 1, 5]),
      signal: {
        congested: next() < 0.15,
        isGuess: next() < 0.3,
        grantedAt: often < 0.2 ? Number.NaN : now - pick([0, 10, 500, 5000]),
        retryAfterMillis: amount([0, 20, 1000, 60_000, 86_400_000]),
        remaining: amount([0, 1, 20, 1e6]),
        resetMillis: amount([0, 1, 1000, 60_000, 3_600_000]),
        latencyMillis: often < 0.6 ? pick([5, 50, 200, 2000]) * (0.5 + next()) : undefined
      }
    }
  })
}

describeRedis("the learnt rate in Redis", () => {
  layer(RedisServer.layer(), { excludeTestServices: true })((it) => {
    it.effect("is the one in memory, number for number, on the same seeded signals", () =>
      Effect.gen(function*() {
        const server = yield* RedisServer
        let learnt = 0
        for (let seed = 1; seed <= 40; seed++) {
          const steps = stepsOf(seed)
          const sent = steps.map(({ calls, now, signal }) => [
            now,
            calls,
            [
              told(signal.grantedAt),
              signal.congested,
              told(signal.retryAfterMillis),
              told(signal.remaining),
              told(signal.resetMillis),
              told(signal.latencyMillis),
              signal.isGuess === true
            ]
          ])
          const lines = yield* server.send("EVAL", twin, "0", JSON.stringify(sent))
          assert.isArray(lines)
          assert.lengthOf(lines as ReadonlyArray<string>, steps.length)
          const state = Adaptive.make()
          steps.forEach(({ calls, now, signal }, index) => {
            if (calls > 0) Adaptive.take(state, now, calls)
            Adaptive.observe(state, now, signal)
            const found = String((lines as ReadonlyArray<string>)[index]).split(" ").map(Number)
            const expected = [...Object.values(state), Adaptive.wait(state, now)]
            expected.forEach((value, field) =>
              assert.approximately(
                found[field]!,
                value,
                Math.abs(value) * 1e-12,
                `seed ${seed}, step ${index}, field ${Object.keys(state)[field] ?? "wait"}`
              )
            )
            if (state.rate > 0) learnt++
          })
        }
        assert.isAbove(learnt, 1000)
      }))

    it.effect("is shared: what one process was told holds for the others, by the server's clock", () =>
      Effect.gen(function*() {
        const { send, url } = yield* RedisServer
        const time = Effect.map(send("TIME"), (reply) => {
          const [seconds, micros] = reply as ReadonlyArray<string>
          return Number(seconds) * 1000 + Number(micros) / 1000
        })
        const [one, other] = yield* Effect.all(
          [1, 2].map(() =>
            limiterOn(url, { onExceeded: "adaptive", connect: "now", commandTimeout: 5000, maxWait: "30 seconds" })
          )
        )
        const refusal = Effect.fail({ status: 429, headers: { "retry-after-ms": "700" } })
        const refusedAt = yield* time
        yield* Effect.exit(one!.withAdmission({ service: "api" })(refusal))
        const startedAt = yield* other!.withAdmission({ service: "api" })(time)
        assert.isAtLeast(startedAt - refusedAt, 700)
        // A day is RateLimited with the time, in the process that did not hear of it as well.
        yield* Effect.exit(
          other!.withAdmission({ service: "late" })(Effect.fail({ status: 429, headers: { "retry-after": "86400" } }))
        )
        const rejected = yield* Effect.flip(Effect.asVoid(one!.withAdmission({ service: "late" })(Effect.void)))
        assert.strictEqual(rejected.reason, "RateLimited")
        assert.isAbove(rejected.retryAfterMillis ?? 0, 3_590_000)
        assert.isAtMost(rejected.retryAfterMillis ?? 0, 3_600_000)
      }))
  })
})
