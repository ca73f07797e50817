/**
 * The scripted handlers of `TestTools` and what they note: which behaviour a call gets, when its handler started and ended, and
 * what the test opened. Mutable state of one layer; time comes from the clock of the fiber that runs the handler.
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Latch from "effect/Latch"
import * as Option from "effect/Option"
import * as CancelReason from "../../domain/CancelReason.ts"
import { describe } from "../../domain/ToolFailure.ts"
import * as Executor from "../../engine/Executor.ts"
import { describeReason } from "./TestToolsError.ts"
import type { Reason } from "./TestToolsError.ts"
import { die, isBehaviour, TypeId } from "./toolBehaviour.ts"
import type { Behaviour, Playing } from "./toolBehaviour.ts"

type AnyBehaviour = Behaviour<unknown, unknown, unknown>

/** What the script says of one tool. */
export type AnyScript =
  | AnyBehaviour
  | ReadonlyArray<AnyBehaviour>
  | ((params: never, nth: number) => AnyBehaviour)

export type Status = "running" | "success" | "failure" | "defect" | "interrupted"

export interface HandledCall {
  readonly id: string
  readonly name: string
  readonly params: unknown
  readonly nth: number
  readonly attempt: number
  readonly startedAt: number
  readonly startedAs: number
  readonly endedAt: number | undefined
  readonly endedAs: number | undefined
  readonly status: Status
  readonly result: unknown
  readonly reason: CancelReason.CancelReason | undefined
}

/** One handler at work. */
class Entry {
  readonly playing: Omit<Playing, "preliminary" | "gate" | "hold">
  readonly startedAt: number
  readonly startedAs: number
  endedAt: number | undefined = undefined
  endedAs: number | undefined = undefined
  held = 0
  exit: Exit.Exit<unknown, unknown> | undefined = undefined

  constructor(playing: Entry["playing"], startedAt: number, startedAs: number) {
    this.playing = playing
    this.startedAt = startedAt
    this.startedAs = startedAs
  }

  get isRunning(): boolean {
    return this.endedAs === undefined
  }

  get snapshot(): HandledCall {
    const { endedAs, endedAt, startedAs, startedAt } = this
    const { attempt, id, name, nth, params } = this.playing
    return { id, name, params, nth, attempt, startedAt, startedAs, endedAt, endedAs, ...this.outcome }
  }

  private get outcome(): Pick<HandledCall, "status" | "result" | "reason"> {
    const { exit } = this
    if (exit === undefined || this.isRunning) return { status: "running", result: undefined, reason: undefined }
    if (Exit.isSuccess(exit)) return { status: "success", result: exit.value, reason: undefined }
    if (Cause.hasInterrupts(exit.cause)) {
      return { status: "interrupted", result: undefined, reason: CancelReason.fromCause(exit.cause) }
    }
    const failure = Cause.findErrorOption(exit.cause)
    return Option.isSome(failure)
      ? { status: "failure", result: failure.value, reason: undefined }
      : { status: "defect", result: Cause.squash(exit.cause), reason: undefined }
  }
}

interface HandlerContext {
  readonly toolCallId?: string | undefined
  readonly preliminary: (result: unknown) => Effect.Effect<void>
}

export type Handler = (params: unknown, context: HandlerContext) => Effect.Effect<unknown, unknown, unknown>

export class Recorder {
  readonly entries: Array<Entry> = []
  maxConcurrent = 0
  private order = 0
  private runningCount = 0
  private readonly counts = new Map<string, number>()
  private readonly lists = new Map<string, number>()
  private readonly beyond: Array<Reason> = []
  private readonly gates = new Map<string, Latch.Latch>()

  gate(name: string): Latch.Latch {
    const known = this.gates.get(name)
    if (known !== undefined) return known
    const made = Latch.makeUnsafe(false)
    this.gates.set(name, made)
    return made
  }

  /** The handler of a tool; dies on what is no script. */
  handler(name: string, script: AnyScript | undefined): Handler {
    if (script !== undefined) check(name, script)
    if (Array.isArray(script)) this.lists.set(name, script.length)
    return (params, context) =>
      Effect.flatMap(Executor.currentCall, (call) => {
        const nth = (this.counts.get(name) ?? 0) + 1
        this.counts.set(name, nth)
        const id = context.toolCallId ?? `${name}-${nth}`
        const attempt = Option.isSome(call) ? call.value.attempt : 1
        return this.play({ id, name, params, nth, attempt }, context, () => this.pick(name, script, params, nth))
      })
  }

  private play(
    playing: Entry["playing"],
    context: HandlerContext,
    pick: () => AnyBehaviour
  ): Effect.Effect<unknown, unknown, unknown> {
    return Effect.flatMap(Clock.Clock, (clock) => {
      const entry = this.started(playing, clock)
      return Effect.suspend(() =>
        pick()[TypeId]({
          ...playing,
          preliminary: (result) => context.preliminary(result),
          gate: (name) => this.gate(name).await,
          hold: () => this.hold(entry, clock)
        })
      ).pipe(Effect.onExit((exit) =>
        Effect.sync(() => {
          entry.exit = exit
          this.settle(entry, clock)
        })
      ))
    })
  }

  private pick(name: string, script: AnyScript | undefined, params: unknown, nth: number): AnyBehaviour {
    if (script === undefined) return this.missing({ _tag: "Unscripted", tool: name, nth })
    if (typeof script === "function") return checked(name, `call ${nth}`, script(params as never, nth))
    if (isBehaviour(script)) return script
    return script[nth - 1] ?? this.missing({ _tag: "BeyondList", tool: name, nth, of: script.length })
  }

  private missing(reason: Reason): never {
    this.beyond.push(reason)
    return die(`TestTools: ${describeReason(reason)}`)
  }

  private started(playing: Entry["playing"], clock: Clock.Clock): Entry {
    const entry = new Entry(playing, clock.currentTimeMillisUnsafe(), this.order++)
    this.entries.push(entry)
    this.maxConcurrent = Math.max(this.maxConcurrent, ++this.runningCount)
    return entry
  }

  private hold(entry: Entry, clock: Clock.Clock): () => void {
    entry.held++
    return () => {
      entry.held--
      this.settle(entry, clock)
    }
  }

  private settle(entry: Entry, clock: Clock.Clock): void {
    if (entry.exit === undefined || entry.held > 0 || !entry.isRunning) return
    entry.endedAt = clock.currentTimeMillisUnsafe()
    entry.endedAs = this.order++
    this.runningCount--
  }

  /** Calls beyond the script first: they are why something went wrong. */
  get faults(): ReadonlyArray<Reason> {
    const unused = [...this.lists].flatMap(([tool, of]): ReadonlyArray<Reason> => {
      const used = this.counts.get(tool) ?? 0
      return used < of ? [{ _tag: "ListLeft", tool, used, of }] : []
    })
    return [...this.beyond, ...unused]
  }
}

const check = (name: string, script: AnyScript): void => {
  if (typeof script === "function") return
  if (Array.isArray(script)) script.forEach((each, at) => void checked(name, `item ${at + 1} of its list`, each))
  else checked(name, "its script", script)
}

const checked = (name: string, place: string, value: unknown): AnyBehaviour =>
  isBehaviour(value)
    ? value
    : die(
      `TestTools: tool "${name}": ${place} is ${describe(value)}, which is no behaviour; wrap ${
        Effect.isEffect(value) ? "an Effect in TestTools.effect" : "a result in TestTools.succeed"
      }`
    )
