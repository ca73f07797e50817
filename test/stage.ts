/**
 * Handlers under a test's control: each call waits at a gate of its own until the test opens it, so a test says who runs
 * together instead of measuring time. And short ways to read a run's outcome.
 */
import type * as Response from "effect/ai/Response"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import * as Schema from "effect/Schema"
import { TestClock } from "effect/testing"
import { ToolPolicy } from "../src/index.ts"

/** Lets every fiber that can go on do so; one `adjust` is one turn, and long work takes several. */
export const settle: Effect.Effect<void> = Effect.asVoid(Effect.repeat(TestClock.adjust(0), { times: 8 }))

export class Stage {
  readonly started: Array<string> = []
  readonly ended: Array<string> = []
  readonly interrupted: Array<string> = []
  readonly running = new Set<string>()
  peak = 0
  private readonly gates = new Map<string, Latch.Latch>()

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
    return Effect.suspend(() => {
      this.started.push(id)
      this.running.add(id)
      this.peak = Math.max(this.peak, this.running.size)
      return this.gate(id).await
    }).pipe(
      Effect.as(id),
      Effect.onInterrupt(() => Effect.sync(() => this.interrupted.push(id))),
      Effect.ensuring(Effect.sync(() => {
        this.running.delete(id)
        this.ended.push(id)
      }))
    )
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
