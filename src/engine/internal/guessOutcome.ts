/** What a guess came to, in numbers. Pure arithmetic over times the engine took anyway. */
import { signalOf } from "../../policy/Limiter.ts"
import type { Guess } from "./Guess.ts"
import { orElse } from "./orElse.ts"
import type { Settled } from "./speculating.ts"

/** The name under which arguments that look complete stand in the ledger. */
export const argumentsName = "arguments"

/**
 * Whether what the guess ended with is the answer of the call that claimed it: a success, always; a failure where the model itself had
 * written these arguments, so that the guess was this very call, begun a little earlier. One that may be attempted again is.
 */
export const answers = ({ call: { outcome, tool }, candidate }: Guess): boolean =>
  outcome?.status === "success" ||
  (candidate.predictor === argumentsName && !tool.isRepeated && outcome !== undefined && isOwn(outcome.status))

const isOwn = (status: string): boolean => status !== "Cancelled" && status !== "Rejected" && status !== "NotStarted"

/** How long its handler has run by now. */
export const runMillisOf = ({ call }: Guess, now: number): number =>
  call.attempts === 0 ? 0 : (call.state === "answered" ? call.answeredAt : now) - call.startedAt

export const settledOf = (guess: Guess, outcome: Settled["outcome"], now: number): Settled => {
  const isHit = outcome === "hit" || outcome === "lateHit"
  const runMillis = runMillisOf(guess, now)
  const claimedAt = guess.claim?.call.startedAt ?? now
  return {
    // One that no room was found for, or that was still on its way, has cost nothing and says nothing of who guessed.
    outcome: guess.hasStarted ? outcome : "preempted",
    savedMillis: isHit ? Math.min(claimedAt - guess.startedAt, runMillis) : 0,
    wastedMillis: isHit ? 0 : runMillis,
    wastedTokens: isHit || !guess.hasStarted ? 0 : tokensOf(guess),
    rateLimited: outcome === "failed" && isRateLimited(guess)
  }
}

const tokensOf = ({ call: { decoded, tool } }: Guess): number => {
  const estimate = tool.compiled.policies.cost?.estimate
  const tokens = estimate === undefined ? 0 : orElse((): unknown => estimate(decoded as never), 0)
  return Number.isFinite(tokens) ? tokens as number : 0
}

// A service says so in the failure; our own limits refuse a guess for its slack, which is no refusal of the service's.
const isRateLimited = ({ call: { exit, outcome } }: Guess): boolean =>
  signalOf(exit ?? outcome?.result, 0)?.congested === true
