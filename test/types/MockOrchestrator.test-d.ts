/** Allowed and refused uses of `MockOrchestrator`. */
import type { Layer } from "effect"
import { Schema } from "effect"
import type { LanguageModel } from "effect/ai"
import { Tool, Toolkit } from "effect/ai"
import { MockOrchestrator, ToolCall } from "../../src/testing/index.ts"

const Search = Tool.make("search", { parameters: Schema.Struct({ query: Schema.String }), success: Schema.String })
const toolkit = Toolkit.make(Search)

declare const needs: <R>(layer: Layer.Layer<MockOrchestrator.MockOrchestrator, never, R>) => R
const needed: LanguageModel.LanguageModel | Tool.HandlersFor<typeof toolkit.tools> = needs(
  MockOrchestrator.layer({ toolkit })
)
void needed

MockOrchestrator.layer({ toolkit, clock: "manual", toolCallConcurrency: 2, activeTools: ["search"] })
// @ts-expect-error a prompt is execute's
MockOrchestrator.layer({ toolkit, prompt: "go" })
// @ts-expect-error no such clock
MockOrchestrator.layer({ toolkit, clock: "virtual" })
// @ts-expect-error no such tool
MockOrchestrator.layer({ toolkit, activeTools: ["serch"] })

MockOrchestrator.execute("go")
MockOrchestrator.execute({ prompt: "go", turnsLeft: "allow", maxSteps: 1 })
// @ts-expect-error a prompt is needed
MockOrchestrator.execute({ maxSteps: 1 })
// @ts-expect-error the toolkit is the layer's
MockOrchestrator.execute({ prompt: "go", toolkit })

MockOrchestrator.expectCancelled("call-1", "Timeout")
MockOrchestrator.expectCancelled(ToolCall("search"), { _tag: "Shutdown" })
// @ts-expect-error no such reason
MockOrchestrator.expectCancelled("call-1", "Timedout")
// @ts-expect-error expectToolCalls takes calls; ids alone name no tool
MockOrchestrator.expectToolCalls(["call-1"])
MockOrchestrator.assertNoOrphans({ abandoned: "allow" })
