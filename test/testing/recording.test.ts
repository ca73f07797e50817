import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Clock from "effect/Clock"
import * as OpenAi from "../../src/adapter/OpenAi.ts"
import { TestModel } from "../../src/testing/index.ts"
import { provider } from "../adapter/openAiServer.ts"
import { decision, events } from "../replay/server.ts"
import { files, folder, hear, inVirtualTime } from "./recordings.ts"

const mount = provider()
const recordings = folder()

describe("x", () => {
  for (const api of ["chat", "responses"] as const) {
    it.effect(`plays ${api}`, () =>
      Effect.gen(function*() {
        const { layer } = mount({ api, apiKey: "sk-very-secret-key-of-mine" }, {
          ...events(decision(api, [{ id: "call_1", name: "f", arguments: "{\"n\":1}" }], 3)),
          everyMillis: 20
        })
        const file = recordings.of(`${api}.json`)
        const live = yield* hear(() => Date.now(), true).pipe(
          Effect.provide(layer.pipe(TestModel.record(file), Layer.provide(files)))
        )
        console.log(recordings.text(`${api}.json`).slice(0, 3000))
        const clock = yield* Clock.Clock
        const real = Date.now()
        const replayed = yield* hear(() => clock.currentTimeMillisUnsafe(), true).pipe(
          inVirtualTime,
          Effect.provide(TestModel.fromRecording(file).pipe(Layer.provide(files)))
        )
        console.log(live, replayed, Date.now() - real)
        assert.deepStrictEqual(replayed.parts, live.parts)
      }))
  }
})
