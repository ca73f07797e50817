/**
 * One run of 20 calls with everything on that the engine has: limits, caps, locks, retries, hedges, a group, promises, nested
 * calls, a limit on the model. It is driven step by step (`policy/steps`), can be disturbed before any step, and is watched from
 * outside: who started, who ended, what is held.
 */
import type * as Tool from "effect/ai/Tool"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Random from "effect/Random"
import * as Scheduler from "effect/Scheduler"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { AnyPart } from "../../src/domain/ToolEvent.ts"
import * as Branch from "../../src/engine/Branch.ts"
import type { Call } from "../../src/engine/internal/Call.ts"
import { compile } from "../../src/engine/internal/CompiledTool.ts"
import { CancelReason, Executor, Orchestrator, Predictor, Speculation, ToolPolicy } from "../../src/index.ts"
import * as Breaker from "../../src/policy/Breaker.ts"
import * as Limiter from "../../src/policy/Limiter.ts"
import { layerMemory, LimiterStore } from "../../src/policy/LimiterStore.ts"
import type { Limit } from "../../src/policy/LimiterStore.ts"
import * as Retry from "../../src/policy/Retry.ts"
import { TestModel, ToolCall } from "../../src/testing/index.ts"
import { aiError, scripted } from "../model.ts"
import { Steps } from "../policy/steps.ts"
import { random } from "../random.ts"

const Params = Schema.Struct({ id: Schema.String, millis: Schema.Finite })
type Params = typeof Params.Type
const Failure = Schema.TaggedStruct("Busy", { isRetryable: Schema.Boolean })

/** How the program is taken apart; `seed` 0: in order, time last. `breaks`: the first answer breaks off and is asked again. */
export interface Pace {
  readonly opsBeforeYield: number
  readonly seed: number
  readonly breaks?: true
  /** Calls are foreseen, rightly and wrongly; all but the writes may start on a guess. */
  readonly speculates?: true
}

interface Start {
  /** What the model asked for: the same in an answer that makes the same call again. */
  readonly id: string
  readonly callId: string | undefined
  readonly tool: string
  readonly step: number
  readonly at: number
}

/** What handlers do and hold, seen from outside. */
class Watch {
  readonly starts: Array<Start> = []
  private readonly atWork = new Map<string, number>()
  entered = 0
  left = 0
  /** Promises whose signal was aborted, with the tag of the reason. */
  readonly aborted: Array<string> = []
  /** Promises that neither settled nor were told to stop. */
  promises = 0
  /** Handlers started before the first one was told that the reader has gone. */
  startsBeforeInterrupt = Number.NaN
  /** Called when a handler has begun or ended, from within. */
  onEvent: (() => void) | undefined = undefined
  events = 0
  readonly writing = new Set<string>()
  overlaps = 0

  isAtWork(callId: string): boolean {
    return (this.atWork.get(callId) ?? 0) > 0
  }

  count(callId: string | undefined, change: 1 | -1): void {
    if (callId !== undefined) this.atWork.set(callId, (this.atWork.get(callId) ?? 0) + change)
  }

  get running(): number {
    return this.entered - this.left
  }

  event(): void {
    this.events++
    this.onEvent?.()
  }

  startsOf(id: string): number {
    return this.starts.filter((start) => start.id === id).length
  }
}

type Body = (params: Params, attempt: number) => Effect.Effect<string, typeof Failure.Type>

const toolsOf = (watch: Watch, steps: Steps, speculates: boolean) => {
  const watched = (tool: string, body: Body) =>
  (
    params: Params,
    { toolCallId: callId }: { readonly toolCallId?: string | undefined }
  ): Effect.Effect<string, typeof Failure.Type> =>
    Effect.suspend(() => {
      let began = false
      return Effect.clockWith((clock) => {
        began = true
        watch.entered++
        watch.count(callId, 1)
        watch.starts.push({ id: params.id, callId, tool, step: steps.taken, at: clock.currentTimeMillisUnsafe() })
        const attempt = watch.startsOf(params.id)
        watch.event()
        return body(params, attempt)
      }).pipe(Effect.onExit((exit) =>
        Effect.sync(() => {
          if (!began) return
          watch.left++
          watch.count(callId, -1)
          const reason = Exit.isFailure(exit) ? CancelReason.fromCause(exit.cause) : undefined
          if (reason?._tag === "CallerGone" && Number.isNaN(watch.startsBeforeInterrupt)) {
            watch.startsBeforeInterrupt = watch.starts.length
          }
          watch.event()
        })
      ))
    })
  const rest = ({ id, millis }: Params) => Effect.as(Effect.sleep(millis), id)
  const tool = (
    name: string,
    given: ToolPolicy.Annotations<Params, string>,
    body: Body = rest
  ) => {
    const annotations = speculates && given.resources === undefined
      ? { ...given, readonly: true, resources: ({ id }: Params) => [{ read: id }] }
      : given
    return ToolPolicy.tool({
      parameters: Params,
      success: Schema.String,
      failure: Failure,
      annotations: { grace: "1 minute", ...annotations },
      handler: watched(name, body)
    })
  }
  const write = (params: Params) =>
    Effect.acquireUseRelease(
      Effect.sync(() => {
        if (watch.writing.size > 0) watch.overlaps++
        watch.writing.add(params.id)
      }),
      () => rest(params),
      () => Effect.sync(() => watch.writing.delete(params.id))
    )
  const capped = tool("capped", { concurrency: 1, group: "slow" })
  const limited = tool("limited", { service: "a", deadline: "1 minute" })
  const inner = ToolPolicy.define({ capped, limited })
  const tools = ToolPolicy.define({
    success: tool("success", { readonly: true }, ({ id }) => Effect.succeed(id)),
    slow: tool("slow", { group: "slow", timeout: "1 minute" }),
    flaky: tool(
      "flaky",
      { readonly: true, retry: { attempts: 3, base: "10 millis", while: () => true }, service: "b" },
      (params, attempt) =>
        attempt <= 2
          ? Effect.andThen(Effect.sleep(3), Effect.fail({ _tag: "Busy" as const, isRetryable: true }))
          : rest(params)
    ),
    hedged: tool(
      "hedged",
      { idempotent: true, hedge: { after: "8 millis", max: 1, budget: 1 }, group: "hedged" },
      (params, attempt) => Effect.as(Effect.sleep(attempt === 1 ? params.millis : 2), params.id)
    ),
    both: tool(
      "both",
      {
        idempotent: true,
        hedge: { after: "5 millis", max: 2, budget: 1 },
        retry: { attempts: 2, base: 1 },
        service: "b"
      },
      (params, attempt) =>
        attempt === 1
          ? rest(params)
          : attempt === 2
          ? Effect.fail({ _tag: "Busy" as const, isRetryable: true })
          : Effect.as(Effect.sleep(4), params.id)
    ),
    write: tool("write", { destructive: true, resources: () => [{ write: "file" }] }, write),
    lock: tool("lock", { resources: () => [{ write: "file" }] }, write),
    capped,
    limited,
    nested: tool("nested", {}, (params) =>
      Effect.gen(function*() {
        const first = yield* Executor.call(inner.toolkit.tools.capped, { ...params, id: `${params.id}/1` })
        return first + (yield* Executor.call(inner.toolkit.tools.limited, { ...params, id: `${params.id}/2` }))
      }).pipe(Effect.provide(inner.layer), Effect.orDie)),
    promised: tool("promised", {}, ({ id, millis }) =>
      Effect.orDie(Executor.promise((signal) => {
        watch.promises++
        return new Promise<string>((resolve, reject) => {
          const timer = Effect.runForkWith(steps.context)(Effect.sleep(millis))
          timer.addObserver(() => {
            watch.promises--
            if (!signal.aborted) return resolve(id)
            watch.aborted.push(String((signal.reason as { readonly _tag?: string })?._tag))
            reject(new Error("told to stop"))
          })
          signal.addEventListener("abort", () => timer.interruptUnsafe())
        })
      }))),
    raced: tool("raced", {}),
    scored: tool("scored", {}),
    slowEnd: tool("slowEnd", {}, (params) => Effect.onInterrupt(rest(params), () => Effect.sleep(5)))
  })
  return { ...tools, cappedTools: [tools.toolkit.tools.capped, inner.toolkit.tools.capped] }
}

const planned: ReadonlyArray<readonly [tool: string, millis: number]> = [
  ["scored", 5],
  ["slow", 30],
  ["flaky", 5],
  ["limited", 10],
  ["write", 6],
  ["hedged", 40],
  ["capped", 7],
  ["nested", 4],
  ["scored", 15],
  ["limited", 3],
  ["lock", 5],
  ["both", 30],
  ["capped", 7],
  ["raced", 12],
  ["write", 4],
  ["slowEnd", 9],
  ["raced", 6],
  ["flaky", 1],
  ["promised", 4],
  ["success", 0]
]

export const ids: ReadonlyArray<string> = planned.map((_, i) => `c${i}`)

/** The same calls as a second answer makes them. */
export const idsAgain: ReadonlyArray<string> = planned.map((_, i) => `d${i}`)

/** The tool of a call. */
export const toolOf = (id: string): string => planned[Number(id.slice(1))]![0]

const chunk = (from: number, to: number, named: ReadonlyArray<string>): ReadonlyArray<TestModel.Item> => [
  TestModel.wait(2),
  ...planned.slice(from, to).map(([tool, millis], i) =>
    ToolCall(tool, { id: ids[from + i], millis }, { id: named[from + i]! })
  )
]

const whole = (named: ReadonlyArray<string>): TestModel.Turn => [
  ...chunk(0, 8, named),
  ...chunk(8, 14, named),
  ...chunk(14, 20, named),
  TestModel.wait(3)
]

const broken: TestModel.Turn = [
  ...chunk(0, 8, ids),
  ...chunk(8, 14, ids),
  TestModel.call(ToolCall("slow", {}, { id: "cut" }), { after: 4, open: true, chunks: ["{\"id\":"] }),
  TestModel.fail(aiError)
]

const scriptsOf = ({ breaks }: Pace): ReadonlyArray<TestModel.Turn> =>
  breaks === true ? [broken, whole(idsAgain)] : [whole(ids)]

/** Whether what becomes of a call depends on the others of its group. */
export const isInGroup = (id: string): boolean => toolOf(id) === "raced" || toolOf(id) === "scored"

const best = Branch.best<string>({ score: (id) => Number(id.slice(1)) })

const keen: Speculation.Options = { confidenceThreshold: 0.1, maxConcurrent: 6, budget: { calls: 1000 } }

/** Most of the calls, some of them late, and as many that are never made. */
const predictor = Predictor.make({
  predict: ({ speculable }) =>
    Stream.fromIterable(planned.flatMap(([tool, millis], i) =>
      speculable.has(tool) && i % 5 !== 1
        ? [
          { tool, params: { id: `c${i}`, millis }, confidence: 0.9 },
          { tool, params: { id: `x${i}`, millis: 25 }, confidence: 0.4 }
        ]
        : []
    )).pipe(
      Stream.mapEffect((guess, i) => i % 6 === 5 ? Effect.as(Effect.sleep(1), guess) : Effect.succeed(guess))
    )
})

const limits: Limiter.Options = {
  global: Limiter.permits(14),
  services: {
    a: [Limiter.permits(1), Limiter.slidingWindow({ limit: 3, window: "50 millis" })],
    b: Limiter.permits(2),
    model: [Limiter.permits(1), Limiter.tokenBucket({ capacity: 2, refill: 1, every: "5 millis" })]
  }
}

const permitLimits: ReadonlyArray<Limit> = [
  ["global/0", "global", 14] as const,
  ["service/a/0", "service/a", 1] as const,
  ["service/b/0", "service/b", 2] as const,
  ["service/model/0", "service/model", 1] as const
].map(([key, group, n]) => ({ key, name: "", group, rule: Limiter.permits(n) }))

const seeded = (seed: number): Random.Random => {
  const { next } = random(seed ^ 0x5eed)
  return { nextDoubleUnsafe: next, nextIntUnsafe: () => Math.floor((next() - 0.5) * 2 ** 53) }
}

const done = <A>(fiber: Fiber.Fiber<A>): A => {
  const exit = fiber.pollUnsafe()
  if (exit?._tag !== "Success") throw new Error(`did not end: ${String(exit)}`)
  return exit.value
}

/** The note of a cancel from outside. */
export const byName = "every step"

/** How far a run has come, and how to disturb it. */
export class World {
  readonly steps: Steps
  readonly watch = new Watch()
  readonly parts: Array<AnyPart> = []
  readonly pace: Pace
  readonly runId: string
  exit: Exit.Exit<void, unknown> | undefined = undefined
  /** Handlers at work when the run's own fiber had ended. */
  runningAtExit = Number.NaN
  private readonly tools: ReturnType<typeof toolsOf>
  private readonly limiter: Context.Context<Limiter.Limiter>
  private readonly policies: Context.Context<Retry.Retry | Breaker.Breaker>
  private readonly registry: Context.Context<never>
  private draining: Fiber.Fiber<void> | undefined
  private readonly store: LimiterStore["Service"]
  private reader: { readonly interruptUnsafe: () => void } | undefined
  private fibersBefore = 0
  private readonly from: number

  constructor(pace: Pace, runId: string) {
    this.pace = pace
    this.runId = runId
    const { chance } = random(pace.seed)
    this.steps = new Steps(pace.opsBeforeYield, undefined, {
      singly: true,
      hurries: pace.seed === 0 ? undefined : (millis) => millis <= 20 && chance(0.2)
    })
    this.tools = toolsOf(this.watch, this.steps, pace.speculates === true)
    const scope = Scope.makeUnsafe()
    const built = this.sync(
      Effect.gen(function*() {
        const store = Context.get(yield* Layer.buildWithScope(Layer.fresh(layerMemory), scope), LimiterStore)
        const limiter = yield* Layer.buildWithScope(Layer.fresh(Limiter.layerStore(limits)), scope).pipe(
          Effect.provideService(LimiterStore, store)
        )
        // No circuit opens in peace: what opens one is tested elsewhere.
        const breaker = yield* Layer.buildWithScope(Breaker.layer({ failures: 30 }), scope)
        const retry = yield* Layer.buildWithScope(Retry.layer({ base: "4 millis" }), scope)
        const registry = yield* Layer.buildWithScope(Orchestrator.layerRuns(), scope)
        const guessing = pace.speculates === true
          ? yield* Layer.buildWithScope(Layer.merge(Speculation.layer(keen), predictor), scope)
          : Context.empty()
        return { store, limiter, policies: Context.mergeAll(breaker, retry, guessing), registry }
      }).pipe(Effect.orDie)
    )
    this.store = built.store
    this.limiter = built.limiter
    this.policies = built.policies
    this.registry = built.registry
    this.fibersBefore = this.steps.fibers
    this.from = this.steps.taken
    this.start()
  }

  /** Whether the run can be named. */
  get isLive(): boolean {
    return Context.get(this.registry, Orchestrator.Runs).has(this.runId)
  }

  /** Calls that have started and whose handlers have not taken their first step. */
  begun(): ReadonlyArray<string> {
    const run = Context.get(this.registry, Orchestrator.Runs).get(this.runId)
    const guesses = run?.speculation as unknown as
      | { readonly unanswered: Iterable<{ readonly call: Call }> }
      | undefined
    const guessed = Array.from(guesses?.unanswered ?? [], ({ call }) => call)
    const running = [...run?.dispatcher.unanswered() ?? [], ...guessed].filter(({ governor, state }) =>
      state === "running" && governor === undefined
    )
    return running.flatMap(({ id }) => this.watch.isAtWork(id) ? [] : [id])
  }

  /** The steps taken since the run began. */
  get taken(): number {
    return this.steps.taken - this.from
  }

  private start(): void {
    const context = Context.mergeAll(
      this.steps.context,
      this.limiter,
      this.policies,
      this.registry,
      Context.make(Random.Random, seeded(this.pace.seed))
    )
    const stream = Orchestrator.stream({
      prompt: "go",
      toolkit: this.tools.toolkit,
      runId: this.runId,
      toolCallConcurrency: 12,
      completion: { raced: { tools: ["raced"], policy: Branch.first(1) }, scored: { tools: ["scored"], policy: best } },
      timeout: { model: "1 minute", total: "5 minutes" }
    })
    const fiber = Effect.runForkWith(context)(
      Stream.runForEach(stream, (part) => Effect.sync(() => void this.parts.push(part as AnyPart))).pipe(
        Effect.provide([this.tools.layer, scripted(...scriptsOf(this.pace))])
      ) as Effect.Effect<void, unknown>
    )
    this.reader = fiber
    fiber.addObserver((exit) => {
      this.exit = exit
      this.runningAtExit = this.watch.running
    })
  }

  /** The reader of the stream is interrupted, as by a lost connection. */
  interrupt(): void {
    this.reader!.interruptUnsafe()
  }

  /** Stops one call or a group by name, at once. */
  cancel(target: { readonly callId: string } | { readonly group: string }): number {
    return this.atOnce(Orchestrator.cancel({ runId: this.runId, ...target }, CancelReason.branchCancelled(byName)))
  }

  /** Stops the run, as its own time limit does: a reason that looks like one that may pass. */
  cancelRun(): number {
    return this.atOnce(Orchestrator.cancel({ runId: this.runId }, CancelReason.timeout("total", 1)))
  }

  /** The process goes down. */
  drain(): void {
    this.draining = this.quickly(Orchestrator.drain({ grace: "12 millis" }))
  }

  /** One step, and what promises do after it. */
  async take(): Promise<boolean> {
    const more = this.steps.take()
    for (let i = 0; i < 8; i++) await Promise.resolve()
    return more || this.steps.take()
  }

  async upTo(step: number): Promise<void> {
    while (this.taken < step && this.exit === undefined) if (!await this.take()) return
  }

  async finish(): Promise<void> {
    await this.upTo(20_000)
    // What is left of the run has its own time.
    for (let i = 0; i < 20_000; i++) if (!await this.take()) return
    throw new Error("steps without end")
  }

  get now(): number {
    return this.atOnce(Effect.clockWith((clock) => clock.currentTimeMillis))
  }

  private atOnce<A>(effect: Effect.Effect<A>): A {
    return done(this.quickly(effect))
  }

  private quickly<A>(effect: Effect.Effect<A>): Fiber.Fiber<A> {
    const context = Context.merge(this.steps.context, this.registry)
    return Effect.runForkWith(Context.add(context, Scheduler.MaxOpsBeforeYield, 2048))(effect)
  }

  private sync<A>(effect: Effect.Effect<A>): A {
    const fiber = Effect.runForkWith(this.steps.context)(effect)
    this.steps.finish()
    return done(fiber)
  }

  /** What is still held by anybody: nothing, when all is over. */
  held(): Readonly<Record<string, number>> {
    const permits = Object.fromEntries(
      this.tools.cappedTools.map((tool: Tool.Any, i) => {
        const { abandoned, limited, nested, used, waiters, watchers } = compile(tool).permits!
        return [`${tool.name} ${i}`, used + abandoned + waiters.size + nested.size + limited.size + watchers.length]
      })
    )
    const states = this.sync(Effect.orDie(this.store.peek(permitLimits)))
    return {
      ...permits,
      ...Object.fromEntries(
        states.map((state, i) => [permitLimits[i]!.key, state._tag === "Permits" ? state.held : Number.NaN])
      ),
      fibers: this.steps.fibers - this.fibersBefore,
      sleepers: this.steps.sleepers,
      handlers: this.watch.running,
      promises: this.watch.promises,
      runs: this.isLive ? 1 : 0,
      drains: this.draining === undefined || this.draining.pollUnsafe() !== undefined ? 0 : 1
    }
  }

  /** Every permit of every limit and cap at once; the names of those that cannot be had. */
  takeAll(): ReadonlyArray<string> {
    const all = permitLimits.flatMap(({ key, rule }) => {
      const service = key.split("/")[1]!
      return rule._tag !== "Permits" || key.startsWith("global")
        ? []
        : [this.sync(
          Limiter.explain(Array.from({ length: rule.permits }, () => ({ service, calls: 1 }))).pipe(
            Effect.provideContext(this.limiter),
            Effect.orDie,
            Effect.map((forecasts) => forecasts.some(({ startMillis }) => startMillis === Infinity) ? [key] : [])
          )
        )]
    })
    return all.flat()
  }
}
