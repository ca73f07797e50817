/**
 * The model's turns pass the program's limiter as calls do: one call of the model's service, an estimate of its tokens, settled
 * to what the model says it was. The clock of `timeout.model` starts at the grant.
 *
 * A turn may be asked for again only while nothing of its answer has been read; a failure after that is not the limiter's.
 */
import type * as AiError from "effect/ai/AiError"
import type * as Prompt from "effect/ai/Prompt"
import type * as Tool from "effect/ai/Tool"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import { describe } from "../../domain/ToolFailure.ts"
import { signalOf } from "../../policy/Limiter.ts"
import type { Lease, Rejected } from "../../policy/Limiter.ts"
import { compile } from "./CompiledTool.ts"
import type { Limits } from "./Limits.ts"
import type { ModelTurn, Resolved } from "./options.ts"
import { OrchestratorError } from "./OrchestratorError.ts"
import type { Run } from "./Run.ts"
import type { Turn } from "./Turn.ts"

/** Asks the model once its limits admit the turn. */
export const admitTurn = (
  run: Run,
  { limiter }: Limits,
  turn: Turn,
  settings: Resolved,
  service: string,
  ask: Effect.Effect<void, AiError.AiError | OrchestratorError>
): Effect.Effect<void, AiError.AiError | OrchestratorError | Rejected> => {
  const { runId, tools } = run.settings
  const cost = costOf({ prompt: run.prompt, tools: [...tools.values()].map(({ compiled }) => compiled.tool) }, settings)
  if (typeof cost === "string") {
    const reason = { _tag: "InvalidOptions", option: "modelCost", issue: cost } as const
    return Effect.fail(new OrchestratorError({ runId, reason, prompt: run.prompt }))
  }
  const admit = limiter.withAdmission({ service, tokens: cost, run: runId, repeat: true })
  return Effect.flatten(
    admit((lease: Lease) => admitted(run, turn, Effect.tap(ask, told(limiter, service, turn)), lease))
  )
}

// The counts in the headers of a good answer: the limit learns from them before anything is refused.
const told = (limiter: Limits["limiter"], service: string, turn: Turn) => (): Effect.Effect<void> =>
  Effect.clockWith((clock) => {
    const said = signalOf(turn.finish, clock.currentTimeMillisUnsafe())
    return said === undefined ? Effect.void : limiter.feedback(service, said)
  })

// What it ends with, as an effect, when the limiter has no say in it any more.
const admitted = (
  run: Run,
  turn: Turn,
  ask: Effect.Effect<void, AiError.AiError | OrchestratorError>,
  lease: Lease
): Effect.Effect<Effect.Effect<void, AiError.AiError | OrchestratorError>, AiError.AiError | OrchestratorError> =>
  Effect.suspend(() => {
    begin(turn, run.settings.timers.now(), lease)
    return ask
  }).pipe(
    Effect.ensuring(Effect.suspend(() => {
      turn.era++
      const tokens = usedBy(turn)
      return tokens === undefined ? Effect.void : lease.settle({ tokens })
    })),
    Effect.as(Effect.void),
    Effect.catch((error) =>
      turn.touched || run.isShuttingDown || error instanceof OrchestratorError
        ? Effect.succeed(Effect.fail(error))
        : Effect.fail(error)
    )
  )

const begin = (turn: Turn, now: number, { waitedMillis }: Lease): void => {
  const again = turn.era++ > 0
  const waited = now - turn.startedAt
  turn.startedAt = now
  if (again || waitedMillis > 0) turn.limiterMillis += waited
}

const usedBy = ({ finish }: Turn): number | undefined => {
  const input = finish?.usage.inputTokens.total
  const output = finish?.usage.outputTokens.total
  const tokens = (input ?? 0) + (output ?? 0)
  return (input === undefined && output === undefined) || !Number.isSafeInteger(tokens) || tokens < 0
    ? undefined
    : tokens
}

const costOf = (turn: ModelTurn, { modelCost = estimate }: Resolved): number | string => {
  const tokens = Result.try((): unknown => modelCost(turn))
  if (Result.isFailure(tokens)) return `it failed: ${describe(tokens.failure)}`
  return Number.isSafeInteger(tokens.success) && (tokens.success as number) >= 1
    ? tokens.success as number
    : `it gave ${describe(tokens.success)}, which is not an integer of at least 1`
}

// ---- the estimate: four characters a token, a usual answer, a small picture ----------------------------------------------

const charactersPerToken = 4
const answerTokens = 256
const fileCharacters = 3072

const estimate = ({ prompt, tools }: ModelTurn): number => {
  let characters = 0
  for (const message of prompt.content) characters += charactersOf(message)
  for (const tool of tools) characters += definitionOf(tool)
  return Math.ceil(characters / charactersPerToken) + answerTokens
}

const definitionOf = (tool: Tool.Any): number => compile(tool).characters()

const charactersOf = (message: Prompt.Message): number => {
  if (typeof message.content === "string") return message.content.length
  let characters = 0
  for (const part of message.content) characters += lengthOf(part)
  return characters
}

const lengthOf = (part: Prompt.Part): number => {
  switch (part.type) {
    case "text":
    case "reasoning":
      return part.text.length
    case "file":
      return fileCharacters
    case "tool-call":
      return part.name.length + jsonLength(part.params)
    case "tool-result":
      return jsonLength(part.result)
    default:
      return 0
  }
}

const jsonLength = (value: unknown): number =>
  Result.getOrElse(Result.try(() => JSON.stringify(value)?.length ?? 0), () => 0)
