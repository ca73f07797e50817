import { assert, describe, it } from "@effect/vitest"
import * as LanguageModel from "effect/ai/LanguageModel"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Redacted from "effect/Redacted"
import * as TestClock from "effect/testing/TestClock"
import * as Clean from "../../src/testing/internal/recordingClean.ts"
import type * as File from "../../src/testing/internal/recordingFile.ts"
import * as Scan from "../../src/testing/internal/recordingScan.ts"
import { Secrets } from "../../src/testing/internal/recordingSecrets.ts"
import type * as Tape from "../../src/testing/internal/recordingTape.ts"
import { RecordingError } from "../../src/testing/Recording.ts"
import { provider } from "../adapter/openAiServer.ts"
import { random } from "../random.ts"
import { chatEvent, done, events, json, responsesEvent, utf8 } from "../replay/server.ts"
import { folder, hear, inVirtualTime, play, record } from "./recordings.ts"

const mount = provider()
const recordings = folder()

const key = "sk-proj-Zq3vT9xLmN8bR2wYc5Hd"
const plainKey = "q7Zr/4+Tn\"ö0vW9 pL2"

/** One exchange as the tape takes it. */
const taken = (exchange: {
  readonly url?: string
  readonly headers?: Record<string, string>
  readonly body?: string
  readonly pieces: ReadonlyArray<Uint8Array>
  readonly answerHeaders?: Record<string, string>
  readonly ending?: Tape.Taken["ending"]
}): Tape.Taken => ({
  url: exchange.url ?? "https://api.openai.com/v1/chat/completions",
  method: "POST",
  headers: new Headers(exchange.headers),
  body: exchange.body ?? "{\"model\":\"m\"}",
  at: 0,
  isLeft: () => false,
  answer: {
    status: 200,
    headers: new Headers({ "content-type": "text/event-stream", ...exchange.answerHeaders }),
    at: 0,
    pieces: exchange.pieces.map((bytes, index) => ({ at: index, bytes }))
  },
  ending: exchange.ending ?? "complete",
  failure: [],
  endedAt: 1
})

const clean = (
  entries: ReadonlyArray<Tape.Taken>,
  named: ReadonlyArray<string> = [],
  patterns: ReadonlyArray<RegExp> = []
) => {
  const secrets = new Secrets({ texts: named, patterns })
  const file = Clean.fileOf(entries, secrets, "openai", "succeeded")
  return { file, secrets, left: Scan.placesOf(file, secrets.known), text: JSON.stringify(file) }
}

const answerOf = (file: File.File, index = 0): string =>
  (file.exchanges[index]!.response.chunks ?? []).map(({ text }) => text).join("")

/** What the answer of a chat says when its fragments are put together, by a reader of its own. */
const saidIn = (stream: string): string =>
  [...stream.matchAll(/^data: (\{.*\})$/gm)].map(([, data]) => {
    const { choices } = JSON.parse(data!) as {
      readonly choices: ReadonlyArray<{
        readonly delta?: {
          readonly content?: string
          readonly tool_calls?: ReadonlyArray<{ readonly function: { readonly arguments: string } }>
        }
      }>
    }
    return choices.map(({ delta }) =>
      (delta?.content ?? "") + (delta?.tool_calls ?? []).map((call) => call.function.arguments).join("")
    ).join("")
  }).join("")

const says = (...words: ReadonlyArray<string>): string =>
  words.map((content) => chatEvent({ delta: { content } })).join("") + chatEvent({ delta: {}, finish_reason: "stop" }) +
  "data: [DONE]\n\n"

/** In every code that a secret travels in. */
const everyForm = (secret: string): ReadonlyArray<string> => [
  secret,
  JSON.stringify(secret).slice(1, -1),
  encodeURIComponent(secret),
  Buffer.from(secret).toString("base64"),
  Buffer.from(secret).toString("base64").replace(/=+$/, ""),
  Buffer.from(secret).toString("base64url"),
  encodeURIComponent(encodeURIComponent(secret)),
  Buffer.from(secret).toString("hex"),
  Buffer.from(secret).toString("hex").toUpperCase()
]

const standsNowhere = (text: string, secret: string): void => {
  for (const form of everyForm(secret)) assert.isFalse(text.includes(form), `${form} stands in ${text}`)
}

describe("a recording", () => {
  it.effect("holds no key: not of headers, not of the URL, not where the answer says it again", () =>
    Effect.gen(function*() {
      const cookie = "session=ab12cd34ef56gh78"
      const organization = "org-4fGh7JkLmNpQrStUvWxY"
      const query = "tok_QqWwEeRrTtYy"
      const { layer, seen } = mount(
        {
          apiKey: key,
          organization: "acme-organization",
          project: "acme-project-one",
          headers: { cookie, "x-custom-token": "custom-token-value" },
          query: { api_key: query, sig: "tiny", "api-version": "2026-01-01" }
        },
        {
          ...events([
            utf8(
              says(
                `Your key is ${key}, `,
                `your cookie ${cookie}, you are ${organization} of acme-organization`,
                ` ${query} zz99yy88xx77`
              )
            )
          ]),
          headers: {
            "content-type": "text/event-stream",
            "set-cookie": "id=zz99yy88xx77",
            "openai-organization": organization,
            "x-request-id": "req_1"
          }
        }
      )
      const file = recordings.of("keys.json")
      yield* TestClock.withLive(Effect.provide(hear(true, `remember ${key}`), layer.pipe(record(file))))
      assert.match(seen[0]!.url, new RegExp(query))
      const text = recordings.text("keys.json")
      for (
        const secret of [
          key,
          cookie,
          "ab12cd34ef56gh78",
          organization,
          query,
          "acme-organization",
          "acme-project-one",
          "custom-token-value",
          "zz99yy88xx77"
        ]
      ) standsNowhere(text, secret)
      const { request, response } = recordings.json("keys.json").exchanges[0]!
      assert.deepStrictEqual(Object.keys(request.headers!).sort(), ["accept", "content-type"])
      assert.deepStrictEqual(Object.keys(response.headers!).sort(), ["content-type", "date", "x-request-id"])
      assert.include(request.url, "api-version=2026-01-01")
      assert.notInclude(request.url, "tiny")
      const said = saidIn(response.chunks!.map((chunk) => chunk.text).join(""))
      assert.match(
        said.replace(/\[redacted-\d+\]/g, "X"),
        /^Your key is X, your cookie X, you are X of X X X$/
      )
      const placeholder = /key is (\[redacted-\d+\])/.exec(said)![1]!
      assert.include(JSON.stringify(request.bodyJson), `remember ${placeholder}`)

      const replayed = yield* Effect.provide(inVirtualTime(hear(true, "remember")), play(file))
      assert.strictEqual(replayed.error, undefined)
      assert.strictEqual(
        replayed.parts.filter(({ type }) => type === "text-delta").map(({ delta }) => delta).join(""),
        said
      )
    }))

  it.effect("holds none of what the user names: texts, Redacted texts, patterns; and the same gets the same name", () =>
    Effect.gen(function*() {
      const { layer } = mount(
        {},
        json({
          id: "c",
          model: "m",
          choices: [{
            index: 0,
            message: { content: "Ann (ann@example.org) of Zug, 756.1234.5678.97, Zug" },
            finish_reason: "stop"
          }]
        })
      )
      const file = recordings.of("named.json")
      const redact = ["Zug,", Redacted.make("756.1234.5678.97"), /[a-z]+@example\.org/]
      yield* TestClock.withLive(
        Effect.provide(hear(false, "mail ann@example.org"), layer.pipe(record(file, { redact })))
      )
      const text = recordings.text("named.json")
      for (const secret of ["Zug,", "756.1234.5678.97", "ann@example.org"]) standsNowhere(text, secret)
      const mail = /mail (\[redacted-\d+\])/.exec(text)![1]!
      assert.include(text, `Ann (${mail})`)
    }))

  it("holds no text of the shape of a token, wherever it comes from", () => {
    const tokens = [
      "sk-abcdefghijklmnop1234",
      "sk_live_abcdefghijkl1234",
      "ghp_abcdefghijklmnopqrstuvwxyz0123456789",
      "github_pat_11ABCDEFG0abcdefghijkl",
      "AKIAIOSFODNN7EXAMPLE",
      "AIzaSyA-abcdefghijklmnopqrstuvwxyz01234",
      "xoxb-123456789012-abcdefGHIJKL",
      "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9P",
      "-----BEGIN RSA PRIVATE KEY-----\nMIIEowIBAAKCAQEA\nabc=\n-----END RSA PRIVATE KEY-----"
    ]
    for (const token of tokens) {
      const tool = JSON.stringify({ output: `before ${token} after` })
      const { left, text } = clean([taken({
        body: JSON.stringify({
          model: "m",
          messages: [{ role: "user", content: token }, { role: "tool", content: tool }]
        }),
        pieces: [utf8(says(`I saw ${token}!`))]
      })])
      standsNowhere(text, token)
      assert.deepStrictEqual(left, [])
      assert.include(text, "before [redacted-1] after")
      assert.include(text, "I saw [redacted-1]!")
    }
    const bearer = clean([
      taken({ pieces: [utf8(says("curl -H 'Authorization: Bearer abc.DEF-123_456' x, abc.DEF-123_456"))] })
    ])
    standsNowhere(bearer.text, "abc.DEF-123_456")
    assert.include(bearer.text, "Bearer [redacted-1]' x, [redacted-1]")
  })

  it("holds no secret where nothing is JSON: paths, headers, plain texts, comments, messages of errors", () => {
    const plain = taken({
      url: `https://gateway.example/${key}/v1/chat/completions?x=${encodeURIComponent(plainKey)}#${key}`,
      answerHeaders: { "content-type": "text/plain", "x-request-id": `of-${key}` },
      pieces: [utf8("no such key: "), ...[...key].map((letter) => utf8(letter)), utf8(`, ${plainKey}`)]
    })
    const comment = taken({ pieces: [utf8(`: ${key}\nid: ${plainKey}\n\n${says("fine")}`)] })
    const broken = {
      ...taken({ pieces: [], ending: "broken" }),
      answer: undefined,
      failure: [{ name: `E ${plainKey}`, message: key, code: `C-${key}` }]
    }
    const coded = taken({ body: JSON.stringify({ model: "m", of: everyForm(plainKey) }), pieces: [utf8(says("fine"))] })
    const { file, left, text } = clean([plain, comment, broken, coded], [plainKey])
    for (const secret of [key, plainKey]) standsNowhere(text, secret)
    assert.deepStrictEqual(left, [])
    const [first, second, third] = file.exchanges
    assert.match(first!.response.body!, /^no such key: \[redacted-\d\], \[redacted-\d\]$/)
    assert.match(
      first!.request.url,
      /^https:\/\/gateway\.example\/\[redacted-\d\]\/v1\/chat\/completions\?x=\[redacted-\d\]$/
    )
    assert.match(second!.response.chunks![0]!.text, /^: \[redacted-\d\]\nid: \[redacted-\d\]\n/)
    assert.match(third!.response.failure![0]!.message, /^\[redacted-\d\]$/)
  })

  it("keeps words that only look a little like one", () => {
    const words = "risk-management-framework-of-ours, ask-anything-you-want-today, AKIA, sk-, eyJ, none, Bearer of news"
    const { text } = clean([taken({ headers: { authorization: "Bearer none" }, pieces: [utf8(says(words))] })])
    assert.include(text, words)
  })

  it("is clean wherever the network cuts a secret: at every byte", () => {
    const body = utf8(says(`Ä ${plainKey} and ${key}`, `\n${plainKey}`))
    for (let cut = 0; cut <= body.length; cut++) {
      const { file, left, text } = clean([taken({ pieces: [body.subarray(0, cut), body.subarray(cut)] })], [plainKey])
      for (const secret of [plainKey, key]) standsNowhere(text, secret)
      assert.deepStrictEqual(left, [])
      assert.strictEqual(saidIn(answerOf(file)), "Ä [redacted-1] and [redacted-2]\n[redacted-1]", `cut at ${cut}`)
    }
  })

  it("is clean wherever the model cuts a secret: fragments of texts and of arguments, on both wires", () => {
    for (const secret of [key, plainKey]) {
      for (let cut = 1; cut < secret.length; cut++) {
        const [head, tail] = [secret.slice(0, cut), secret.slice(cut)]
        const chat = clean([taken({ pieces: [utf8(says("it is ", head, tail, "."))] })], [plainKey])
        assert.strictEqual(saidIn(answerOf(chat.file)), "it is [redacted-1].", `cut at ${cut}`)

        const fragment = (index: number, text: string) =>
          chatEvent({ delta: { tool_calls: [{ index, function: { arguments: text } }] } })
        const escaped = JSON.stringify({ key: secret })
        const at = escaped.indexOf(JSON.stringify(head).slice(1, -1)) + cut
        const calls = clean([taken({
          pieces: [escaped.slice(0, at), escaped.slice(at)].flatMap((
            text
          ) => [utf8(fragment(1, text)), utf8(fragment(0, "~"))])
        })], [plainKey])
        const said = saidIn(answerOf(calls.file)).replaceAll("~", "")
        assert.strictEqual(said, "{\"key\":\"[redacted-1]\"}", `cut at ${cut}`)

        const delta = (text: string) =>
          responsesEvent({
            type: "response.output_text.delta",
            output_index: 0,
            content_index: 0,
            item_id: `${cut}`,
            delta: text
          })
        const responses = clean([taken({
          url: "https://api.openai.com/v1/responses",
          pieces: [
            utf8(delta(head)),
            utf8(delta(tail)),
            utf8(responsesEvent({ type: "response.output_text.done", text: secret }))
          ]
        })], [plainKey])
        const deltas = [...answerOf(responses.file).matchAll(/"delta":"([^"]*)"/g)].map(([, text]) => text).join("")
        assert.strictEqual(deltas, "[redacted-1]")
        assert.include(answerOf(responses.file), "\"text\":\"[redacted-1]\"")
      }
    }
  })

  it("is clean however secrets are strewn, coded, cut by the model and by the network (seeded)", () => {
    for (let seed = 1; seed <= 150; seed++) {
      const { int, next, pick } = random(seed)
      const letters = "abcdefGHIJKL0123456789/+=\"\\ öß%&-_.{}\n"
      const secretOf = () => Array.from({ length: int(8, 24) }, () => pick([...letters])).join("")
      const secrets = Array.from({ length: int(1, 3) }, secretOf).filter((secret) => secret.trim().length >= 8)
      const form = () => pick(everyForm(pick(secrets.length > 0 ? secrets : ["12345678"])))
      const filler = () =>
        Array.from({ length: int(0, 6) }, () => pick(["so ", "und ", "{\"", "\n", "…", "x="])).join("")
      const said = Array.from({ length: int(1, 5) }, () => filler() + form() + "|").join("")
      const words: Array<string> = []
      for (let at = 0; at < said.length;) {
        const size = int(1, 9)
        words.push(said.slice(at, at + size))
        at += size
      }
      const bytes = utf8(says(...words))
      const pieces: Array<Uint8Array> = []
      for (let at = 0; at < bytes.length;) {
        const size = next() < 0.2 ? 1 : int(1, 400)
        pieces.push(bytes.subarray(at, at + size))
        at += size
      }
      const body = JSON.stringify({ model: "m", messages: [{ role: "user", content: said }], [form()]: filler() })
      const { file, left } = clean([taken({ body, pieces }), taken({ pieces: [utf8(says(said))] })], secrets)
      assert.deepStrictEqual(left, [], `seed ${seed}`)
      for (const secret of secrets) {
        for (
          const text of [
            JSON.stringify(file.exchanges[0]!.request.bodyJson),
            saidIn(answerOf(file, 0)),
            saidIn(answerOf(file, 1))
          ]
        ) {
          for (const each of everyForm(secret)) {
            assert.isFalse(text.includes(each), `seed ${seed}: ${each} stands in ${text}`)
          }
        }
      }
      // However it was cut, the same is left.
      assert.strictEqual(saidIn(answerOf(file, 0)), saidIn(answerOf(file, 1)), `seed ${seed}`)
    }
  })

  it("holds no beginning of a key where the connection broke within it, and no line that was never finished", () => {
    const cut = chatEvent({ delta: { content: "key" } }).slice(0, -20)
    const { text } = clean([taken({
      headers: { authorization: `Bearer ${key}` },
      pieces: [utf8(chatEvent({ delta: { content: `it is ${key.slice(0, 10)}` } }) + cut)],
      ending: "broken"
    })])
    assert.include(text, "it is [redacted-1]")
    assert.isFalse(text.includes(key.slice(0, 10)))
    assert.strictEqual(text.split("chatcmpl-1").length, 2)
  })

  it("holds no log probabilities, which say the text again in bytes", () => {
    const logprobs = {
      content: [...key].map((token) => ({ token, bytes: [...utf8(token)], top_logprobs: [{ token }] }))
    }
    const { file } = clean([
      taken({ pieces: [utf8(chatEvent({ delta: { content: "x" }, logprobs, finish_reason: null }))] })
    ])
    assert.include(answerOf(file), "\"logprobs\":null,\"finish_reason\":null")
    assert.strictEqual(saidIn(answerOf(file)), "x")
  })

  it("keeps every byte of an answer that holds no secret, and every piece", () => {
    const body = says("Grüezi \\ \"mitenand\"", " 北京 🚀")
    const bytes = utf8(body)
    const pieces = Array.from({ length: bytes.length }, (_, at) => bytes.subarray(at, at + 1))
    const { file } = clean([taken({ headers: { authorization: `Bearer ${key}` }, pieces })])
    assert.strictEqual(answerOf(file), body)
    // A character that was cut goes to its last byte.
    assert.strictEqual(file.exchanges[0]!.response.chunks!.length, [...body].length)
    assert.strictEqual(
      file.exchanges[0]!.response.chunks!.reduce((sum, { afterMillis }) => sum + afterMillis, 0),
      bytes.length - 1
    )
  })
})

describe("the last look", () => {
  const hidden = (name: string, content: string) =>
    Effect.gen(function*() {
      const { layer } = mount({ apiKey: key }, done("chat"))
      const file = recordings.write(name, "as it was")
      const exit = yield* TestClock.withLive(Effect.exit(Effect.provide(hear(true, content), layer.pipe(record(file)))))
      const defect = Exit.isFailure(exit) ? exit.cause.reasons.find(Cause.isDieReason)?.defect : undefined
      assert.instanceOf(defect, RecordingError, `${name} was written`)
      const { message, reason } = defect
      assert.strictEqual(recordings.text(name), "as it was")
      assert.deepStrictEqual(recordings.names().filter((other) => other.includes(".tmp")), [])
      standsNowhere(message, key)
      return reason
    })

  it.effect("finds a key that the remover cannot take out, writes nothing, and says where", () =>
    Effect.gen(function*() {
      const inside = Buffer.from(`user:${key}:x`).toString("base64")
      const reason = yield* hidden("base64.json", `Basic ${inside}`)
      assert.deepStrictEqual(reason, {
        _tag: "SecretLeft",
        places: ["exchanges[0].request.body", "exchanges[0].request.body: messages.0.content"]
      })
      const percent = [...key].map((letter) => `%${letter.charCodeAt(0).toString(16)}`).join("")
      assert.strictEqual((yield* hidden("percent.json", `?k=${percent}`))._tag, "SecretLeft")
      const unicode = [...key].map((letter) => `\\u00${letter.charCodeAt(0).toString(16)}`).join("")
      assert.strictEqual((yield* hidden("unicode.json", unicode))._tag, "SecretLeft")
    }))

  it("sees a secret in every part of a file, and in the codes it travels in", () => {
    const secret = "p4ssw0rd-of-mine"
    const exchange = {
      request: { url: "https://x/v1/responses", headers: { accept: "a" }, bodyJson: { model: "m", input: "x" } },
      response: { status: 200, headers: { date: "d" }, chunks: [{ afterMillis: 0, text: says("one ", "two") }] }
    }
    const file = (change: object) =>
      ({ version: 1, provider: "p", api: "chat", model: "m", exchanges: [{ ...exchange, ...change }] }) as File.File
    const { request, response } = exchange
    const halves = [secret.slice(0, 6), secret.slice(6)] as const
    const whole = says(secret)
    const within = whole.indexOf(secret) + 5
    const cases: ReadonlyArray<readonly [place: RegExp, change: object]> = [
      [/request\.url/, { request: { ...request, url: `https://x/?a=${encodeURIComponent(secret)}` } }],
      [/request\.headers\.accept/, { request: { ...request, headers: { accept: secret } } }],
      [/request\.body/, { request: { ...request, bodyJson: { [secret]: 1 } } }],
      [/response\.headers\.date/, { response: { ...response, headers: { date: secret } } }],
      [/response\.failure/, { response: { ending: "broken", failure: [{ name: "Error", message: `to ${secret}` }] } }],
      [/choices\.0\.delta\.content/, {
        response: { ...response, chunks: [{ afterMillis: 0, text: says(...halves) }] }
      }],
      [/response$/, {
        response: {
          ...response,
          chunks: [whole.slice(0, within), whole.slice(within)].map((text) => ({ afterMillis: 0, text }))
        }
      }],
      ...[{ name: secret, message: "m" }, { name: "E", message: "m", code: secret }].map((failure) =>
        [/response\.failure/, { response: { ending: "broken", failure: [failure] } }] as const
      ),
      ...[
        Buffer.from(secret).toString("base64url"),
        Buffer.from(`x${secret}`).toString("hex"),
        Buffer.from(Buffer.from(`ab${secret}`).toString("base64")).toString("base64"),
        encodeURIComponent(`a=${[...secret].map((letter) => `%${letter.charCodeAt(0).toString(16)}`).join("")}`),
        [...secret].join(" "),
        `${secret.slice(0, 7)}\n${secret.slice(7)}`
      ].map((body) => [/response/, { response: { ...response, chunks: undefined, body } }] as const)
    ]
    assert.deepStrictEqual(Scan.placesOf(file({}), new Set([secret])), [])
    for (const [place, change] of cases) {
      const found = Scan.placesOf(file(change), new Set([secret]))
      assert.isTrue(found.some((name) => place.test(name)), `${String(place)}: ${found.join(", ")}`)
    }
  })

  it.effect("refuses at once to redact what stands in every text, and nothing", () =>
    Effect.gen(function*() {
      for (const [index, entry] of ["abc", "", /x*/, Redacted.make("ab")].entries()) {
        const redact = [...Array.from({ length: index }, () => "fine text"), entry]
        const { layer } = mount({}, done("chat"))
        const error = yield* Effect.flip(
          Effect.provide(
            LanguageModel.generateText({ prompt: "x" }),
            layer.pipe(record(recordings.of("never.json"), { redact }))
          )
        )
        assert.instanceOf(error, RecordingError)
        assert.deepInclude(error.reason, { _tag: "InvalidRedact", index })
      }
      assert.isFalse(recordings.has("never.json"))
    }))
})
