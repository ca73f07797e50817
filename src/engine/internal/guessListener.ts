/** What the handlers of guesses say on their way, and who hears it: the run's reader, and the call that has joined. */
import type { Abandoned } from "../../domain/Report.ts"
import type { Listener } from "./Call.ts"
import type { Guess } from "./Guess.ts"
import type { Host } from "./speculating.ts"

/** `deaf`, `abandoned`: where a handler that does not stop is noted. */
export const guessListener = (host: Host, deaf: WeakSet<object>, abandoned: Array<Abandoned>): Listener => ({
  started: ({ guess: each, name }) => {
    const guess = each as Guess
    host.emit({
      type: "tool-speculated",
      speculationId: guess.id,
      name,
      params: guess.params,
      predictor: guess.candidate.predictor,
      confidence: guess.confidence,
      step: guess.step,
      time: host.time
    })
  },
  progress: ({ guess }, result, encodedResult) => {
    const claim = (guess as Guess).claim?.call
    if (claim?.state === "waiting") claim.environment.listener?.progress(claim, result, encodedResult)
  },
  cancelled: () => {},
  abandoned: ({ guess, id, name, tool }, reason) => {
    deaf.add(tool.compiled.tool)
    const claim = (guess as Guess).claim?.call
    // A call that was not told to stop runs afresh, and has nothing to do with it any more.
    if (claim?.reason !== undefined) return claim.environment.listener?.abandoned(claim, reason)
    abandoned.push({ callId: id, name, reason })
  },
  retried: () => {}
})
