import { assert, describe, it } from "@effect/vitest"
import * as AiError from "effect/ai/AiError"
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as HttpClientError from "effect/http/HttpClientError"
import * as HttpClientRequest from "effect/http/HttpClientRequest"
import * as HttpClientResponse from "effect/http/HttpClientResponse"
import * as CircuitBreaker from "effect/persistence/CircuitBreaker"
import OpenAI from "openai"
import { CancelReason, Limiter, Retry, ToolFailure } from "../../src/index.ts"

const coded = (code: string, message = code): Error => Object.assign(new Error(message), { code })
const fetchFailed = (cause?: unknown): TypeError => new TypeError("fetch failed", { cause })
const ai = (reason: AiError.AiErrorReason): AiError.AiError => AiError.make({ module: "m", method: "f", reason })
const request = HttpClientRequest.get("http://127.0.0.1/")
const http = (reason: HttpClientError.HttpClientErrorReason) => new HttpClientError.HttpClientError({ reason })
const answered = (status: number) =>
  http(
    new HttpClientError.StatusCodeError({
      request,
      response: HttpClientResponse.fromWeb(request, new Response("", { status }))
    })
  )
const rejected = (reason: Limiter.Rejected["reason"], rest?: object): Limiter.Rejected =>
  new Limiter.Rejected({ reason, limit: "l", message: "m", ...rest })
const timedOut = (clock: CancelReason.Clock) =>
  ToolFailure.stopped("t", "c", CancelReason.timeout(clock, 5), true, false)
const open = new CircuitBreaker.CircuitBreakerError({
  reason: new CircuitBreaker.CircuitOpen({ key: "k", retryAfter: Duration.seconds(7) })
})

const yes: ReadonlyArray<readonly [string, unknown]> = [
  ...[408, 425, 429, 500, 502, 503, 504, 529].map((status) => [`status ${status}`, { status }] as const),
  ["a status as text", { statusCode: "503" }],
  ["a status in a response", { response: { status: 502 } }],
  ["a boolean of its own", { isRetryable: true, status: 400 }],
  ["a model's rate limit", ai(new AiError.RateLimitError({}))],
  ["a model's failure", ai(new AiError.InternalProviderError({ description: "oops" }))],
  ["GitHub's 403 for the rate", { status: 403, headers: { "x-ratelimit-remaining": "0" } }],
  ["Amazon's 400 for the rate", Object.assign(new Error("x"), { name: "ThrottlingException", status: 400 })],
  ["Amazon's mark", Object.assign(new Error("x"), { $retryable: {} })],
  ["a 400 that says x-should-retry", { status: 400, headers: { "x-should-retry": "true" } }],
  ...["ECONNRESET", "ECONNREFUSED", "EPIPE", "ETIMEDOUT", "EAI_AGAIN", "ENOTFOUND", "UND_ERR_SOCKET"].flatMap((code) =>
    [
      [code, coded(code)],
      [`fetch failed for ${code}`, fetchFailed(coded(code))],
      [`fetch failed for ${code}, unknown to Effect`, new Cause.UnknownError(fetchFailed(coded(code)))]
    ] as const
  ),
  ["all addresses refuse", fetchFailed(new AggregateError([coded("ECONNREFUSED")]))],
  ["fetch failed, nobody knows why", fetchFailed()],
  ["a browser's fetch failed", new TypeError("Failed to fetch")],
  ["Effect's time-out", new Cause.TimeoutError()],
  ["the signal's time-out", new DOMException("slow", "TimeoutError")],
  ["a request that did not get through", http(new HttpClientError.TransportError({ request }))],
  ["an HTTP answer of 503", answered(503)],
  ["the SDK's lost connection", new OpenAI.APIConnectionError({ message: "gone" })],
  ["the SDK's time-out", new OpenAI.APIConnectionTimeoutError()],
  ["the SDK's 500", OpenAI.APIError.generate(500, {}, "oops", new Headers())],
  ["a limiter that is full", rejected("Exceeded")],
  ["an open circuit", open],
  ["an attempt's time-out", timedOut("attempt")],
  ["a call a limit refused", ToolFailure.rejected("t", "c", "l")]
]

const no: ReadonlyArray<readonly [string, unknown]> = [
  ...[400, 401, 402, 403, 404, 405, 409, 410, 413, 422, 501, 505].map((status) =>
    [`status ${status}`, { status }] as const
  ),
  ["a boolean of its own", { isRetryable: false, status: 503 }],
  ["a spent quota", { status: 429, error: { code: "insufficient_quota" } }],
  ["a billing limit", { status: 429, error: { code: "billing_hard_limit_reached" } }],
  ["a model's spent quota", ai(new AiError.QuotaExhaustedError({}))],
  ["a model's wrong key", ai(new AiError.AuthenticationError({ kind: "InvalidKey" }))],
  ["a 503 that says x-should-retry: false", { status: 503, headers: { "x-should-retry": "false" } }],
  ["a tool's own not found", { _tag: "NotFound" }],
  ["a plain error", new Error("no such file")],
  ["a missing file", coded("ENOENT")],
  ["a certificate", fetchFailed(coded("CERT_HAS_EXPIRED"))],
  [
    "a request that did not get through for a certificate",
    http(
      new HttpClientError.TransportError({ request, cause: fetchFailed(coded("DEPTH_ZERO_SELF_SIGNED_CERT")) })
    )
  ],
  ["a TypeError of a bug", new TypeError("x is not a function")],
  ["an aborted request", new DOMException("stop", "AbortError")],
  ["an HTTP answer of 404", answered(404)],
  ["an URL that is none", http(new HttpClientError.InvalidUrlError({ request }))],
  ["the SDK's 400", OpenAI.APIError.generate(400, {}, "oops", new Headers())],
  ["what the limit never holds", rejected("OverCapacity")],
  ["a request that is none", rejected("InvalidRequest")],
  ["arguments that do not fit", ToolFailure.invalidInput("t", "c", "i", [], [])],
  ["a tool that does not exist", ToolFailure.unknownTool("t", "c", [], [])],
  ["a call that was cut off", ToolFailure.truncated("t", "c")],
  ["a defect", ToolFailure.handlerFailed("t", "c", coded("ECONNRESET"))],
  ["the call's deadline", timedOut("deadline")],
  ...[undefined, null, 503, "503", true, Symbol("x"), 5n, () => 503].map((value) => [String(value), value] as const)
]

describe("Retry.isRetryable", () => {
  it.each(yes)("says that it may pass: %s", (_, failure) => assert.isTrue(Retry.isRetryable(failure)))
  it.each(no)("says that it does not pass: %s", (_, failure) => assert.isFalse(Retry.isRetryable(failure)))

  it("finds what a wrapper of any depth that anyone builds wraps, outermost word first", () => {
    const deep = [1, 2, 3, 4, 5].reduce<unknown>((cause, n) => new Error(`layer ${n}`, { cause }), coded("ECONNRESET"))
    assert.isTrue(Retry.isRetryable(deep))
    assert.isFalse(Retry.isRetryable(Object.assign(new Error("x", { cause: coded("ECONNRESET") }), { status: 404 })))
    assert.isFalse(Retry.isRetryable(new Error("x", { cause: { isRetryable: false, cause: coded("ECONNRESET") } })))
  })
})

const throwing = (key: string): object =>
  Object.defineProperty({}, key, {
    get: () => {
      throw new Error("gotcha")
    }
  })
const cyclic: Record<string, unknown> = { message: "round" }
cyclic["cause"] = cyclic
cyclic["reason"] = cyclic
cyclic["errors"] = [cyclic]
const { proxy: revoked, revoke } = Proxy.revocable({}, {})
revoke()

describe("hostile failures", () => {
  const hostile: ReadonlyArray<readonly [string, unknown]> = [
    ...["isRetryable", "_tag", "status", "code", "cause", "reason", "errors", "name", "headers", "response"].map((
      key
    ) => [`a getter of ${key} that throws`, throwing(key)] as const),
    ["a proxy that throws", new Proxy({}, { get: () => assert.fail("gotcha") })],
    ["a revoked proxy", revoked],
    ["a cycle", cyclic],
    ["no prototype", Object.create(null)],
    ["endless causes", new Proxy({}, { get: (_, key) => key === "cause" ? { ...cyclic, cause: {} } : undefined })],
    ["a constructor that is none", Object.setPrototypeOf({ constructor: null }, Error.prototype)]
  ]
  it.each(hostile)("are not tried again, say no time, and throw nothing: %s", (_, failure) => {
    assert.isFalse(Retry.isRetryable(failure))
    assert.isUndefined(Retry.retryAfter(failure, 0))
  })
})

describe("Retry.retryAfter", () => {
  const google = [{ error: { code: 429, details: [{ retryDelay: "34.4s" }] } }]
  const forms: ReadonlyArray<readonly [string, unknown, number | undefined]> = [
    ["seconds", { status: 429, headers: { "retry-after": "20" } }, 20_000],
    ["zero", { status: 429, headers: { "retry-after": "0" } }, 0],
    ["negative", { status: 429, headers: { "retry-after": "-7" } }, 0],
    ["absent", { status: 429, headers: {} }, undefined],
    ["a word", { status: 429, headers: { "retry-after": "soon" } }, undefined],
    ["a day", { status: 429, headers: { "retry-after": "86400" } }, 86_400_000],
    ["an HTTP date", { status: 429, headers: { "retry-after": "Thu, 01 Jan 1970 00:00:40 GMT" } }, 39_000],
    ["a date that has passed", { status: 429, headers: { "retry-after": "Wed, 31 Dec 1969 00:00:00 GMT" } }, 0],
    ["milliseconds", { status: 429, headers: new Headers({ "retry-after-ms": "1234" }) }, 1234],
    ["a reset header", {
      status: 429,
      headers: { "x-ratelimit-reset-requests": "1m6.779s", "x-ratelimit-remaining-requests": "0" }
    }, 66_779],
    ["Google's RetryInfo", { status: 429, responseBody: JSON.stringify(google) }, 34_400],
    ["a sentence", { status: 429, message: "Please try again in 6.5s." }, 6500],
    ["a plain 503", { status: 503, headers: { "retry-after": "3" } }, 3000],
    // What a broken service says of itself counts, too.
    ["a 500", { status: 500, headers: { "retry-after": "3" } }, 3000],
    ["a 502 with a reset header", { status: 502, headers: { "x-ratelimit-reset-requests": "5s" } }, undefined],
    ["a model's rate limit", ai(new AiError.RateLimitError({ retryAfter: Duration.seconds(9) })), 9000],
    ["a limiter", rejected("MaxWait", { retryAfterMillis: 55 }), 55],
    ["a limiter that does not know", rejected("MaxWait"), undefined],
    ["a rejected call", ToolFailure.rejected("t", "c", "l", 66), 66],
    ["an open circuit", open, 7000],
    ["nothing", undefined, undefined]
  ]
  it.each(forms)("reads %s", (_, failure, expected) => assert.strictEqual(Retry.retryAfter(failure, 1000), expected))

  it.effect("reads what fetch has got, through Effect's own wrapper", () =>
    Effect.gen(function*() {
      const failure = yield* Effect.flip(
        Effect.tryPromise(() =>
          Promise.reject(OpenAI.APIError.generate(429, {}, "x", new Headers({ "retry-after": "2" })))
        )
      )
      assert.isTrue(Retry.isRetryable(failure))
      assert.strictEqual(Retry.retryAfter(failure, 0), 2000)
    }))
})
