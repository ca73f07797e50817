/**
 * One LLM decision calls many tools in parallel. The public names of floors 1 to 3; adapters have subpaths of their own.
 */
export * as CancelReason from "./domain/CancelReason.ts"
export * as Report from "./domain/Report.ts"
export * as ToolCall from "./domain/ToolCall.ts"
export * as ToolEvent from "./domain/ToolEvent.ts"
export * as ToolFailure from "./domain/ToolFailure.ts"
export * as ToolPolicy from "./domain/ToolPolicy.ts"
export * as Branch from "./engine/Branch.ts"
export * as Executor from "./engine/Executor.ts"
export * as Orchestrator from "./engine/Orchestrator.ts"
export * as Speculation from "./engine/Speculation.ts"
export * as Breaker from "./policy/Breaker.ts"
export * as Limiter from "./policy/Limiter.ts"
export * as LimiterStore from "./policy/LimiterStore.ts"
export * as LimiterStoreRedis from "./policy/LimiterStoreRedis.ts"
export * as Predictor from "./policy/Predictor.ts"
export * as Retry from "./policy/Retry.ts"
