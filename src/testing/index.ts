/**
 * The testing kit: a model, tools, a predictor and a limiter that do what a test says, and a harness that proves what ran together.
 * The public names of `effect-toolformer/Testing`; no test runner is needed.
 */
export * as MockOrchestrator from "./MockOrchestrator.ts"
export * as TestLimiter from "./TestLimiter.ts"
export * as TestModel from "./TestModel.ts"
export * as TestPredictor from "./TestPredictor.ts"
export * as TestTools from "./TestTools.ts"
export * as Timeline from "./Timeline.ts"

export { explore, ExploreError, type ExploreOptions, type ExploreReason, type ExploreReport } from "./explore.ts"
export { isToolCall, ToolCall } from "./ToolCall.ts"
