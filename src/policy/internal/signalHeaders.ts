/**
 * What the headers of an answer say about limits, in every vendor's spelling.
 */
import { maxMillis, numberOf, resetOf, retryAfterOf } from "./signalTimes.ts"
import * as Times from "./signalTimes.ts"

/** One header by its name in small letters. */
export type Headers = (name: string) => string | undefined

/** One count of a service. */
export interface Count {
  readonly limit: number | undefined
  readonly remaining: number | undefined
  readonly resetMillis: number | undefined
}

/** Reads headers in any form they come in: `Headers`, `Map`, an object, pairs. Names in any case; of several values the first. */
export const headersOf = (value: unknown): Headers => {
  if (typeof value !== "object" || value === null) return () => undefined
  const found = new Map<string, string>()
  const add = (name: unknown, given: unknown): void => {
    const first = Array.isArray(given) ? given[0] as unknown : given
    if (typeof name !== "string" || (typeof first !== "string" && typeof first !== "number")) return
    const text = String(first)
    if (text.length <= 1024) found.set(name.toLowerCase(), text)
  }
  const forEach = (value as { readonly forEach?: unknown }).forEach
  if (Array.isArray(value)) {
    for (const pair of value.slice(0, 256) as ReadonlyArray<unknown>) if (Array.isArray(pair)) add(pair[0], pair[1])
  } else if (typeof forEach === "function") {
    forEach.call(value, (given: unknown, name: unknown) => add(name, given))
  } else {
    for (const name of Object.keys(value).slice(0, 256)) add(name, (value as Record<string, unknown>)[name])
  }
  return (name) => found.get(name)
}

/** The service's own time, where it tells, else ours. */
export const timeOf = (headers: Headers, now: number): number => {
  const date = headers("date")
  return (date === undefined ? undefined : Times.dateOf(date)) ?? now
}

/** How long it wants to be left alone. */
export const askedOf = (headers: Headers, now: number): number | undefined => {
  for (const name of ["retry-after-ms", "x-ms-retry-after-ms"]) {
    const millis = headers(name)
    const value = millis === undefined ? undefined : numberOf(millis)
    if (value !== undefined) return Math.min(Math.max(0, value), maxMillis)
  }
  const after = headers("retry-after")
  return after === undefined ? undefined : retryAfterOf(after, timeOf(headers, now))
}

/** Its counts of calls. A bucket that is filled all the time is told as what may be called in the next minute. */
export const callsOf = (headers: Headers, now: number): ReadonlyArray<Count> => {
  const time = timeOf(headers, now)
  return [
    ...buckets.map(([limit, remaining, reset]) => refilled(countOf(headers, limit, remaining, reset, time))),
    ...windows.map(([limit, remaining, reset]) => countOf(headers, limit, remaining, reset, time)),
    ...structured(headers)
  ].filter(says)
}

/** Its counts of tokens. We do not know what the next call costs, so only that nothing is left tells us something. */
export const tokensOf = (headers: Headers, now: number): ReadonlyArray<Count> => {
  const time = timeOf(headers, now)
  return tokens.map(([limit, remaining, reset]) => ({
    ...countOf(headers, limit, remaining, reset, time),
    limit: undefined
  }))
    .filter(says)
}

/** All its counts, as they stand in the headers. */
export const countsOf = (headers: Headers, now: number): ReadonlyArray<Count> => {
  const time = timeOf(headers, now)
  return [
    ...[...buckets, ...tokens, ...windows].map(([limit, remaining, reset]) =>
      countOf(headers, limit, remaining, reset, time)
    ),
    ...structured(headers)
  ].filter(says)
}

const says = (count: Count): boolean => count.remaining !== undefined || count.resetMillis !== undefined

type Names = readonly [limit: string, remaining: string, reset: string]

const openAi = (what: string): Names => [
  `x-ratelimit-limit-${what}`,
  `x-ratelimit-remaining-${what}`,
  `x-ratelimit-reset-${what}`
]
const anthropic = (what: string): Names => [
  `anthropic-ratelimit-${what}-limit`,
  `anthropic-ratelimit-${what}-remaining`,
  `anthropic-ratelimit-${what}-reset`
]

// Their `reset` is when the bucket is full again; the recorded headers agree: reset = (limit - remaining) / rate.
const buckets: ReadonlyArray<Names> = [openAi("requests"), anthropic("requests")]
const tokens: ReadonlyArray<Names> = [
  openAi("tokens"),
  anthropic("tokens"),
  anthropic("input-tokens"),
  anthropic("output-tokens")
]
// GitHub, Discord, X, the older drafts of the IETF.
const windows: ReadonlyArray<Names> = [
  ["x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset-after"],
  ["x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"],
  ["x-rate-limit-limit", "x-rate-limit-remaining", "x-rate-limit-reset"],
  ["ratelimit-limit", "ratelimit-remaining", "ratelimit-reset"]
]

const countOf = (headers: Headers, limit: string, remaining: string, reset: string, time: number): Count => {
  const resets = headers(reset)
  return {
    limit: amountOf(headers(limit)),
    remaining: amountOf(headers(remaining)),
    resetMillis: resets === undefined ? undefined : resetOf(resets, time)
  }
}

// `100, 100;w=60` is a limit of 100 with its policy behind it.
const amountOf = (text: string | undefined): number | undefined => {
  const value = text === undefined ? undefined : numberOf(text.split(/[,;]/, 1)[0]!)
  return value === undefined ? undefined : Math.min(Math.max(0, value), maxMillis)
}

const minute = 60_000

const refilled = (count: Count): Count => {
  const { limit, remaining, resetMillis } = count
  if (limit === undefined || remaining === undefined || resetMillis === undefined) return count
  if (limit < 1 || remaining >= limit) return count
  const refill = (limit - remaining) / Math.max(1, resetMillis)
  // Empty: the first call is back after one refill, not when all are.
  if (remaining < 1) {
    return { limit, remaining, resetMillis: Math.min(resetMillis, Math.ceil((1 - remaining) / refill)) }
  }
  const horizon = Math.min(resetMillis, minute)
  return { limit, remaining: remaining + refill * horizon, resetMillis: horizon }
}

// The IETF draft: `RateLimit: "burst";r=4;t=10, "daily";r=900;t=40000`, and its older form `limit=10, remaining=4, reset=10`.
const structured = (headers: Headers): ReadonlyArray<Count> => {
  const text = headers("ratelimit")
  if (text === undefined) return []
  const limits = new Map(items(headers("ratelimit-policy") ?? "").map((item) => [item.name, item.get("q")]))
  const found = items(text)
  if (text.includes("remaining=")) {
    const get = (name: string): number | undefined =>
      found.map((item) => item.get(name)).find((value) => value !== undefined)
    return [{ limit: get("limit"), remaining: get("remaining"), resetMillis: seconds(get("reset")) }]
  }
  return found.map((item) => ({
    limit: limits.get(item.name),
    remaining: item.get("r"),
    resetMillis: seconds(item.get("t"))
  }))
}

const seconds = (value: number | undefined): number | undefined =>
  value === undefined ? undefined : Math.min(value * 1000, maxMillis)

interface Item {
  readonly name: string
  readonly get: (parameter: string) => number | undefined
}

const items = (text: string): ReadonlyArray<Item> =>
  text.split(",").slice(0, 16).map((item) => {
    const parameters = new Map<string, string>()
    for (const piece of item.split(";")) {
      const at = piece.indexOf("=")
      if (at > 0) parameters.set(piece.slice(0, at).trim().toLowerCase(), piece.slice(at + 1).trim())
    }
    return { name: item.split(";", 1)[0]!.trim(), get: (name) => amountOf(parameters.get(name)) }
  })
