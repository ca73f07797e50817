/**
 * The form of a recording: one JSON file of HTTP exchanges. Also reads files of exchanges that other tools recorded
 * (`interactions`), which know no times. Pure.
 */
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import type { Reason } from "./recordingError.ts"
import * as Json from "./recordingJson.ts"

/** The version of the form that is written and played. */
export const version = 1

const Millis = Schema.Finite.check(Schema.isGreaterThanOrEqualTo(0))
const Headers = Schema.Record(Schema.String, Schema.String)

/** A piece of a body as the network brought it, so long after the one before. */
const Chunk = Schema.Struct({ afterMillis: Millis, text: Schema.String })

/** One error of a chain, the outermost first. */
const Failure = Schema.Struct({
  name: Schema.String,
  message: Schema.String,
  code: Schema.optionalKey(Schema.String)
})

const Request = Schema.Struct({
  method: Schema.optionalKey(Schema.String),
  url: Schema.String,
  headers: Schema.optionalKey(Headers),
  bodyJson: Schema.optionalKey(Schema.Unknown),
  body: Schema.optionalKey(Schema.String)
})

/**
 * `afterMillis`: from the request to the answer's headers, or to all of a body that is kept whole. `chunks`, `body` or
 * `bodyJson`. `ending`: where the body did not end well; without a `status` nothing was answered at all, and `failure`
 * says why.
 */
const Response = Schema.Struct({
  afterMillis: Schema.optionalKey(Millis),
  status: Schema.optionalKey(Schema.Int.check(Schema.isBetween({ minimum: 200, maximum: 599 }))),
  headers: Schema.optionalKey(Headers),
  chunks: Schema.optionalKey(Schema.Array(Chunk)),
  body: Schema.optionalKey(Schema.String),
  bodyJson: Schema.optionalKey(Schema.Unknown),
  ending: Schema.optionalKey(Schema.Literals(["broken", "cancelled"])),
  failure: Schema.optionalKey(Schema.Array(Failure))
})

const Exchange = Schema.Struct({ request: Request, response: Response })

/** A recording as it is written. `run`: how the run ended that was recorded; `leftOut`: exchanges that it cut off. */
export const File = Schema.Struct({
  version: Schema.Literal(version),
  provider: Schema.String,
  api: Schema.String,
  model: Schema.String,
  run: Schema.optionalKey(Schema.Literals(["succeeded", "failed", "interrupted"])),
  leftOut: Schema.optionalKey(Schema.Int),
  exchanges: Schema.Array(Exchange)
})

const Foreign = Schema.Struct({
  interactions: Schema.Array(Schema.Struct({
    request: Request,
    response: Response,
    expect: Schema.optionalKey(Schema.NullOr(Schema.Struct({
      format: Schema.optionalKey(Schema.NullOr(Schema.String))
    })))
  }))
})

/** @category models */
export type File = typeof File.Type
export type Exchange = typeof Exchange.Type
export type Failure = typeof Failure.Type
export type Api = "chat" | "responses"

/** A recording, ready to be played. */
export interface Recording {
  readonly provider: string
  readonly model: string
  readonly interrupted: boolean
  readonly exchanges: ReadonlyArray<Exchange & { readonly number: number; readonly api: Api }>
}

/** Reads a file's text. */
export const read = (text: string): Result.Result<Recording, Reason> => {
  const parsed = Result.try({ try: () => JSON.parse(text) as unknown, catch: (error) => malformed(String(error)) })
  return Result.flatMap(parsed, (value) => {
    if (typeof value !== "object" || value === null) return Result.fail(malformed("an object was expected"))
    if ("interactions" in value && !("exchanges" in value)) {
      return Result.flatMap(decode(Foreign, value), ({ interactions }) =>
        ready(
          { provider: "openai", model: undefined, interrupted: false },
          interactions.map(({ expect, ...exchange }) => ({ ...exchange, format: expect?.format ?? undefined }))
        ))
    }
    const found = "version" in value ? value.version : undefined
    if (found !== version) {
      return Result.fail({
        _tag: "WrongVersion",
        found: found === undefined ? "not given" : JSON.stringify(found) ?? "unknown",
        supported: version
      })
    }
    return Result.flatMap(
      decode(File, value),
      ({ exchanges, model, provider, run }) => ready({ provider, model, interrupted: run === "interrupted" }, exchanges)
    )
  })
}

const malformed = (issue: string): Reason => ({ _tag: "Malformed", issue })

const decode = <S extends Schema.ConstraintDecoder<unknown>>(
  schema: S,
  value: unknown
): Result.Result<S["Type"], Reason> =>
  Result.mapError(Schema.decodeUnknownResult(schema)(value), (error) => malformed(error.message))

const ready = (
  head: { readonly provider: string; readonly model: string | undefined; readonly interrupted: boolean },
  exchanges: ReadonlyArray<Exchange & { readonly format?: string | undefined }>
): Result.Result<Recording, Reason> => {
  if (exchanges.length === 0) return Result.fail({ _tag: "Empty" })
  const played = exchanges.flatMap(({ format, ...exchange }, index) => {
    const api = apiOf(exchange.request.url, format)
    return api === undefined ? [] : [{ ...exchange, number: index + 1, api }]
  })
  if (played.length < exchanges.length) {
    const refused = exchanges.flatMap(({ format, request: { url } }, index) =>
      apiOf(url, format) === undefined ? [{ exchange: index + 1, is: format ?? vendorOf(url) }] : []
    )
    return Result.fail({ _tag: "Unplayable", exchanges: refused })
  }
  const first = Option.getOrUndefined(Schema.decodeUnknownOption(Asked)(exchanges[0]?.request.bodyJson))
  return Result.succeed({ ...head, model: head.model ?? first?.model ?? "unknown", exchanges: played })
}

const Asked = Schema.Struct({ model: Schema.String })

/** Which of the wires that are played a request speaks, by what the file says or by its path. */
export const apiOf = (url: string, format?: string): Api | undefined => {
  if (format !== undefined) {
    return format === "openai-chat"
      ? "chat"
      : format === "openai-responses"
      ? "responses"
      : undefined
  }
  const path = url.replace(/[?#].*$/, "").replace(/\/+$/, "")
  return path.endsWith("/chat/completions") ? "chat" : path.endsWith("/responses") ? "responses" : undefined
}

const vendors: ReadonlyArray<readonly [pattern: RegExp, name: string]> = [
  [/anthropic\.com/, "anthropic"],
  [/googleapis\.com/, "google"],
  [/bedrock/, "bedrock"]
]

const vendorOf = (url: string): string =>
  vendors.find(([pattern]) => pattern.test(url))?.[1] ?? `a request to ${url.replace(/[?#].*$/, "")}`

/** What the answer's body is, whole or in pieces. A body without pieces is one piece that comes with the headers. */
export const piecesOf = ({ response }: Exchange): ReadonlyArray<typeof Chunk.Type> => {
  if (response.chunks !== undefined) return response.chunks
  const text = response.body ?? ("bodyJson" in response ? JSON.stringify(response.bodyJson) : "")
  return text === "" ? [] : [{ afterMillis: 0, text }]
}

export const parsed = (text: string): unknown => Option.getOrUndefined(Json.parse(text))
