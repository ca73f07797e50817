/**
 * What went wrong at the provider or on the way to it, as Effect's `AiError` reasons, mapped once. Bodies are cut to 8 KiB, keys
 * are blotted out, and of the headers only those are kept that say something about limits, timing and the request's id.
 */
import * as AiError from "effect/ai/AiError"
import * as Duration from "effect/Duration"
import { defined, field, list, parse, record, text } from "./openAiJson.ts"
import { provider } from "./openAiParts.ts"

/** The longest body in an error, in characters. */
export const maxBodyLength = 8192

/** An answer with a status that is no success. */
export interface StatusFailure {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
}

const kept =
  /^(?:retry-after(?:-ms)?|(?:x-|anthropic-)?ratelimit(?:-.*)?|date|x-request-id|request-id|openai-.*|x-should-retry|content-type|apim-request-id)$/

/** The headers worth handing on: limits, waits, timing, the request's id. */
export const keptHeaders = (headers: Headers): Readonly<Record<string, string>> => {
  const result: Record<string, string> = {}
  headers.forEach((value, name) => {
    if (kept.test(name)) result[name] = value
  })
  return result
}

/**
 * Blots out keys. `secrets` are the ones we know; texts of the shape of an OpenAI key go as well, since providers quote the key
 * they were sent.
 */
export const redact = (body: string, secrets: ReadonlyArray<string> = []): string => {
  let result = body
  for (const secret of secrets) if (secret.length >= 4) result = result.replaceAll(secret, "<redacted>")
  return result.replace(/\bsk-[\w*-]{4,}/g, "<redacted>").replace(/\bBearer\s+\S+/gi, "Bearer <redacted>")
    .replace(/\/\/[^\s/@"]+@/g, "//<redacted>@")
}

const cut = (body: string): string => body.length <= maxBodyLength ? body : `${body.slice(0, maxBodyLength)}…`

/** A status failure as a reason. `now` (milliseconds since 1970) turns an HTTP date into a wait. */
export const reasonFromStatus = (
  failure: StatusFailure,
  now: number,
  secrets: ReadonlyArray<string>
): AiError.AiErrorReason => {
  const body = cut(redact(failure.body, secrets))
  const error = errorOf(parse(failure.body))
  const retryAfter = retryAfterOf(failure.headers, now)
  const common = {
    http: { response: { status: failure.status, headers: failure.headers }, body },
    metadata: {
      [provider]: defined({
        status: failure.status,
        code: error.code,
        type: error.type,
        requestId: failure.headers["x-request-id"],
        retryAfterMillis: retryAfter === undefined ? undefined : Duration.toMillis(retryAfter)
      })
    },
    description: redact(cut(error.message ?? (body === "" ? `status ${failure.status}` : body)), secrets)
  }
  return reasonOf({ ...error, status: failure.status }, common, retryAfter)
}

/** An error that came inside a body or a stream of status 200. */
export const reasonFromBody = (value: unknown, secrets: ReadonlyArray<string> = []): AiError.AiErrorReason => {
  const error = errorOf(value)
  const status = /^[45]\d\d$/.test(error.code ?? "") ? Number(error.code) : undefined
  const body = typeof value === "string" ? value : JSON.stringify(value) ?? ""
  if (error.message === undefined && error.code === undefined && error.type === undefined) {
    return new AiError.InvalidResponseError({
      description: "the response holds neither an answer nor an error",
      http: { body: cut(redact(body, secrets)) }
    })
  }
  const common = {
    http: { body: cut(redact(body, secrets)) },
    metadata: { [provider]: defined({ code: error.code, type: error.type }) },
    description: cut(redact(error.message ?? "the provider answered with an error", secrets))
  }
  return reasonOf({ ...error, status }, common, undefined)
}

/** A body of status 200 that is no JSON: a proxy's page, a login form. */
export const reasonFromText = (body: string, secrets: ReadonlyArray<string> = []): AiError.AiErrorReason =>
  new AiError.InvalidResponseError({
    description: body.trim() === ""
      ? "the response body is empty"
      : `the response body is neither JSON nor an event stream: ${
        cut(redact(body.slice(0, 2 * maxBodyLength), secrets)).slice(0, 512)
      }`,
    http: { body: cut(redact(body.slice(0, 2 * maxBodyLength), secrets)) }
  })

interface ErrorFields {
  readonly message: string | undefined
  readonly code: string | undefined
  readonly type: string | undefined
  readonly parameter: string | undefined
  readonly status?: number | undefined
}

// `{ error: { message, code, type, param } }`, `{ error: "…" }`, `[{ error }]`, `{ type: "error", message, code }`,
// `{ message }`, `{ detail }`: all of them are sent.
const errorOf = (value: unknown): ErrorFields => {
  const whole = Array.isArray(value) ? list(value)[0] : value
  const inner = field(whole, "error")
  const error = record(inner) ?? record(whole)
  const code = field(error, "code") ?? field(error, "status")
  const detail = field(error, "detail") ?? field(error, "details")
  return {
    message: text(inner) ?? text(field(error, "message")) ?? text(field(error, "msg")) ??
      text(detail) ?? (detail === undefined || detail === null ? undefined : JSON.stringify(detail)),
    code: typeof code === "number" ? String(code) : text(code),
    type: text(field(error, "type")),
    parameter: text(field(error, "param"))
  }
}

interface Common {
  readonly http: typeof AiError.HttpContext.Type
  readonly metadata: { readonly [provider]: never } | object
  readonly description: string
}

const reasonOf = (
  error: ErrorFields,
  common: Common,
  retryAfter: Duration.Duration | undefined
): AiError.AiErrorReason => {
  const words = `${error.code ?? ""} ${error.type ?? ""}`
  const { http, description } = common
  const metadata = common.metadata as never
  const status = error.status
  if (/insufficient_quota|billing|quota_exceeded|credit/.test(words) || status === 402) {
    return new AiError.QuotaExhaustedError({ http, metadata })
  }
  if (/content_policy|content_filter|moderation_blocked/.test(words)) {
    return new AiError.ContentPolicyError({ http, metadata, description })
  }
  if (status === 401 || /invalid_api_key|authentication_error/.test(words)) {
    return new AiError.AuthenticationError({ kind: "InvalidKey", http, metadata, description })
  }
  if (status === 403 || (status === undefined && /permission/.test(words))) {
    return new AiError.AuthenticationError({ kind: "InsufficientPermissions", http, metadata, description })
  }
  if (status === 429 || (status === undefined && /rate_limit|too_many_requests/.test(words))) {
    return new AiError.RateLimitError({ http, metadata, ...(retryAfter === undefined ? undefined : { retryAfter }) })
  }
  // 408, 409 and 425 say "not now"; the vendor's own client sends those again too.
  const passing = status === 408 || status === 409 || status === 425 || (status !== undefined && status >= 500)
  if (!passing && (status !== undefined || /invalid|not_found|context_length|unsupported/.test(words))) {
    return new AiError.InvalidRequestError({
      http,
      metadata,
      description,
      ...(error.parameter === undefined ? undefined : { parameter: error.parameter }),
      ...(error.code === undefined ? undefined : { constraint: error.code })
    })
  }
  const reason = new AiError.InternalProviderError({ http, metadata, description })
  // `AiError.retryAfter` reads this property from any reason, but only `RateLimitError` declares it; a 503 may name a wait too.
  return retryAfter === undefined ? reason : Object.assign(reason, { retryAfter })
}

/**
 * How long the provider asks to wait: `retry-after-ms`, else `retry-after` in seconds or as an HTTP date. Nothing where it
 * makes no sense; never negative.
 */
export const retryAfterOf = (headers: Readonly<Record<string, string>>, now: number): Duration.Duration | undefined => {
  const millis = number(headers["retry-after-ms"])
  if (millis !== undefined) return Duration.millis(Math.max(0, millis))
  const after = headers["retry-after"]
  const seconds = number(after)
  if (seconds !== undefined) return Duration.millis(Math.max(0, seconds * 1000))
  const date = after === undefined ? NaN : Date.parse(after)
  return Number.isNaN(date) ? undefined : Duration.millis(Math.max(0, date - now))
}

const number = (value: string | undefined): number | undefined =>
  value !== undefined && /^-?\d+(\.\d+)?$/.test(value.trim()) && Number.isFinite(Number(value))
    ? Number(value)
    : undefined
