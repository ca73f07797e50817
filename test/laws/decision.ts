/**
 * Random decisions for the laws: a seed gives 1 to 200 calls with a behaviour each, a cap, the way the turn ends and the way
 * the run is disturbed. Everything runs on TestClock; the clock and the handlers are watched from outside.
 */
import * as AiError from "effect/ai/AiError"
import * as Tool from "effect/ai/Tool"
import * as Toolkit from "effect/ai/Toolkit"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Branch from "../../src/engine/Branch.ts"
import type { Completions } from "../../src/engine/Branch.ts"
import { Executor, ToolPolicy } from "../../src/index.ts"
import * as Limiter from "../../src/policy/Limiter.ts"
import { TestModel, ToolCall } from "../../src/testing/index.ts"
import { random } from "../random.ts"

export { random }

export const behaviours = [
  "success",
  "slow",
  "failure",
  "defect",
  "throws",
  "never",
  "listening",
  "deaf",
  "deafForAWhile",
  "uninterruptible",
  "stuckFinalizer",
  "slowFinalizer",
  "notAnEffect",
  "badResult",
  "write",
  "capped",
  "readonly",
  "afterFinish",
  "flaky",
  "hedged",
  "writesOnce",
  "raced",
  "scored"
] as const
export type Behaviour = typeof behaviours[number] | "unknownTool" | "badInput"

const Params = Schema.Struct({ n: Schema.Finite, millis: Schema.Finite })
const Failure = Schema.Struct({ why: Schema.String })

const toolOf = (name: string) => Tool.make(name, { parameters: Params, success: Schema.Finite, failure: Failure })

/** Whose limits a behaviour's calls pay, in decisions that have limits. */
export const serviceOf = (name: string): string => `s${behaviours.indexOf(name as never) % 3}`

/** What a call costs, in tokens. */
export const costOf = (n: number): number => 1 + n % 5

const makeTool = (name: Behaviour) => {
  const tool = toolOf(name)
    .annotate(ToolPolicy.Service, serviceOf(name))
    .annotate(ToolPolicy.Cost, ({ n }: { readonly n: number }) => costOf(n))
  if (name === "write") {
    return tool.annotate(ToolPolicy.Resources, (p: { readonly n: number }) => [{ write: `k${p.n % 3}` }])
  }
  if (name === "capped") return tool.annotate(ToolPolicy.Concurrency, 2)
  if (name === "readonly") return tool.annotate(Tool.Readonly, true)
  if (name === "afterFinish") return tool.annotate(Tool.Destructive, true)
  if (name === "flaky") {
    return tool.annotate(Tool.Readonly, true).annotate(ToolPolicy.Retry, { attempts: 3, base: 50, while: () => true })
  }
  if (name === "hedged") {
    return tool.annotate(Tool.Idempotent, true).annotate(ToolPolicy.Hedge, { after: 300, max: 1, budget: 1 })
  }
  return tool
}

export interface Planned {
  readonly id: string
  readonly behaviour: Behaviour
  readonly millis: number
}

export type Ending = "stop" | "length" | "content-filter" | "broken" | "unknown"
export type Disturbance =
  | { readonly kind: "none" }
  | { readonly kind: "interrupt"; readonly at: number }
  | { readonly kind: "leave"; readonly after: number }
  | { readonly kind: "cancelCall"; readonly at: number; readonly id: string }
  | { readonly kind: "cancelRun"; readonly at: number }
  | { readonly kind: "total"; readonly after: number }
  | { readonly kind: "drain"; readonly at: number; readonly grace: number }

export interface Decision {
  readonly seed: number
  readonly calls: ReadonlyArray<Planned>
  readonly cap: number
  readonly turn: ReadonlyArray<TestModel.Item>
  readonly ending: Ending
  readonly disturbance: Disturbance
  /** A call whose arguments are cut. */
  readonly open: string | undefined
  readonly limits: Limits | undefined
  /** The program has a `Retry`, a `Breaker`. */
  readonly retries: boolean
  readonly breaks: boolean
  /** Calls of `raced` and of `scored` are groups, each with a completion policy. */
  readonly groups: boolean
  /** What the model says when it is asked again after an answer that broke off: calls by their place in `calls`. */
  readonly again: { readonly calls: ReadonlyArray<number>; readonly turn: ReadonlyArray<TestModel.Item> } | undefined
}

export interface Limits {
  readonly global: ReadonlyArray<Limiter.Rule>
  readonly services: Readonly<Record<string, ReadonlyArray<Limiter.Rule>>>
}

export const toolTimeout = 5000

const size = (r: ReturnType<typeof random>): number =>
  r.chance(0.6) ? r.int(1, 20) : r.chance(0.8) ? r.int(21, 80) : r.int(81, 200)

export const makeDecision = (seed: number): Decision => {
  const r = random(seed)
  const n = size(r)
  const kinds: ReadonlyArray<Behaviour> = r.chance(0.3)
    ? ["success", "slow", "failure"]
    : [...behaviours, "unknownTool", "badInput"]
  const calls = Array.from({ length: n }, (_, i): Planned => ({
    id: r.chance(0.03) && i > 0 ? "c0" : `c${i}`,
    behaviour: r.pick(kinds),
    millis: r.int(1, 4000)
  }))
  const ending: Ending = r.chance(0.6) ? "stop" : r.pick(["length", "content-filter", "broken", "unknown"])
  const open = ending !== "stop" && r.chance(0.7) ? "open" : undefined
  const disturbance: Disturbance = r.chance(0.5) ? { kind: "none" } : r.pick<Disturbance>([
    { kind: "interrupt", at: r.int(0, 6000) },
    { kind: "leave", after: r.int(1, n * 4) },
    { kind: "cancelCall", at: r.int(0, 4000), id: r.pick(calls).id },
    { kind: "cancelRun", at: r.int(0, 6000) },
    { kind: "total", after: r.int(1, 8000) },
    { kind: "drain", at: r.int(0, 4000), grace: r.int(0, 3000) }
  ])
  const policies = random(seed ^ 0x9e7)
  const retries = policies.chance(0.5)
  return {
    seed,
    calls,
    cap: r.int(1, 40),
    turn: turnOf(r, calls, ending, open),
    ending,
    disturbance,
    open,
    limits: limitsOf(random(seed ^ 0x11317)),
    retries,
    breaks: policies.chance(0.15),
    groups: policies.chance(0.4),
    again: retries && ending === "broken" ? againOf(policies, calls) : undefined
  }
}

/** Most of the calls once more, under names of their own. */
const againOf = (r: ReturnType<typeof random>, calls: ReadonlyArray<Planned>): NonNullable<Decision["again"]> => {
  const places = calls.flatMap((_, n) => r.chance(0.8) ? [n] : [])
  const made = places.map((n) => callOf({ ...calls[n]!, id: `again${n}` }, n))
  return { calls: places, turn: [TestModel.wait(r.int(1, 300)), ...made, TestModel.finish("tool-calls")] }
}

/** Four in ten decisions have limits. */
const limitsOf = (r: ReturnType<typeof random>): Limits | undefined => {
  if (!r.chance(0.4)) return undefined
  const rules = (count: number) => Array.from({ length: count }, () => ruleOf(r, 5))
  return {
    // The model's turns cost more tokens than these limits ever hold.
    global: r.chance(0.3) ? [ruleOf(r, 4)] : [],
    services: { s0: rules(r.int(0, 2)), s1: rules(r.int(0, 2)), s2: rules(r.int(0, 2)) }
  }
}

// Wide enough for 200 calls in some minutes.
const ruleOf = (r: ReturnType<typeof random>, kinds: 4 | 5): Limiter.Rule => {
  const window = r.int(100, 3000)
  switch (r.int(1, kinds)) {
    case 1:
      return Limiter.slidingWindow({ limit: r.int(3, 40), window })
    case 2:
      return Limiter.fixedWindow({ limit: r.int(3, 40), window })
    case 3:
      return Limiter.tokenBucket({ capacity: r.int(1, 10), refill: r.int(3, 40), every: window })
    case 4:
      return Limiter.permits(r.int(4, 12))
    default:
      return Limiter.slidingWindow({ limit: r.int(10, 60), window, unit: "tokens" })
  }
}

const turnOf = (
  r: ReturnType<typeof random>,
  calls: ReadonlyArray<Planned>,
  ending: Ending,
  open: string | undefined
): ReadonlyArray<TestModel.Item> => {
  const items: Array<TestModel.Item> = []
  for (let i = 0; i < calls.length;) {
    const take = r.chance(0.3) ? calls.length : r.int(1, 8)
    const made = TestModel.chunk(...calls.slice(i, i + take).map((planned, j) => callOf(planned, i + j)))
    items.push(...r.chance(0.5) ? [made] : [TestModel.wait(r.int(1, 500)), made])
    i += take
  }
  const opened = open === undefined ? [] : [
    TestModel.call(ToolCall("success", {}, { id: open }), { open: true, chunks: ["{\"n\":1,\"mil"] })
  ]
  const last = ending === "broken" ? opened : [...opened, TestModel.finish(ending === "stop" ? "tool-calls" : ending)]
  if (last.length > 0) items.push(TestModel.wait(r.int(1, 300)), ...last)
  if (ending === "broken") {
    items.push(TestModel.fail(AiError.make({
      module: "Test",
      method: "streamText",
      reason: new AiError.InternalProviderError({ description: "the connection was cut" })
    })))
  }
  return items
}

const callOf = ({ behaviour, id, millis }: Planned, n: number): ToolCall =>
  behaviour === "unknownTool"
    ? ToolCall(n % 2 === 0 ? "__proto__" : "nope", { n }, { id })
    : behaviour === "badInput"
    ? ToolCall("success", n % 2 === 0 ? { n: "x" } : "{\"n\": 1", { id })
    : ToolCall(behaviour, { n, millis }, { id })

/** The groups of a decision that has some: the first to succeed, and the one with the highest number within a while. */
export const completion: Completions = {
  raced: { tools: ["raced"], policy: Branch.first(1) },
  scored: { tools: ["scored"], policy: Branch.best<number>({ score: (n) => n }).pipe(Branch.within("8 seconds")) }
}

/** What is seen from outside: handlers entered and left, sleeps outstanding, work after the end. */
export interface Watch {
  entered: number
  left: number
  sleeping: number
  inFlight: number
  peak: number
  over: boolean
  startedAfterEnd: number
  readonly release: Deferred.Deferred<void>
  readonly writing: Map<number, number>
  overlappingWrites: number
  /** How often each call was begun, by its `n`. */
  readonly begun: Map<number, number>
  /** Handlers at work and the most of them, by service. */
  readonly services: Map<string, { inFlight: number; peak: number }>
}

export const makeWatch = (): Watch => ({
  entered: 0,
  left: 0,
  sleeping: 0,
  inFlight: 0,
  peak: 0,
  over: false,
  startedAfterEnd: 0,
  release: Deferred.makeUnsafe<void>(),
  writing: new Map(),
  overlappingWrites: 0,
  begun: new Map(),
  services: new Map(["", "s0", "s1", "s2"].map((name) => [name, { inFlight: 0, peak: 0 }]))
})

const inService = <A, E>(watch: Watch, name: string, effect: Effect.Effect<A, E>): Effect.Effect<A, E> => {
  const counted = [watch.services.get("")!, watch.services.get(serviceOf(name))!]
  return Effect.suspend(() => {
    for (const one of counted) one.peak = Math.max(one.peak, ++one.inFlight)
    return effect
  }).pipe(Effect.ensuring(Effect.sync(() => counted.forEach((one) => one.inFlight--))))
}

const watched = <A, E>(watch: Watch, effect: Effect.Effect<A, E>): Effect.Effect<A, E> =>
  Effect.suspend(() => {
    watch.entered++
    watch.inFlight++
    watch.peak = Math.max(watch.peak, watch.inFlight)
    if (watch.over) watch.startedAfterEnd++
    return effect
  }).pipe(Effect.ensuring(Effect.sync(() => {
    watch.left++
    watch.inFlight--
  })))

interface Arguments {
  readonly n: number
  readonly millis: number
}

const handlers = (
  watch: Watch
): Record<typeof behaviours[number], (p: Arguments) => Effect.Effect<number, { readonly why: string }>> => {
  const released = Effect.runPromise(Deferred.await(watch.release))
  const begin = (n: number): number => {
    const times = (watch.begun.get(n) ?? 0) + 1
    watch.begun.set(n, times)
    return times
  }
  return {
    flaky: ({ n }) =>
      watched(
        watch,
        Effect.suspend(() => begin(n) <= n % 4 ? Effect.fail({ why: `not yet ${n}` }) : Effect.succeed(n))
      ),
    hedged: ({ millis, n }) =>
      watched(watch, Effect.suspend(() => Effect.as(Effect.sleep(begin(n) === 1 ? millis : 10), n))),
    raced: ({ millis, n }) => watched(watch, Effect.as(Effect.sleep(millis / 4), n)),
    scored: ({ millis, n }) =>
      watched(
        watch,
        Effect.andThen(Effect.sleep(millis / 4), n % 5 === 0 ? Effect.fail({ why: "no score" }) : Effect.succeed(n))
      ),
    writesOnce: ({ millis, n }) =>
      watched(
        watch,
        Effect.suspend(() => {
          begin(n)
          return Effect.andThen(Effect.sleep(millis / 10), n % 2 === 0 ? Effect.succeed(n) : Effect.fail({ why: "no" }))
        })
      ),
    success: ({ n }) => watched(watch, Effect.succeed(n)),
    slow: ({ millis, n }) => watched(watch, Effect.as(Effect.sleep(millis), n)),
    failure: ({ n }) => watched(watch, Effect.fail({ why: `no ${n}` })),
    defect: () => watched(watch, Effect.die(new Error("defect"))),
    throws: () => {
      throw new Error("thrown")
    },
    never: () => watched(watch, Effect.never),
    listening: ({ n }) =>
      watched(
        watch,
        Effect.orDie(Executor.promise((signal) =>
          new Promise<number>((resolve) => signal.addEventListener("abort", () => resolve(n)))
        ))
      ),
    deaf: ({ n }) => watched(watch, Effect.orDie(Executor.promise(() => released.then(() => n)))),
    deafForAWhile: ({ n }) => watched(watch, Effect.orDie(Executor.promise(() => Promise.resolve(n)))),
    uninterruptible: ({ n }) => watched(watch, Effect.uninterruptible(Effect.as(Deferred.await(watch.release), n))),
    stuckFinalizer: ({ n }) =>
      watched(
        watch,
        Effect.as(Effect.sleep(n % 2 === 0 ? 10 : 60_000), n).pipe(
          Effect.onInterrupt(() => Deferred.await(watch.release))
        )
      ),
    slowFinalizer: ({ millis, n }) =>
      watched(watch, Effect.as(Effect.sleep(millis), n).pipe(Effect.onInterrupt(() => Effect.sleep(100)))),
    notAnEffect: () => 42 as never,
    badResult: () => watched(watch, Effect.succeed(Number.NaN)),
    write: ({ millis, n }) =>
      watched(
        watch,
        Effect.suspend(() => {
          const key = n % 3
          const now = (watch.writing.get(key) ?? 0) + 1
          watch.writing.set(key, now)
          if (now > 1) watch.overlappingWrites++
          return Effect.as(Effect.sleep(millis / 10), n)
        }).pipe(Effect.ensuring(Effect.sync(() => watch.writing.set(n % 3, watch.writing.get(n % 3)! - 1))))
      ),
    capped: ({ millis, n }) => watched(watch, Effect.as(Effect.sleep(millis / 10), n)),
    readonly: ({ millis, n }) => watched(watch, Effect.as(Effect.sleep(millis), n)),
    afterFinish: ({ millis, n }) => watched(watch, Effect.as(Effect.sleep(millis / 10), n))
  }
}

/** A toolkit of its own for each seed, so that permits of the process are not shared between seeds. */
export const makeToolkit = (watch: Watch) => {
  const tools = behaviours.map((name) => makeTool(name))
  const toolkit = Toolkit.make(...tools)
  const counted = Object.entries(handlers(watch)).map(([name, handler]) => [name, (params: Arguments) => {
    const effect = handler(params)
    return Effect.isEffect(effect) ? inService(watch, name, effect) : effect
  }])
  return { tools, toolkit, layer: toolkit.toLayer(Object.fromEntries(counted) as never) }
}

/** The test clock, counting the sleeps that are outstanding. */
export const watchedClock = (watch: Watch): Effect.Effect<Context.Context<never>> =>
  Effect.map(Effect.clockWith(Effect.succeed), (clock) =>
    Context.make(
      Clock.Clock,
      Object.assign(Object.create(clock as object) as Clock.Clock, {
        sleep: (duration: Duration.Duration) =>
          Effect.suspend(() => {
            watch.sleeping++
            return clock.sleep(duration)
          }).pipe(Effect.ensuring(Effect.sync(() => watch.sleeping--)))
      })
    ))
