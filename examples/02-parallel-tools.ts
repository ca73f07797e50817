/**
 * Three tools at once: the weather, the events and the restaurants of a city, each from its own page of a slow HTTP server.
 *
 * One decision of the model asks for all three. Each call starts as soon as its arguments are complete, all three requests are
 * open together, and each result is printed the moment it lands. The server is this program's own, on a free port.
 *
 * Run: npx node examples/02-parallel-tools.ts
 * Live: set OPENAI_API_KEY; without it the embedded planner chooses the tools, with no key and no network.
 * In a program of your own write "effect-toolformer" for "../src/index.ts".
 *
 * Expected output:
 *   asked weather {"city":"Paris"}
 *   asked events {"city":"Paris"}
 *   asked restaurants {"city":"Paris"}
 *   got restaurants ["Chez Nous","Le Canard"]
 *   got weather {"sky":"clear","celsius":21}
 *   got events ["Jazz on the quay","Book market"]
 *   3 calls, 3 running at once; the server saw 3 requests open at once
 */
import { Effect, Schema, Stream } from "effect"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import { Executor, Orchestrator, ToolPolicy } from "../src/index.ts"
import { model } from "./shared/model.ts"

// ---- the server: answers after the given milliseconds

const pages: Record<string, { readonly millis: number; readonly body: unknown }> = {
  "/weather/Paris": { millis: 300, body: { sky: "clear", celsius: 21 } },
  "/events/Paris": { millis: 500, body: ["Jazz on the quay", "Book market"] },
  "/restaurants/Paris": { millis: 100, body: ["Chez Nous", "Le Canard"] }
}

const travelServer = Effect.acquireRelease(
  Effect.callback<{ readonly url: string; readonly mostOpen: () => number; readonly close: () => void }>((resume) => {
    let open = 0
    let most = 0
    const server = createServer((request, response) => {
      most = Math.max(most, ++open)
      const page = pages[request.url ?? ""]
      setTimeout(() => {
        open--
        response.writeHead(page === undefined ? 404 : 200, { "content-type": "application/json" })
        response.end(JSON.stringify(page?.body ?? null))
      }, page?.millis ?? 0)
    })
    server.listen(0, "127.0.0.1", () => {
      const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
      resume(Effect.succeed({ url, mostOpen: () => most, close: () => server.close() }))
    })
  }),
  (server) => Effect.sync(server.close)
)

// ---- the tools

const NotFound = Schema.Struct({ _tag: Schema.tag("NotFound"), city: Schema.String })

const travelTools = (url: string) => {
  const get = <A>(topic: string, city: string, schema: Schema.Codec<A>) =>
    Executor.promise(async (signal) => {
      const response = await fetch(`${url}/${topic}/${encodeURIComponent(city)}`, { signal })
      return response.ok ? await response.json() as unknown : undefined
    }).pipe(
      Effect.orDie,
      Effect.filterOrFail((body) => body !== undefined, () => NotFound.make({ city })),
      Effect.flatMap((body) => Effect.orDie(Schema.decodeUnknownEffect(schema)(body)))
    )
  const parameters = Schema.Struct({ city: Schema.String.annotate({ description: "The city's name" }) })
  const annotations = { readonly: true, timeout: "5 seconds", service: "travel" } as const
  const Weather = Schema.Struct({ sky: Schema.String, celsius: Schema.Finite })
  const Names = Schema.Array(Schema.String)
  return ToolPolicy.define({
    weather: ToolPolicy.tool({
      description: "Gets the weather forecast of a city.",
      parameters,
      success: Weather,
      failure: NotFound,
      annotations,
      handler: ({ city }) => get("weather", city, Weather)
    }),
    events: ToolPolicy.tool({
      description: "Lists the events that take place in a city: concerts, markets, exhibitions.",
      parameters,
      success: Names,
      failure: NotFound,
      annotations,
      handler: ({ city }) => get("events", city, Names)
    }),
    restaurants: ToolPolicy.tool({
      description: "Recommends restaurants in a city.",
      parameters,
      success: Names,
      failure: NotFound,
      annotations,
      handler: ({ city }) => get("restaurants", city, Names)
    })
  })
}

// ---- the run, part by part

const program = Effect.scoped(Effect.gen(function*() {
  const server = yield* travelServer
  const { toolkit, layer } = travelTools(server.url)
  const parts = Orchestrator.stream({
    prompt: "I visit Paris: what is the weather, which events are on, and which restaurants do you recommend?",
    toolkit
  })
  yield* parts.pipe(
    Stream.runForEach((part) =>
      Effect.sync(() => {
        if (part.type === "tool-call") console.log(`asked ${part.name} ${JSON.stringify(part.params)}`)
        if (part.type === "tool-result") console.log(`got ${part.name} ${JSON.stringify(part.result)}`)
        if (part.type === "run-finish") {
          const { calls, peakConcurrency } = part.report
          console.log(
            `${calls.length} calls, ${peakConcurrency} running at once; ` +
              `the server saw ${server.mostOpen()} requests open at once`
          )
        }
      })
    ),
    Effect.provide(layer)
  )
}))

await Effect.runPromise(program.pipe(Effect.provide(model)))
