/**
 * A live run's HTTP exchanges in a file, and a model that plays them: the same bytes in the same pieces through the
 * same adapter, without a key, a network or real time.
 *
 * {@link record} stands between an adapter and the network and writes what passes, secrets removed. {@link
 * fromRecording} takes the network's place. The file is JSON that people can read and change. Public through
 * `TestModel`.
 */
import * as LanguageModel from "effect/ai/LanguageModel"
import * as Model from "effect/ai/Model"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as FileSystem from "effect/FileSystem"
import * as FetchHttpClient from "effect/http/FetchHttpClient"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import { noted } from "./internal/notedModel.ts"
import { type Adapter, languageModel, Playing } from "./internal/recordedModel.ts"
import * as Clean from "./internal/recordingClean.ts"
import { type Reason, RecordingError } from "./internal/recordingError.ts"
import * as File from "./internal/recordingFile.ts"
import { placesOf } from "./internal/recordingScan.ts"
import { Secrets, shortestNamed } from "./internal/recordingSecrets.ts"
import * as Tape from "./internal/recordingTape.ts"
import { TestModel } from "./internal/service.ts"

export { RecordingError } from "./internal/recordingError.ts"

// ---- playing ----

/**
 * How a recording is played.
 *
 * **Shape**
 * - `match`: `"order"` (default) gives the first request the first exchange; `"request"` each the first exchange left
 *   that fits it, for runs that ask several things at once.
 * - `compare`: whether model, names of tools, and number and roles of messages must be the recorded ones. Default true.
 *   Whether the answer is streamed is compared in any case.
 * - `model`: the model to ask for. Default the recorded one.
 *
 * @category models
 * @since 0.1.0
 */
export interface FromRecordingOptions {
  readonly match?: "order" | "request" | undefined
  readonly compare?: boolean | undefined
  readonly model?: string | undefined
}

/**
 * Makes a model that plays a recorded run through the real adapter.
 *
 * **Shape** Answers, failing statuses with their headers and broken connections come as they came live, as parts and
 * `AiError`s of the adapter. Answers that were recorded whole answer `generateText` only, streamed ones `streamText`
 * only: the other form would be an invention. Files of `interactions` (cassettes of other tools, in the form of {@link
 * record}'s `exchanges`) are played too, where each is a request of OpenAI's Chat Completions or Responses, of any
 * host; they know no times. `TestModel.requests` and `TestModel.assertComplete` work as with a script. The recording
 * begins anew wherever the layer is built.
 *
 * **Units** Times are the recorded ones, on the clock of the run that asks: under `TestClock` none is real.
 *
 * **Errors** `RecordingError` when the file cannot be played, naming the place; `PeerMissing` without the package
 * `openai`. A request that is not the recorded one, or one too many, fails with an `AiError` that is not retryable and
 * names the exchange and the difference; `assertComplete` remembers the first, and fails on exchanges left over.
 *
 * **Gotchas** Nothing is asked anew: a changed prompt gets the old answer as long as its outline is the recorded one.
 * Where the recorded run cancelled a request, the answer stays silent for a minute of the run's clock and then fails.
 *
 * **Example** (Two words, an hour apart)
 *
 * ```ts
 * import { Effect, Fiber, FileSystem, Layer } from "effect"
 * import { LanguageModel } from "effect/ai"
 * import { TestClock } from "effect/testing"
 * import { TestModel } from "effect-toolformer/Testing"
 *
 * const recording = {
 *   version: 1,
 *   provider: "ollama",
 *   api: "chat",
 *   model: "qwen3",
 *   exchanges: [{
 *     request: {
 *       url: "http://localhost:11434/v1/chat/completions",
 *       bodyJson: { model: "qwen3", messages: [{ role: "user", content: "Hello?" }] }
 *     },
 *     response: {
 *       afterMillis: 3_600_000,
 *       status: 200,
 *       headers: { "content-type": "application/json" },
 *       bodyJson: { choices: [{ index: 0, message: { content: "Hello, late." }, finish_reason: "stop" }] }
 *     }
 *   }]
 * }
 * // Where NodeFileSystem.layer stands in a test of yours.
 * const files = FileSystem.layerNoop({ readFileString: () => Effect.succeed(JSON.stringify(recording)) })
 *
 * const program = Effect.gen(function*() {
 *   const asked = yield* Effect.forkChild(LanguageModel.generateText({ prompt: "Hello?" }))
 *   yield* Effect.promise(() => new Promise((resolve) => setImmediate(resolve)))
 *   yield* TestClock.adjust("1 hour")
 *   const { text } = yield* Fiber.join(asked)
 *   yield* TestModel.assertComplete
 *   return text
 * })
 * const model = TestModel.fromRecording("hello.json").pipe(Layer.provide(files))
 * await Effect.runPromise(Effect.provide(program, [model, TestClock.layer()])) // => "Hello, late."
 * ```
 *
 * @see {@link record} to make the file
 * @category layers
 * @since 0.1.0
 */
export const fromRecording = (
  file: string,
  options: FromRecordingOptions = {}
): Layer.Layer<
  LanguageModel.LanguageModel | TestModel | Model.ProviderName | Model.ModelName,
  RecordingError,
  FileSystem.FileSystem
> =>
  Layer.effectContext(Effect.gen(function*() {
    const recording = yield* load(file)
    const adapter = yield* loadAdapter(file)
    const { compare = true, match = "order", model } = options
    const playing = new Playing(file, recording, { compare, match, model })
    return Context.make(LanguageModel.LanguageModel, yield* languageModel(adapter, playing)).pipe(
      Context.add(TestModel, playing.testModel),
      Context.add(Model.ProviderName, recording.provider),
      Context.add(Model.ModelName, model ?? recording.model)
    )
  }))

const failed = (file: string) => (reason: Reason): RecordingError => new RecordingError({ file, reason })

const load = (file: string): Effect.Effect<File.Recording, RecordingError, FileSystem.FileSystem> =>
  Effect.flatMap(FileSystem.FileSystem, (fileSystem) => fileSystem.readFileString(file)).pipe(
    Effect.mapError((error): Reason => ({ _tag: "Unreadable", issue: error.message })),
    Effect.flatMap((text) => Effect.fromResult(File.read(text))),
    Effect.mapError(failed(file))
  )

// Only here: the package `openai` is one that a user of the kit may leave out.
const loadAdapter = (file: string): Effect.Effect<Adapter, RecordingError> =>
  Effect.tryPromise({
    try: () => import("../adapter/OpenAi.ts"),
    catch: (cause) => failed(file)({ _tag: "PeerMissing", name: "openai", issue: firstLine(cause) })
  })

const firstLine = (cause: unknown): string =>
  ((cause instanceof Error ? cause.message : String(cause)).split("\n")[0] ?? "").slice(0, 300)

// ---- recording ----

/**
 * What else is secret in a recording: texts of at least 4 characters, `Redacted` texts, and patterns whose every match
 * is.
 *
 * @category models
 * @since 0.1.0
 */
export interface RecordOptions {
  readonly redact?: ReadonlyArray<string | RegExp | Redacted.Redacted> | undefined
}

/**
 * Records what a model's layer sends and gets, into a file that is written when the layer closes.
 *
 * **Shape** `OpenAi.layer({ model, apiKey }).pipe(TestModel.record("test/recordings/weather.json"))`: the layer as it
 * was, and `TestModel`'s notes; its requests also go into the file, in the order they began, each answer in the pieces
 * in which it came. The file is written whole or not at all, also when the run fails. An interrupted run writes the
 * exchanges that came to their end, and says so (`run`, `leftOut`). A run that asked nothing writes nothing, and leaves
 * an older file alone.
 *
 * **Units** `afterMillis`: milliseconds of real time, also under `TestClock`, since the network knows no other.
 *
 * **Secrets** Kept are the headers that an adapter reads, and no others. Removed are the keys of all other headers and
 * of the URL, the texts of `redact`, and texts of the shape of a token (`sk-…`, `ghp_…`, `AKIA…`, `AIza…`,
 * `xox?-…`, JSON Web Tokens, PEM blocks, bearer tokens, ids of organizations and projects), in headers, URLs, requests
 * and answers, as they are and inside JSON, URLs and base64, also where a stream says them in fragments. Each becomes
 * `[redacted-1]`, the same secret the same everywhere. Log probabilities are left out. Before anything is written the
 * whole is looked through once more.
 *
 * **Errors** `RecordingError`: `InvalidRedact` when the layer is built. When it closes there is nobody to fail to: a
 * secret that stands in the file in spite of all that (`SecretLeft`, which names the places) and a file that cannot be
 * written (`Unwritable`) are defects, with the `RecordingError` as their value. Nothing is written then.
 *
 * **Gotchas** What is no key stays: names, addresses and whatever else the prompts, tools and answers say, and the
 * server's host. Read the file before you publish it. Keys of fewer than 8 characters are taken out of headers and
 * URLs, not looked for in texts. An OpenAI `client` of your own has its own `fetch` and is not recorded. A tool whose
 * arguments held a secret gets the placeholder on replay. Requests that are no model's, such as those for a token, pass
 * unrecorded.
 *
 * **Example** (Recorded once, with a key; played from then on, without one)
 *
 * ```ts no-run
 * import { NodeFileSystem } from "@effect/platform-node"
 * import { Layer } from "effect"
 * import * as OpenAi from "effect-toolformer/OpenAi"
 * import { TestModel } from "effect-toolformer/Testing"
 *
 * const file = "test/recordings/weather.json"
 * const live = OpenAi.layerConfig({ model: "gpt-5-mini" }).pipe(TestModel.record(file))
 * const played = TestModel.fromRecording(file)
 * export const model = Layer.provide(process.env["RECORD"] === "1" ? live : played, NodeFileSystem.layer)
 * ```
 *
 * @see {@link fromRecording} to play the file
 * @category layers
 * @since 0.1.0
 */
export const record = (file: string, options: RecordOptions = {}) =>
<A, E, R>(
  layer: Layer.Layer<A, E, R>
): Layer.Layer<A | TestModel, E | RecordingError, R | FileSystem.FileSystem> =>
  Layer.effectContext(Effect.gen(function*() {
    const fileSystem = yield* FileSystem.FileSystem
    const secrets = yield* Effect.mapError(secretsOf(options.redact ?? []), failed(file))
    const context = yield* Effect.context()
    // The network's time is real time, whatever clock the run has.
    const clock = Clock.Clock.defaultValue()
    const tape = Tape.make(fetchOf(context), () => clock.currentTimeMillisUnsafe())
    let provider = "openai"
    yield* Effect.addFinalizer((exit) =>
      Effect.orDie(Effect.mapError(save(fileSystem, file, tape, secrets, provider, runOf(exit)), failed(file)))
    )
    // Fresh: the same layer may have been built elsewhere, with the network's own fetch.
    const built = yield* Layer.build(
      Layer.fresh(layer).pipe(Layer.provide(Layer.succeed(FetchHttpClient.Fetch, tape.fetch)))
    )
    const named = (built as Context.Context<unknown>).mapUnsafe.get(Model.ProviderName.key)
    if (typeof named === "string") provider = named
    const model = Option.map(Context.getOption(built as Context.Context<unknown>, LanguageModel.LanguageModel), noted)
    return Option.match(model, {
      onNone: () => built as Context.Context<A | TestModel>,
      onSome: ({ model, testModel }) =>
        built.pipe(
          Context.add(LanguageModel.LanguageModel, model),
          Context.add(TestModel, testModel)
        ) as Context.Context<
          A | TestModel
        >
    })
  }))

const fetchOf = (context: Context.Context<never>): typeof fetch =>
  (context.mapUnsafe.get(FetchHttpClient.Fetch.key) as typeof fetch | undefined) ??
    ((input, init) => globalThis.fetch(input, init))

const runOf = (exit: Exit.Exit<unknown, unknown>): Clean.Run =>
  Exit.isSuccess(exit) ? "succeeded" : Exit.hasInterrupts(exit) ? "interrupted" : "failed"

const secretsOf = (redact: NonNullable<RecordOptions["redact"]>): Effect.Effect<Secrets, Reason> => {
  const texts: Array<string> = []
  const patterns: Array<RegExp> = []
  for (const [index, entry] of redact.entries()) {
    const invalid = (issue: string) => Effect.fail<Reason>({ _tag: "InvalidRedact", index, issue })
    if (entry instanceof RegExp) {
      if (new RegExp(entry.source, entry.flags.replace(/[gy]/g, "")).test("")) {
        return invalid("matches the empty text; write a pattern that matches only what is secret")
      }
      patterns.push(entry)
      continue
    }
    const text: unknown = Redacted.isRedacted(entry) ? Redacted.value(entry) : entry
    if (typeof text !== "string") return invalid("is neither a text nor a pattern")
    if (text.length < shortestNamed) {
      return invalid(`is shorter than ${shortestNamed} characters, which stand in any text`)
    }
    texts.push(text)
  }
  return Effect.sync(() => new Secrets({ texts, patterns }))
}

const save = (
  fileSystem: FileSystem.FileSystem,
  file: string,
  tape: Tape.Tape,
  secrets: Secrets,
  provider: string,
  run: Clean.Run
): Effect.Effect<void, Reason> =>
  Effect.suspend(() => {
    const recorded = Clean.fileOf(tape.taken, secrets, provider, run)
    if (recorded.exchanges.length === 0) {
      return Effect.logWarning(`Nothing was recorded: no request was answered. ${file} is not written.`)
    }
    const places = placesOf(recorded, secrets.known)
    if (places.length > 0) return Effect.fail<Reason>({ _tag: "SecretLeft", places })
    return Effect.mapError(
      write(fileSystem, file, `${JSON.stringify(recorded, undefined, 2)}\n`),
      (error): Reason => ({ _tag: "Unwritable", issue: error.message })
    )
  })

// Beside the file and then in its place, so that no reader ever sees half of it.
const write = (fileSystem: FileSystem.FileSystem, file: string, text: string) => {
  const folder = /^(.*)[/\\][^/\\]*$/.exec(file)?.[1] ?? "."
  const beside = `${file}.${globalThis.crypto.randomUUID()}.tmp`
  return Effect.andThen(
    fileSystem.makeDirectory(folder === "" ? "/" : folder, { recursive: true }),
    Effect.andThen(fileSystem.writeFileString(beside, text), fileSystem.rename(beside, file)).pipe(
      Effect.onError(() => Effect.ignore(fileSystem.remove(beside, { force: true })))
    )
  )
}
