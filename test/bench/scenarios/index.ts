/** Every scenario, in the order of the report. */
import type { Scenario } from "../scenario.ts"
import { cancel, cancelSignalled } from "./cancel.ts"
import { capped } from "./cap.ts"
import { firstRun } from "./firstRun.ts"
import { noOpCalls } from "./noOpCalls.ts"
import { longPole, streamedStart } from "./streamed.ts"

/** The scenarios by order. */
export const scenarios: ReadonlyArray<Scenario> = [
  noOpCalls,
  firstRun,
  capped,
  streamedStart,
  longPole,
  cancel,
  cancelSignalled
]

/** A scenario by its name. */
export const findScenario = (name: string): Scenario | undefined => scenarios.find((scenario) => scenario.name === name)
