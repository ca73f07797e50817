/**
 * A recorded trace as the conversation it was: the user speaks, and the model takes turns until it answers. Each such episode is a
 * run of the engine.
 *
 * What the model said right before its calls is one turn with them, as it was one message. A call's arguments that are no JSON
 * object stand as `{ unreadable: text }`: no guess is equal to them.
 */
import { canonical } from "./canonical.ts"
import type { Step } from "./Trace.ts"

export interface RecordedResult {
  readonly value: unknown
  readonly isFailure: boolean
}

/** `id`: ours, since recorded ones may repeat. `key`: equal for equal calls. `result`: `undefined` where none was recorded. */
export interface RecordedCall {
  readonly id: string
  readonly name: string
  readonly params: Readonly<Record<string, unknown>>
  readonly key: string
  result: RecordedResult | undefined
  /** How long the step took, where it was measured. */
  readonly seconds: number | undefined
}

export interface Turn {
  readonly text: string
  readonly calls: ReadonlyArray<RecordedCall>
}

/** What the user said, and the model's turns that followed. */
export interface Episode {
  readonly said: ReadonlyArray<string>
  readonly turns: ReadonlyArray<Turn>
}

export interface Conversation {
  readonly id: string
  readonly task: string
  readonly episodes: ReadonlyArray<Episode>
}

/** Equal for the same tool and equal arguments. */
export const keyOf = (name: string, params: unknown): string => `${name} ${canonical(params)}`

export const turnsOf = ({ episodes }: Conversation): ReadonlyArray<Turn> => episodes.flatMap(({ turns }) => turns)

/** The episodes of a trace's steps. */
export const episodesOf = (steps: ReadonlyArray<Step>): ReadonlyArray<Episode> => {
  const reader = new Reader()
  for (const [index, step] of steps.entries()) reader.read(step, steps[index + 1])
  return reader.end()
}

class Reader {
  private readonly episodes: Array<Episode> = []
  private said: Array<string> = []
  private turns: Array<Turn> = []
  private text = ""
  private calls: Array<RecordedCall> = []
  /** Calls of the decision that are still to come. */
  private due = 0
  private readonly unanswered = new Map<string, RecordedCall>()
  private made = 0

  read(step: Step, next: Step | undefined): void {
    switch (step.type) {
      case "user":
        this.endTurn()
        if (this.turns.length > 0) this.endEpisode()
        this.said.push(step.text)
        return
      case "assistant":
        this.endTurn()
        this.text = step.text
        // A reply ends the run, whoever speaks next.
        if (next?.type !== "call") this.endEpisode({ text: step.text, calls: [] })
        return
      case "call":
        return this.call(step)
      case "result":
        return this.answer(step)
    }
  }

  end(): ReadonlyArray<Episode> {
    this.endTurn()
    this.endEpisode()
    return this.episodes.filter(({ turns }) => turns.length > 0)
  }

  private call(step: Step & { readonly type: "call" }): void {
    if (this.due === 0) {
      if (this.calls.length > 0) this.endTurn()
      this.due = Math.max(1, step.batch ?? 1)
    }
    this.due--
    const params = paramsOf(step.arguments ?? "")
    const call: RecordedCall = {
      id: `c${++this.made}`,
      name: step.name,
      params,
      key: keyOf(step.name, params),
      result: undefined,
      seconds: step.seconds ?? undefined
    }
    this.calls.push(call)
    this.unanswered.set(step.id, call)
  }

  private answer(step: Step & { readonly type: "result" }): void {
    const call = this.unanswered.get(step.id)
    if (call === undefined) return
    this.unanswered.delete(step.id)
    const isFailure = step.exception !== undefined && step.exception !== null
    call.result = { value: isFailure ? step.exception : valueOf(step.text ?? ""), isFailure }
  }

  private endTurn(): void {
    if (this.calls.length > 0) this.turns.push({ text: this.text, calls: this.calls })
    this.calls = []
    this.text = ""
    this.due = 0
  }

  private endEpisode(reply?: Turn): void {
    if (reply !== undefined) this.turns.push(reply)
    this.text = ""
    this.episodes.push({ said: this.said, turns: this.turns })
    this.said = []
    this.turns = []
  }
}

const parsed = (text: string): unknown => {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

const paramsOf = (text: string): Readonly<Record<string, unknown>> => {
  const value = parsed(text)
  return typeof value === "object" && value !== null && !Array.isArray(value)
    ? value as Readonly<Record<string, unknown>>
    : { unreadable: text }
}

// A tool of the engine gives values, not their text.
const valueOf = (text: string): unknown => {
  const value = parsed(text)
  return value === undefined ? text : value
}
