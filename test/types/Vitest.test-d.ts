import { expect } from "@effect/vitest"
import { expect as plain } from "vitest"
import { matchers } from "../../src/testing/Vitest.ts"

expect.extend(matchers)
plain.extend(matchers)
plain({}).not.toHaveFinishedWithin("1 second")
export const promised: Promise<void> = plain(Promise.resolve({})).resolves.toHaveFinishedWithin("1 second")
// @ts-expect-error no duration
plain({}).not.toHaveFinishedWithin("1 nothing")
