/**
 * Memory of the first decision of a fresh process, nothing warmed up: the peak resident set, Node and all modules
 * included.
 */
import { reading, time } from "../measure.ts"
import { absolute, type Measure, type Scenario } from "../scenario.ts"
import { runs } from "./noOpCalls.ts"

const measure = (peer: keyof typeof runs): Measure => async (n) => {
  const run = await runs[peer]!(n)
  await time(run, n)
  return [reading("MB", process.resourceUsage().maxRSS / 1024)]
}

/** Peak megabytes of the first run of a process. */
export const firstRun: Scenario = {
  name: "first-run",
  about: "Peak resident memory of a fresh process that runs one decision of N no-op calls, once, cold.",
  sizes: [10_000],
  repetitions: 3,
  peers: Object.fromEntries(Object.keys(runs).map((peer) => [peer, measure(peer)])),
  bounds: [absolute("run, N = 10,000", { peer: "ours", n: 10_000, unit: "MB" }, "at most", 250)]
}
