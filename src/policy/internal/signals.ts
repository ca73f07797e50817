/**
 * What an answer says about the limits of the service behind it: an error of any client, an HTTP answer, the end of a model's
 * turn. It is read as plain data, since everyone's errors are shaped otherwise, and reading never fails.
 */
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Exit from "effect/Exit"
import * as Result from "effect/Result"
import { askedOf, callsOf, countsOf, headersOf, tokensOf } from "./signalHeaders.ts"
import type { Count, Headers } from "./signalHeaders.ts"
import { durationOf, maxMillis, sentenceOf } from "./signalTimes.ts"
import type { Signal } from "./store.ts"

/** A signal without the time of its grant, which only the limiter knows. */
export type Said = Omit<Signal, "grantedAt">

/**
 * What an exit, an error, an HTTP answer, or a part of a model's turn says; `undefined` where it says nothing. `now`: our clock,
 * in milliseconds since 1970, for dates in answers that do not tell their own time.
 */
export const signalOf = (answer: unknown, now: number): Said | undefined => {
  try {
    if (!Exit.isExit(answer)) return read(answer, now, isError(answer))
    if (Exit.isSuccess(answer)) return read(answer.value, now, isFailing(answer.value))
    const failure = Cause.findError(answer.cause)
    if (Result.isSuccess(failure)) return read(failure.success, now, true)
    const defect = Cause.findDefect(answer.cause)
    return Result.isSuccess(defect) ? read(defect.success, now, true) : undefined
  } catch {
    // A getter or a proxy of someone else's error threw: it says nothing.
    return undefined
  }
}

/** What a failure says about trying again: the service's own words about it, as far as it had any. */
export interface Refusal {
  /** The HTTP status it came with. */
  readonly status: number | undefined
  /** Refused for the rate: it passes. */
  readonly congested: boolean
  /** A quota is used up or a bill is due: it does not pass by waiting. */
  readonly spent: boolean
  /** `x-should-retry`, in which OpenAI and Anthropic say it in so many words. */
  readonly shouldRetry: boolean | undefined
  readonly retryAfterMillis: number | undefined
}

/** What a service's failure says about trying again. May throw where a getter or a proxy of the failure does. */
export const refusalOf = (failure: object, now: number): Refusal => {
  const fields = errorFields(failure, 0)
  const congested = isCongested(fields)
  const should = fields.headers("x-should-retry")?.trim().toLowerCase()
  return {
    status: fields.status,
    congested,
    spent: isSpent(fields),
    shouldRetry: should === "true" ? true : should === "false" ? false : undefined,
    retryAfterMillis: congested ? askedBy(fields, now) : toldBy(fields, now)
  }
}

const isError = (value: unknown): boolean =>
  value instanceof Error || typeof field(value, "_tag") === "string" || field(value, "error") !== undefined ||
  isFailing(value)

// A client that does not fail for a status hands it on as its answer.
const isFailing = (value: unknown): boolean =>
  (statusOf(field(value, "status")) ?? 200) >= 400 && typeof field(value, "headers") === "object"

const field = (value: unknown, key: string): unknown =>
  (typeof value === "object" && value !== null) || typeof value === "function"
    ? (value as Record<string, unknown>)[key]
    : undefined

const firstOf = <A>(values: ReadonlyArray<A | undefined>): A | undefined => values.find((value) => value !== undefined)
const text = (value: unknown): string | undefined => typeof value === "string" ? value.slice(0, 16_384) : undefined

const read = (answer: unknown, now: number, failed: boolean): Said | undefined => {
  if (typeof answer !== "object" || answer === null) return undefined
  // A limiter's own word is none of the service's.
  if (field(answer, "_tag") === "Rejected") return undefined
  const fields = failed ? errorFields(answer, 0) : answerFields(answer)
  if (fields === undefined) return undefined
  const congested = failed && isCongested(fields)
  const budget = budgetOf(fields.headers, now)
  const retryAfterMillis = congested ? askedBy(fields, now) : undefined
  if (!congested && budget === undefined) return undefined
  return {
    congested,
    ...(retryAfterMillis === undefined ? undefined : { retryAfterMillis }),
    ...budget
  }
}

interface Fields {
  readonly status: number | undefined
  readonly headers: Headers
  /** Codes and types, for programs. */
  readonly words: string
  readonly message: string
  /** The body, decoded, where there is one. */
  readonly body: unknown
  readonly retryAfter: unknown
}

const none: Headers = () => undefined

// A whole turn keeps its end among its parts, as do the parts of a stream; a response is itself the answer.
const answerFields = (answer: object): Fields | undefined => {
  const content = Array.isArray(answer) ? answer as ReadonlyArray<unknown> : field(answer, "content")
  const finish = Array.isArray(content)
    ? content.slice(-8).find((part) => field(part, "type") === "finish") as unknown
    : answer
  const response = field(finish, "response") ?? finish
  const metadata = firstOf(
    Object.values(Object(field(finish, "metadata")) as object).map((provider) => field(provider, "headers"))
  )
  const headers = field(response, "headers") ?? metadata
  const status = statusOf(field(response, "status"))
  if (headers === undefined || headers === null) return undefined
  return { status, headers: headersOf(headers), words: "", message: "", body: undefined, retryAfter: undefined }
}

// An error in whatever shape a client gives it; where it only wraps another, that one.
const errorFields = (error: object, depth: number): Fields => {
  const reason = field(error, "reason")
  const inner = typeof reason === "object" && reason !== null ? reason : error
  const response = field(field(inner, "http"), "response") ?? field(inner, "response") ?? field(error, "response")
  const status = statusOf(
    field(response, "status"),
    field(response, "statusCode"),
    field(error, "status"),
    field(error, "statusCode"),
    field(field(error, "$metadata"), "httpStatusCode"),
    field(field(error, "$response"), "statusCode"),
    field(error, "code")
  )
  const headers = field(response, "headers") ?? field(error, "headers") ?? field(error, "responseHeaders")
  const sent = field(field(inner, "http"), "body") ?? field(error, "responseBody") ?? field(error, "body") ??
    field(error, "error") ?? field(error, "data") ?? field(response, "data") ?? field(response, "body")
  const body = bodyOf(sent)
  const detail = field(body, "error") ?? body
  const words = [error, inner, detail, ...Object.values(Object(field(inner, "metadata")) as object)]
    .flatMap((value) => ["_tag", "name", "code", "type", "status"].map((key) => text(field(value, key)) ?? ""))
    .join(" ")
  const retryAfter = field(inner, "retryAfter") ?? field(error, "retryAfter")
  const silent = status === undefined && headers === undefined && body === undefined && retryAfter === undefined
  const cause = field(error, "cause")
  if (silent && !spoken.test(words) && typeof cause === "object" && cause !== null && depth < 4) {
    return errorFields(cause, depth + 1)
  }
  const message = [
    body === undefined ? sent : field(detail, "message"),
    field(inner, "description"),
    field(error, "message")
  ]
    .map((value) => text(value) ?? "").join("\n")
  return { status, headers: headers === undefined ? none : headersOf(headers), words, message, body, retryAfter }
}

const statusOf = (...candidates: ReadonlyArray<unknown>): number | undefined =>
  candidates.map((value) => typeof value === "string" && /^\d{3}$/.test(value) ? Number(value) : value)
    .find((value): value is number => Number.isInteger(value) && (value as number) >= 100 && (value as number) < 600)

const bodyOf = (value: unknown): unknown => {
  const whole = typeof value === "string" ? parse(value) : value
  const first = Array.isArray(whole) ? whole[0] as unknown : whole
  return typeof first === "object" && first !== null ? first : undefined
}

const parse = (body: string): unknown => {
  if (body.length > 65_536 || !/^\s*[[{]/.test(body)) return undefined
  try {
    return JSON.parse(body) as unknown
  } catch {
    return undefined
  }
}

const quota = /insufficient_quota|billing|quota_exceeded|credit_balance|QuotaExhausted/i
const spoken =
  /rate_?limit|too_?many_?requests|overloaded|throttl|slow_?down|resource_?exhausted|RequestLimitExceeded|ProvisionedThroughputExceeded/i
const crowded = /overload|throttl|slow_?down|too many requests|rate.?limit|at capacity/i

const isSpent = ({ status, words }: Fields): boolean => status === 402 || quota.test(words)

// Out of money is no jam: waiting does not help.
const isCongested = (fields: Fields): boolean => {
  const { headers, message, retryAfter, status, words } = fields
  if (isSpent(fields)) return false
  if (status === 429 || status === 529) return true
  const asked = headers("retry-after") !== undefined || headers("retry-after-ms") !== undefined
  if (status === 503) return asked || retryAfter !== undefined || crowded.test(words) || crowded.test(message)
  // GitHub refuses with 403, Amazon with 400 and a name.
  if (status === 403) return asked || headers("x-ratelimit-remaining") === "0" || /rate limit/i.test(message)
  return spoken.test(words)
}

// What it asks for in so many words, in the order of how exact it is.
const toldBy = (fields: Fields, now: number): number | undefined =>
  askedOf(fields.headers, now) ?? detailOf(fields.body) ?? durationField(fields.retryAfter)

const askedBy = (fields: Fields, now: number): number | undefined =>
  toldBy(fields, now) ?? sentenceOf(fields.message) ?? emptyUntil(fields.headers, now)

// Google's RetryInfo among the details; `retry_after` of those who say it in the body.
const detailOf = (body: unknown): number | undefined => {
  const error = field(body, "error") ?? body
  const details = field(error, "details")
  const info = Array.isArray(details)
    ? details.slice(0, 32).find((detail) => field(detail, "retryDelay") !== undefined) as unknown
    : undefined
  const delay = field(info, "retryDelay")
  if (typeof delay === "string") return durationOf(delay)
  const seconds = field(delay, "seconds")
  if (seconds !== undefined) return secondsOf(Number(seconds) + Number(field(delay, "nanos") ?? 0) / 1e9)
  const named = [body, error, field(body, "parameters")].map((value) => field(value, "retry_after"))
    .find((value) => typeof value === "number")
  return named === undefined ? undefined : secondsOf(named)
}

const secondsOf = (seconds: number): number | undefined =>
  Number.isNaN(seconds) ? undefined : Math.min(Math.max(0, seconds * 1000), maxMillis)

// Effect's errors carry a Duration; a number's unit is anyone's guess, so it is none.
const durationField = (value: unknown): number | undefined =>
  Duration.isDuration(value) ? Math.min(Math.max(0, Duration.toMillis(value)), maxMillis) : undefined

// A refusal that names no wait, but says that a count is used up and when it is filled again.
const emptyUntil = (headers: Headers, now: number): number | undefined => {
  const resets = countsOf(headers, now)
    .filter((count) => count.remaining === undefined || count.remaining < 1)
    .flatMap((count) => count.resetMillis === undefined ? [] : [count.resetMillis])
  return resets.length === 0 ? undefined : Math.max(...resets)
}

// The tightest count: used up for the longest, else the fewest calls for its time.
const budgetOf = (headers: Headers, now: number): Omit<Said, "congested"> | undefined => {
  const counts = [
    ...callsOf(headers, now),
    ...tokensOf(headers, now).filter((count) => count.remaining === 0)
  ].filter((count) => count.remaining !== undefined && count.resetMillis !== undefined)
  if (counts.length === 0) return undefined
  const tightest = counts.reduce((one, other) => pace(other) < pace(one) ? other : one)
  return {
    ...(tightest.limit === undefined ? undefined : { limit: tightest.limit }),
    ...(tightest.remaining === undefined ? undefined : { remaining: tightest.remaining }),
    ...(tightest.resetMillis === undefined ? undefined : { resetMillis: tightest.resetMillis })
  }
}

const pace = ({ remaining = 0, resetMillis = 0 }: Count): number =>
  remaining < 1 ? -resetMillis : remaining / Math.max(1, Math.min(resetMillis, 60_000))
