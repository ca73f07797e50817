/** Why a request is not admitted, in words. */
import { Rejected } from "./request.ts"
import type { Limit } from "./store.ts"

const known = (retryAfterMillis: number | undefined): { readonly retryAfterMillis?: number } =>
  retryAfterMillis !== undefined && Number.isFinite(retryAfterMillis)
    ? { retryAfterMillis: Math.max(Math.ceil(retryAfterMillis), 0) }
    : {}

const inSeconds = (millis: number | undefined): string =>
  millis !== undefined && Number.isFinite(millis) ? `; there is room in ${Math.ceil(millis)} ms at the earliest` : ""

export const exceeded = (limit: string, retryAfterMillis?: number): Rejected =>
  new Rejected({
    reason: "Exceeded",
    limit,
    message: `${limit}: no room now${inSeconds(retryAfterMillis)}`,
    ...known(retryAfterMillis)
  })

export const tooLate = (
  reason: "MaxWait" | "Deadline",
  limit: string,
  allowedMillis: number,
  retryAfterMillis?: number
): Rejected =>
  new Rejected({
    reason,
    limit,
    message: `${limit}: it may wait ${allowedMillis} ms (${reason === "MaxWait" ? "maxWait" : "deadline"})${
      inSeconds(retryAfterMillis)
    }`,
    ...known(retryAfterMillis)
  })

export const invalid = (name: string, value: unknown, wanted: string): Rejected =>
  new Rejected({ reason: "InvalidRequest", limit: "", message: `${name} is ${String(value)}; it must be ${wanted}` })

export const overCapacity = (limit: Limit, cost: number, most: number): Rejected =>
  new Rejected({
    reason: "OverCapacity",
    limit: limit.name,
    message: `${limit.name}: ${cost} ${limit.rule.unit} are asked for, and it never holds more than ${most}`
  })

export const closed: Rejected = new Rejected({
  reason: "StoreUnavailable",
  limit: "",
  message: "the limiter is closed"
})

export const unavailable = (cause: unknown): Rejected =>
  new Rejected({
    reason: "StoreUnavailable",
    limit: "",
    message: `the limits cannot be checked: ${cause instanceof Error ? cause.message : "their store is away"}`,
    cause
  })
