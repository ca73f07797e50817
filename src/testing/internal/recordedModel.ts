/**
 * A model that plays a recording through the real adapter: the adapter asks, and instead of the network the recorded
 * exchange answers, each piece of its body when the run's Clock says that it is time. Between those waits it needs no
 * timers.
 */
import * as AiError from "effect/ai/AiError"
import * as LanguageModel from "effect/ai/LanguageModel"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as FiberSet from "effect/FiberSet"
import * as FetchHttpClient from "effect/http/FetchHttpClient"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { parsed, piecesOf } from "./recordingFile.ts"
import type { Api, Recording } from "./recordingFile.ts"
import * as Match from "./recordingMatch.ts"
import { errorOf } from "./recordingTape.ts"
import { lastMessageOf, requestLines } from "./requestText.ts"
import type { TestModel } from "./service.ts"
import { TestModelError } from "./TestModelError.ts"
import type { Request } from "./turn.ts"

type Played = Recording["exchanges"][number]

type Provider = Parameters<typeof LanguageModel.make>[0]

/** The adapter that plays. Said here and not imported: who has no `openai` must not meet its types either. */
export interface Adapter {
  readonly makeProvider: (options: AdapterOptions) => Effect.Effect<Provider>
}

interface AdapterOptions {
  readonly model: string
  readonly api: Api | undefined
  readonly apiKey: string
  readonly baseURL?: string
}

/** How requests find their exchanges. */
export interface Settings {
  readonly match: "order" | "request"
  readonly compare: boolean
  readonly model: string | undefined
}

/** A recording that is being played. */
export class Playing {
  readonly requests: Array<Request> = []
  private readonly left: Array<Played>
  private refused: string | undefined
  readonly file: string
  readonly recording: Recording
  readonly settings: Settings

  constructor(file: string, recording: Recording, settings: Settings) {
    this.file = file
    this.recording = recording
    this.settings = settings
    this.left = [...recording.exchanges]
  }

  /** Whose wire the next request speaks. */
  get next(): Played | undefined {
    return this.left[0] ?? this.recording.exchanges.at(-1)
  }

  note(
    method: Request["method"],
    { prompt, toolChoice, tools }: LanguageModel.ProviderOptions
  ): Effect.Effect<Request> {
    return Effect.map(Clock.currentTimeMillis, (at) => {
      const number = this.requests.length + 1
      const request = { number, at, method, prompt, toolChoice, tools: tools.map(({ name }) => name) }
      this.requests.push(request)
      return request
    })
  }

  /** The exchange that answers what the adapter sends, or why none does. */
  take(request: Request, url: string, body: unknown): Played | string {
    const { compare, match } = this.settings
    const made = Match.outlineOfMade(url, body)
    const differences = this.left.map((exchange) =>
      Match.differences(made, Match.outlineOf(exchange.api, exchange.request.bodyJson), !compare)
    )
    const index = match === "order" ? 0 : Math.max(0, differences.findIndex((found) => found.length === 0))
    const exchange = this.left[index]
    if (exchange === undefined) return this.refuse(this.beyond(request))
    const found = differences[index] ?? []
    if (found.length > 0) return this.refuse(this.mismatch(request, exchange, found))
    this.left.splice(index, 1)
    return exchange
  }

  /** Remembers the first. */
  refuse(issue: string): string {
    this.refused ??= issue
    return issue
  }

  private get name(): string {
    return `Recording ${JSON.stringify(this.file)}`
  }

  private beyond({ number, prompt }: Request): string {
    const { exchanges, interrupted } = this.recording
    const why = interrupted ? " The recorded run was interrupted, so its end is not in it." : ""
    return `${this.name} has ${exchanges.length} exchange(s), and request ${number} finds none left.${why} ` +
      `The last message of that request: ${lastMessageOf(prompt)}. Record the run anew.`
  }

  private mismatch({ number }: Request, exchange: Played, differences: ReadonlyArray<string>): string {
    const nearest = this.settings.match === "order"
      ? `is not the one of exchange ${exchange.number}`
      : `fits none of the ${this.left.length} exchange(s) left, not the first of them, exchange ${exchange.number}`
    return `${this.name}: request ${number} ${nearest}: ${differences.join("; ")}. Record the run anew, ` +
      "or play the exchanges whatever is asked, with { compare: false }."
  }

  /** Why a body ends that the recorded run did not read to its end. */
  leftByUs(exchange: Played): string {
    return this.refuse(
      `${this.name}: exchange ${exchange.number} stops here, because the recorded run cancelled it, ` +
        "and this run reads on. Record the run anew."
    )
  }

  get testModel(): typeof TestModel.Service {
    return {
      requests: Effect.sync(() => [...this.requests]),
      assertComplete: Effect.suspend(() => this.complete()),
      scriptedCalls: this.recording.exchanges.map(() => undefined)
    }
  }

  private complete(): Effect.Effect<void, TestModelError> {
    const requests = requestLines(this.requests)
    const { file, left, recording: { exchanges }, refused } = this
    if (refused !== undefined) {
      return Effect.fail(new TestModelError({ reason: { _tag: "RequestRefused", file, issue: refused, requests } }))
    }
    if (left.length === 0) return Effect.void
    const shown = left.map(({ number, request, response }) => ({
      exchange: number,
      is: `${request.method ?? "POST"} ${request.url}, answered ${response.status ?? "by no status"}`
    }))
    const reason = { _tag: "ExchangesLeft", file, exchanges: exchanges.length, left: shown, requests } as const
    return Effect.fail(new TestModelError({ reason }))
  }
}

/** The model itself. */
export const languageModel = (
  adapter: Adapter,
  playing: Playing
): Effect.Effect<typeof LanguageModel.LanguageModel.Service> =>
  Effect.flatMap(adapter.makeProvider(optionsOf(playing)), (provider) =>
    LanguageModel.make({
      ...provider,
      generateText: (options) =>
        Effect.scoped(Effect.flatMap(ask(adapter, playing, "generateText", options), ({ explain, provider }) =>
          Effect.mapError(provider.generateText(options), explain))),
      streamText: (options) =>
        Stream.unwrap(
          Effect.map(ask(adapter, playing, "streamText", options), ({ explain, provider }) =>
            Stream.mapError(provider.streamText(options), explain))
        )
    }))

interface Asked {
  readonly provider: Provider
  /** The adapter takes our refusal for a broken network. */
  readonly explain: (error: AiError.AiError) => AiError.AiError
}

// One request, on its own wire: its answer is fed by fibers of its own scope, on its own clock.
const ask = (
  adapter: Adapter,
  playing: Playing,
  method: Request["method"],
  options: LanguageModel.ProviderOptions
): Effect.Effect<Asked, never, Scope.Scope> =>
  Effect.gen(function*() {
    const request = yield* playing.note(method, options)
    const run = yield* FiberSet.makeRuntimePromise()
    let refused: string | undefined
    const fetch: typeof globalThis.fetch = (input, init) => {
      const url = input instanceof globalThis.Request ? input.url : String(input)
      const exchange = playing.take(request, url, parsed(typeof init?.body === "string" ? init.body : ""))
      if (typeof exchange !== "string") {
        return run(answer(exchange, run, () => errorOfLeaving(playing, exchange, (issue) => refused = issue)))
      }
      refused = exchange
      return Promise.reject(new Error(exchange))
    }
    const provider = yield* Effect.provideService(
      adapter.makeProvider(optionsOf(playing)),
      FetchHttpClient.Fetch,
      fetch
    )
    const explain = (error: AiError.AiError) => refused === undefined ? error : refusal(method, refused)
    return { provider, explain }
  })

const refusal = (method: Request["method"], description: string): AiError.AiError =>
  AiError.make({ module: "TestModel", method, reason: new AiError.UnknownError({ description }) })

const errorOfLeaving = (playing: Playing, exchange: Played, tell: (issue: string) => void): Error => {
  const issue = playing.leftByUs(exchange)
  tell(issue)
  return new Error(issue)
}

// As the recorded one asked, as far as that decides how requests are written and answers are read.
const optionsOf = ({ next, recording, settings }: Playing): AdapterOptions => {
  const body = next?.request.bodyJson
  const asked = typeof body === "object" && body !== null && "model" in body ? body.model : undefined
  const baseURL = next?.request.url.replace(/[?#].*$/, "").replace(/\/(?:chat\/completions|responses)\/*$/, "")
  const isVendor = baseURL === undefined || baseURL === "https://api.openai.com/v1"
  return {
    model: settings.model ?? (typeof asked === "string" ? asked : recording.model),
    api: next?.api,
    apiKey: "recorded",
    ...(isVendor ? undefined : { baseURL })
  }
}

// ---- the recorded answer ----

// Where the recorded run left an answer, this one is expected to leave too, if not at the same instant.
const patienceMillis = 60_000

type Run = <A>(effect: Effect.Effect<A, unknown>) => Promise<A>

const answer = (exchange: Played, run: Run, leaving: () => Error): Effect.Effect<Response, Error> =>
  Effect.gen(function*() {
    const { afterMillis = 0, ending, failure = [], headers = {}, status } = exchange.response
    yield* wait(afterMillis)
    if (status === undefined && ending === "cancelled") yield* wait(patienceMillis)
    if (status === undefined) return yield* Effect.fail(ending === "cancelled" ? leaving() : errorOf(failure))
    const isEmpty = [204, 205, 304].includes(status)
    const { "content-encoding": _, "content-length": __, "transfer-encoding": ___, ...kept } = lowered(headers)
    return new Response(isEmpty ? null : bodyOf(exchange, run, leaving), { status, headers: kept })
  })

const lowered = (headers: Readonly<Record<string, string>>): Record<string, string> =>
  Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]))

const wait = (millis: number): Effect.Effect<void> => millis > 0 ? Effect.sleep(millis) : Effect.void

// Pieces come when they are due, whether anybody reads or not, as on a network.
const bodyOf = (exchange: Played, run: Run, leaving: () => Error): ReadableStream<Uint8Array> => {
  const encoder = new TextEncoder()
  let isLeft = false
  return new ReadableStream<Uint8Array>({
    start: (controller) => {
      const feed = Effect.gen(function*() {
        for (const { afterMillis, text } of piecesOf(exchange)) {
          yield* wait(afterMillis)
          if (isLeft) return
          if (text !== "") controller.enqueue(encoder.encode(text))
        }
        const { ending, failure = [] } = exchange.response
        if (ending === "cancelled") yield* wait(patienceMillis)
        if (isLeft) return
        if (ending === undefined) controller.close()
        else controller.error(ending === "cancelled" ? leaving() : errorOf(failure))
      })
      void run(feed).catch(() => undefined)
    },
    cancel: () => {
      isLeft = true
    }
  })
}
