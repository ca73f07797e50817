/**
 * A model that plays a script: which turn comes next, what was asked, and the steps of a turn as a stream or as one answer.
 */
import * as AiError from "effect/ai/AiError"
import * as LanguageModel from "effect/ai/LanguageModel"
import type * as Response from "effect/ai/Response"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type * as Pull from "effect/Pull"
import * as Stream from "effect/Stream"
import type { ToolCall } from "../ToolCall.ts"
import { lastMessageOf } from "./requestText.ts"
import type { Parts, Step, Steps } from "./steps.ts"
import { Ids, stepsOf } from "./steps.ts"
import { beyondText } from "./TestModelError.ts"
import type { Request, StaticTurn, Turn } from "./turn.ts"
import { partsOf } from "./wholeParts.ts"

/** A script, checked: static turns have their steps already. */
export interface Script {
  readonly turns: ReadonlyArray<Steps | ((request: Request) => StaticTurn)>
  readonly otherwise: Turn | undefined
  readonly ids: Ids
  readonly calls: ReadonlyArray<ReadonlyArray<ToolCall & { readonly id: string }> | undefined>
}

/** Dies on a turn that can never play, naming it. */
export const scriptOf = (turns: ReadonlyArray<Turn>, otherwise: Turn | undefined): Script => {
  const ids = new Ids()
  for (const turn of turns) if (typeof turn !== "function") ids.reserve(turn)
  if (otherwise !== undefined && typeof otherwise !== "function") ids.reserve(otherwise)
  const made = turns.map((turn, index) => typeof turn === "function" ? turn : stepsOf(`turn ${index + 1}`, turn, ids))
  const last = otherwise === undefined || typeof otherwise === "function"
    ? otherwise
    : stepsOf("otherwise", otherwise, ids.copy())
  const calls = made.map((turn) => typeof turn === "function" ? undefined : turn.calls)
  const isOpenEnded = last !== undefined && (typeof last === "function" || last.calls.length > 0)
  return { turns: made, otherwise, ids, calls: isOpenEnded ? [...calls, undefined] : calls }
}

/** What a model was asked so far. Turns are taken in the order of asking. */
export class Playing {
  readonly requests: Array<Request> = []
  /** The first asking that found the script used up. */
  beyond: Request | undefined
  readonly script: Script
  private readonly ids: Ids

  constructor(script: Script) {
    this.script = script
    this.ids = script.ids.copy()
  }

  /** The steps of the next turn. */
  ask(method: Request["method"], options: LanguageModel.ProviderOptions): Effect.Effect<Steps, AiError.AiError> {
    return Effect.flatMap(Clock.currentTimeMillis, (at) => {
      const { prompt, toolChoice, tools } = options
      const number = this.requests.length + 1
      const request = { number, at, method, prompt, toolChoice, tools: tools.map(({ name }) => name) }
      this.requests.push(request)
      const turn = this.script.turns[number - 1]
      if (turn !== undefined) return Effect.succeed(this.stepsOf(`turn ${number}`, turn, request))
      const { otherwise } = this.script
      return otherwise === undefined
        ? this.refuse(request)
        : Effect.succeed(this.stepsOf("otherwise", otherwise, request))
    })
  }

  private stepsOf(where: string, turn: Steps | Turn, request: Request): Steps {
    if (typeof turn === "function") {
      return stepsOf(`${where} (a function, asked as number ${request.number})`, turn(request), this.ids)
    }
    return typeof turn === "object" && "steps" in turn ? turn : stepsOf(where, turn, this.ids)
  }

  private refuse(request: Request): Effect.Effect<never, AiError.AiError> {
    this.beyond ??= request
    return Effect.fail(AiError.make({
      module: "TestModel",
      method: request.method,
      reason: new AiError.UnknownError({
        description: beyondText({
          asking: request.number,
          turns: this.script.turns.length,
          lastMessage: lastMessageOf(request.prompt)
        })
      })
    }))
  }
}

/** The model itself. */
export const languageModel = (playing: Playing): Effect.Effect<typeof LanguageModel.LanguageModel.Service> =>
  LanguageModel.make({
    generateText: (options) => Effect.flatMap(playing.ask("generateText", options), whole),
    streamText: (options) => Stream.fromPull(Effect.map(playing.ask("streamText", options), pullOf))
  })

/** One chunk a pull. Whoever leaves interrupts the wait it is in, and nothing else is alive. */
const pullOf = ({ steps }: Steps): Pull.Pull<Parts, AiError.AiError> => {
  let index = 0
  const next: Pull.Pull<Parts, AiError.AiError> = Effect.suspend(() => {
    const step = steps[index++]
    return step === undefined ? Cause.done() : play(step, next)
  })
  return next
}

const play = (step: Step, next: Pull.Pull<Parts, AiError.AiError>): Pull.Pull<Parts, AiError.AiError> => {
  switch (step._tag) {
    case "Parts":
      return Effect.succeed(step.parts)
    case "Wait":
      return Effect.andThen(step.effect, next)
    case "Fail":
      return Effect.fail(step.error)
  }
}

const whole = ({ steps }: Steps): Effect.Effect<Array<Response.PartEncoded>, AiError.AiError> =>
  Effect.gen(function*() {
    const parts: Array<Response.StreamPartEncoded> = []
    for (const step of steps) {
      if (step._tag === "Fail") return yield* step.error
      if (step._tag === "Wait") yield* step.effect
      else parts.push(...step.parts)
    }
    return yield* partsOf(parts)
  })
