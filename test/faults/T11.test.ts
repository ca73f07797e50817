import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Http from "node:http"
import type { AddressInfo } from "node:net"
import { Executor, Orchestrator, Retry, ToolPolicy } from "../../src/index.ts"
import { ToolCall } from "../../src/testing/index.ts"
import { scripted } from "../model.ts"
import { statuses } from "../stage.ts"

/** A shop: every order is booked when it arrives, once per key; the first answer to each path gets lost. */
class Shop {
  readonly requests: Array<{ readonly path: string; readonly key: string }> = []
  readonly booked = new Set<string>()
  readonly server = Http.createServer((request, response) => {
    const path = request.url ?? ""
    const key = String(request.headers["idempotency-key"])
    const isFirst = !this.requests.some((other) => other.path === path)
    this.requests.push({ path, key })
    this.booked.add(key)
    request.resume()
    if (!isFirst) response.end("booked")
  })

  keysOf(path: string): ReadonlyArray<string> {
    return this.requests.flatMap((request) => request.path === path ? [request.key] : [])
  }
}

const shop = Effect.acquireRelease(
  Effect.callback<Shop>((resume) => {
    const made = new Shop()
    made.server.listen(0, "127.0.0.1", () => resume(Effect.succeed(made)))
  }),
  ({ server }) =>
    Effect.callback<void>((resume) => {
      server.close(() => resume(Effect.void))
      server.closeAllConnections()
    })
)

const toolsOf = ({ server }: Shop) => {
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const order = (annotations: ToolPolicy.Annotations<{ readonly item: string }>) =>
    ToolPolicy.tool({
      parameters: Schema.Struct({ item: Schema.String }),
      success: Schema.String,
      annotations: { timeout: "500 millis", ...annotations },
      handler: ({ item }) =>
        Effect.flatMap(Executor.currentCall, (current) => {
          const { idempotencyKey } = Option.getOrThrow(current)
          return Effect.orDie(Executor.promise((signal) =>
            fetch(`${url}/${item}`, { method: "POST", signal, headers: { "idempotency-key": idempotencyKey } })
              .then((answer) => answer.text())
          ))
        })
    })
  return ToolPolicy.define({ order: order({ idempotent: true }), orderOnce: order({}) })
}

describe("T11: a write that timed out", () => {
  it.live("T11: is not made again unless it is idempotent, and then under the same key", () =>
    Effect.gen(function*() {
      const server = yield* shop
      const { layer, toolkit } = toolsOf(server)
      const { report, toolResults } = yield* Orchestrator.run({ prompt: "go", toolkit }).pipe(
        Effect.provide([
          layer,
          Retry.layer({ base: "1 millis" }),
          scripted([
            ToolCall("orderOnce", { item: "tea" }, { id: "a" }),
            ToolCall("order", { item: "milk" }, { id: "b" }),
            ToolCall("order", { item: "sugar" }, { id: "c" })
          ])
        ])
      )
      assert.deepStrictEqual(statuses(toolResults), ["a TimedOut", "b ok", "c ok"])
      assert.deepStrictEqual(report.calls.map(({ attempts }) => attempts), [1, 2, 2])
      assert.strictEqual(server.keysOf("/tea").length, 1)
      for (const path of ["/milk", "/sugar"]) {
        const keys = server.keysOf(path)
        assert.strictEqual(keys.length, 2)
        assert.strictEqual(new Set(keys).size, 1, "one key for all attempts of a call")
      }
      assert.strictEqual(server.booked.size, 3)
    }).pipe(Effect.scoped))
})
