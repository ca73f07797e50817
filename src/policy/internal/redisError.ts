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
const code = new RegExp(`(?:^|[\\s:-])(${Object.keys(codes).join("|")})(?=\\s|$)`)

// Before anything was sent, whatever the driver.
const unsent =
  /ECONNREFUSED|ENOTFOUND|EAI_AGAIN|EHOSTUNREACH|no connection|not connected|isn't writeable|offline|is closed/i

/** The error code in a reply of Redis: where there is none, `ERR` for a reply, undefined for anything else. */
export const codeOf = (cause: unknown): string | undefined => {
  const kind = textOf(cause, "kind")
  if (kind !== "" && kind !== "Refused") return undefined
  const message = messageOf(cause)
  const isReply = kind === "Refused" || /^(ReplyError|ErrorReply|SimpleError)$/.test(textOf(cause, "name"))
  return code.exec(message)?.[1] ?? (isReply || message.startsWith("ERR ") ? "ERR" : undefined)
}

/** The error of a store whose driver failed with `cause`; `key` is to blame, where that is known. */
export const fromCause = (cause: unknown, key?: string): LimiterStoreError => {
  const message = messageOf(cause).slice(0, 500)
  const replied = codeOf(cause)
  if (replied === undefined) return unanswered(cause, message)
  return new LimiterStoreError({
    kind: "Refused",
    message: key === undefined ? `Redis refused: ${message}` : `Redis refused, for the key ${key}: ${message}`,
    isTransient: codes[replied] ?? false,
    cause,
    ...(key === undefined ? {} : { key })
  })
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

const unanswered = (cause: unknown, message: string): LimiterStoreError => {
  const kind = textOf(cause, "kind")
  const isUnsent = kind === "Unreachable" || (kind === "" && unsent.test(message))
  return isUnsent
    ? new LimiterStoreError({ kind: "Unreachable", message: `Redis is away: ${message}`, isTransient: true, cause })
    : new LimiterStoreError({ kind: "TimedOut", message: `Redis gave no answer: ${message}`, isTransient: true, cause })
}

const textOf = (cause: unknown, name: "kind" | "message" | "name"): string => {
  const value: unknown = typeof cause === "object" && cause !== null ? Reflect.get(cause, name) : undefined
  return typeof value === "string" ? value : ""
}

const messageOf = (cause: unknown): string => textOf(cause, "message") || String(cause)
