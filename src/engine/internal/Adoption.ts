/**
 * The calls of a turn's answers that broke off. The turn is asked again, and a call of the new answer with the same name and the
 * same parameters has the outcome of the earlier one, which is joined where it still runs: nothing is done twice that must not be.
 *
 * Equal means: the same canonical text of the parameters as the model sent them. Two equal calls adopt two earlier ones. What
 * started and was not adopted stays in the history; the rest of a broken answer does not.
 */
import type * as Response from "effect/ai/Response"
import * as CancelReason from "../../domain/CancelReason.ts"
import { settle } from "./Attempt.ts"
import type { Call, Outcome } from "./Call.ts"

interface Made {
  readonly call: Call
  readonly part: Response.AnyPart
  adopted: boolean
  /** It never started, and a later answer made it once more. */
  madeAgain: boolean
}

/** Equal calls that the answer has not made again, the first of them last. */
interface Equal {
  readonly started: Array<Made>
  readonly unstarted: Array<Made>
}

/** Why calls that the new answer does not make again are stopped. */
export const notAskedAgain: CancelReason.CancelReason = CancelReason.branchCancelled(
  "the model's answer broke off, and its next one did not make this call"
)

export class Earlier {
  private made: Array<Made> = []
  private readonly byKey = new Map<string, Equal>()
  private readonly gone: Array<Call> = []

  /** Takes the calls of an answer that broke off. What that answer had adopted may be adopted once more. */
  add(calls: ReadonlyArray<Call>, parts: ReadonlyArray<Response.AnyPart>): void {
    const partOf = new Map(parts.flatMap((part) => part.type === "tool-call" ? [[part.id, part]] : []))
    this.gone.push(...this.made.flatMap(({ call, madeAgain }) => madeAgain ? [call] : []))
    this.made = this.made.filter(({ madeAgain }) => !madeAgain)
    for (const made of this.made) made.adopted = false
    for (const call of calls) {
      const part = partOf.get(call.id)
      // One that waits for its guess has begun on its own account.
      const follows = call.adopted !== undefined && call.adopted.guess === undefined
      if (follows || part === undefined) this.gone.push(call)
      else this.made.push({ call, part, adopted: false, madeAgain: false })
    }
    this.byKey.clear()
    for (const made of this.made.toReversed()) {
      const { attempts, sealedAs } = made.call
      if (sealedAs === undefined) continue
      let equal = this.byKey.get(sealedAs)
      if (equal === undefined) this.byKey.set(sealedAs, equal = { started: [], unstarted: [] })
      ;(attempts > 0 ? equal.started : equal.unstarted).push(made)
    }
  }

  /** Whether a call of the new answer would adopt an earlier one. */
  hasFor(call: Call): boolean {
    return this.freeFor(this.equalTo(call)) !== undefined
  }

  /** The call whose outcome a call of the new answer has, if there is one. */
  claim(call: Call): Call | undefined {
    const equal = this.equalTo(call)
    const adopted = this.freeFor(equal)
    if (adopted !== undefined) {
      adopted.adopted = true
      equal!.started.pop()
      return adopted.call
    }
    const unstarted = equal?.unstarted.pop()
    if (unstarted !== undefined) unstarted.madeAgain = true
    return undefined
  }

  private equalTo({ sealedAs }: Call): Equal | undefined {
    return sealedAs === undefined ? undefined : this.byKey.get(sealedAs)
  }

  // What cannot be adopted now never can.
  private freeFor(equal: Equal | undefined): Made | undefined {
    if (equal === undefined) return undefined
    const { started } = equal
    while (started.length > 0 && !isAdoptable(started.at(-1)!.call)) started.pop()
    return started.at(-1)
  }

  /** The calls that have started. */
  get started(): ReadonlyArray<Call> {
    return this.made.flatMap(({ call }) => call.attempts > 0 ? [call] : [])
  }

  /** The calls that may be stopped, and that the answer has not adopted. */
  get stale(): ReadonlySet<Call> {
    return new Set(
      this.made.flatMap(({ adopted, call }) => adopted || !call.tool.compiled.policies.repeatable ? [] : [call])
    )
  }

  /** What the history keeps. Of a turn that failed for good also what never started: nobody made it again. */
  kept(failed: boolean): ReadonlyArray<{ readonly call: Call; readonly part: Response.AnyPart }> {
    return this.made.flatMap(({ adopted, call, madeAgain, part }) =>
      adopted || call.result === undefined || (call.attempts === 0 && (madeAgain || !failed))
        ? []
        : [{ call, part: withoutItemIds(part) }]
    )
  }

  /** Every call but these. */
  without(calls: ReadonlyArray<Call>): ReadonlyArray<Call> {
    const some = new Set(calls)
    return [...this.gone, ...this.made.map(({ call }) => call)].filter((call) => !some.has(call))
  }
}

// What finished is not done again. What may have had effects is not begun again, however it ended. What may be repeated and was
// stopped, or never let in, gets a chance of its own.
const isAdoptable = ({ outcome, reason, tool }: Call): boolean => {
  if (!tool.compiled.policies.repeatable) return true
  return outcome === undefined ? reason === undefined : !stoppedStatuses.has(outcome.status)
}

const stoppedStatuses: ReadonlySet<string> = new Set(["TimedOut", "Cancelled", "Rejected", "NotStarted"])

// A provider's own id of the item ties it to other items of an answer that is gone; without it the call stands for itself.
const withoutItemIds = (part: Response.AnyPart): Response.AnyPart => ({
  ...part,
  metadata: Object.fromEntries(
    Object.entries(part.metadata ?? {}).map(([provider, data]) => {
      const { itemId: _, ...rest } = data as Record<string, unknown>
      return [provider, rest]
    })
  )
} as Response.AnyPart)

/** Gives a call the outcome of an earlier one: now, or when that ends. Stopping it stops the earlier one. */
export const join = (call: Call, from: Call): void => {
  call.adopted = from
  if (from.result !== undefined) return answer(call, from.outcome!)
  from.followers ??= []
  from.followers.push(call)
}

/** A call was answered: so are those that joined it. */
export const answerFollowers = (call: Call, outcome: Outcome): void => {
  const { followers } = call
  if (followers === undefined) return
  call.followers = undefined
  for (const follower of followers) answer(follower, outcome)
}

const answer = (call: Call, outcome: Outcome): void => settle(call, outcomeFor(call, outcome))

/** An outcome as that of another call: a failure of ours names its call. */
export const outcomeFor = (call: Call, outcome: Outcome): Outcome => {
  if (outcome.status === "success" || outcome.status === "failure" || outcome.status === "denied") return outcome
  const failure = { ...outcome.result as object, callId: call.id }
  return { ...outcome, result: failure, encodedResult: failure }
}
