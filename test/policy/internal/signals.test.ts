import { assert, describe, it } from "@effect/vitest"
import * as AiError from "effect/ai/AiError"
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as HttpClient from "effect/http/HttpClient"
import * as HttpClientError from "effect/http/HttpClientError"
import * as HttpClientRequest from "effect/http/HttpClientRequest"
import * as HttpClientResponse from "effect/http/HttpClientResponse"
import { readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { reasonFromStatus } from "../../../src/adapter/internal/openAiErrors.ts"
import { signalOf } from "../../../src/policy/internal/signals.ts"
import { describeData } from "../../data.ts"
import { random } from "../../random.ts"

const now = Date.UTC(2026, 0, 15, 12, 0, 0)
const httpDate = (offsetMillis: number): string => new Date(now + offsetMillis).toUTCString()

const refusal = (headers: Record<string, string>, body?: unknown, status = 429): unknown => ({ status, headers, body })
const askedFor = (headers: Record<string, string>, body?: unknown): number | undefined => {
  const said = signalOf(refusal(headers, body), now)
  assert.strictEqual(said?.congested, true)
  return said?.retryAfterMillis
}

describe("Retry-After", () => {
  it.each<[string, Record<string, string>, number | undefined]>([
    ["seconds", { "retry-after": "20" }, 20_000],
    ["in any case", { "RETRY-After": "20" }, 20_000],
    ["a fraction", { "retry-after": "1.5" }, 1500],
    ["a fraction without its zero", { "retry-after": ".25" }, 250],
    ["spaces around", { "retry-after": "  7 " }, 7000],
    ["zero", { "retry-after": "0" }, 0],
    ["negative", { "retry-after": "-5" }, 0],
    ["a day", { "retry-after": "86400" }, 86_400_000],
    ["more digits than a number holds", { "retry-after": "9".repeat(350) }, Number.MAX_SAFE_INTEGER],
    ["a duration", { "retry-after": "1m6.779s" }, 66_779],
    ["two values joined by a proxy", { "retry-after": "3, 20" }, 20_000],
    ["an HTTP date", { "retry-after": httpDate(30_000) }, 30_000],
    ["an HTTP date that has passed", { "retry-after": httpDate(-30_000) }, 0],
    ["an HTTP date by the service's own clock", { "retry-after": httpDate(630_000), date: httpDate(600_000) }, 30_000],
    ["an HTTP date beside a Date that is none", { "retry-after": httpDate(30_000), date: "yesterday" }, 30_000],
    ["the old form of RFC 850", { "retry-after": "Thursday, 15-Jan-26 12:00:40 GMT" }, 40_000],
    ["the old form of asctime", { "retry-after": "Thu Jan 15 12:00:50 2026" }, 50_000],
    ["RFC 3339", { "retry-after": "2026-01-15T12:00:10Z" }, 10_000],
    ["Unix seconds", { "retry-after": String(now / 1000 + 9) }, 9000],
    ["milliseconds", { "retry-after-ms": "1250" }, 1250],
    ["milliseconds before seconds", { "retry-after-ms": "1250.5", "retry-after": "2" }, 1250.5],
    ["Azure's milliseconds", { "x-ms-retry-after-ms": "300" }, 300],
    ["seconds where the milliseconds are nonsense", { "retry-after-ms": "soon", "retry-after": "2" }, 2000],
    ["absent", {}, undefined],
    ["empty", { "retry-after": "" }, undefined],
    ["a word", { "retry-after": "soon" }, undefined],
    ["no number", { "retry-after": "NaN" }, undefined],
    ["no finite number", { "retry-after": "Infinity" }, undefined],
    ["hexadecimal", { "retry-after": "0x10" }, undefined],
    ["a long text", { "retry-after": "1,".repeat(5000) }, undefined]
  ])("%s", (_, headers, expected) => {
    assert.strictEqual(askedFor(headers), expected)
  })

  it("means UTC where a date has no zone, wherever this machine stands", () => {
    const zone = process.env["TZ"]
    process.env["TZ"] = "America/New_York"
    try {
      assert.notStrictEqual(new Date(now).getTimezoneOffset(), 0)
      assert.strictEqual(askedFor({ "retry-after": "Thu Jan 15 12:00:50 2026" }), 50_000)
      assert.strictEqual(askedFor({ "retry-after": "2026-01-15T12:00:10" }), 10_000)
    } finally {
      if (zone === undefined) delete process.env["TZ"]
      else process.env["TZ"] = zone
    }
  })

  it("is taken from the body where the headers say nothing", () => {
    const google = (retryDelay: unknown): unknown => ({
      error: {
        code: 429,
        message: "You exceeded your current quota, please check your plan and billing details.",
        status: "RESOURCE_EXHAUSTED",
        details: [
          { "@type": "type.googleapis.com/google.rpc.QuotaFailure", violations: [{ quotaValue: "15" }] },
          { "@type": "type.googleapis.com/google.rpc.RetryInfo", retryDelay }
        ]
      }
    })
    assert.strictEqual(askedFor({}, google("34.4s")), 34_400)
    assert.strictEqual(askedFor({}, JSON.stringify([google("34.4s")])), 34_400)
    assert.strictEqual(askedFor({}, google({ seconds: "34", nanos: 500_000_000 })), 34_500)
    assert.strictEqual(askedFor({}, google("soon")), undefined)
    assert.strictEqual(askedFor({ "retry-after": "1" }, google("34.4s")), 1000)
    assert.strictEqual(askedFor({}, { message: "You are being rate limited.", retry_after: 0.65 }), 650)
    assert.strictEqual(askedFor({}, { ok: false, error_code: 429, parameters: { retry_after: 12 } }), 12_000)
    const openAi = (words: string) => ({
      error: { message: `Rate limit reached for gpt-4. ${words}`, code: "rate_limit_exceeded" }
    })
    assert.strictEqual(askedFor({}, openAi("Please try again in 1m6.779s. Visit us.")), 66_779)
    assert.strictEqual(askedFor({}, openAi("Please try again in 20s.")), 20_000)
    assert.strictEqual(askedFor({}, openAi("Please retry after 34 seconds.")), 34_000)
    assert.strictEqual(askedFor({}, openAi("Please try again in 123ms.")), 123)
    assert.strictEqual(askedFor({}, openAi("Please try again later.")), undefined)
  })

  it("is taken from a count that is used up where nothing else says it", () => {
    const empty = { "x-ratelimit-remaining-requests": "0", "x-ratelimit-limit-requests": "3" }
    assert.strictEqual(askedFor({ ...empty, "x-ratelimit-reset-requests": "1m6.779s" }), 66_779)
    assert.strictEqual(askedFor({ "x-ratelimit-reset-requests": "1m6.779s" }), 66_779)
    assert.strictEqual(
      askedFor({
        "anthropic-ratelimit-tokens-remaining": "0",
        "anthropic-ratelimit-tokens-reset": "2026-01-15T12:00:09Z"
      }),
      9000
    )
    assert.strictEqual(
      askedFor({ "x-ratelimit-remaining-requests": "9", "x-ratelimit-reset-requests": "1m" }),
      undefined
    )
  })

  it("of a good answer asks for nothing", () => {
    assert.strictEqual(signalOf({ status: 200, headers: { "retry-after": "52" } }, now), undefined)
    const headers = { "retry-after": "52", "ratelimit-remaining": "3", "ratelimit-reset": "9" }
    assert.deepStrictEqual(signalOf({ status: 200, headers }, now), {
      congested: false,
      remaining: 3,
      resetMillis: 9000
    })
  })
})

describe("counts in headers", () => {
  const counted = (headers: Record<string, string>) => {
    const said = signalOf({ status: 200, headers }, now)
    if (said !== undefined) assert.isFalse(said.congested)
    return said === undefined ? undefined : [said.limit, said.remaining, said.resetMillis]
  }
  const unix = now / 1000

  it.each<[string, Record<string, string>, ReadonlyArray<number | undefined> | undefined]>([
    [
      "OpenAI: a bucket that fills all the time, as what may be called in a minute",
      {
        "x-ratelimit-limit-requests": "10000",
        "x-ratelimit-remaining-requests": "9992",
        "x-ratelimit-reset-requests": "1m9.12s"
      },
      [10_000, 9992 + 8 * 60_000 / 69_120, 60_000]
    ],
    [
      "OpenAI: an empty bucket waits for one call, not for all",
      {
        "x-ratelimit-limit-requests": "3",
        "x-ratelimit-remaining-requests": "0",
        "x-ratelimit-reset-requests": "1m0s"
      },
      [3, 0, 20_000]
    ],
    [
      "Anthropic: dates",
      {
        "anthropic-ratelimit-requests-limit": "50",
        "anthropic-ratelimit-requests-remaining": "20",
        "anthropic-ratelimit-requests-reset": "2026-01-15T12:00:36Z"
      },
      [50, 50, 36_000]
    ],
    [
      "Anthropic: dates by its own clock",
      {
        date: httpDate(3_600_000),
        "anthropic-ratelimit-requests-limit": "50",
        "anthropic-ratelimit-requests-remaining": "0",
        "anthropic-ratelimit-requests-reset": "2026-01-15T13:01:00Z"
      },
      [50, 0, 1200]
    ],
    ["tokens that are used up", { "x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "7.66s" }, [
      undefined,
      0,
      7660
    ]],
    [
      "input tokens that are used up",
      {
        "anthropic-ratelimit-input-tokens-remaining": "0",
        "anthropic-ratelimit-input-tokens-reset": "2026-01-15T12:00:05Z"
      },
      [undefined, 0, 5000]
    ],
    ["tokens that are left", { "x-ratelimit-remaining-tokens": "5", "x-ratelimit-reset-tokens": "7.66s" }, undefined],
    [
      "GitHub: Unix seconds",
      { "x-ratelimit-limit": "5000", "x-ratelimit-remaining": "12", "x-ratelimit-reset": String(unix + 90) },
      [5000, 12, 90_000]
    ],
    [
      "GitHub: a reset that has passed",
      { "x-ratelimit-limit": "60", "x-ratelimit-remaining": "0", "x-ratelimit-reset": String(unix - 1) },
      [60, 0, 0]
    ],
    ["Unix milliseconds", { "x-ratelimit-remaining": "3", "x-ratelimit-reset": String(now + 1500) }, [
      undefined,
      3,
      1500
    ]],
    [
      "Discord: seconds after",
      {
        "x-ratelimit-limit": "5",
        "x-ratelimit-remaining": "0",
        "x-ratelimit-reset": "1470173023",
        "x-ratelimit-reset-after": "1.2"
      },
      [5, 0, 1200]
    ],
    [
      "the older draft of the IETF",
      { "ratelimit-limit": "100, 100;w=60", "ratelimit-remaining": "40", "ratelimit-reset": "30" },
      [100, 40, 30_000]
    ],
    ["the draft before", { ratelimit: "limit=100, remaining=40, reset=30" }, [100, 40, 30_000]],
    [
      "the draft, the tightest of several",
      {
        "ratelimit-policy": "\"burst\";q=10;w=1, \"daily\";q=1000;w=86400",
        ratelimit: "\"burst\";r=9;t=1, \"daily\";r=2;t=4000"
      },
      [1000, 2, 4_000_000]
    ],
    ["nonsense", { "x-ratelimit-remaining": "many", "x-ratelimit-reset": "soon" }, undefined],
    ["nothing", { "content-type": "text/html" }, undefined]
  ])("%s", (_, headers, expected) => {
    assert.deepStrictEqual(counted(headers), expected)
  })

  it("are read from every kind of headers", () => {
    const pairs: ReadonlyArray<readonly [string, string]> = [["X-RateLimit-Remaining", "3"], [
      "X-RateLimit-Reset",
      "30"
    ]]
    const expected = { congested: false, remaining: 3, resetMillis: 30_000 }
    for (
      const headers of [
        Object.fromEntries(pairs),
        new Headers(pairs as Array<[string, string]>),
        new Map(pairs),
        pairs,
        { "x-ratelimit-remaining": 3, "x-ratelimit-reset": ["30", "60"] }
      ]
    ) assert.deepStrictEqual(signalOf({ status: 200, headers }, now), expected)
  })

  it("come with a model's turn: its last part, its first, and the whole answer", () => {
    const headers = { "x-ratelimit-remaining": "3", "x-ratelimit-reset": "30" }
    const expected = { congested: false, remaining: 3, resetMillis: 30_000 }
    const finish = { type: "finish", reason: "stop", response: { status: 200, headers } }
    assert.deepStrictEqual(signalOf(finish, now), expected)
    assert.deepStrictEqual(signalOf({ type: "response-metadata", metadata: { openai: { headers } } }, now), expected)
    assert.deepStrictEqual(signalOf({ content: [{ type: "text", text: "hi" }, finish] }, now), expected)
    assert.strictEqual(signalOf({ type: "text-delta", delta: "retry-after: 5" }, now), undefined)
  })
})

describe("errors", () => {
  const request = HttpClientRequest.get("http://service.test/")
  const response = (status: number, headers: Record<string, string>, body: string | null = null) =>
    HttpClientResponse.fromWeb(request, new Response(body, { status, headers }))
  const exit = (error: unknown) => signalOf(Exit.fail(error), now)
  const busy = { congested: true, retryAfterMillis: 2000 }
  const after = { "retry-after": "2" }

  it("of Effect's HttpClient, by their response", () => {
    const failing = response(429, after)
    const error = new HttpClientError.HttpClientError({
      reason: new HttpClientError.StatusCodeError({ request, response: failing })
    })
    assert.deepStrictEqual(exit(error), busy)
    assert.deepStrictEqual(signalOf(Exit.succeed(failing), now), busy)
    assert.deepStrictEqual(signalOf(Exit.succeed(new Response(null, { status: 429, headers: after })), now), busy)
    const away = new HttpClientError.HttpClientError({
      reason: new HttpClientError.TransportError({ request, cause: new Error("ECONNRESET") })
    })
    assert.strictEqual(exit(away), undefined)
  })

  it("of models: a rate limit is a jam, a spent quota and all others are none", () => {
    const ai = (reason: AiError.AiErrorReason) => exit(AiError.make({ module: "M", method: "streamText", reason }))
    assert.deepStrictEqual(ai(new AiError.RateLimitError({ retryAfter: Duration.seconds(2) })), busy)
    assert.deepStrictEqual(ai(new AiError.RateLimitError({})), { congested: true })
    assert.strictEqual(ai(new AiError.QuotaExhaustedError({})), undefined)
    assert.strictEqual(ai(new AiError.AuthenticationError({ kind: "InvalidKey" })), undefined)
    assert.strictEqual(ai(new AiError.InvalidRequestError({ description: "rate limit" })), undefined)
    assert.strictEqual(ai(new AiError.InternalProviderError({ description: "boom" })), undefined)
  })

  it("of our adapter, by status, headers and body", () => {
    const of = (status: number, headers: Record<string, string>, error: unknown = {}) =>
      exit(AiError.make({
        module: "OpenAi",
        method: "streamText",
        reason: reasonFromStatus({ status, headers, body: JSON.stringify({ error }) }, now, [])
      }))
    assert.deepStrictEqual(of(429, after), busy)
    assert.deepStrictEqual(of(429, {}, { details: [{ retryDelay: "34.4s" }] }), {
      congested: true,
      retryAfterMillis: 34_400
    })
    assert.deepStrictEqual(of(503, after), busy)
    assert.strictEqual(of(503, {}), undefined)
    assert.deepStrictEqual(of(503, {}, { message: "The model is overloaded." }), { congested: true })
    assert.deepStrictEqual(of(529, {}), { congested: true })
    assert.deepStrictEqual(of(500, {}, { type: "overloaded_error" }), { congested: true })
    assert.strictEqual(of(500, {}), undefined)
    assert.strictEqual(of(429, after, { code: "insufficient_quota" }), undefined)
    assert.strictEqual(of(429, after, { type: "billing_hard_limit_reached" }), undefined)
    for (const status of [400, 401, 404, 413, 422, 500, 502]) assert.strictEqual(of(status, {}), undefined)
  })

  it("of other clients, in the shapes they have", () => {
    const axios = Object.assign(new Error("Request failed"), { response: { status: 429, headers: after, data: {} } })
    const sdk = Object.assign(new Error("429"), {
      status: 429,
      headers: new Headers(after),
      error: { type: "rate_limit_error" }
    })
    const vercel = Object.assign(new Error("429"), { statusCode: 429, responseHeaders: after, responseBody: "{}" })
    for (const error of [axios, sdk, vercel, { status: 429, headers: after }]) assert.deepStrictEqual(exit(error), busy)
    const amazon = Object.assign(new Error("Rate exceeded"), {
      name: "ThrottlingException",
      $metadata: { httpStatusCode: 400 }
    })
    assert.deepStrictEqual(exit(amazon), { congested: true })
    const gitHub = {
      status: 403,
      response: { headers: { "x-ratelimit-remaining": "0", "x-ratelimit-reset": String(now / 1000 + 60) } }
    }
    assert.deepStrictEqual(exit(gitHub), {
      congested: true,
      retryAfterMillis: 60_000,
      remaining: 0,
      resetMillis: 60_000
    })
    assert.strictEqual(exit({ status: 403, headers: {} }), undefined)
  })

  it("that wrap another, by that one; a defect as well; an interruption and our own word say nothing", () => {
    const inner = { status: 429, headers: after }
    assert.deepStrictEqual(
      exit(new Error("search failed", { cause: new Error("fetch failed", { cause: inner }) })),
      busy
    )
    assert.deepStrictEqual(signalOf(Exit.die(inner), now), busy)
    assert.strictEqual(signalOf(Exit.interrupt(1), now), undefined)
    assert.deepStrictEqual(signalOf(Exit.failCause(Cause.combine(Cause.interrupt(1), Cause.fail(inner))), now), busy)
    assert.strictEqual(exit({ _tag: "Rejected", reason: "RateLimited", status: 429, retryAfterMillis: 5 }), undefined)
    assert.strictEqual(exit("429 Too Many Requests"), undefined)
    assert.strictEqual(signalOf(Exit.succeed({ rows: [429], headers: ["a", "b"] }), now), undefined)
  })
})

describe("hostile values", () => {
  const looped: Record<string, unknown> = { message: "round" }
  looped["cause"] = looped
  looped["error"] = looped
  const throwing = new Proxy({}, {
    get: () => {
      throw new Error("no")
    },
    ownKeys: () => {
      throw new Error("no")
    }
  })
  const deep = (depth: number): unknown => {
    let at: unknown = { status: 429 }
    for (let i = 0; i < depth; i++) at = new Error("deep", { cause: at })
    return at
  }
  const values: ReadonlyArray<unknown> = [
    undefined,
    null,
    0,
    Number.NaN,
    "",
    "x".repeat(100_000),
    Symbol("s"),
    10n,
    () => 1,
    [],
    [[["retry-after"]]],
    {},
    Object.create(null),
    Object.freeze({ headers: null }),
    looped,
    throwing,
    new Proxy(() => 1, { get: () => throwing }),
    deep(10_000),
    new Date(Number.NaN),
    new Map([[{}, throwing]]),
    "{".repeat(70_000),
    { toString: () => "429" },
    { details: "none", retryDelay: {} },
    {
      get status() {
        throw new Error("no")
      }
    }
  ]
  const keys = [
    ..."status statusCode headers response reason http body error data cause code type name message details retryAfter"
      .split(" "),
    ..."retry-after retry-after-ms date x-ratelimit-remaining x-ratelimit-reset ratelimit _tag metadata content $metadata"
      .split(" ")
  ]

  it("say nothing, or something that makes sense, and never throw", () => {
    let told = 0
    for (let seed = 1; seed <= 3000; seed++) {
      const { next, pick } = random(seed)
      const make = (depth: number): unknown => {
        if (depth === 0 || next() < 0.3) return next() < 0.3 ? pick([429, 503, 529, 200, 403, 400]) : pick(values)
        return Object.fromEntries(Array.from({ length: 4 }, () => [pick(keys), make(depth - 1)]))
      }
      const value = make(4)
      for (const answer of [value, Exit.fail(value), Exit.die(value), Exit.succeed(value)]) {
        const said = signalOf(answer, now)
        if (said === undefined) continue
        told++
        for (const number of [said.retryAfterMillis, said.limit, said.remaining, said.resetMillis]) {
          assert.isTrue(
            number === undefined || (number >= 0 && Number.isFinite(number)),
            `seed ${seed}: ${JSON.stringify(said)}`
          )
        }
      }
    }
    assert.isAbove(told, 50)
  })
})

interface Recorded {
  readonly interactions: ReadonlyArray<{
    readonly response: {
      readonly status: number
      readonly headers: Readonly<Record<string, string>>
      readonly body?: string
      readonly bodyJson?: unknown
    }
  }>
}

describeData("wire", "recorded answers", (folder) => {
  const responses = readdirSync(folder).filter((file) => file.endsWith(".json") && file !== "index.json").flatMap((
    file
  ) =>
    (JSON.parse(readFileSync(join(folder, file), "utf8")) as Recorded).interactions
      .map(({ response }) => ({ file, response, body: response.body ?? JSON.stringify(response.bodyJson) }))
  )
  const reasoned = ({ body, response }: typeof responses[number]) =>
    AiError.make({ module: "M", method: "streamText", reason: reasonFromStatus({ ...response, body }, now, []) })

  it("that refuse a call for its rate are jams, and no other is", () => {
    const failing = responses.filter(({ response }) => response.status >= 400)
    assert.isAbove(failing.filter(({ response }) => response.status === 429).length, 0)
    assert.isAbove(failing.length, 10)
    for (const answer of failing) {
      const congested = [429, 503, 529].includes(answer.response.status)
      for (const error of [reasoned(answer), { ...answer.response, body: answer.body }]) {
        const said = signalOf(Exit.fail(error), now)
        assert.strictEqual(said?.congested ?? false, congested, `${answer.file}: ${answer.body}`)
        assert.isUndefined(said?.retryAfterMillis)
      }
    }
  })

  it("that are good are no jams, though they carry a Retry-After", () => {
    const good = responses.filter(({ response }) => response.status < 300)
    assert.isAbove(good.filter(({ response }) => response.headers["retry-after"] !== undefined).length, 0)
    for (const { file, response } of good) {
      const said = signalOf(Exit.succeed({ type: "finish", response }), now)
      assert.isFalse(said?.congested ?? false, file)
      assert.isUndefined(said?.retryAfterMillis, file)
    }
  })

  it("with counts of requests are understood, all of them", () => {
    let counted = 0
    for (const { file, response: { headers, status } } of responses) {
      const [limit, remaining] = ["openai", "anthropic"].map((vendor) =>
        vendor === "openai"
          ? [headers["x-ratelimit-limit-requests"], headers["x-ratelimit-remaining-requests"]]
          : [headers["anthropic-ratelimit-requests-limit"], headers["anthropic-ratelimit-requests-remaining"]]
      ).find(([found]) => /^\d+$/.test(found ?? "")) ?? []
      if (limit === undefined || remaining === undefined) continue
      counted++
      const said = signalOf({ status, headers }, Date.UTC(2026, 0, 1))
      assert.strictEqual(said?.limit, Number(limit), file)
      assert.isAtLeast(said?.remaining ?? 0, Number(remaining), file)
      assert.isNumber(said?.resetMillis, file)
    }
    assert.isAbove(counted, 20)
  })
})

describe("through a real client", () => {
  it.effect("a failing status of HttpClient.filterStatusOk is a jam", () =>
    Effect.gen(function*() {
      const client = HttpClient.make((request) =>
        Effect.succeed(
          HttpClientResponse.fromWeb(request, new Response(null, { status: 429, headers: { "retry-after": "3" } }))
        )
      )
      const exit = yield* Effect.exit(HttpClient.filterStatusOk(client).get("http://service.test/"))
      assert.deepStrictEqual(signalOf(exit, now), { congested: true, retryAfterMillis: 3000 })
    }))
})
