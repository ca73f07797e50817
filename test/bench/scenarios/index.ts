/** Every scenario, in the order of the report. */
import type { Scenario } from "../scenario.ts"
import { branchesFirst, branchesLosers } from "./branches.ts"
import { cancel, cancelSignalled } from "./cancel.ts"
import { capped } from "./cap.ts"
import { firstRun } from "./firstRun.ts"
import { limitsFleet } from "./fleet.ts"
import { limitsMemory, limitsRedis } from "./limits.ts"
import { speculationNoHarm } from "./noHarm.ts"
import { noOpCalls } from "./noOpCalls.ts"
import { longPole, streamedStart } from "./streamed.ts"
import { speculationTwoModels } from "./twoModels.ts"
import { virtualTime } from "./virtualTime.ts"

/** The scenarios by order. */
export const scenarios: ReadonlyArray<Scenario> = [
  noOpCalls,
  firstRun,
  capped,
  streamedStart,
  longPole,
  cancel,
  cancelSignalled,
  branchesFirst,
  branchesLosers,
  limitsMemory,
  limitsRedis,
  limitsFleet,
  speculationTwoModels,
  speculationNoHarm,
  virtualTime
]

/** The scenarios of a name: the one called so, else the family whose names begin with it (`limits`: `limits-memory` ...). */
export const named = (name: string): ReadonlyArray<Scenario> => {
  const exact = scenarios.filter((scenario) => scenario.name === name)
  return exact.length > 0 ? exact : scenarios.filter((scenario) => scenario.name.startsWith(`${name}-`))
}

/** A scenario by its name. */
export const findScenario = (name: string): Scenario | undefined => scenarios.find((scenario) => scenario.name === name)
