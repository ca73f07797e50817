/**
 * A closed loop in virtual time: callers that always want more, behind one or several `Adaptive` states, and a service with a
 * limit nobody told them. Deterministic: seeded latencies, an event queue, no timers.
 */
import * as Adaptive from "../../../src/policy/internal/adaptive.ts"
import type { Signal } from "../../../src/policy/LimiterStore.ts"
import { random } from "../../random.ts"

export interface Service {
  /** Calls in any sliding `windowMillis`, at a time. */
  readonly limit: (now: number) => number
  readonly windowMillis: number
  /** What its refusals say. */
  readonly retryAfter: "seconds" | "exact" | "absent" | "zero"
}

export interface Ran {
  readonly good: ReadonlyArray<number>
  readonly refused: ReadonlyArray<number>
  /** By limiter. */
  readonly admitted: ReadonlyArray<number>
}

interface Answer {
  readonly at: number
  readonly signal: Signal
}

/**
 * `demand`: calls per millisecond that arrive; they queue without bound, up to `inFlight` are on the way at once. `limiters`
 * take turns at one state.
 */
export const run = (options: {
  readonly service: Service
  readonly seed: number
  readonly forMillis: number
  readonly demand: (now: number) => number
  readonly inFlight?: number
  readonly limiters?: number
  readonly state?: Adaptive.State
  readonly latencyMillis?: number
}): Ran => {
  const { next } = random(options.seed)
  const state = options.state ?? Adaptive.make()
  const limiters = options.limiters ?? 1
  const admitted = Array.from({ length: limiters }, () => 0)
  const window: Array<number> = []
  const good: Array<number> = []
  const refused: Array<number> = []
  let answers: Array<Answer> = []
  let queued = 0
  let turn = 0
  // One step is a millisecond: the coarseness of real timers.
  for (let now = 0; now < options.forMillis; now++) {
    queued += options.demand(now)
    const due = answers.filter((answer) => answer.at <= now)
    if (due.length > 0) {
      answers = answers.filter((answer) => answer.at > now)
      for (const answer of due) Adaptive.observe(state, now, answer.signal)
    }
    while (queued >= 1 && answers.length < (options.inFlight ?? 1000) && Adaptive.wait(state, now) === 0) {
      Adaptive.take(state, now, 1)
      queued -= 1
      turn = (turn + 1) % limiters
      admitted[turn] = admitted[turn]! + 1
      const { service } = options
      while (window.length > 0 && window[0]! <= now - service.windowMillis) window.shift()
      if (window.length < service.limit(now)) {
        window.push(now)
        good.push(now)
        const latencyMillis = (options.latencyMillis ?? 200) * (0.5 + next())
        answers.push({ at: now + latencyMillis, signal: { congested: false, grantedAt: now, latencyMillis } })
      } else {
        refused.push(now)
        const exact = window[window.length - service.limit(now)]! + service.windowMillis - now
        const retryAfterMillis = service.retryAfter === "absent"
          ? undefined
          : service.retryAfter === "zero"
          ? 0
          : service.retryAfter === "exact"
          ? exact
          : Math.ceil(exact / 1000) * 1000
        const latencyMillis = 10 + 40 * next()
        answers.push({
          at: now + latencyMillis,
          signal: { congested: true, grantedAt: now, latencyMillis, retryAfterMillis }
        })
      }
    }
  }
  return { good, refused, admitted }
}

/** How many of the times lie in `[from, to)`. */
export const count = (times: ReadonlyArray<number>, from: number, to: number): number =>
  times.filter((time) => time >= from && time < to).length
