/**
 * Who was right: what was foreseen of a turn, started or not, and what the model has asked for in it. Read when its answer is
 * over.
 */
import type * as Predictor from "../../policy/Predictor.ts"
import type { Call } from "./Call.ts"
import type { Same } from "./sameParameters.ts"
import type { Candidate } from "./speculating.ts"

export interface Considered {
  readonly guess: Predictor.Guess
  readonly candidate: Candidate
  readonly same: Same
  right: boolean
  started: boolean
}

export class Foreseeing {
  private considered: Array<Considered> = []
  /** Those of them that nothing was made of yet. */
  private readonly open = new Set<Considered>()
  private made: Array<Call> = []

  /** Another turn. */
  begin(): void {
    this.considered = []
    this.open.clear()
    this.made = []
  }

  add(considered: Considered): void {
    this.considered.push(considered)
    if (!considered.right) this.open.add(considered)
  }

  /** The model asks for a call. */
  make(call: Call): void {
    this.made.push(call)
    for (const each of this.open) {
      if (each.candidate.tool !== call.tool || !each.same(call.decoded)) continue
      each.right = true
      this.open.delete(each)
    }
  }

  isMade({ tool }: Candidate, same: Same): boolean {
    return this.made.some((call) => call.tool === tool && same(call.decoded))
  }

  /** Whether the same predictor has foreseen it already. */
  isSaid({ decoded, predictor, tool }: Candidate): boolean {
    return this.considered.some(({ candidate: said, same }) =>
      said.predictor === predictor && said.tool === tool && same(decoded)
    )
  }

  /** All of the turn, once. */
  take(): ReadonlyArray<Considered> {
    const { considered } = this
    this.begin()
    return considered
  }
}
