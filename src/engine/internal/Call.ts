/**
 * One call on its way to exactly one outcome: the mutable record the engine's steps pass along. A class only so that every
 * record has one shape; nothing outside the engine sees it.
 *
 * sealed → (prepared) → waiting → running → answered, and *ended* when the handler has really stopped, which an abandoned
 * one may do long after its answer, or never.
 */
import type * as Prompt from "effect/ai/Prompt"
import type * as Response from "effect/ai/Response"
import type * as Tool from "effect/ai/Tool"
import * as Context from "effect/Context"
import type * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import type * as Tracer from "effect/Tracer"
import type { CancelReason } from "../../domain/CancelReason.ts"
import type { ToolFailure } from "../../domain/ToolFailure.ts"
import type { CompiledTool } from "./CompiledTool.ts"
import type { Timer, Timers } from "./Timers.ts"
import type { Holder, ToolPermits } from "./ToolPermits.ts"

/** What a call ends with. `status` is `"success"`, `"failure"` (the tool's own), `"denied"`, or a `ToolFailure`'s tag. */
export interface Outcome {
  readonly status: string
  readonly isFailure: boolean
  readonly result: unknown
  readonly encodedResult: unknown
  readonly modelOutput?: ReadonlyArray<Prompt.ToolModelOutputPart> | undefined
}

/** The outcome that is one of our failures: the same plain data for the program and for the model. */
export const fault = (failure: ToolFailure): Outcome => ({
  status: failure._tag,
  isFailure: true,
  result: failure,
  encodedResult: failure
})

/** A step of the pipeline: takes the call onward, now or later. */
export type Runner = (call: Call) => void

/** A tool as one owner (a run, a governed toolkit, one call) sees it: with its handler and the context that handler gets. */
export interface BoundTool {
  readonly compiled: CompiledTool
  readonly handler: Tool.Handler<string>["handler"]
  readonly context: Context.Context<never>
  readonly timeoutMillis: number | undefined
  /** How long its first step may take before it counts as blocking the event loop. */
  readonly blockedMillis: number
  readonly run: Runner
  /** The way of a call on a guess, where there may be one. */
  readonly guess: Runner | undefined
  /** A call of it may have more than one attempt. */
  readonly isRepeated: boolean
}

/** Who lets a call start. What is said of a call holds for one attempt of a call that has several. */
export interface Admission {
  /** Calls `next` when it is the call's turn; once per call, however many attempts it has. */
  order(call: Call, next: Runner): void
  /** Calls `next` once the call has its permits; forgets it when it is withdrawn first. */
  admit(call: Call, next: Runner): void
  /** A call that was admitted or waits is stopped before its handler started. */
  withdraw(call: Call): void
  /** Answers a call that waits. */
  refuse(call: Call, failure: ToolFailure): void
  /** The handler of an admitted call has really ended. */
  release(call: Call): void
  /** The handler outlived its grace; its permits stay with it. */
  abandon(call: Call): void
  /** An attempt of a call begins: nothing is over before it is answered. */
  attempting(attempt: Call): void
  /** An attempt of a call is answered. */
  attempted(attempt: Call): void
  /** A call made under one of these is answered, and attempts of it still end: nothing is over before what this gives is called. */
  outlived(): () => void
  /** A call and all its attempts have really ended. */
  free(call: Call): void
}

/** The attempts of one call, as the call and they see it. */
export interface Governor {
  /** The call is told to stop, and so are its attempts. */
  signal(reason: CancelReason): void
  /** The second half of the stop; the call is answered when its attempts are. */
  halt(reason: CancelReason): void
  /** The call is answered before anything of it has started. */
  withdraw(): void
  /** Begins no attempt after this, and stops one that waits beside one at work. Gives whether one is at work. */
  retire(reason: CancelReason): boolean
  /** The handler of an attempt starts. */
  started(attempt: Call): void
  /** The handler of an attempt did not end in its first step. */
  suspended(attempt: Call): void
  /** The handler of an attempt has really ended. */
  released(): void
  /** An attempt was answered without having ended. */
  readonly abandoned: CancelReason | undefined
}

/** A call's way through a circuit breaker. */
export interface Guarded {
  /** The call is answered. */
  answered(outcome: Outcome): void
}

/** A call's way through the program's limiter. */
export interface Admitted {
  /** Whether it still waits for its limits. */
  readonly isAsking: boolean
  /** The call is stopped before it started. */
  withdraw(): void
  /** Its handler has really ended. */
  end(): void
}

/** Who wants to know. Absent where nobody listens, and then nothing is made for it. */
export interface Listener {
  started(call: Call): void
  progress(call: Call, result: unknown, encodedResult: unknown): void
  cancelled(call: Call, reason: CancelReason): void
  abandoned(call: Call, reason: CancelReason): void
  /** The attempt failed and there will be another. */
  retried(call: Call, delayMillis: number, message: string): void
}

/** Told why a call is stopped. */
export interface Follower {
  abort(reason: CancelReason): void
}

/** A guess, as the call sees it that was started on it. */
export interface Guessed {
  /** Somebody needs what it holds: whether it is stopped for that now. One that a call has claimed is not. */
  giveWay(): boolean
}

/** A guess that a call has taken. */
export interface Claimed {
  readonly speculationId: string
  /** How long before the call it had started, and how long it ran. */
  readonly aheadMillis: number
  runMillis: number
}

/** Under which a program's context has its `Speculation`: all the pipeline asks is whether there is one. */
export const speculationKey = "effect-toolformer/engine/Speculation"

/** The guesses of a run, as its calls see them. */
export interface Speculating {
  /** The call has its parameters: the model has asked for it. */
  made(call: Call): void
  /** Gives the call the outcome of its guess, or lets it go on. */
  claim(call: Call, next: Runner): void
  /** The call and all its attempts have really ended. */
  ended(call: Call): void
  /** The same for calls that handlers of these make: they claim nothing, and what they write is written. */
  readonly nested: Speculating
}

/** What the calls of one owner share. */
export interface Environment {
  readonly timers: Timers
  readonly admission: Admission
  /** The guesses of its run, where the program speculates. */
  readonly speculation?: Speculating | undefined
  readonly listener: Listener | undefined
  readonly tracing: Tracing | undefined
  /** The call whose handler started this owner: a nested run does not wait for a permit its own ancestor holds. */
  readonly parent: Call | undefined
  /** The run the calls belong to, themselves or by the call they were made under. */
  readonly runId: string | undefined
}

export interface Tracing {
  readonly tracer: Tracer.Tracer
  parent: Tracer.AnySpan | undefined
}

export class Call implements Holder {
  decoded: unknown = undefined
  state: "sealed" | "waiting" | "running" | "answered" = "sealed"
  reason: CancelReason | undefined = undefined
  outcome: Outcome | undefined = undefined
  /** The final `tool-result`, once there is one. */
  result: Response.ToolResultPart<string, unknown, unknown> | undefined = undefined
  abandoned = false
  released = false
  /** How many attempts have started; of an attempt of a call: its number. */
  attempts = 0
  /** The handler's fiber, or the fiber that prepares the call; whichever a stop must interrupt now. */
  fiber: Fiber.Fiber<unknown, unknown> | undefined = undefined
  fiberEnded = true
  /** Promises of `Executor.promise` that have not settled. */
  held = 0
  /** Who is told when it is stopped: its promises, and the calls its handler made. */
  controllers: Set<Follower> | undefined = undefined
  holdsToolPermit = false
  lender: Holder | undefined = undefined
  borrower: Holder | undefined = undefined
  startedAt = Number.NaN
  answeredAt = Number.NaN
  attemptTimer: Timer | undefined = undefined
  deadlineTimer: Timer | undefined = undefined
  graceTimer: Timer | undefined = undefined
  span: Tracer.Span | undefined = undefined
  /** Its way through the limiter, where the program has one. */
  limited: Admitted | undefined = undefined
  limiterMillis = 0
  /** What its handler ended with, where it was the handler that ended it. */
  exit: Exit.Exit<unknown, unknown> | undefined = undefined
  /** Its attempts, where it may have several; each is a call of its own. */
  governor: Governor | undefined = undefined
  /** The call it is an attempt of. */
  attemptOf: Call | undefined = undefined
  /** An attempt beside one that is slow. */
  hedge = false
  /** Nobody has asked for it: it takes only what nobody needs, and gives that up. */
  guess: Guessed | undefined = undefined
  /** The guess whose outcome it has, or waits for. */
  claimed: Claimed | undefined = undefined
  /** Its way through the circuit breaker, where the program has one. */
  guarded: Guarded | undefined = undefined
  /** The call of a broken answer whose outcome it has. */
  adopted: Call | undefined = undefined
  /**
   * What equal calls have in common, where the turn may be asked again. Noted at the seal: a handler may change parameters that
   * its schema hands on as they are.
   */
  sealedAs: string | undefined = undefined
  /** Calls that wait for its outcome. */
  followers: Array<Call> | undefined = undefined
  /** What its handler ended with after it was stopped, where its clean-up died. */
  brokenCleanUp: Exit.Failure<unknown, unknown> | undefined = undefined
  /** What its attempts have in common for those they ask; made when somebody wants it. */
  key: string | undefined = undefined
  /** The wire's id, where the call got one of its own. */
  readonly wireId: string | undefined
  readonly id: string
  readonly name: string
  readonly params: unknown
  readonly step: number
  readonly tool: BoundTool
  readonly environment: Environment
  readonly sealedAt: number
  readonly done: (call: Call, outcome: Outcome) => void

  constructor(
    id: string,
    name: string,
    params: unknown,
    step: number,
    tool: BoundTool,
    environment: Environment,
    done: (call: Call, outcome: Outcome) => void,
    wireId?: string
  ) {
    this.id = id
    this.name = name
    this.params = params
    this.step = step
    this.tool = tool
    this.environment = environment
    this.done = done
    this.wireId = wireId
    this.sealedAt = environment.timers.now()
  }

  get parent(): Call | undefined {
    return this.environment.parent
  }

  /** Whether it waits for nothing: it starts on room that nobody waits for, or not at all. */
  get isSpare(): boolean {
    return this.hedge || this.guess !== undefined
  }

  get permits(): ToolPermits | undefined {
    return this.tool.compiled.permits
  }

  /** Whether the handler of the current attempt may still be at work. */
  get isActive(): boolean {
    return !this.fiberEnded || this.held > 0
  }
}

/** The call whose handler is running, for whatever that handler starts. */
export const CurrentCall = Context.Reference<Call | undefined>("effect-toolformer/Executor/CurrentCall", {
  defaultValue: () => undefined
})

/** The branch of a race of effects that is running, and why it was stopped, for promises made in it. */
export const CurrentBranch = Context.Reference<{ readonly stopped: CancelReason | undefined } | undefined>(
  "effect-toolformer/Branch/CurrentBranch",
  { defaultValue: () => undefined }
)
