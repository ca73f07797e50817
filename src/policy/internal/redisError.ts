/**
 * What a driver's error means for a limiter. Pure: drivers word the same fault differently, Redis itself does not.
 */
import { LimiterStoreError } from "../LimiterStore.ts"

// Whether it may pass by itself: a failover, a start, a long script, a full memory, a slot on its way.
const codes: Readonly<Record<string, boolean>> = {
  WRONGTYPE: false,
  READONLY: true,
  OOM: true,
  LOADING: true,
  MOVED: true,
  ASK: true,
  TRYAGAIN: true,
  CLUSTERDOWN: true,
  MASTERDOWN: true,
  CROSSSLOT: false,
  BUSY: true,
  UNKILLABLE: true,
  MISCONF: true,
  NOREPLICAS: true,
  NOSCRIPT: true,
  NOAUTH: false,
  NOPERM: false,
  WRONGPASS: false
}
const code = new RegExp(`(?:^|[\\s:-])(${Object.keys(codes).join("|")})\\b`)

/** The error code in a reply of Redis: where there is none, `ERR` for a reply, undefined for anything else. */
export const codeOf = (cause: unknown): string | undefined => {
  const message = messageOf(cause)
  return code.exec(message)?.[1] ?? (isReply(cause) || message.startsWith("ERR ") ? "ERR" : undefined)
}

/** The error of a store whose driver failed with `cause`. */
export const fromCause = (cause: unknown, key?: string): LimiterStoreError => {
  const message = messageOf(cause).slice(0, 500)
  const replied = codeOf(cause)
  if (replied !== undefined) {
    return new LimiterStoreError({
      kind: "Refused",
      message: key === undefined ? `Redis refused: ${message}` : `Redis refused, for the key ${key}: ${message}`,
      isTransient: codes[replied] ?? false,
      cause,
      ...(key === undefined ? {} : { key })
    })
  }
  return /time[d ]?\s?out|ETIMEDOUT/i.test(message)
    ? new LimiterStoreError({ kind: "TimedOut", message: `Redis did not answer: ${message}`, isTransient: true, cause })
    : new LimiterStoreError({ kind: "Unreachable", message: `Redis is away: ${message}`, isTransient: true, cause })
}

/** No answer within the store's own time. */
export const timedOut = (millis: number): LimiterStoreError =>
  new LimiterStoreError({
    kind: "TimedOut",
    message: `Redis did not answer within ${millis} ms; the script may have been applied and is not sent again`,
    isTransient: true
  })

/** An answer that no script of ours gives. */
export const unreadable = (reply: unknown): LimiterStoreError =>
  new LimiterStoreError({
    kind: "Refused",
    message: `Redis answered with something else than the script's reply: ${JSON.stringify(reply)?.slice(0, 200)}`,
    isTransient: false
  })

const messageOf = (cause: unknown): string =>
  typeof cause === "object" && cause !== null && "message" in cause ? String(cause.message) : String(cause)

const isReply = (cause: unknown): boolean =>
  typeof cause === "object" && cause !== null && "name" in cause
  && (cause.name === "ReplyError" || cause.name === "ErrorReply" || cause.name === "SimpleError")
