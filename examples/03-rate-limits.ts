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
 *   foreseen, of each API's last call:
 *     #  request  starts   waits for
 *     1  search   +550 ms  service "search", 20 calls / 1 second bucket of 5
 *     2  geocode  +600 ms  service "geocode", 4 calls / 200 millis sliding
 *     3  render   +400 ms  service "render", 2 at once
 *   measured:
 *     search: 16 calls, all ok, the last not before 550 ms: true; the limiter kept it for … ms
 *     geocode: 14 calls, all ok, the last not before 600 ms: true; the limiter kept it for … ms
 *     render: 10 calls, all ok, the last not before 400 ms: true; the limiter kept it for … ms
 *     geocodes begun: at most 4 within 200 ms, 8 within 400 ms, 12 within 600 ms: true
 *     renders at once: at most 2: true
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

interface Span {
  readonly from: number
  to: number
}

const spans: Record<string, Array<Span>> = { search: [], geocode: [], render: [] }

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
  const lasts = Object.keys(counts).flatMap((name) =>
    forecasts.filter(({ request }) => request.service === name).slice(-1)
  )
  console.log("foreseen, of each API's last call:")
  for (const line of Limiter.formatForecast(lasts).split("\n")) console.log(`  ${line}`)
})

// ---- what really happened

const mostAtOnce = (all: ReadonlyArray<Span>): number =>
  Math.max(...all.map(({ from }) => all.filter((other) => other.from <= from && from < other.to).length))

const program = Effect.gen(function*() {
  yield* foresee
  const begun = performance.now()
  const { report } = yield* Orchestrator.run({ prompt: "Map the catalogue.", toolkit })
  console.log("measured:")
  for (const [name, millis] of Object.entries({ search: 550, geocode: 600, render: 400 })) {
    const own = report.calls.filter((call) => call.name === name)
    const ok = own.every(({ status }) => status === "success") ? "all ok" : "some failed"
    // A timer may fire a millisecond early, and the renders wait for four of them.
    const notBefore = Math.max(...spans[name]!.map(({ from }) => from)) - begun >= millis - 10
    const kept = Math.round(Math.max(...own.map(({ limiterMillis }) => limiterMillis)))
    console.log(
      `  ${name}: ${own.length} calls, ${ok}, the last not before ${millis} ms: ${notBefore}; ` +
        `the limiter kept it for ${kept} ms`
    )
  }
  const begunWithin = (millis: number): number => spans["geocode"]!.filter(({ from }) => from < begun + millis).length
  const kept = begunWithin(200) <= 4 && begunWithin(400) <= 8 && begunWithin(600) <= 12
  console.log(`  geocodes begun: at most 4 within 200 ms, 8 within 400 ms, 12 within 600 ms: ${kept}`)
  console.log(`  renders at once: at most 2: ${mostAtOnce(spans["render"]!) <= 2}`)
  console.log(`${report.calls.length} calls in ${Math.round(report.totalMillis)} ms`)
})

await Effect.runPromise(program.pipe(Effect.provide([layer, limits, scripted(calls, "Done.")])))
