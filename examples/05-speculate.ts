/**
 * Two models: while the one thinks, the other guesses, and the calls it guesses are running before they are asked for.
 *
 * A support agent looks up a customer, an order, a parcel and a depot, one after the other, each in a turn of the model of 400 ms and
 * a call of 300 ms. A faster model gets the same prompt and answers in 50 ms. It is right three times of four: those calls have ended
 * when the main model asks for them. The fourth is stopped when the main model asks for another parcel. At the end the faster
 * model would cancel the order: that tool writes, so the guess starts nothing. Both models are HTTP servers of this program's own
 * and speak Chat Completions.
 *
 * Run: npx node examples/05-speculate.ts
 * Needs no key and no network.
 * In a program of your own write "effect-toolformer" for "../src/index.ts", and "effect-toolformer/OpenAi".
 *
 * Expected output:
 *   without a faster model: … ms
 *   get_customer 17: guessed … ms before it was asked for
 *   get_order 204: guessed … ms before it was asked for
 *   get_parcel: a wrong guess, stopped after … ms
 *   get_depot 3: guessed … ms before it was asked for
 *   with a faster model: … ms, … % less
 *   the same results: true
 *   claimed 3, wrong 1, ignored 1
 */
import { Effect, Schema, Stream } from "effect"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import * as OpenAi from "../src/adapter/OpenAi.ts"
import { Orchestrator, Predictor, Speculation, ToolPolicy } from "../src/index.ts"

// ---- the models: what each says depends on how many results it has seen

type Turn = readonly [tool: string, id: number] | string

const main: ReadonlyArray<Turn> = [
  ["get_customer", 17],
  ["get_order", 204],
  ["get_parcel", 5],
  ["get_depot", 3],
  "It lies at the depot in Lyon."
]
const fast: ReadonlyArray<Turn> = [
  ["get_customer", 17],
  ["get_order", 204],
  ["get_parcel", 6],
  ["get_depot", 3],
  ["cancel_order", 204]
]

const event = (delta: object, finish_reason: string | null) => {
  const choices = [{ index: 0, delta, finish_reason }]
  return `data: ${JSON.stringify({ id: "1", object: "chat.completion.chunk", created: 1, model: "m", choices })}\n\n`
}

const answer = (turn: Turn, step: number) => {
  if (typeof turn === "string") return event({ content: turn }, null) + event({}, "stop")
  const [name, id] = turn
  const call = { name, arguments: JSON.stringify({ id }) }
  return event({ tool_calls: [{ index: 0, id: `call_${step}`, type: "function", function: call }] }, null) +
    event({}, "tool_calls")
}

const modelServer = (turns: ReadonlyArray<Turn>, millis: number) =>
  Effect.acquireRelease(
    Effect.callback<{ readonly baseURL: string; readonly close: () => void }>((resume) => {
      const server = createServer((request, response) => {
        const pieces: Array<Buffer> = []
        request.on("data", (piece: Buffer) => pieces.push(piece)).on("end", () => {
          const { messages } = JSON.parse(Buffer.concat(pieces).toString()) as { messages: Array<{ role: string }> }
          const step = messages.filter(({ role }) => role === "tool").length
          response.writeHead(200, { "content-type": "text/event-stream" })
          setTimeout(() => response.end(`${answer(turns[step]!, step)}data: [DONE]\n\n`), millis)
        })
      })
      server.listen(0, "127.0.0.1", () => {
        const baseURL = `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`
        const close = () => {
          server.close()
          server.closeAllConnections()
        }
        resume(Effect.succeed({ baseURL, close }))
      })
    }),
    (server) => Effect.sync(server.close)
  ).pipe(Effect.map(({ baseURL }) => OpenAi.layer({ model: "m", baseURL })))

// ---- the tools: what is read may be guessed, what writes never is

const lookUp = (name: string, millis: number) =>
  ToolPolicy.tool({
    parameters: Schema.Struct({ id: Schema.Int }),
    success: Schema.String,
    annotations: { readonly: true },
    handler: ({ id }) => Effect.delay(Effect.succeed(`${name} ${id}`), millis)
  })

const { layer: handlers, toolkit } = ToolPolicy.define({
  get_customer: lookUp("customer", 300),
  get_order: lookUp("order", 300),
  get_parcel: lookUp("parcel", 500),
  get_depot: lookUp("depot", 300),
  cancel_order: ToolPolicy.tool({
    parameters: Schema.Struct({ id: Schema.Int }),
    success: Schema.String,
    handler: ({ id }) => Effect.die(`order ${id} is cancelled, and nobody asked for it`)
  })
})

// ---- a run, and what it shows

const run = Effect.gen(function*() {
  const results: Array<unknown> = []
  const asked = new Map<string, number>()
  // Those of the faster model; arguments that look complete before the wire says so are guesses too.
  const foreseen = new Set<string>()
  let summary = ""
  const began = performance.now()
  yield* Orchestrator.stream({ prompt: "Where is my order 204?", toolkit }).pipe(
    Stream.runForEach((part) =>
      Effect.sync(() => {
        if (part.type === "tool-call") asked.set(part.id, (part.params as { readonly id: number }).id)
        if (part.type === "tool-result") results.push(part.result)
        if (part.type === "tool-speculated" && part.predictor === "model") foreseen.add(part.speculationId)
        if (part.type === "tool-claimed" && foreseen.has(part.speculationId)) {
          const { aheadMillis, callId, name } = part
          console.log(`${name} ${asked.get(callId)}: guessed ${aheadMillis.toFixed(0)} ms before it was asked for`)
        }
        if (part.type === "tool-discarded") {
          console.log(`${part.name}: a wrong guess, stopped after ${part.runMillis.toFixed(0)} ms`)
        }
        if (part.type === "run-finish" && part.report.speculation !== undefined) {
          const { predictors } = part.report.speculation
          const entries = part.report.speculation.entries.filter(({ predictor }) => predictor === "model")
          const claimed = entries.reduce((sum, { hit, lateHit }) => sum + hit + lateHit, 0)
          const wrong = entries.reduce((sum, { miss }) => sum + miss, 0)
          const ignored = predictors.reduce((sum, { ignored }) => sum + ignored, 0)
          summary = `claimed ${claimed}, wrong ${wrong}, ignored ${ignored}`
        }
      })
    )
  )
  return { results: JSON.stringify(results), summary, millis: performance.now() - began }
})

const program = Effect.gen(function*() {
  const model = yield* modelServer(main, 400)
  const faster = yield* modelServer(fast, 50)
  const predictor = Predictor.layerModel({ model: faster })

  const without = yield* Effect.provide(run, [handlers, model])
  console.log(`without a faster model: ${without.millis.toFixed(0)} ms`)
  const guessed = yield* Effect.provide(run, [handlers, model, Speculation.layer(), predictor])
  const saved = 100 * (1 - guessed.millis / without.millis)
  console.log(`with a faster model: ${guessed.millis.toFixed(0)} ms, ${saved.toFixed(0)} % less`)
  console.log(`the same results: ${guessed.results === without.results}`)
  console.log(guessed.summary)
})

await Effect.runPromise(Effect.scoped(program))
