/**
 * The arithmetic of the `Adaptive` limit: a rate learnt from a service's answers. Plain numbers and no clock of its own, so that
 * the memory store and the script in Redis do the same.
 *
 * A new jam (a refusal of a call that was granted after the last jam) halves the rate that was really admitted and pauses;
 * later refusals of calls granted before it belong to the same jam. After the pause calls leave one by one at the learnt rate,
 * so that no herd returns at once. Good answers bring the rate back near the level of the last jam within seconds, then raise
 * it slowly, and faster the longer it goes well. Growth depends on time, not on the number of answers: a caller may leave good
 * answers out, and all of them that leave the service room while nothing is learnt. Without a jam a limit fades after ten
 * minutes and is forgotten after twenty.
 */
import type { LimitState, Signal } from "./store.ts"

/**
 * All times in milliseconds of the store's clock, rates in calls per millisecond.
 *
 * - `rate`: 0 is "not learnt": no limit. `ceiling`: the rate at which the last jam came.
 * - `nextAt`: when the next call may pass at this rate. `pausedUntil`: until then nothing passes; it is also the time of the
 *   last trouble. `decreasedAt`: the last jam's; -1 before the first. `grownAt`: when good answers last raised the rate.
 * - `used`, `usedAt`: calls admitted in about the second before `usedAt`.
 * - `latency`, `baseline`: of answers, smoothed fast, and what is normal; 0 is "not known".
 */
export interface State {
  rate: number
  ceiling: number
  nextAt: number
  pausedUntil: number
  decreasedAt: number
  grownAt: number
  used: number
  usedAt: number
  latency: number
  baseline: number
}

/** The longest pause: a service that asks for more is asked again after an hour. */
export const maxPauseMillis = 3_600_000
/** One call a minute: slower than that nothing would be learnt. */
export const minRate = 1 / 60_000
/** The pause after a refusal that names none. */
export const pauseMillis = 1000

// A million calls a second. What grows to it is no limit any more.
const maxRate = 1000
// Unused time that may be made up, since timers are coarse: at most 20 ms worth of calls leave together.
const slackMillis = 20
const usedMillis = 1000
// Growth goes in rounds of a second, or of one call where calls are rarer.
const roundMillis = 1000
// A budget is spread over its reset, or over a minute where the reset is farther away.
const horizonMillis = 60_000
const calmMillis = 600_000
const fadeMillis = 60_000
const fades = 10

/** Nothing learnt. */
export const make = (): State => ({
  rate: 0,
  ceiling: 0,
  nextAt: 0,
  pausedUntil: -1,
  decreasedAt: -1,
  grownAt: -1,
  used: 0,
  usedAt: 0,
  latency: 0,
  baseline: 0
})

// The time that has gone well, beyond the ten minutes in which a limit stays as it is; negative within them.
const calm = (state: State, now: number): number => now - Math.max(state.decreasedAt, state.pausedUntil) - calmMillis

/** The rate now: an old one doubles every minute until it is none. */
export const rateAt = (state: State, now: number): number => {
  if (state.rate === 0) return 0
  const minutes = calm(state, now) / fadeMillis
  return minutes <= 0 ? state.rate : minutes >= fades ? 0 : state.rate * 2 ** minutes
}

/** How long until a call may pass: 0 when it may now. Never more than an hour. */
export const wait = (state: State, now: number): number => {
  if (state.rate === 0 && state.pausedUntil <= now) return 0
  const paused = state.pausedUntil - now
  const paced = rateAt(state, now) === 0 ? 0 : state.nextAt - now
  return Math.min(Math.max(0, paused, paced), maxPauseMillis)
}

/** Takes calls, though it be too early: the next one then waits for longer. A large cost is paid after it has passed. */
export const take = (state: State, now: number, calls: number): void => {
  state.used = state.used * Math.max(0, 1 - Math.max(0, now - state.usedAt) / usedMillis) + calls
  state.usedAt = now
  if (state.rate === 0) return
  const rate = rateAt(state, now)
  if (rate === 0) return
  state.nextAt = Math.min(Math.max(state.nextAt, now - slackMillis) + calls / rate, now + maxPauseMillis)
}

/** Learns from an answer. */
export const observe = (state: State, now: number, signal: Signal): void => {
  // Who does not know the grant's time on the store's clock says how long ago it was.
  const grantedAt = Number.isFinite(signal.grantedAt)
    ? Math.min(signal.grantedAt, now)
    : now - Math.min(amount(signal.latencyMillis) ?? 0, maxPauseMillis)
  if (signal.congested && signal.isGuess === true) pauseFor(state, now, signal.retryAfterMillis)
  else if (signal.congested) refused(state, now, grantedAt, signal.retryAfterMillis)
  else answered(state, now, grantedAt, signal)
  budget(state, now, signal.remaining, signal.resetMillis)
}

/** For a dry run. */
export const stateOf = (state: State, now: number): Extract<LimitState, { readonly _tag: "Adaptive" }> => {
  const rate = rateAt(state, now)
  return {
    _tag: "Adaptive",
    callsPerSecond: rate === 0 ? Number.POSITIVE_INFINITY : rate * 1000,
    pausedMillis: Math.min(Math.max(0, state.pausedUntil - now), maxPauseMillis),
    nextInMillis: wait(state, now)
  }
}

// What was really admitted when calls were last taken: at least one call a second, and no more than the rate allows.
const level = (state: State, now: number): number => {
  const rate = rateAt(state, now)
  const admitted = Math.max(1, state.used) / usedMillis
  return rate === 0 ? admitted : Math.min(rate, admitted)
}

const setRate = (state: State, now: number, rate: number): void => {
  const from = Math.max(now, state.pausedUntil)
  const next = Math.min(Math.max(minRate, rate), maxRate)
  // What is owed is owed in calls.
  if (state.rate > 0 && state.nextAt > from) state.nextAt = from + (state.nextAt - from) * state.rate / next
  state.rate = next
}

const pause = (state: State, now: number, asked: number): void => {
  state.pausedUntil = Math.max(state.pausedUntil, now + Math.min(asked, maxPauseMillis))
  state.nextAt = Math.max(state.nextAt, state.pausedUntil)
}

// A call that nobody needed was refused: that is no jam, but the service is left alone for as long as it says.
const pauseFor = (state: State, now: number, retryAfterMillis: number | undefined): void => {
  const asked = amount(retryAfterMillis)
  if (asked !== undefined) pause(state, now, asked)
}

const refused = (state: State, now: number, grantedAt: number, retryAfterMillis: number | undefined): void => {
  const asked = amount(retryAfterMillis)
  if (grantedAt > state.decreasedAt) {
    const jammed = level(state, now)
    // A jam soon after the last says that its level was still far too high.
    const soon = now - Math.max(state.decreasedAt, state.pausedUntil) < 5 * Math.max(roundMillis, 1 / jammed)
    state.ceiling = soon ? jammed * 0.85 : jammed
    setRate(state, now, jammed / 2)
    state.decreasedAt = now
    state.grownAt = now
    // A service that names its pause is asked then; else a turn of the new rate is waited for, so that jams in a row back off.
    state.nextAt = asked === undefined || asked === 0 ? now + 1 / state.rate : now
    pause(state, now, asked ?? pauseMillis)
  } else if (asked !== undefined) {
    pause(state, now, asked)
  }
}

const answered = (state: State, now: number, grantedAt: number, signal: Signal): void => {
  if (rateAt(state, now) === 0) {
    state.rate = 0
    return
  }
  const took = amount(signal.latencyMillis)
  if (took !== undefined && took > 0) {
    const millis = Math.min(took, maxPauseMillis)
    state.latency = state.latency === 0 ? millis : state.latency + (millis - state.latency) / 10
    if (state.baseline === 0 || state.latency < state.baseline) state.baseline = state.latency
  }
  if (grantedAt <= state.decreasedAt || now < state.pausedUntil || calm(state, now) > 0) return
  grow(state, now)
}

const grow = (state: State, now: number): void => {
  const round = Math.max(roundMillis, 1 / state.rate)
  const rounds = Math.min(2, Math.max(0, now - state.grownAt) / round)
  state.grownAt = now
  // What lasts a minute is the new normal.
  state.baseline += Math.max(0, state.latency - state.baseline) * rounds / 60
  if (state.latency > 4 * state.baseline) {
    const lower = state.rate * (1 - 0.05 * rounds)
    if (lower >= state.ceiling / 2) setRate(state, now, lower)
    return
  }
  // A rate that is not used says nothing about a higher one.
  if (state.latency > 2 * state.baseline || level(state, now) < state.rate / 2) return
  const well = Math.min(100, (now - Math.max(state.decreasedAt, state.pausedUntil)) / round)
  const back = Math.max(0, 0.95 * state.ceiling - state.rate) * Math.min(1, rounds / 1.5)
  const grown = state.rate + back + state.rate * 0.001 * well * rounds
  if (grown >= maxRate) state.rate = 0
  else setRate(state, now, grown)
}

// What the service counts itself: no more than is left, until it is filled again.
const budget = (state: State, now: number, left: number | undefined, reset: number | undefined): void => {
  const remaining = amount(left)
  const resetMillis = amount(reset)
  if (remaining === undefined || resetMillis === undefined || resetMillis === 0) return
  const used = level(state, now)
  const allowed = remaining / Math.min(resetMillis, horizonMillis)
  if (remaining >= 1 && allowed >= used) return
  if (rateAt(state, now) === 0) state.ceiling = used
  setRate(state, now, remaining < 1 ? used : allowed)
  state.grownAt = now
  pause(state, now, remaining < 1 ? resetMillis : 0)
}

// What a service says may be any number: not one is nothing said, a negative one is 0.
const amount = (value: number | undefined): number | undefined =>
  typeof value !== "number" || Number.isNaN(value) ? undefined : Math.max(0, value)
