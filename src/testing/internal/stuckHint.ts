/** What to try where a run waits for something that no clock moves. Pure. */
import type { RecordedCall } from "./recorded.ts"
import type { Stuck } from "./virtualTime.ts"

/** `isOwnClock`: the test has no TestClock, so that the run got one of its own. `waiting`: the calls that are not answered. */
export const hintOf = ({ why }: Stuck, isOwnClock: boolean, waiting: ReadonlyArray<RecordedCall>): string => {
  switch (why) {
    case "beyond-the-limit":
      return "A run may take 1 day of virtual time: let it wait for less, or move time by TestClock.adjust (clock: \"manual\")."
    case "moved-too-often":
      return "Look for a poll, or a retry, that never ends."
    case "nothing-sleeps":
      return [
        ...(waiting.some(({ startedAt }) => startedAt === undefined) ? [whatToAdmit] : []),
        ...(waiting.every(({ startedAt }) => startedAt === undefined) && waiting.length > 0 ? [] : [whatToOpen]),
        ...(isOwnClock ? [otherTime] : [])
      ].join(" ")
  }
}

// A layer beside the harness was built before the run, on the clock that was there then.
const otherTime =
  "The test has no TestClock, so only the run is in virtual time; a Limiter, or another layer that waits, is in real time. " +
  "Provide TestClock.layer() to the whole test, its layers too (it.effect does)."

const whatToAdmit =
  "What never started waits for a limit or a lock: look at the limiter (TestLimiter's permits and delays), and at who holds " +
  "ToolPolicy.Concurrency and ToolPolicy.Resources."

const whatToOpen =
  "What it waits for has to come from elsewhere: open its gate (TestTools.open), complete its Deferred. " +
  "Where the test acts while it runs: clock: \"manual\". For real I/O: clock: \"live\"."
