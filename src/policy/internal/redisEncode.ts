/**
 * What the scripts are sent, and what they answer, as plain functions.
 */
import { escape, unescape } from "./redisKeys.ts"
import { Batch, type PreparedLimit, prepareLimit, type RedisLane } from "./redisLane.ts"
import { epochSeconds } from "./redisRules.ts"
import type { Rule } from "./rule.ts"
import type { Answer, Ask, Grant, Head, Limit, LimitState, Signal } from "./store.ts"

/** A script's keys and arguments; `script`: the one to run instead of the whole one. */
export interface Encoded {
  readonly script?: string | undefined
  readonly keys: ReadonlyArray<string>
  readonly args: ReadonlyArray<string>
}

/** The scripts' time as milliseconds since 1970. A double has room for both exactly, for some hundred years. */
export const fromMicros = (time: number): number => (time + epochSeconds * 1_000_000) / 1000

/** The scripts' time of a grant. */
export const toMicros = (grantedAt: number): number => Math.round(grantedAt * 1000) - epochSeconds * 1_000_000

const headsOf = (ask: Ask): string => {
  let json = ""
  for (const { calls, id, tokens } of ask.heads) json += `${json === "" ? "" : ","}"${escape(id)}",${calls},${tokens}`
  return `${ask.waiting},[${json}]${slacksOf(ask)}]`
}

const slacksOf = ({ heads }: Ask): string =>
  heads.some(hasSlack) ? `,[${heads.map(({ slack }) => slack ?? 0).join(",")}]` : ""

const hasSlack = ({ slack }: Head): boolean => slack !== undefined && slack > 0

const encodeAlone = ({ alone, holdsPermits }: RedisLane, ask: Ask): Encoded => {
  const { keys, script } = alone
  const args = [`${alone.json}${headsOf(ask)}]]`]
  // Who stays behind must be counted, and slack be found: that is the whole script's.
  const isWhole = ask.waiting > ask.heads.length || ask.heads.length === 0 || ask.heads.some(hasSlack)
  if (script === undefined || isWhole) return { keys, args }
  let calls = 0
  let tokens = 0
  for (const head of ask.heads) {
    calls += head.calls
    tokens += head.tokens
  }
  args.push(String(calls), String(tokens), String(ask.heads.length), ...alone.fields)
  if (holdsPermits) { for (const { calls, id } of ask.heads) args.push(escape(id), String(calls)) }
  return { script, keys, args }
}

/** Asks of one script. */
export const encodeAsks = (tag: string, asks: ReadonlyArray<Ask>): Encoded => {
  const first = asks[0]!.lane as RedisLane
  if (asks.length === 1) return encodeAlone(first, asks[0]!)
  const batch = new Batch(tag, false)
  let json = ""
  for (const ask of asks) {
    const lane = ask.lane as RedisLane
    const on = lane.prepared.map((one) => batch.limit(one)).join(",")
    const separator = json === "" ? "" : ","
    json += `${separator}[[${on}],${batch.key(lane.waitingHash)},"${lane.waitingField}","${lane.ownerName}",${
      headsOf(ask)
    }`
  }
  return { keys: batch.keys, args: [`[[${batch.json}],[${json}]]`] }
}

/** The answers, and for each how long until the first lease of its blocking permits ends (milliseconds; -1: none). */
export interface Answers {
  readonly answers: ReadonlyArray<Answer>
  readonly leaseEnds: ReadonlyArray<number>
}

/** The type that Redis must have under a key of a limiter. */
export const typeOf = (tag: string, key: string): string => {
  const letter = key.slice(tag.length + 1, tag.length + 2)
  return letter === "s" ? "list" : letter === "p" ? "zset" : "hash"
}

/** Undefined where it is not the script's reply to that many asks. */
export const decodeAnswers = (reply: unknown, count: number): Answers | undefined => {
  if (!isNumbers(reply) || reply.length !== 1 + 5 * count) return undefined
  const grantedAt = fromMicros(reply[0]!)
  const answers: Array<Answer> = []
  const leaseEnds: Array<number> = []
  for (let at = 1; at < reply.length; at += 5) {
    const wait = reply[at + 1]!
    answers.push({
      granted: reply[at]!,
      grantedAt,
      waitMillis: wait < 0 ? Number.POSITIVE_INFINITY : wait / 1000,
      blockedBy: reply[at + 2]!,
      waiting: reply[at + 3]!
    })
    leaseEnds.push(reply[at + 4]! < 0 ? -1 : reply[at + 4]! / 1000)
  }
  return { answers, leaseEnds }
}

/** One limit's part of a change: `amount` goes back; below 0, it is charged. */
export interface Back {
  readonly prepared: PreparedLimit
  readonly amount: number
  readonly grant: Grant
}

/** Changes of one script. */
export const encodeBacks = (tag: string, channel: string, backs: ReadonlyArray<Back>): Encoded => {
  const batch = new Batch(tag, true)
  const json = backs.map(({ amount, grant, prepared }) =>
    `[${batch.limit(prepared)},${amount},${toMicros(grant.grantedAt)},"${escape(grant.head.id)}"]`
  ).join(",")
  return { keys: batch.keys, args: [`[[${batch.json}],[${json}]]`, channel] }
}

/** Changes of one script that only give permits back. */
export const encodeReleases = (channel: string, backs: ReadonlyArray<Back>): Encoded => {
  const limits = new Map<string, { readonly prepared: PreparedLimit; readonly members: Array<string> }>()
  for (const { amount, grant, prepared } of backs) {
    const id = escape(grant.head.id)
    let known = limits.get(prepared.structure!)
    if (known === undefined) limits.set(prepared.structure!, known = { prepared, members: [] })
    for (let n = 1; n <= amount; n++) known.members.push(n === 1 ? id : `${id}#${n}`)
  }
  const keys: Array<string> = []
  const args = [channel]
  for (const { members, prepared } of limits.values()) {
    keys.push(prepared.hash, prepared.structure!)
    args.push(prepared.field, escape(prepared.limit.key), String(members.length), ...members)
  }
  return { keys, args }
}

/** A permit's lease to be renewed; `ends` by the scripts' time. */
export interface Lease {
  readonly prepared: PreparedLimit
  readonly amount: number
  readonly id: string
  readonly ends: number
}

/** Leases of one script. */
export const encodeLeases = (tag: string, leases: ReadonlyArray<Lease>): Encoded => {
  const batch = new Batch(tag, false)
  const json = leases.map(({ amount, ends, id, prepared }) =>
    `[${batch.limit(prepared)},${amount},"${escape(id)}",${ends}]`
  ).join(",")
  return { keys: batch.keys, args: [`[[${batch.json}],[${json}]]`] }
}

/** The time, and whether each lease goes on. */
export const decodeLeases = (reply: unknown, count: number): ReadonlyArray<number> | undefined =>
  isNumbers(reply) && reply.length === 1 + count ? reply : undefined

/** Limits to look at. */
export const encodeLimits = (tag: string, limits: ReadonlyArray<Limit>): Encoded => {
  const batch = new Batch(tag, false)
  for (const limit of limits) batch.limit(prepareLimit(tag, limit))
  return { keys: batch.keys, args: [`[[${batch.json}]]`] }
}

/** What stands in each limit. */
export const decodeStates = (
  reply: unknown,
  limits: ReadonlyArray<Limit>
): ReadonlyArray<LimitState> | undefined => {
  const lists = reply as ReadonlyArray<ReadonlyArray<string>>
  const isRight = Array.isArray(reply) && reply.length === limits.length && lists.every((list) => Array.isArray(list))
  return isRight ? limits.map((limit, i) => stateOf(limit.rule, lists[i]!.map(Number))) : undefined
}

const stateOf = (rule: Rule, found: ReadonlyArray<number>): LimitState => {
  switch (rule._tag) {
    case "TokenBucket":
      return { _tag: "Bucket", fullInMillis: (found[0] ?? 0) / 1000 }
    case "SlidingWindow":
    case "FixedWindow":
      return {
        _tag: "Window",
        entries: Array.from({ length: found.length / 2 }, (_, i) => [found[2 * i]! / 1000, found[2 * i + 1]!])
      }
    case "Permits":
      return { _tag: "Permits", held: found[0] ?? 0 }
    case "Adaptive":
      return {
        _tag: "Adaptive",
        callsPerSecond: found[0]! < 0 ? Number.POSITIVE_INFINITY : found[0]!,
        pausedMillis: found[1]!,
        nextInMillis: found[2]!
      }
  }
}

/** What a service said, for the learnt rate of a limit. */
export const encodeSignal = (tag: string, channel: string, limit: Limit, signal: Signal): Encoded => {
  const batch = new Batch(tag, true)
  batch.limit(prepareLimit(tag, limit))
  const said = [
    Number.isFinite(signal.grantedAt) ? toMicros(signal.grantedAt) / 1000 : false,
    signal.congested,
    amount(signal.retryAfterMillis),
    amount(signal.remaining),
    amount(signal.resetMillis),
    amount(signal.latencyMillis),
    signal.isGuess === true
  ]
  return { keys: batch.keys, args: [`[[${batch.json}],${JSON.stringify(said)}]`, channel] }
}

// What a service says may be any number: not one is nothing said, a negative one is 0.
const amount = (value: number | undefined): number | false =>
  typeof value !== "number" || Number.isNaN(value) ? false : Math.min(Math.max(0, value), Number.MAX_SAFE_INTEGER)

/** The limits' keys in a message of the channel. A message of someone else has none. */
export const decodeFreed = (message: string): ReadonlyArray<string> => {
  const names: unknown = parse(message)
  return Array.isArray(names) ? names.filter((name) => typeof name === "string").map(unescape) : []
}

const parse = (message: string): unknown => {
  try {
    return JSON.parse(message)
  } catch {
    return undefined
  }
}

const isNumbers = (reply: unknown): reply is ReadonlyArray<number> =>
  Array.isArray(reply) && reply.every((value) => typeof value === "number")
