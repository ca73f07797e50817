/**
 * One decision, three APIs, three kinds of limits: 40 calls at once, and each API sees no more than it allows.
 *
 * - search: a token bucket, 5 at once and then 20 a second.
 * - geocode: at most 4 in any 200 ms, whatever the millisecond the window begins at.
 * - render: 2 at a time.
 *
 * `Limiter.explain` says beforehand when each call would start and what it waits for. Then the calls really run, side by side: a
 * call that waits for its own API holds up none of another. The scripted model asks for all of them in one turn.
 *
 * Run: npx node examples/03-rate-limits.ts
 * No key, no network. In a program of your own write "effect-toolformer" for "../src/index.ts".
 *
 * Expected output:
 *   foreseen:
 *     search 16 calls, the last after 550 ms, it waits for service "search", …
 *     geocode 14 calls, the last after 600 ms, it waits for service "geocode", …
 *     render 10 calls, the last after 400 ms, it waits for service "render", …
 *   measured:
 *     search 16 calls, all ok, the limiter kept one for 550 ms: true
 *     geocode 14 calls, all ok, the limiter kept one for 600 ms: true
 *     render 10 calls, all ok, the limiter kept one for 400 ms: true
 *     at most 4 geocodes in any 200 ms: true; at most 2 renders at once: true
 *   40 calls in … ms
 */
import { Effect, Schema } from "effect"
import { Limiter, Orchestrator, ToolPolicy } from "../src/index.ts"
import { scripted } from "./shared/scripted.ts"

// ---- what each API allows, once, in one place

const limits = Limiter.layer({
  services: {
    search: Limiter.tokenBucket({ capacity: 5, refill: 20, every: "1 second" }),
    geocode: Limiter.slidingWindow({ limit: 4, window: "200 millis" }),
    render: Limiter.permits(2)
  }
})

// ---- the tools; each handler notes when it ran

const spans: Record<string, Array<{ readonly from: number; to: number }>> = { search: [], geocode: [], render: [] }

const tool = (service: string, description: string, millis: number) =>
  ToolPolicy.tool({
    description,
    parameters: Schema.Struct({ item: Schema.Int }),
    success: Schema.Int,
    annotations: { readonly: true, service },
    handler: ({ item }) =>
      Effect.suspend(() => {
        const span = { from: performance.now(), to: 0 }
        spans[service]?.push(span)
        return Effect.sleep(millis).pipe(
          Effect.as(item),
          Effect.ensuring(Effect.sync(() => span.to = performance.now()))
        )
      })
  })

const { layer, toolkit } = ToolPolicy.define({
  search: tool("search", "Searches the catalogue.", 10),
  geocode: tool("geocode", "Finds the place of an address.", 10),
  render: tool("render", "Renders a map.", 100)
})

const counts = { search: 16, geocode: 14, render: 10 }

const calls = Object.entries(counts).flatMap(([name, count]) =>
  Array.from({ length: count }, (_, item) => ({ name, params: { item } }))
)

// ---- beforehand: a dry run takes nothing

const foresee = Effect.gen(function*() {
  const forecasts = yield* Limiter.explain(
    calls.map(({ name }) => ({ service: name, takes: name === "render" ? "100 millis" : "10 millis" }))
  )
  console.log("foreseen:")
  for (const [name, count] of Object.entries(counts)) {
    const last = forecasts.filter(({ request }) => request.service === name).at(-1)
    console.log(`  ${name} ${count} calls, the last after ${last?.startMillis} ms, it waits for ${last?.waitsFor}`)
  }
})

// ---- what really happened

const mostWithin = (name: string, millis: number): number => {
  const starts = (spans[name] ?? []).map(({ from }) => from)
  return Math.max(...starts.map((start) => starts.filter((other) => other >= start && other < start + millis).length))
}

const mostAtOnce = (name: string): number => {
  const all = spans[name] ?? []
  return Math.max(...all.map(({ from }) => all.filter((other) => other.from <= from && from < other.to).length))
}

const program = Effect.gen(function*() {
  yield* foresee
  const { report } = yield* Orchestrator.run({ prompt: "Map the catalogue.", toolkit })
  console.log("measured:")
  const least = { search: 550, geocode: 600, render: 400 }
  for (const [name, millis] of Object.entries(least)) {
    const own = report.calls.filter((call) => call.name === name)
    const ok = own.every(({ status }) => status === "success") ? "all ok" : "some failed"
    // A timer of Node may fire a millisecond early, and each call counts from its own seal.
    const waited = Math.max(...own.map(({ limiterMillis }) => limiterMillis)) >= millis - 20
    console.log(`  ${name} ${own.length} calls, ${ok}, the limiter kept one for ${millis} ms: ${waited}`)
  }
  // The limiter keeps windows at its grants; the handlers start within a few milliseconds of them.
  console.log(
    `  at most 4 geocodes in any 200 ms: ${mostWithin("geocode", 190) <= 4}; ` +
      `at most 2 renders at once: ${mostAtOnce("render") <= 2}`
  )
  console.log(`${report.calls.length} calls in ${Math.round(report.totalMillis)} ms`)
})

await Effect.runPromise(program.pipe(Effect.provide([layer, limits, scripted(calls, "Done.")])))
