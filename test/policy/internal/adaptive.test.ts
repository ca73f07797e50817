import { assert, describe, it } from "@effect/vitest"
import * as Adaptive from "../../../src/policy/internal/adaptive.ts"
import type { Signal } from "../../../src/policy/LimiterStore.ts"
import { random } from "../../random.ts"
import { count, run } from "./simulatedApi.ts"
import type { Service } from "./simulatedApi.ts"

// A clock far from 0, as a store's is.
const start = 1_800_000_000_000

// Admits as fast as the state lets it, one call every `every` at most; the times.
const admit = (state: Adaptive.State, from: number, until: number, every = 1): Array<number> => {
  const times: Array<number> = []
  for (let now = from; now < until; now += every) {
    if (Adaptive.wait(state, now) > 0) continue
    Adaptive.take(state, now, 1)
    times.push(now)
  }
  return times
}

const refusal = (grantedAt: number, rest?: Partial<Signal>): Signal => ({ congested: true, grantedAt, ...rest })
const good = (grantedAt: number, rest?: Partial<Signal>): Signal => ({ congested: false, grantedAt, ...rest })
const perSecond = (state: Adaptive.State, now: number): number => Adaptive.stateOf(state, now).callsPerSecond

describe("a limit that has learnt nothing", () => {
  it("lets everything pass, whatever good answers say", () => {
    const state = Adaptive.make()
    for (let now = start; now < start + 5000; now++) {
      assert.strictEqual(Adaptive.wait(state, now), 0)
      Adaptive.take(state, now, 3)
      Adaptive.observe(state, now, good(now, { latencyMillis: 5, limit: 1e6, remaining: 999_000, resetMillis: 60 }))
    }
    assert.strictEqual(perSecond(state, start + 5000), Number.POSITIVE_INFINITY)
  })

  it("works from clock 0 on", () => {
    const state = Adaptive.make()
    Adaptive.take(state, 0, 1)
    Adaptive.observe(state, 0, refusal(0, { retryAfterMillis: 500 }))
    assert.strictEqual(Adaptive.wait(state, 0), 500)
  })
})

describe("a refusal", () => {
  it("pauses for what the service asks, then lets calls leave one by one at half of what was admitted", () => {
    const state = Adaptive.make()
    const at = start + 6000
    admit(state, start, at, 50)
    Adaptive.observe(state, at, refusal(at - 50, { retryAfterMillis: 3000 }))
    assert.strictEqual(Adaptive.wait(state, at), 3000)
    assert.approximately(perSecond(state, at), 10, 0.3)
    const times = admit(state, at, at + 5000)
    assert.strictEqual(times[0], at + 3000)
    for (let i = 1; i < times.length; i++) assert.isAtLeast(times[i]! - times[i - 1]!, 75)
  })

  it("counts one jam once, however many calls in flight report it, and keeps to the longest pause asked for", () => {
    const one = Adaptive.make()
    const many = Adaptive.make()
    for (const state of [one, many]) for (let i = 0; i < 20; i++) Adaptive.take(state, start + i, 1)
    Adaptive.observe(one, start + 100, refusal(start + 5, { retryAfterMillis: 1000 }))
    for (let i = 0; i < 20; i++) Adaptive.observe(many, start + 100, refusal(start + i, { retryAfterMillis: 1000 }))
    assert.deepStrictEqual(many, one)
    Adaptive.observe(many, start + 400, refusal(start + 19, { retryAfterMillis: 5000 }))
    assert.strictEqual(Adaptive.wait(many, start + 400), 5000)
    assert.strictEqual(many.rate, one.rate)
    Adaptive.observe(many, start + 401, refusal(start + 19))
    assert.strictEqual(Adaptive.wait(many, start + 400), 5000)
  })

  it("halves what was really admitted, not a ceiling nobody used", () => {
    const state = Adaptive.make()
    admit(state, start, start + 6000, 10)
    Adaptive.observe(state, start + 6000, refusal(start + 5990, { retryAfterMillis: 1000 }))
    assert.approximately(perSecond(state, start + 6000), 50, 2)
    admit(state, start + 7000, start + 15_000, 500)
    Adaptive.observe(state, start + 15_000, refusal(start + 14_500, { retryAfterMillis: 1000 }))
    assert.approximately(perSecond(state, start + 15_000), 1, 0.1)
  })

  it("backs off where the service names no pause, and keeps to one call a minute at least", () => {
    const state = Adaptive.make()
    let now = start
    const waits: Array<number> = []
    for (let i = 0; i < 12; i++) {
      now += Adaptive.wait(state, now)
      Adaptive.take(state, now, 1)
      Adaptive.observe(state, now, refusal(now))
      waits.push(Math.round(Adaptive.wait(state, now)))
    }
    assert.deepStrictEqual(waits.slice(0, 6), [2000, 4000, 8000, 16_000, 32_000, 60_000])
    assert.strictEqual(waits[11], 60_000)
  })

  it("is paced where the service asks for no pause at all", () => {
    const state = Adaptive.make()
    for (let i = 0; i < 20; i++) Adaptive.take(state, start, 1)
    Adaptive.observe(state, start, refusal(start, { retryAfterMillis: 0 }))
    const times = admit(state, start, start + 2000)
    assert.strictEqual(times[0], start + 100)
    assert.isAtMost(times.length, 21)
  })

  it("is paced after an idle time as well: what was not used is gone", () => {
    const state = Adaptive.make()
    admit(state, start, start + 6000, 50)
    Adaptive.observe(state, start + 6000, refusal(start + 5950, { retryAfterMillis: 0 }))
    assert.isAtMost(admit(state, start + 60_000, start + 61_000).length, 11)
  })

  it("is waited for an hour at most", () => {
    const state = Adaptive.make()
    Adaptive.take(state, start, 1)
    Adaptive.observe(state, start, refusal(start, { retryAfterMillis: 86_400_000 }))
    assert.strictEqual(Adaptive.wait(state, start), Adaptive.maxPauseMillis)
  })
})

describe("good answers", () => {
  const learnt = (): Adaptive.State => {
    const state = Adaptive.make()
    admit(state, start - 6000, start, 50)
    Adaptive.observe(state, start, refusal(start - 50, { retryAfterMillis: 0 }))
    return state
  }

  it("bring the rate back near the last jam's in seconds, then raise it slowly, and faster when it goes well", () => {
    const state = learnt()
    const rates: Array<number> = []
    for (let now = start; now < start + 60_000; now++) {
      if (Adaptive.wait(state, now) === 0) Adaptive.take(state, now, 1)
      if (now % 100 === 0) Adaptive.observe(state, now, good(now, { latencyMillis: 200 }))
      if (now % 1000 === 0) rates.push(perSecond(state, now))
    }
    assert.isBelow(rates[1]!, 17)
    assert.isAbove(rates[8]!, 18)
    assert.isBelow(rates[10]!, 21.5)
    assert.isAbove(rates[59]!, 40)
  })

  it("say the same however many of them are left out", () => {
    const [often, seldom] = [1, 25].map((every) => {
      const state = learnt()
      for (let i = 1; i <= 500; i++) {
        const now = start + i * 40
        if (Adaptive.wait(state, now) === 0) Adaptive.take(state, now, 1)
        if (i % every === 0) Adaptive.observe(state, now, good(now))
      }
      return perSecond(state, start + 20_000)
    })
    assert.approximately(seldom! / often!, 1, 0.05)
  })

  it("do not raise a rate that is not used, nor count from before the jam", () => {
    const idle = learnt()
    for (let now = start + 1000; now < start + 60_000; now += 500) {
      Adaptive.take(idle, now, 1)
      Adaptive.observe(idle, now, good(now))
    }
    assert.approximately(perSecond(idle, start + 60_000), 10, 0.3)
    const before = learnt()
    admit(before, start, start + 3000)
    for (let i = 0; i < 30; i++) Adaptive.observe(before, start + 3000 + i, good(start - 1))
    assert.approximately(perSecond(before, start + 3000), 10, 0.3)
  })

  it("that take twice as long hold the rate, four times as long lower it, and a lasting change is the new normal", () => {
    const grown = (latencyMillis: number, forMillis: number): number => {
      const state = learnt()
      for (let i = 0; i < 50; i++) Adaptive.observe(state, start, good(start, { latencyMillis: 100 }))
      for (let now = start; now < start + forMillis; now++) {
        if (Adaptive.wait(state, now) === 0) Adaptive.take(state, now, 1)
        if (now % 50 === 0) Adaptive.observe(state, now, good(now, { latencyMillis }))
      }
      return perSecond(state, start + forMillis)
    }
    assert.isAbove(grown(150, 20_000), 19)
    assert.isAbove(grown(150, 4000), 16)
    assert.isBelow(grown(260, 4000), 14)
    assert.isBelow(grown(2000, 4000), grown(260, 4000))
    assert.isAbove(grown(2000, 4000), 9)
    assert.isAbove(grown(2000, 300_000), 18)
  })

  it("that take ever longer bring the rate down again, to half of the last jam's at most", () => {
    const state = learnt()
    const rates: Array<number> = []
    for (let now = start; now < start + 40_000; now++) {
      if (Adaptive.wait(state, now) === 0) Adaptive.take(state, now, 1)
      const latencyMillis = now < start + 10_000 ? 100 : 100 * 1.2 ** ((now - start - 10_000) / 1000)
      if (now % 50 === 0) Adaptive.observe(state, now, good(now, { latencyMillis }))
      if (now % 1000 === 0) rates.push(perSecond(state, now))
    }
    assert.isBelow(rates[35]!, 0.8 * rates[10]!)
    assert.isAtLeast(Math.min(...rates), 9)
  })

  it("fade a limit without a jam: slowly after ten minutes, to none after twenty", () => {
    const state = learnt()
    const minute = 60_000
    assert.strictEqual(perSecond(state, start + 9 * minute), perSecond(state, start))
    assert.approximately(perSecond(state, start + 12 * minute), 4 * perSecond(state, start), 0.1)
    assert.strictEqual(perSecond(state, start + 21 * minute), Number.POSITIVE_INFINITY)
    assert.strictEqual(Adaptive.wait(state, start + 21 * minute), 0)
    Adaptive.observe(state, start + 21 * minute, good(start + 21 * minute))
    assert.strictEqual(state.rate, 0)
  })
})

describe("a service's own count", () => {
  it("spreads what is left until its reset", () => {
    const state = Adaptive.make()
    admit(state, start - 6000, start, 50)
    Adaptive.observe(state, start, good(start - 50, { limit: 100, remaining: 30, resetMillis: 10_000 }))
    assert.isAtMost(admit(state, start, start + 10_000).length, 31)
  })

  it("waits for the reset when nothing is left, then goes on in no herd", () => {
    const state = Adaptive.make()
    admit(state, start - 6000, start, 50)
    Adaptive.observe(state, start, good(start - 50, { limit: 100, remaining: 0, resetMillis: 7000 }))
    assert.strictEqual(Adaptive.wait(state, start), 7000)
    const times = admit(state, start, start + 8000)
    assert.strictEqual(times[0], start + 7000)
    assert.isAtMost(times.length, 22)
  })

  it("does not slow down calls that it has room for", () => {
    const state = Adaptive.make()
    admit(state, start - 6000, start, 50)
    Adaptive.observe(state, start, good(start, { limit: 5000, remaining: 4000, resetMillis: 3_000_000 }))
    Adaptive.observe(state, start, good(start, { limit: 60, remaining: 59, resetMillis: 1000 }))
    Adaptive.observe(state, start, good(start, { limit: 3, remaining: 0, resetMillis: 0 }))
    assert.strictEqual(perSecond(state, start), Number.POSITIVE_INFINITY)
  })

  it("comes back to the rate of before after the reset", () => {
    const state = Adaptive.make()
    admit(state, start - 6000, start, 50)
    Adaptive.observe(state, start, good(start - 50, { remaining: 2, resetMillis: 5000 }))
    assert.isBelow(perSecond(state, start), 1)
    for (let now = start; now < start + 25_000; now++) {
      if (Adaptive.wait(state, now) === 0) Adaptive.take(state, now, 1)
      if (now % 100 === 0) Adaptive.observe(state, now, good(now))
    }
    assert.isAbove(perSecond(state, start + 25_000), 15)
  })
})

describe("whatever a service says", () => {
  const strange = [
    Number.NaN,
    Number.POSITIVE_INFINITY,
    Number.NEGATIVE_INFINITY,
    -1,
    -1e300,
    0,
    1e-300,
    Number.MIN_VALUE,
    0.5,
    1,
    1e4,
    86_400_000,
    1e300,
    Number.MAX_VALUE,
    Number.MAX_SAFE_INTEGER,
    undefined
  ]

  const seeds = Array.from({ length: 300 }, (_, index) => index + 1)

  it("all numbers stay numbers, a wait is an hour at most, and the rate one call a minute at least", () => {
    for (const seed of seeds) {
      const { next, pick } = random(seed)
      const state = Adaptive.make()
      let now = next() < 0.5 ? 0 : start
      for (let step = 0; step < 200; step++) {
        // The clock may stand, jump ahead, and step back.
        now = Math.max(0, now + pick([0, 0, 1, 10, 1000, 60_000, 3_600_000, -500]))
        if (next() < 0.5) Adaptive.take(state, now, pick([1, 1, 2, 1000, Number.MAX_SAFE_INTEGER]))
        Adaptive.observe(state, now, {
          congested: next() < 0.3,
          grantedAt: next() < 0.7 ? now : pick(strange) as number,
          retryAfterMillis: pick(strange),
          limit: pick(strange),
          remaining: pick(strange),
          resetMillis: pick(strange),
          latencyMillis: pick(strange)
        })
        const told = `seed ${seed}, step ${step}: ${JSON.stringify(state)}`
        for (const value of Object.values(state)) assert.isTrue(Number.isFinite(value), told)
        assert.isTrue(state.rate === 0 || state.rate >= Adaptive.minRate, told)
        const wait = Adaptive.wait(state, now)
        assert.isTrue(wait >= 0 && wait <= Adaptive.maxPauseMillis, told)
        const said = Adaptive.stateOf(state, now)
        assert.isTrue(said.callsPerSecond > 0 && said.pausedMillis >= 0 && said.nextInMillis >= 0, told)
      }
    }
  })

  it("nothing passes before the time it last asked for", () => {
    for (const seed of seeds) {
      const { next } = random(seed)
      const state = Adaptive.make()
      let now = start
      let asked = 0
      for (let step = 0; step < 200; step++) {
        now += Math.floor(next() * 400)
        if (Adaptive.wait(state, now) === 0) {
          assert.isAtLeast(now, asked, `seed ${seed}, step ${step}`)
          Adaptive.take(state, now, 1)
        }
        if (next() < 0.2) {
          const retryAfterMillis = Math.floor(next() * 5000)
          asked = Math.max(asked, now + retryAfterMillis)
          Adaptive.observe(state, now, refusal(now - next() * 1000, { retryAfterMillis }))
        } else {
          Adaptive.observe(state, now, good(now - next() * 1000, { latencyMillis: next() * 1000 }))
        }
      }
    }
  })

  it("admissions in any window stay within the learnt rate and 20 ms", () => {
    for (const seed of seeds.slice(0, 50)) {
      const { next } = random(seed)
      const state = Adaptive.make()
      const every = 1 + Math.floor(next() * 100)
      admit(state, start - 6000, start, every)
      Adaptive.observe(state, start, refusal(start, { retryAfterMillis: 100 }))
      const times = admit(state, start, start + 4000, 1 + Math.floor(next() * 5))
      assert.isNotEmpty(times)
      for (let i = 0; i < times.length; i++) {
        for (let j = i; j < times.length; j++) {
          const bound = 1 + state.rate * (times[j]! - times[i]! + 20) + 1e-6
          assert.isAtMost(j - i + 1, bound + 1, `seed ${seed}`)
        }
      }
    }
  })
})

describe("against a service whose limit nobody told", () => {
  const ten: Service = { limit: () => 10, windowMillis: 1000, retryAfter: "seconds" }

  it.each(["seconds", "exact", "absent", "zero"] as const)(
    "reaches at least 80 % of it with one refusal in fifty (Retry-After: %s)",
    (retryAfter) => {
      for (const seed of [1, 2, 3]) {
        const ran = run({ service: { ...ten, retryAfter }, seed, forMillis: 180_000, demand: () => 0.03 })
        const told = `seed ${seed}`
        assert.isAtLeast(count(ran.good, 30_000, 180_000), 0.8 * 1500, told)
        assert.isAtMost(count(ran.refused, 30_000, 180_000), 30, told)
        assert.isAtMost(count(ran.refused, 0, 30_000), 20, told)
      }
    }
  )

  it.each([[1000, 1000], [500, 60_000], [60, 60_000], [3, 60_000]])(
    "finds a limit of %d per %d ms",
    (limit, windowMillis) => {
      const service: Service = { limit: () => limit, windowMillis, retryAfter: "seconds" }
      const rate = limit / windowMillis
      const forMillis = Math.max(120_000, 30 * windowMillis)
      const ran = run({ service, seed: 4, forMillis, demand: () => 3 * rate })
      assert.isAtLeast(count(ran.good, forMillis / 2, forMillis), 0.8 * rate * forMillis / 2)
      assert.isAtMost(ran.refused.length, 0.25 * ran.good.length)
    }
  )

  it("spends few calls on a crowd that comes at once", () => {
    const ran = run({ service: ten, seed: 5, forMillis: 30_000, demand: (now) => now === 0 ? 200 : 0 })
    assert.strictEqual(ran.good.length + ran.refused.length, 200)
    // All 200 are out before the first refusal is back; from then on it is paced.
    assert.isAtMost(count(ran.good, 1, 30_000), 0)
    const capped = run({ service: ten, seed: 5, forMillis: 60_000, inFlight: 20, demand: (now) => now === 0 ? 200 : 0 })
    assert.isAtMost(capped.refused.length, 25)
    assert.isAtLeast(capped.good.length, 175)
  })

  it("follows a limit that doubles", () => {
    const service: Service = { ...ten, limit: (now) => now < 60_000 ? 10 : 20 }
    const ran = run({ service, seed: 6, forMillis: 240_000, demand: () => 0.06 })
    assert.isAtLeast(count(ran.good, 140_000, 240_000), 0.8 * 2000)
    assert.isAtMost(count(ran.refused, 60_000, 240_000), 60)
  })

  it("follows a limit that halves", () => {
    const service: Service = { ...ten, limit: (now) => now < 60_000 ? 10 : 5 }
    const ran = run({ service, seed: 7, forMillis: 180_000, demand: () => 0.06 })
    assert.isAtLeast(count(ran.good, 80_000, 180_000), 0.8 * 500)
    assert.isAtMost(count(ran.refused, 60_000, 180_000), 30)
  })

  it("is shared by two limiters of one state", () => {
    const alone = run({ service: ten, seed: 8, forMillis: 120_000, demand: () => 0.06 })
    const shared = run({ service: ten, seed: 8, forMillis: 120_000, demand: () => 0.06, limiters: 2 })
    assert.strictEqual(shared.good.length, alone.good.length)
    assert.isAtMost(Math.abs(shared.admitted[0]! - shared.admitted[1]!), 1)
  })
})
