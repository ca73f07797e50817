/**
 * Model calls over real HTTP on loopback, admitted by an adaptive limiter whose clock stands until a test moves it: what a
 * service asks for is waited in virtual time, to the millisecond, and minutes cost nothing.
 */
import { assert } from "@effect/vitest"
import type * as AiError from "effect/ai/AiError"
import * as LanguageModel from "effect/ai/LanguageModel"
import * as Toolkit from "effect/ai/Toolkit"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { TestClock } from "effect/testing"
import * as OpenAi from "../../src/adapter/OpenAi.ts"
import * as Orchestrator from "../../src/engine/Orchestrator.ts"
import * as Limiter from "../../src/policy/Limiter.ts"
import * as LimiterStore from "../../src/policy/LimiterStore.ts"
import { done, start, utf8 } from "../replay/server.ts"
import type { Answer, Provider, Seen } from "../replay/server.ts"

/** A refusal as a provider would send it. */
export const refusal = (
  status: number,
  headers: Readonly<Record<string, string>> = {},
  body: unknown = {}
): Answer => ({
  status,
  // Node would add the day of this machine; the clock of these tests begins in 1970.
  headers: { "content-type": "application/json", date: "Thu, 01 Jan 1970 00:00:00 GMT", ...headers },
  chunks: [utf8(typeof body === "string" ? body : JSON.stringify(body))]
})

/** Answers the first requests so, and all later ones well. */
export const first = (...answers: ReadonlyArray<Answer>): Provider => (_, turn) => answers[turn] ?? done("chat")

/** One provider, one adaptive limiter in front of it. */
export interface Stage {
  readonly seen: ReadonlyArray<Seen>
  /** When each admitted attempt took its first step, in virtual milliseconds. */
  readonly starts: ReadonlyArray<number>
  /** How many attempts have their answer. */
  readonly answered: () => number
  /** One model call. */
  readonly call: (request?: Limiter.Request) => Effect.Effect<void, AiError.AiError | Limiter.Rejected>
  /** One run of the engine, of one turn. */
  readonly run: Effect.Effect<void, AiError.AiError | Orchestrator.OrchestratorError>
  readonly pace: Effect.Effect<{ readonly callsPerSecond: number; readonly pausedMillis: number }>
}

const limit: LimiterStore.Limit = {
  key: "service/openai/adaptive",
  name: "",
  group: "service/openai",
  rule: { _tag: "Adaptive", unit: "calls" }
}

export const stage = (
  provider: Provider,
  options?: Partial<Limiter.Options>
): Effect.Effect<Stage, never, Scope.Scope> =>
  Effect.gen(function*() {
    const server = yield* Effect.acquireRelease(Effect.promise(start), (server) => Effect.promise(server.close))
    const { baseURL, seen } = server.mount(provider)
    const context = yield* Layer.build(Layer.merge(
      OpenAi.layer({ model: "m", baseURL, api: "chat", apiKey: "sk-canary-0123456789" }),
      Layer.orDie(
        Layer.provideMerge(Limiter.layerStore({ onExceeded: "adaptive", ...options }), LimiterStore.layerMemory)
      )
    ))
    const starts: Array<number> = []
    let answered = 0
    const model = Context.get(context, LanguageModel.LanguageModel)
    // The model as it is, with a note of when it was asked.
    const noted = LanguageModel.LanguageModel.of({
      ...model,
      streamText: ((options: never) =>
        Stream.unwrap(Effect.map(Clock.currentTimeMillis, (now) => {
          starts.push(now)
          return Stream.ensuring(model.streamText(options), Effect.sync(() => void answered++))
        }))) as never
    })
    const services = Context.add(context, LanguageModel.LanguageModel, noted)
    return {
      seen,
      starts,
      answered: () => answered,
      call: (request) =>
        Stream.runCollect(LanguageModel.streamText({ prompt: "go" })).pipe(
          Limiter.withAdmission({ service: "openai", ...request }),
          Effect.asVoid,
          Effect.provideContext(services)
        ),
      run: Orchestrator.run({ prompt: "go", toolkit: Toolkit.empty, modelService: "openai" }).pipe(
        Effect.asVoid,
        Effect.provideContext(services)
      ),
      pace: LimiterStore.LimiterStore.use((store) => store.peek([limit])).pipe(
        Effect.map(([state]) => {
          assert.strictEqual(state?._tag, "Adaptive")
          return state as Extract<LimiterStore.LimitState, { readonly _tag: "Adaptive" }>
        }),
        Effect.orDie,
        Effect.provideContext(context)
      )
    }
  })

/** Waits, on the machine's clock, until something is so; the virtual one stands. */
export const until = <E, R>(what: string, condition: Effect.Effect<boolean, E, R>): Effect.Effect<void, E, R> =>
  Effect.gen(function*() {
    for (let i = 0; i < 5000; i++) {
      if (yield* condition) return
      yield* TestClock.withLive(Effect.sleep(2))
    }
    assert.fail(`ten seconds passed without: ${what}`)
  })

export const untilAnswered = (stage: Stage, count: number): Effect.Effect<void> =>
  until(`${count} answers`, Effect.sync(() => stage.answered() >= count))

/** The typed error of an exit. */
export const errorOf = <E>(exit: Exit.Exit<unknown, E>): E =>
  Exit.isFailure(exit) ? Cause.squash(exit.cause) as E : assert.fail("it succeeded")

export const rejectionOf = (exit: Exit.Exit<unknown, AiError.AiError | Limiter.Rejected>): Limiter.Rejected => {
  const error = errorOf(exit)
  return error._tag === "Rejected" ? error : assert.fail(`it failed with ${error.message}`)
}

export const aiErrorOf = (exit: Exit.Exit<unknown, AiError.AiError | Limiter.Rejected>): AiError.AiError => {
  const error = errorOf(exit)
  return error._tag === "AiError" ? error : assert.fail(`it was rejected: ${error.message}`)
}
