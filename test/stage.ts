/**
 * Handlers of `TestTools` under a test's control: each call waits at a gate of its own until the test opens it, so a test says who
 * runs together instead of measuring time. And short ways to read a run's outcome.
 */
import type * as Response from "effect/ai/Response"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import * as Schema from "effect/Schema"
import { TestClock } from "effect/testing"
import { ToolPolicy } from "../src/index.ts"
import { TestTools } from "../src/testing/index.ts"

/** Lets every fiber that can go on do so; one `adjust` is one turn, and long work takes several. */
export const settle: Effect.Effect<void> = Effect.asVoid(Effect.repeat(TestClock.adjust(0), { times: 8 }))

/** One piece of `TestTools` for tests whose calls are their ids, and whose models, readers and schemas wait at gates too. */
export class Stage {
  readonly tools = TestTools.recorderUnsafe()
  private readonly gates = new Map<string, Latch.Latch>()
  private readonly handler = this.tools.handler(
    "stage",
    ({ id }: { readonly id: string }) => TestTools.effect(Effect.suspend(() => Effect.as(this.gate(id).await, id)))
  )

  get started(): ReadonlyArray<string> {
    return idsOf(this.tools.calls)
  }

  /** In the order of their ends, as `interrupted`. */
  get ended(): ReadonlyArray<string> {
    return idsOf(byEnd(this.tools.calls))
  }

  get interrupted(): ReadonlyArray<string> {
    return idsOf(byEnd(this.tools.calls).filter(({ status }) => status === "interrupted"))
  }

  get running(): ReadonlySet<string> {
    return new Set(idsOf(this.tools.running))
  }

  get peak(): number {
    return this.tools.maxConcurrent
  }

  gate(id: string): Latch.Latch {
    const known = this.gates.get(id)
    if (known !== undefined) return known
    const made = Latch.makeUnsafe(false)
    this.gates.set(id, made)
    return made
  }

  /** Lets the call end, now or when it comes. */
  open(...ids: ReadonlyArray<string>): Effect.Effect<void> {
    return Effect.andThen(Effect.sync(() => ids.forEach((id) => this.gate(id).openUnsafe())), settle)
  }

  /** The handler: starts, waits for its gate, gives its id. */
  play(id: string): Effect.Effect<string> {
    return this.handler({ id }, { toolCallId: id, preliminary: () => Effect.void })
  }

  /** A tool whose calls wait at their gates. */
  tool(annotations: ToolPolicy.Annotations<{ readonly id: string }> = {}) {
    return ToolPolicy.tool({
      parameters: Schema.Struct({ id: Schema.String }),
      success: Schema.String,
      annotations,
      handler: ({ id }) => this.play(id)
    })
  }
}

const idsOf = (calls: ReadonlyArray<TestTools.HandledCall>): ReadonlyArray<string> => calls.map(({ id }) => id)

const byEnd = (calls: ReadonlyArray<TestTools.HandledCall>): ReadonlyArray<TestTools.HandledCall> =>
  calls.flatMap((call) => call.endedAs === undefined ? [] : [{ call, endedAs: call.endedAs }])
    .toSorted((a, b) => a.endedAs - b.endedAs).map(({ call }) => call)

interface Answered {
  readonly id: string
  readonly isFailure: boolean
  readonly result: unknown
}

/** How a call ended: `"ok"`, the tag of its failure, or what the failure was. */
export const status = ({ isFailure, result }: Answered): string =>
  !isFailure
    ? "ok"
    : typeof result === "object" && result !== null && "_tag" in result
    ? String(result._tag)
    : JSON.stringify(result)

/** Every call with how it ended, in the order given: `["a ok", "b TimedOut"]`. */
export const statuses = (results: ReadonlyArray<Answered>): ReadonlyArray<string> =>
  results.map((result) => `${result.id} ${status(result)}`)

/** The failure of a call; fails the test's expectations where there is none. */
export const failureOf = (results: ReadonlyArray<Answered>, id: string): Record<string, unknown> =>
  results.find((result) => result.id === id && result.isFailure)?.result as Record<string, unknown>

/** The parts that answer calls. */
export const results = (parts: ReadonlyArray<{ readonly type: string }>): ReadonlyArray<Answered> =>
  parts.filter((part): part is Response.ToolResultPart<string, unknown, unknown> => part.type === "tool-result")
