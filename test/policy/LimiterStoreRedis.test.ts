import { it } from "@effect/vitest"
import * as NodeRedis from "@effect/platform-node/NodeRedis"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { LimiterStore } from "../../src/policy/LimiterStore.ts"
import * as LimiterStoreRedis from "../../src/policy/LimiterStoreRedis.ts"
import { storeContract } from "./storeContract.ts"

let n = 0
const open = Effect.suspend(() => Effect.map(Layer.build(LimiterStoreRedis.layer({ name: `t${++n}-${Date.now()}`, commandTimeout: "5 seconds" }).pipe(Layer.provide(NodeRedis.layer({ url: "redis://127.0.0.1:7391" })))), Context.get(LimiterStore)))

storeContract("redis", {
  it: (name, test) => it.live(name, test),
  open,
  pass: (millis) => Effect.sleep(millis)
})
