/** The command line: its flags, its subcommands, and what makes them bad usage. */
import type { NodeServices } from "@effect/platform-node/NodeServices"
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import { usage } from "./CommandError.ts"
import { demo } from "./demo.ts"
import { setGrace } from "./Ending.ts"
import type { Ending } from "./Ending.ts"
import { fromEnvironment } from "./environment.ts"
import { choose, layerOf } from "./provider.ts"
import { runPrompt } from "./runPrompt.ts"
import * as Folder from "./tools/Folder.ts"
import * as FolderTools from "./tools/FolderTools.ts"
import { load } from "./userTools.ts"
import type { Tools } from "./userTools.ts"

const text = (name: string, metavar: string, description: string) =>
  Flag.String(name).pipe(Flag.withMetavar(metavar), Flag.withDescription(description), Flag.optional)

const run = Command.make("run", {
  prompt: Argument.String("prompt").pipe(Argument.withDescription("What to do, in plain words")),
  tools: text(
    "tools",
    "FILE",
    "A module that exports `toolkit` and `layer`; default: read-only tools over the current folder"
  ),
  provider: text(
    "provider",
    "openai|local",
    "Which model answers; default: openai where its key or base URL is set, else local"
  ),
  model: text("model", "NAME", "The model's name"),
  baseUrl: text("base-url", "URL", "A server that speaks OpenAI's API (Ollama, vLLM, llama.cpp ...)"),
  api: text(
    "api",
    "chat|responses",
    "Which of OpenAI's APIs to speak; default: chat for another server, else responses"
  ),
  maxParallel: Flag.Int("max-parallel").pipe(
    Flag.withMetavar("N"),
    Flag.withDescription("Tool calls at once; default 30"),
    Flag.optional
  ),
  grace: text(
    "grace",
    "DURATION",
    "How long running tools may go on after SIGTERM, such as \"10 seconds\"; default: TOOLFORMER_GRACE, else 5 seconds"
  ),
  json: Flag.Boolean("json").pipe(
    Flag.withDescription("Print one stream part per line (NDJSON) and nothing else on stdout"),
    Flag.withDefault(false)
  )
}, (flags) =>
  Effect.gen(function*() {
    const wish = {
      provider: Option.getOrUndefined(flags.provider),
      model: Option.getOrUndefined(flags.model),
      baseUrl: Option.getOrUndefined(flags.baseUrl),
      api: Option.getOrUndefined(flags.api)
    }
    const maxParallel = Option.getOrUndefined(flags.maxParallel)
    if (flags.prompt.trim() === "") return yield* usage("the prompt is empty")
    if (maxParallel !== undefined && maxParallel < 1) {
      return yield* usage(`--max-parallel is ${maxParallel}; it must be at least 1`)
    }
    yield* setGrace(Option.getOrUndefined(flags.grace), process.env)
    const choice = yield* choose(wish, process.env)
    const tools = Option.isSome(flags.tools) ? yield* load(flags.tools.value) : builtIn
    const policies = yield* fromEnvironment
    const model = yield* layerOf(choice)
    yield* runPrompt({ prompt: flags.prompt, tools, model, policies, maxParallel, json: flags.json })
  })).pipe(
    Command.withDescription(
      "Run one prompt: the model chooses tools, they run in parallel, every result streams out. Limits come from the " +
        "environment: TOOLFORMER_LIMIT_GLOBAL=\"10 at once\", TOOLFORMER_LIMIT_SERVICE_OPENAI=\"500 calls / 1 minute\"."
    ),
    Command.withExamples([
      { command: "toolformer run \"Find all TypeScript files in src and analyse each of them\"" },
      { command: "toolformer run \"Show the last 5 commits\" --json" }
    ])
  )

// Types erased as those of a user's tools are.
const builtIn = {
  toolkit: FolderTools.toolkit,
  layer: FolderTools.layer.pipe(Layer.provide(Folder.layer(".")))
} as unknown as Tools

const demonstration = Command.make("demo", {}, () => Effect.andThen(setGrace(undefined, process.env), demo)).pipe(
  Command.withDescription("Read this package's own sources with the embedded planner: no key, no network.")
)

const app = Command.make("toolformer").pipe(
  Command.withDescription("One LLM decision calls many tools in parallel."),
  Command.withSubcommands([run, demonstration])
)

/**
 * Runs the command line with the given arguments.
 *
 * @category running
 * @since 0.1.0
 */
export const runWith = (
  version: string,
  args: ReadonlyArray<string>
): Effect.Effect<void, unknown, NodeServices | Ending> => Command.runWith(app, { version })(args)
