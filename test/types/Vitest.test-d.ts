/** What the matchers of `effect-toolformer/Vitest` add to vitest's `expect`, and refuse. */
import { expect } from "@effect/vitest"
import { expect as plain, type MatchersObject } from "vitest"
import { CancelReason } from "../../src/index.ts"
import { ToolCall } from "../../src/testing/index.ts"
import type { MockOrchestrator } from "../../src/testing/index.ts"
import { matchers } from "../../src/testing/Vitest.ts"

export const extension: MatchersObject = matchers
expect.extend(matchers)
plain.extend(matchers)

declare const execution: MockOrchestrator.Execution
declare const promised: Promise<MockOrchestrator.Execution>
const [a, b] = [ToolCall("a"), ToolCall("b")]

// Behind `expect` they give nothing, behind `.resolves` a promise.
export const now: void = expect(execution).toHaveRunInParallel([a, b])
export const later: Promise<void> = plain(promised).resolves.not.toHaveRunInOrder([a, b])
plain(execution).not.toHaveOverlapped("call-1", b)
plain(execution).toHaveCancelled(a, "Timeout")
plain(execution).toHaveCancelled("call-1", CancelReason.timeout("attempt", 5))
plain(execution).toHaveFinishedWithin("1 second")

// @ts-expect-error calls are ToolCalls
plain(execution).toHaveToolCalls(["a"])
// @ts-expect-error in a list
plain(execution).toHaveRunInParallel(a)
// @ts-expect-error two of them
plain(execution).toHaveOverlapped("call-1")
// @ts-expect-error there is no such reason
plain(execution).toHaveCancelled("call-1", "Tired")
// @ts-expect-error that is no duration
plain(execution).toHaveFinishedWithin("1 nothing")
// @ts-expect-error a count is a number
plain(execution).toHaveMaxConcurrentCalls("2")
