import { it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { TestClock } from "effect/testing"
import { layerMemory, LimiterStore } from "../../src/policy/LimiterStore.ts"
import { storeContract } from "./storeContract.ts"

const open = Effect.map(Layer.build(layerMemory), Context.get(LimiterStore))

storeContract("memory", {
  it: (name, test) => it.effect(name, test),
  open,
  pass: (millis) => TestClock.adjust(millis)
})
