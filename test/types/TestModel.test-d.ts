/** What a script takes and refuses, and what a scripted model provides. */
import type * as AiError from "effect/ai/AiError"
import type * as LanguageModel from "effect/ai/LanguageModel"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import { TestModel, ToolCall } from "../../src/testing/index.ts"

declare const error: AiError.AiError
const call = ToolCall("search", { query: "a" })

// Any item is a turn; so is an array of items, or a function of the request.
const model: Layer.Layer<LanguageModel.LanguageModel | TestModel.TestModel> = TestModel.script([
  "text",
  call,
  TestModel.fail(error),
  [TestModel.text("a", { after: "1 second", chunks: 2 }), TestModel.call(call, { open: true }), TestModel.truncated],
  [TestModel.wait(5), TestModel.wait(Effect.void), TestModel.chunk("a", call), TestModel.unfinished],
  { type: "reasoning-start", id: "r" },
  ({ number, prompt, tools }) => number > 1 ? [call, ...tools] : String(prompt.content.length)
], { otherwise: "done" })
const complete: Effect.Effect<void, TestModel.TestModelError, TestModel.TestModel> = TestModel.assertComplete
const requests: Effect.Effect<ReadonlyArray<TestModel.Request>, never, TestModel.TestModel> = TestModel.requests

// @ts-expect-error a number is no item
TestModel.script([7])
// @ts-expect-error nor is an error, but by TestModel.fail
TestModel.script([error])
// @ts-expect-error a model fails with an AiError
TestModel.fail(new Error("no"))
// @ts-expect-error an effect of a wait does not fail
TestModel.wait(Effect.fail("no"))
// @ts-expect-error nor does it need a service of the test
TestModel.wait(TestModel.requests)
// @ts-expect-error what takes time is not in one chunk
TestModel.chunk(TestModel.wait(1))
// @ts-expect-error no provider finishes so
TestModel.finish("done")
// @ts-expect-error a text is not left open
TestModel.text("a", { open: true })

void [model, complete, requests]
