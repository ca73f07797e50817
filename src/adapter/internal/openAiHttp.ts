/**
 * The driver: one request through the official SDK, its body brought to the pure decoders, its end made typed. Retries of the
 * SDK are off (Effect's are on); interruption and the end of the scope abort the request.
 *
 * The SDK builds the URL, the headers and the body and opens the connection. Its answer is taken raw (`asResponse`), and a
 * failing status is caught under its `fetch`, because its own errors keep only `body.error` of what the server said.
 */
import * as AiError from "effect/ai/AiError"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type OpenAI from "openai"
import { APIError } from "openai"
import * as ToolFailure from "../../domain/ToolFailure.ts"
import { keptHeaders, reasonFromStatus, redact } from "./openAiErrors.ts"
import type { StatusFailure } from "./openAiErrors.ts"
import type { Json } from "./openAiJson.ts"
import type { Decoder, Ending, Part, Parts, Raise } from "./openAiParts.ts"
import * as Wire from "./openAiStream.ts"

export type Api = "chat" | "responses"

/** One request: where to, with what, and what must not be shown. */
export interface Request {
  readonly client: OpenAI
  readonly api: Api
  readonly method: "generateText" | "streamText"
  readonly body: Json
  readonly timeoutMillis: number | undefined
  readonly secrets: ReadonlyArray<string>
}

// The reason is not in the message: the SDK looks for "timed out" there.
class FailedStatus extends Error {
  readonly failure: StatusFailure
  constructor(failure: StatusFailure) {
    super("the status is no success")
    this.failure = failure
  }
}

/** A `fetch` that hands a failing status to us whole: at most 64 Ki characters of its body are kept. */
export const failingFetch = (base: typeof fetch): typeof fetch => (input, init) =>
  base(input, init).then((response) =>
    response.ok ? response : response.text().then(
      (body) =>
        Promise.reject(
          new FailedStatus({
            status: response.status,
            headers: keptHeaders(response.headers),
            body: body.slice(0, 65536)
          })
        ),
      () =>
        Promise.reject(new FailedStatus({ status: response.status, headers: keptHeaders(response.headers), body: "" }))
    )
  )

export const fail = (method: Request["method"], reason: AiError.AiErrorReason): AiError.AiError =>
  AiError.make({ module: "OpenAi", method, reason })

const urlOf = (request: Request): string =>
  redact(`${request.client.baseURL}/${request.api === "chat" ? "chat/completions" : "responses"}`, request.secrets)

const transport = (request: Request, error: unknown): AiError.AiErrorReason =>
  new AiError.NetworkError({
    reason: "TransportError",
    method: "POST",
    url: urlOf(request),
    description: redact(chain(error), request.secrets)
  })

// "Connection error." alone helps nobody; the cause below it says ECONNREFUSED.
const chain = (error: unknown): string => {
  const lines: Array<string> = []
  for (let at = error; at !== undefined && at !== null && lines.length < 4; at = (at as { cause?: unknown }).cause) {
    const line = ToolFailure.describe(at)
    const code = (at as { code?: unknown }).code
    lines.push(ToolFailure.cut(typeof code === "string" && !line.includes(code) ? `${line} (${code})` : line, 1024))
  }
  return lines.join(": ")
}

const reasonOf = (request: Request, error: unknown, now: number): AiError.AiErrorReason => {
  const cause = (error as { cause?: unknown } | undefined)?.cause
  if (cause instanceof FailedStatus) return reasonFromStatus(cause.failure, now, request.secrets)
  if (error instanceof APIError && typeof error.status === "number") {
    // A client of the user's own: what the SDK kept.
    const body = error.error === undefined ? error.message : JSON.stringify({ error: error.error })
    return reasonFromStatus(
      { status: error.status, headers: keptHeaders(error.headers ?? new Headers()), body },
      now,
      request.secrets
    )
  }
  return transport(request, error)
}

// Opens the request; the scope's end aborts it.
const send = (request: Request, controller: AbortController): Effect.Effect<Response, AiError.AiError> =>
  Effect.flatMap(Clock.currentTimeMillis, (now) =>
    Effect.tryPromise({
      try: () => {
        const options = {
          signal: controller.signal,
          maxRetries: 0,
          ...(request.timeoutMillis === undefined ? undefined : { timeout: request.timeoutMillis })
        }
        // The bodies are ours and wider than the SDK's types (`body` of the user's).
        return request.api === "chat"
          ? request.client.chat.completions.create(request.body as never, options).asResponse()
          : request.client.responses.create(request.body as never, options).asResponse()
      },
      catch: (error) => fail(request.method, reasonOf(request, error, now))
    }))

const controllerOf: Effect.Effect<AbortController, never, Scope.Scope> = Effect.acquireRelease(
  Effect.sync(() => new AbortController()),
  (controller) => Effect.sync(() => controller.abort())
)

const raiseOf = (raise: Raise, response: Response): Raise => ({
  ...raise,
  response: { status: response.status, headers: keptHeaders(response.headers) }
})

// What the pure decoder cannot know: where the stream came from and why it broke.
const endingReason = (request: Request, ending: Ending, broken: unknown): AiError.AiErrorReason | undefined => {
  if (ending._tag !== "Failed") return undefined
  // A read that broke is the reason, whatever the torn body looked like.
  if (broken !== undefined) return transport(request, new Error("the response broke off", { cause: broken }))
  return ending.reason._tag === "NetworkError"
    ? transport(request, new Error(ending.reason.description))
    : ending.reason
}

/** A whole answer. */
export const generate = <S>(
  request: Request,
  decoder: Decoder<S>,
  raise: Raise
): Effect.Effect<Parts, AiError.AiError> =>
  Effect.scoped(Effect.gen(function*() {
    const controller = yield* controllerOf
    const response = yield* send(request, controller)
    const body = yield* Effect.tryPromise({
      try: () => response.text(),
      catch: (error) => fail(request.method, transport(request, error))
    })
    const { ending, parts } = Wire.whole(decoder, raiseOf(raise, response), body)
    const reason = endingReason(request, ending, undefined)
    return reason === undefined ? parts : yield* fail(request.method, reason)
  }))

/** A streamed answer: one array of parts for each chunk of the network that completes any. */
export const stream = <S>(request: Request, decoder: Decoder<S>, raise: Raise): Stream.Stream<Part, AiError.AiError> =>
  Stream.unwrap(Effect.gen(function*() {
    const controller = yield* controllerOf
    const response = yield* send(request, controller)
    const state = Wire.initial(decoder, raiseOf(raise, response))
    const reader = response.body?.getReader()
    if (reader !== undefined) {
      yield* Effect.addFinalizer(() => state.ending._tag === "Finished" ? drain(reader) : Effect.void)
    }
    return Stream.fromPull(Effect.succeed(pull(request, state, reader)))
  }))

type Reader = ReadableStreamDefaultReader<Uint8Array>

const pull = <S>(
  request: Request,
  state: Wire.State<S>,
  reader: Reader | undefined
): Effect.Effect<readonly [Part, ...Array<Part>], AiError.AiError | Cause.Done> => {
  let broken: unknown
  const read = Effect.promise(() =>
    reader === undefined ? Promise.resolve(undefined) : reader.read().then(
      (chunk) => chunk.done ? undefined : chunk.value,
      (error: unknown) => {
        broken = error
        return undefined
      }
    )
  )
  const next: Effect.Effect<readonly [Part, ...Array<Part>], AiError.AiError | Cause.Done> = Effect.suspend(() => {
    if (state.ending._tag === "Finished") return Cause.done()
    const reason = endingReason(request, state.ending, broken)
    if (reason !== undefined) return Effect.fail(fail(request.method, reason))
    return Effect.flatMap(read, (bytes) => {
      const parts = bytes === undefined ? Wire.end(state) : Wire.push(state, bytes)
      return parts.length === 0 ? next : Effect.succeed(parts as readonly [Part, ...Array<Part>])
    })
  })
  return next
}

// The end mark came before the end of the body. Normally the rest is there already, and reading it keeps the connection for
// the next turn; a server that holds the line open is not waited for.
const drain = (reader: Reader): Effect.Effect<void> =>
  Effect.promise(() =>
    Promise.race([
      reader.read().then(() => undefined, () => undefined),
      new Promise<undefined>((resolve) => setTimeout(resolve, 0))
    ])
  )
