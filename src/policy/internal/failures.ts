/**
 * What a failure says about trying again, whoever made it: a boolean of its own, an HTTP status, a code of the network, through
 * wrappers and causes. Read as plain data; reading never fails.
 */
import * as ToolFailure from "../../domain/ToolFailure.ts"
import { refusalOf } from "./signals.ts"

/** Whether the same again may succeed. */
export const isRetryable = (failure: unknown): boolean => safely(() => verdictOf(failure)) ?? false

/** How long to wait before asking again, in milliseconds, where that is said. `now`: our clock, for dates. */
export const retryAfterOf = (failure: unknown, now: number): number | undefined =>
  safely(() => {
    if (!isObject(failure)) return undefined
    if (!isNotAsked(failure)) return refusalOf(failure, now).retryAfterMillis
    const millis = failure["retryAfterMillis"]
    // A circuit breaker's own word.
    return typeof millis === "number" && millis >= 0 ? millis : refusalOf(failure, now).retryAfterMillis
  })

/** Whether one of our own policies turned the call away, so that the service was not asked and has said nothing. */
export const isTurnedAway = (failure: unknown): boolean =>
  safely(() => isObject(failure) && isNotAsked(failure)) ?? false

type Fields = Readonly<Record<string, unknown>>

const isObject = (value: unknown): value is Fields => typeof value === "object" && value !== null

const isNotAsked = (failure: Fields): boolean =>
  failure["_tag"] === "Rejected" || failure["_tag"] === "CircuitBreakerError"

// Getters, proxies and cycles of foreign objects may throw; no effect is at hand to hold it.
const safely = <A>(read: () => A): A | undefined => {
  try {
    return read()
  } catch {
    return undefined
  }
}

const verdictOf = (failure: unknown): boolean => {
  if (!isObject(failure)) return false
  // To the model `isRetryable` says that a better call may help; the same call again helps only these.
  if (ToolFailure.is(failure)) {
    return failure._tag === "TimedOut"
      ? failure.clock === "attempt"
      : failure._tag === "Rejected" && failure.isRetryable
  }
  const all = links(failure)
  for (const link of all) {
    const verdict = verdictOfLink(link)
    if (verdict !== undefined) return verdict
  }
  // The request did not get through, and nobody says why; a code that we do not know is a reason of its own.
  return all.some(isTransport) && !all.some((link) => typeof link["code"] === "string")
}

/** The failure and all it wraps, outermost first. */
const links = (failure: Fields): ReadonlyArray<Fields> => {
  const found = new Set<Fields>([failure])
  for (const link of found) {
    const several = link["errors"]
    const inner = [link["reason"], link["cause"], ...(Array.isArray(several) ? several as ReadonlyArray<unknown> : [])]
    for (const next of inner) if (isObject(next) && found.size < 16) found.add(next)
  }
  return [...found]
}

const verdictOfLink = (link: Fields): boolean | undefined => {
  const own = link["isRetryable"]
  if (typeof own === "boolean") return own
  const tag = link["_tag"]
  if (tag === "Rejected") return link["reason"] !== "OverCapacity" && link["reason"] !== "InvalidRequest"
  if (tag === "CircuitOpen" || tag === "CircuitHalfOpen") return true
  const { congested, shouldRetry, spent, status } = refusalOf(link, 0)
  if (spent) return false
  if (shouldRetry !== undefined) return shouldRetry
  if (congested) return true
  if (status !== undefined && status >= 400) return passing.has(status)
  return isTransient(link) ? true : undefined
}

/** Statuses that may pass: too slow, too early, too many, a server's own failure, a gateway's, overloaded. */
const passing: ReadonlySet<number> = new Set([408, 425, 429, 500, 502, 503, 504, 529])

/** Codes of Node, libuv and undici that say that the connection failed, and not the request. */
const transient: ReadonlySet<unknown> = new Set([
  ..."ECONNRESET ECONNREFUSED ECONNABORTED EPIPE ETIMEDOUT ESOCKETTIMEDOUT EAI_AGAIN ENOTFOUND".split(" "),
  ..."EHOSTUNREACH EHOSTDOWN ENETUNREACH ENETDOWN ENETRESET".split(" "),
  ..."UND_ERR_CONNECT_TIMEOUT UND_ERR_HEADERS_TIMEOUT UND_ERR_BODY_TIMEOUT UND_ERR_SOCKET UND_ERR_CLOSED".split(" "),
  ..."UND_ERR_DESTROYED ERR_STREAM_PREMATURE_CLOSE ERR_SOCKET_CONNECTION_TIMEOUT".split(" ")
])

const isTransient = (link: Fields): boolean =>
  transient.has(link["code"]) || link["_tag"] === "TimeoutError" || isNamed(link, "TimeoutError") ||
  // The AWS SDK's mark.
  isObject(link["$retryable"])

// "fetch failed" (Node), "Failed to fetch" (Chromium), "NetworkError when ..." (Firefox), "Load failed" (Safari).
const unreached = /^(?:fetch failed|failed to fetch|networkerror when attempting to fetch|load failed|terminated)/i

const isTransport = (link: Fields): boolean =>
  link["_tag"] === "TransportError" || isNamed(link, "ConnectionError") ||
  (link instanceof TypeError && unreached.test(link.message))

// The errors of some SDKs are all named "Error", and only their classes differ.
const isNamed = (link: Fields, end: string): boolean =>
  [link["name"], link instanceof Error ? link.constructor.name : undefined]
    .some((name) => typeof name === "string" && name.endsWith(end))
