/**
 * How often guesses about a tool have been right: a Beta posterior for each tool, over a past that fades, so that a tool that
 * changes is seen to change. Pure but for its own counts.
 */

/**
 * Before anything is known a guess is believed `confidence`, as if `weight` guesses had said so. `memory`: how many judged guesses
 * count, about. `probeEvery`: of a tool's guesses that are not believed enough, every so manieth is given all the same.
 */
export interface Prior {
  readonly confidence: number
  readonly weight: number
  readonly memory: number
  readonly probeEvery: number
}

interface Past {
  right: number
  wrong: number
  heldBack: number
}

// Tools made at run time must not fill the memory; the one longest not judged is forgotten.
const maxTools = 1000

/** What is known of the guesses about each tool. */
export class Trust {
  private readonly pasts = new Map<string, Past>()
  private readonly prior: Prior

  constructor(prior: Prior) {
    this.prior = prior
  }

  /** The probability that a guess about the tool is right. */
  of(tool: string): number {
    const { confidence, weight } = this.prior
    const { right, wrong } = this.pasts.get(tool) ?? { right: 0, wrong: 0 }
    return (confidence * weight + right) / (weight + right + wrong)
  }

  /** A guess about the tool was right, or not. */
  judged(tool: string, right: boolean): void {
    const past = this.past(tool)
    const kept = 1 - 1 / this.prior.memory
    past.right = past.right * kept + (right ? 1 : 0)
    past.wrong = past.wrong * kept + (right ? 0 : 1)
  }

  /** Whether a guess about the tool is given: it is believed enough, or its turn as a probe has come. */
  gives(tool: string, threshold: number): boolean {
    if (this.of(tool) >= threshold) return true
    return ++this.past(tool).heldBack % this.prior.probeEvery === 0
  }

  private past(tool: string): Past {
    const past = this.pasts.get(tool) ?? { right: 0, wrong: 0, heldBack: 0 }
    this.pasts.delete(tool)
    this.pasts.set(tool, past)
    const [oldest] = this.pasts.keys()
    if (this.pasts.size > maxTools && oldest !== undefined) this.pasts.delete(oldest)
    return past
  }
}
