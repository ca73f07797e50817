/**
 * The contract of every `LimiterStore`: the same assertions on the memory store and on real Redis. Times are read from the store
 * itself, so that they hold wherever time really passes, and on a slow machine.
 */
import { describe } from "@effect/vitest"
import type { Harness } from "./store.ts"
import { protocolContract } from "./storeProtocol.ts"
import { ruleContract } from "./storeRules.ts"
import { claimsContract, sharesContract } from "./storeShares.ts"
import { slackContract } from "./storeSlack.ts"

export const storeContract = (name: string, harness: Harness): void => {
  describe(`the contract of a store: ${name}`, () => {
    ruleContract(harness)
    protocolContract(harness)
    sharesContract(harness)
    claimsContract(harness)
    slackContract(harness)
  })
}
