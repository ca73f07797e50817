/**
 * Sees a model going round in circles: how many earlier turns made the same call (name and canonical arguments). Several equal
 * calls of one turn count once. Nothing is compared before enough turns have passed for a loop to be possible.
 */
import { canonical } from "../../domain/ToolCall.ts"
import { orElse } from "./orElse.ts"

interface Seen {
  readonly name: string
  readonly params: unknown
}

export class Repeats {
  private readonly turns: Array<Array<Seen>> = []
  private readonly counts = new Map<string, number>()
  private counted = 0
  private readonly allowed: number

  /** `allowed`: in how many turns one call may be made. */
  constructor(allowed: number) {
    this.allowed = allowed
  }

  nextTurn(): void {
    this.turns.push([])
  }

  /** The turn is asked again: of its calls so far only those count that have started. */
  restartTurn(started: ReadonlyArray<Seen>): void {
    this.turns[this.turns.length - 1] = started.map(({ name, params }) => ({ name, params }))
  }

  /** Notes a call; says whether it has now been made in more turns than allowed. */
  isLoop(name: string, params: unknown): boolean {
    this.turns[this.turns.length - 1]!.push({ name, params })
    if (this.turns.length <= this.allowed) return false
    this.countFinishedTurns()
    const key = keyOf(name, params)
    return key !== undefined && (this.counts.get(key) ?? 0) >= this.allowed
  }

  private countFinishedTurns(): void {
    for (; this.counted < this.turns.length - 1; this.counted++) {
      const keys = new Set(this.turns[this.counted]!.map(({ name, params }) => keyOf(name, params)))
      for (const key of keys) if (key !== undefined) this.counts.set(key, (this.counts.get(key) ?? 0) + 1)
      this.turns[this.counted] = []
    }
  }
}

/** What equal calls have in common. Parameters too deep to be written down are nobody's repetition; decoding answers them. */
export const keyOf = (name: string, params: unknown): string | undefined =>
  orElse(() => `${name} ${canonical(params)}`, undefined)
