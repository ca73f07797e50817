/** What a run is given: its words, its tools, and what it shares with its program. */
import type * as Prompt from "effect/ai/Prompt"
import type * as Context from "effect/Context"
import type { AnyPart } from "../../domain/ToolEvent.ts"
import type { BoundTool, Call, Tracing } from "./Call.ts"
import type { GroupsByTool } from "./completions.ts"
import type { PartQueue } from "./PartQueue.ts"
import type { Timers } from "./Timers.ts"

export interface RunSettings {
  readonly runId: string
  readonly prompt: Prompt.Prompt
  readonly tools: ReadonlyMap<string, BoundTool>
  readonly context: Context.Context<never>
  readonly timers: Timers
  readonly tracing: Tracing | undefined
  readonly parent: Call | undefined
  readonly sink: Sink | undefined
  readonly toolCallConcurrency: number
  readonly maxToolCalls: number
  readonly maxRepeats: number
  readonly modelService: string | undefined
  readonly completion: GroupsByTool | undefined
  /** Whether a turn may be asked more than once. */
  readonly asksAgain: boolean
}

/** Where parts go when somebody reads them. */
export type Sink = Pick<PartQueue<AnyPart, never>, "offer" | "offerProgress" | "forget" | "gate" | "blockedMillis">
