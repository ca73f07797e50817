/**
 * The order of a governed call, in one place. Lookup and decoding come first, at the seal (approvals and resource locks need
 * typed parameters); then the steps below, outermost first; encoding the result is the end of an attempt.
 *
 * A step takes a tool and the rest of the way and returns its own way, or the rest unchanged where its policy is absent: the
 * chain is built once per tool and owner, and a call pays only for the steps its tool has. A later policy is one line here.
 */
import type * as Tool from "effect/ai/Tool"
import type * as Toolkit from "effect/ai/Toolkit"
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as CancelReason from "../../domain/CancelReason.ts"
import * as ToolFailure from "../../domain/ToolFailure.ts"
import { Breaker } from "../../policy/Breaker.ts"
import { Retry } from "../../policy/Retry.ts"
import * as Attempt from "./Attempt.ts"
import * as Attempts from "./Attempts.ts"
import { blockedAfterMillis } from "./blocking.ts"
import * as Breaking from "./Breaking.ts"
import { fault, speculationKey } from "./Call.ts"
import type { BoundTool, Call, Outcome, Runner } from "./Call.ts"
import { compile } from "./CompiledTool.ts"
import type { CompiledTool } from "./CompiledTool.ts"
import { exitOf } from "./exitOf.ts"
import { mayWrite } from "./Freshness.ts"
import { isOrdered } from "./Ordering.ts"

/** What the steps of a tool are built from: the tool, and the policies of the caller's context. */
interface Binding extends Omit<BoundTool, "run" | "guess" | "isRepeated"> {
  readonly retry: Retry["Service"] | undefined
  readonly breaker: Breaker["Service"] | undefined
  /** The program speculates, and the tool's calls may start on a guess, or make one stale. */
  readonly speculates: boolean
}

type Step = (tool: Binding, next: Runner) => Runner

/** Outermost first. One line per policy. From `attempts` on a step is passed once per attempt. */
const order: ReadonlyArray<Step> = [
  (tool, next) => mayClaim(tool) ? (call) => made(call, next) : next,
  ({ compiled }, next) => deadline(compiled.policies.deadlineMillis, next),
  (tool, next) => isOrdered(tool) ? (call) => call.environment.admission.order(call, next) : next,
  // Behind the order: a call that waits for its guess holds what it reads, and what was written before it has made the guess stale.
  (tool, next) => tool.speculates ? (call) => claim(call, next) : next,
  (tool, next) => attempts(tool, next),
  (tool, next) => guarded(tool, next),
  (_, next) => (call) => call.environment.admission.admit(call, next),
  () => Attempt.start
]

const guarded: Step = ({ breaker, compiled }, next) =>
  breaker === undefined ? next : Breaking.guard(breaker, serviceOf(compiled), next)

/** The same of a call that nobody has asked for: it is attempted once, and has nothing to wait for. */
const guessOrder: ReadonlyArray<Step> = [
  guarded,
  (_, next) => (call) => call.environment.admission.admit(call, next),
  () => Attempt.start
]

const mayClaim = ({ compiled, speculates }: Binding): boolean => speculates && compiled.policies.speculate

const made = (call: Call, next: Runner): void => {
  call.environment.speculation?.made(call)
  next(call)
}

const claim = (call: Call, next: Runner): void => {
  const { speculation } = call.environment
  if (speculation === undefined) next(call)
  else speculation.claim(call, next)
}

/** Whose failures, pauses and circuit a tool's calls share. */
const serviceOf = ({ policies, tool }: CompiledTool): string => policies.service ?? tool.name

// A tool's own word wins over the program's; what may not be repeated is never attempted again.
const attempts = ({ compiled, retry }: Binding, next: Runner): Runner => {
  const { hedging, policies } = compiled
  const retrying = policies.retry === false || !policies.repeatable
    ? undefined
    : retry ?? (policies.retry === undefined ? undefined : compiled.ownRetry())
  if (retrying === undefined && hedging === undefined) return next
  const options = policies.retry === false ? undefined : policies.retry
  return Attempts.govern({ retry: retrying, hedging, request: { service: serviceOf(compiled), options } }, next)
}

const deadline = (millis: number | undefined, next: Runner): Runner =>
  millis === undefined ? next : (call) => {
    const { timers } = call.environment
    // From the seal: what decoding and approval took is part of it.
    const left = Math.max(millis - (timers.now() - call.sealedAt), 0)
    const reason = CancelReason.timeout("deadline", millis)
    if (left === 0) return Attempt.stop(call, reason)
    const stop = () => Attempt.stop(call, reason)
    // Most calls have nearly all of it left: they share one lane.
    const whole = Math.ceil(left)
    call.deadlineTimer = whole === millis ? timers.add(whole, stop) : timers.addOnce(whole, stop)
    next(call)
  }

/**
 * Binds a tool to its handler in `context`. The handler's own context is merged with the caller's once; the caller's values
 * win, as in stock effect/ai. Without a handler every call is answered with that defect; policies that make no sense die here.
 */
export const bind = (
  tool: Tool.Any,
  context: Context.Context<never>,
  defaultTimeout: Duration.Input | undefined
): BoundTool => {
  const compiled = compile(tool)
  const handler = context.mapUnsafe.get(tool.id) as Tool.Handler<string> | undefined
  const bound: Binding = {
    retry: context.mapUnsafe.get(Retry.key) as Retry["Service"] | undefined,
    breaker: context.mapUnsafe.get(Breaker.key) as Breaker["Service"] | undefined,
    speculates: context.mapUnsafe.has(speculationKey) && (compiled.policies.speculate || mayWrite(compiled)),
    compiled,
    handler: handler?.handler ??
      (() => Effect.die(new Error(`no handler for "${tool.name}": provide its toolkit's layer`))),
    context: handler === undefined ? context : Context.merge(handler.context, context),
    blockedMillis: blockedAfterMillis(context),
    timeoutMillis: compiled.policies.timeoutMillis ??
      (defaultTimeout === undefined ? undefined : Duration.toMillis(Duration.fromInputUnsafe(defaultTimeout)))
  }
  const chain = (steps: ReadonlyArray<Step>) => steps.reduceRight<Runner>((next, step) => step(bound, next), () => {})
  return {
    ...bound,
    run: chain(order),
    guess: bound.speculates && compiled.policies.speculate ? chain(guessOrder) : undefined,
    isRepeated: attempts(bound, Attempt.start) !== Attempt.start
  }
}

/** The tools of a toolkit, by own name only: no name a model invents reaches a prototype. */
export const bindAll = (
  toolkit: Toolkit.Any,
  context: Context.Context<never>,
  defaultTimeout: Duration.Input | undefined,
  active?: ReadonlyArray<string>
): ReadonlyMap<string, BoundTool> =>
  new Map(
    Object.entries(toolkit.tools)
      .filter(([name]) => active === undefined || active.includes(name))
      .map(([name, tool]) => [name, bind(tool, context, defaultTimeout)])
  )

/**
 * Reads a call's parameters, from what a model sent (`decode`) or from typed ones (`check`). Answers at once with an `Exit`
 * unless the tool's schema is effectful.
 */
export const prepare = (call: Call, codec: "decode" | "check"): Effect.Effect<undefined | Outcome> => {
  const { compiled } = call.tool
  if (codec === "decode" && !isObject(call.params)) return Effect.succeed(invalid(call, compiled, noObject))
  const decoded = compiled[codec](call.params)
  const exit = exitOf(decoded)
  if (exit !== undefined) return Exit.succeed(prepared(call, compiled, exit))
  return Effect.exit(Effect.provideContext(decoded, call.tool.context)).pipe(
    Effect.map((exit) => prepared(call, compiled, exit))
  )
}

const prepared = (call: Call, compiled: CompiledTool, exit: Exit.Exit<unknown, { readonly message: string }>) => {
  if (Exit.isSuccess(exit)) {
    call.decoded = exit.value
    return undefined
  }
  const error = Cause.findErrorOption(exit.cause)
  return Option.isSome(error)
    ? invalid(call, compiled, error.value.message)
    : fault(ToolFailure.handlerFailed(call.name, call.id, Cause.squash(exit.cause)))
}

/** The same for arguments that no call was made with. */
export const decode = (tool: Tool.Any, params: unknown): Effect.Effect<unknown, ToolFailure.ToolFailure> => {
  const compiled = compile(tool)
  const refuse = (issue: string) =>
    ToolFailure.invalidInput(tool.name, "", issue, compiled.expectedKeys(), receivedKeys(params))
  return isObject(params)
    ? Effect.mapError(compiled.decode(params), ({ message }) => refuse(message))
    : Effect.fail(refuse(noObject))
}

const invalid = (call: Call, compiled: CompiledTool, issue: string): Outcome =>
  fault(ToolFailure.invalidInput(call.name, call.id, issue, compiled.expectedKeys(), receivedKeys(call.params)))

const noObject = "they are not one JSON object"

const isObject = (params: unknown): params is object =>
  typeof params === "object" && params !== null && !Array.isArray(params)

const receivedKeys = (params: unknown): ReadonlyArray<string> =>
  isObject(params)
    ? Object.keys(params).slice(0, 64).map((key) => ToolFailure.cut(key, 128))
    : []
