/**
 * The laws of design section 4 over 1,000 seeded decisions. A failing seed is in the message; `LAW_SEED=n` runs it alone.
 */
import { assert, describe, it } from "@effect/vitest"
import type * as Prompt from "effect/ai/Prompt"
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Random from "effect/Random"
import * as Stream from "effect/Stream"
import { TestClock } from "effect/testing"
import type { AnyPart } from "../../src/domain/ToolEvent.ts"
import { compile } from "../../src/engine/internal/CompiledTool.ts"
import { CancelReason, Orchestrator } from "../../src/index.ts"
import * as Breaker from "../../src/policy/Breaker.ts"
import * as Limiter from "../../src/policy/Limiter.ts"
import * as Retry from "../../src/policy/Retry.ts"
import { mostIn } from "../limiter.ts"
import { scripted } from "../model.ts"
import type { Decision, Watch } from "./decision.ts"
import {
  behaviours,
  completion,
  costOf,
  makeDecision,
  makeToolkit,
  makeWatch,
  random,
  serviceOf,
  toolTimeout,
  watchedClock
} from "./decision.ts"

interface Observed {
  readonly decision: Decision
  readonly parts: ReadonlyArray<AnyPart>
  readonly exit: Exit.Exit<void, unknown>
  readonly watch: Watch
  readonly sleepingAtEnd: number
  readonly unfinishedAtEnd: number
  readonly permitsAtEnd: number
  readonly permitsReleased: number
  readonly enteredAtEnd: number
  readonly liveAtEnd: boolean
  /** Handlers begun when the process was told to go down. */
  readonly enteredAtDrain: number | undefined
  /** Services of which a permit is missing when everything has ended. */
  readonly permitsMissing: ReadonlyArray<string>
}

let observations = 0

const observe = (decision: Decision): Effect.Effect<Observed> =>
  Effect.gen(function*() {
    const watch = makeWatch()
    const { layer, toolkit, tools } = makeToolkit(watch)
    const permits = compile(tools[behaviours.indexOf("capped")]!).permits!
    const clock = yield* watchedClock(watch)
    const { next } = random(decision.seed)
    const policies = yield* Layer.build(Layer.mergeAll(
      Orchestrator.layerRuns(),
      decision.retries ? Retry.layer({ base: 100 }) : Layer.empty,
      decision.breaks ? Breaker.layer({ failures: 5, openDuration: "1 second" }) : Layer.empty
    ))
    const registry = Context.get(policies, Orchestrator.Runs)
    const parts: Array<AnyPart> = []
    const { disturbance } = decision
    const runId = `law_${decision.seed}_${++observations}`
    const limiter: Context.Context<never> = decision.limits === undefined
      ? Context.empty()
      : yield* Layer.build(Limiter.layer({ ...decision.limits, maxWait: "5 minutes" }))
    const stream = Orchestrator.stream({
      prompt: "go",
      toolkit,
      runId,
      toolCallConcurrency: decision.cap,
      ...(decision.groups ? { completion } : undefined),
      timeout: { tool: toolTimeout, ...(disturbance.kind === "total" ? { total: disturbance.after } : undefined) }
    }).pipe(disturbance.kind === "leave" ? Stream.take(disturbance.after) : (self) => self)
    const fiber = yield* Stream.runForEach(stream, (part) => Effect.sync(() => void parts.push(part as AnyPart))).pipe(
      Effect.provide([
        layer,
        scripted(decision.turn, ...(decision.again === undefined ? [] : [decision.again.turn]))
      ]),
      Effect.provideContext(Context.mergeAll(
        yield* Effect.context(),
        clock,
        limiter,
        policies,
        Context.make(Random.Random, { nextDoubleUnsafe: next, nextIntUnsafe: () => Math.floor(next() * 2 ** 50) })
      )),
      Effect.forkChild
    )
    const enteredAtDrain = yield* Effect.provideContext(disturb(decision, runId, fiber, watch), policies)
    for (let i = 0; i < 4000 && fiber.pollUnsafe() === undefined; i++) yield* TestClock.adjust(250)
    const exit = fiber.pollUnsafe()
    if (exit === undefined) {
      return yield* Effect.die(new Error(`seed ${decision.seed}: the run did not end in 1,000 virtual seconds`))
    }
    watch.over = true
    const atEnd = {
      sleepingAtEnd: watch.sleeping,
      unfinishedAtEnd: watch.entered - watch.left,
      permitsAtEnd: permits.used,
      enteredAtEnd: watch.entered,
      liveAtEnd: registry.has(runId)
    }
    yield* Deferred.succeed(watch.release, undefined)
    yield* TestClock.adjust("10 minutes")
    yield* Effect.promise(() => new Promise((resolve) => setImmediate(resolve)))
    const permitsMissing = decision.limits === undefined
      ? []
      : yield* Effect.filter(["s0", "s1", "s2"], (service) =>
        Limiter.explain([{ service, calls: 1 }]).pipe(
          Effect.map(([forecast]) => forecast?.startMillis !== 0),
          Effect.provideContext(limiter as Context.Context<Limiter.Limiter>)
        ))
    return { decision, parts, exit, watch, ...atEnd, permitsReleased: permits.used, enteredAtDrain, permitsMissing }
  }).pipe(Effect.scoped, Effect.orDie) as Effect.Effect<Observed>

const disturb = (
  decision: Decision,
  runId: string,
  fiber: Fiber.Fiber<unknown, unknown>,
  watch: Watch
): Effect.Effect<number | undefined> => {
  const { disturbance } = decision
  if (!("at" in disturbance)) return Effect.succeed(undefined)
  const begin = (effect: Effect.Effect<unknown>) => Effect.forkChild(effect, { startImmediately: true })
  const { at, kind } = disturbance
  return Effect.gen(function*() {
    yield* TestClock.adjust(at)
    if (kind === "interrupt") yield* begin(Fiber.interrupt(fiber))
    if (kind === "cancelCall") {
      yield* Orchestrator.cancel({ runId, callId: disturbance.id }, CancelReason.branchCancelled("law"))
    }
    if (kind === "cancelRun") yield* Orchestrator.cancel({ runId })
    if (kind !== "drain") return undefined
    yield* begin(Orchestrator.drain({ grace: disturbance.grace }))
    return watch.entered
  })
}

const seeds = process.env["LAW_SEED"] === undefined
  ? Array.from({ length: 1000 }, (_, i) => i + 1)
  : [Number(process.env["LAW_SEED"])]

const readerStayed = ({ decision }: Observed) =>
  decision.disturbance.kind !== "interrupt" && decision.disturbance.kind !== "leave"

/** Seeds are observed once and judged by every law. */
const observed = Effect.runSync(
  Effect.cached(Effect.suspend(() => Effect.forEach(seeds, (seed) => observe(makeDecision(seed)), { concurrency: 1 })))
)

const forAll = (name: string, judge: (observed: Observed) => void) =>
  it.effect(name, () =>
    Effect.map(observed, (all) => {
      for (const one of all) {
        try {
          judge(one)
        } catch (error) {
          throw new Error(
            `seed ${one.decision.seed} (${
              JSON.stringify({ ...one.decision, turn: undefined, calls: one.decision.calls.length })
            }): ${(error as Error).message}`,
            { cause: error }
          )
        }
      }
    }), 240_000)

const idsOf = (parts: ReadonlyArray<AnyPart>, type: "tool-call" | "tool-result") =>
  parts.flatMap((part) => part.type === type ? [part.id] : [])

const callsOf = (prompt: Prompt.Prompt) =>
  prompt.content.flatMap((message) =>
    message.role === "assistant" ? message.content.flatMap((part) => part.type === "tool-call" ? [part.id] : []) : []
  )

const promptOf = ({ exit, parts }: Observed) => {
  if (Exit.isSuccess(exit)) return parts.flatMap((part) => part.type === "run-finish" ? [part.prompt] : [])[0]
  const error = Cause.squash(exit.cause)
  return error instanceof Orchestrator.OrchestratorError ? error.prompt : undefined
}

describe("laws", () => {
  forAll("1: every call gets exactly one final result, in the stream and, in call order, in the history", (o) => {
    const calls = idsOf(o.parts, "tool-call")
    const results = idsOf(o.parts, "tool-result")
    assert.strictEqual(new Set(calls).size, calls.length, "call ids are unique")
    assert.strictEqual(new Set(results).size, results.length, "no call has two results")
    for (const id of results) assert.include(calls, id)
    if (!readerStayed(o)) return
    assert.deepStrictEqual([...results].sort(), [...calls].sort(), "every call has a result")
    if (o.decision.disturbance.kind === "none") {
      const expected = o.decision.calls.length +
        (o.decision.ending === "length" || o.decision.ending === "unknown"
          ? (o.decision.open === undefined ? 0 : 1)
          : 0) +
        (o.decision.again?.calls.length ?? 0)
      assert.strictEqual(calls.length, expected, "every call the model made is there")
    }
    const prompt = promptOf(o)
    if (calls.length === 0) return
    assert.isDefined(prompt)
    const inHistory = prompt.content.flatMap((message) =>
      message.role === "tool" ? message.content.flatMap((part) => part.type === "tool-result" ? [part.id] : []) : []
    )
    if (o.decision.again === undefined) {
      return assert.deepStrictEqual(inHistory, calls, "the history has the results in call order")
    }
    assert.deepStrictEqual(inHistory, callsOf(prompt), "the history has the results in call order")
    const kept = new Set(inHistory)
    for (const part of o.parts) {
      if (part.type === "tool-adopted") assert.isFalse(kept.has(part.from), `${part.from} was adopted`)
    }
    const adopted = new Set(o.parts.flatMap((part) => part.type === "tool-adopted" ? [part.from] : []))
    for (const part of o.parts) {
      if (part.type !== "tool-started" || adopted.has(part.callId)) continue
      assert.isTrue(kept.has(part.callId), `${part.callId} has started and is in the history`)
    }
  })

  forAll("2: a fault in one call changes no sibling's outcome", (o) => {
    if (o.decision.disturbance.kind !== "none") return
    const { ending } = o.decision
    const outcomes = new Map(o.parts.flatMap((part) => part.type === "tool-result" ? [[part.id, part] as const] : []))
    const abandonedHoldAll = o.parts.filter((part) =>
      part.type === "tool-abandoned"
    ).length >= Math.min(o.decision.cap, 2)
    const calls = o.parts.flatMap((part) => part.type === "tool-call" ? [part] : [])
    const permitsStuck = o.decision.limits !== undefined && o.parts.some((part) => part.type === "tool-abandoned")
    const isRefused = o.decision.breaks || abandonedHoldAll || permitsStuck
    const places = [...o.decision.calls.map((_, n) => n), ...(o.decision.again?.calls ?? [])]
    const retries = o.parts.filter((part) => part.type === "tool-retry").length
    places.forEach((n, at) => {
      const planned = o.decision.calls[n]!
      const result = outcomes.get(calls[at]!.id)!
      const tag = result.isFailure ? (result.result as { _tag?: string })._tag ?? "own" : "success"
      if (tag === "Rejected" && o.decision.breaks) return
      if (o.decision.groups && (planned.behaviour === "raced" || planned.behaviour === "scored")) return
      if (tag === "Rejected") {
        return assert.isTrue(
          abandonedHoldAll || permitsStuck,
          "rejected only where abandoned calls hold the places, or permits of a service"
        )
      }
      if (ending !== "stop" && (tag === "NotStarted" || tag === "Cancelled")) {
        return
      }
      const expected: Record<string, string> = {
        success: "success",
        slow: "success",
        failure: "own",
        defect: "HandlerFailed",
        throws: "HandlerFailed",
        never: "TimedOut",
        listening: "TimedOut",
        deaf: "TimedOut",
        deafForAWhile: "success",
        uninterruptible: "TimedOut",
        stuckFinalizer: n % 2 === 0 ? "success" : "TimedOut",
        slowFinalizer: "success",
        notAnEffect: "HandlerFailed",
        badResult: "InvalidOutput",
        write: "success",
        capped: "success",
        readonly: "success",
        afterFinish: "success",
        flaky: n % 4 === 3 ? "own" : "success",
        hedged: "success",
        writesOnce: n % 2 === 0 ? "success" : "own",
        raced: "success",
        scored: n % 5 === 0 ? "own" : "success",
        unknownTool: "UnknownTool",
        badInput: "InvalidInput"
      }
      // Ten retries a service, more where it has many calls; then failures stand.
      if (planned.behaviour === "flaky" && tag === "own" && retries >= 10) return
      // Its next attempt was turned away, by the circuit or where permits are stuck: the failure of the last one stands.
      if (planned.behaviour === "flaky" && tag === "own" && isRefused) {
        const count = (type: string) =>
          o.parts.filter((part) => part.type === type && "callId" in part && part.callId === calls[at]!.id).length
        if (count("tool-retry") === count("tool-started")) return
      }
      // A flaky call that ran out of attempts and is made again has more of them.
      if (planned.behaviour === "flaky" && o.decision.again !== undefined) return
      assert.strictEqual(tag, expected[planned.behaviour], `call ${n} (${planned.behaviour})`)
      if (tag === "success") assert.strictEqual(result.result, n)
    })
  })

  forAll("3: nothing is left after a run but abandoned handlers, which the report lists", (o) => {
    const abandoned = o.parts.filter((part) => part.type === "tool-abandoned").length
    assert.isFalse(o.liveAtEnd, "the run is no longer registered")
    assert.isAtMost(o.watch.peak, o.decision.cap, "never over the cap")
    assert.strictEqual(o.watch.overlappingWrites, 0, "writers of one key never overlap")
    if (readerStayed(o)) {
      assert.isAtMost(o.unfinishedAtEnd, abandoned, "handlers left are abandoned ones")
      assert.isAtMost(o.sleepingAtEnd, abandoned, "timers left belong to abandoned handlers")
      const finish = o.parts.find((part) => part.type === "run-finish")
      if (finish?.type === "run-finish") assert.strictEqual(finish.report.abandoned.length, abandoned)
    }
    assert.strictEqual(o.permitsAtEnd, 0, "the tool's permits are back")
    assert.strictEqual(o.permitsReleased, 0)
    assert.strictEqual(o.watch.inFlight, 0, "abandoned handlers end when they can")
    assert.strictEqual(o.watch.sleeping, 0, "no timer is left at all then")
  })

  forAll("4: limits hold in every window, and nothing of them is held when all has ended", (o) => {
    const { limits } = o.decision
    if (limits === undefined) return
    assert.deepStrictEqual(o.permitsMissing, [], "permits are back")
    const places = [...o.decision.calls.map((_, n) => n), ...(o.decision.again?.calls ?? [])]
    const placeOf = new Map(
      o.parts.flatMap((part) => part.type === "tool-call" ? [part.id] : []).map((id, at) => [id, places[at]!])
    )
    const starts = o.parts.flatMap((part) =>
      part.type === "tool-started"
        ? [{ at: part.time, service: serviceOf(part.name), cost: costOf(placeOf.get(part.callId)!) }]
        : []
    )
    for (const [service, rules] of [["", limits.global] as const, ...Object.entries(limits.services)]) {
      const own = starts.filter((start) => service === "" || start.service === service)
      for (const rule of rules) {
        const what = `${service} ${JSON.stringify(rule)}`
        const times = own.flatMap(({ at, cost }) => rule.unit === "tokens" ? Array<number>(cost).fill(at) : [at])
        switch (rule._tag) {
          case "Permits":
            assert.isAtMost(o.watch.services.get(service)!.peak, rule.permits, what)
            break
          case "SlidingWindow":
            assert.isAtMost(mostIn(rule.windowMillis, times), rule.limit, what)
            break
          case "FixedWindow":
            assert.isAtMost(mostIn(rule.windowMillis, times), 2 * rule.limit, what)
            break
          case "TokenBucket":
            for (const [i, from] of times.entries()) {
              const allowed = (to: number) => rule.capacity + rule.refill * (to - from) / rule.everyMillis
              for (const [j, to] of times.slice(i).entries()) assert.isAtMost(j + 1, allowed(to) + 0.01, what)
            }
            break
          default:
        }
      }
    }
  })

  forAll("5: nothing starts after a cancel or after the end", (o) => {
    assert.strictEqual(o.watch.startedAfterEnd, 0)
    assert.strictEqual(o.watch.entered, o.enteredAtEnd)
    if (o.enteredAtDrain !== undefined) assert.strictEqual(o.watch.entered, o.enteredAtDrain, "begun after the drain")
    const cancelled = new Set<string>()
    const answered = new Set<string>()
    for (const [i, part] of o.parts.entries()) {
      if (part.type === "tool-cancelled") cancelled.add(part.callId)
      if (part.type === "tool-result") answered.add(part.id)
      if (part.type === "tool-started" || part.type === "tool-retry") {
        assert.isFalse(cancelled.has(part.callId), "no start after a cancel")
        assert.isFalse(answered.has(part.callId), "no start after the answer")
      }
      if (part.type === "run-finish") assert.strictEqual(i, o.parts.length - 1, "run-finish is last")
    }
  })

  forAll("a group has at most one winner, and one where nothing came between", (o) => {
    if (!o.decision.groups || o.decision.again !== undefined) return
    const { breaks, calls, disturbance, ending } = o.decision
    const isQuiet = disturbance.kind === "none" && ending === "stop" && !breaks
    for (const group of ["raced", "scored"]) {
      const all = o.parts.flatMap((part) => part.type === "tool-result" && part.name === group ? [part] : [])
      const winners = all.flatMap((part) => part.isFailure ? [] : [part.result])
      // An answer that broke off has no groups any more: what has begun and must not be repeated runs to its end.
      if (ending !== "broken" && ending !== "content-filter") assert.isAtMost(winners.length, 1, group)
      const able = calls.flatMap(({ behaviour }, n) =>
        behaviour === group && (group === "raced" || n % 5 !== 0) ? [n] : []
      )
      const isHeldUp = o.parts.some((part) => part.type === "tool-abandoned") || group === "scored"
      if (isQuiet && !isHeldUp && able.length > 0) assert.strictEqual(winners.length, 1, group)
      const report = o.parts.flatMap((part) =>
        part.type === "run-finish" ? part.report.groups.filter((one) => one.group === group) : []
      )
      if (report.length !== 1 || report[0]!.outcome !== "decided") continue
      const named = new Map(o.parts.flatMap((part) => part.type === "tool-result" ? [[part.id, part.result]] : []))
      assert.deepStrictEqual(report[0]!.winners.map((id) => named.get(id)), winners, `${group}: the report's winners`)
      assert.strictEqual(
        report[0]!.winners.length + report[0]!.losers.length,
        all.length,
        `${group}: the report's losers`
      )
      if (group !== "scored" || winners.length === 0 || !isQuiet) continue
      const timely = all.filter(({ isFailure, result }) =>
        isFailure && (result as { _tag?: string })._tag === "Cancelled"
      )
      for (const { id } of timely) {
        const n = o.parts.flatMap((part) => part.type === "tool-call" ? [part.id] : []).indexOf(id)
        assert.isBelow(n, winners[0] as number, "the best wins")
      }
    }
  })

  forAll("6: what may not be repeated begins at most once, and the rest as often as its tool says", (o) => {
    const most = { flaky: 3, hedged: 2, writesOnce: 1 }
    for (const [n, times] of o.watch.begun) {
      const behaviour = o.decision.calls[n]!.behaviour as keyof typeof most
      const answers = o.decision.again !== undefined && behaviour !== "writesOnce" ? 2 : 1
      assert.isAtMost(times, most[behaviour] * answers, `call ${n} (${behaviour})`)
    }
  })

  it.effect("the decisions reach every kind of outcome", () =>
    Effect.map(observed, (all) => {
      if (all.length < 1000) return
      const seen = new Map<string, number>()
      const count = (what: string) => seen.set(what, (seen.get(what) ?? 0) + 1)
      for (const { decision, exit, parts } of all) {
        if (decision.limits !== undefined) count("with limits")
        for (const part of parts) {
          if (part.type === "run-finish" && part.report.calls.some(({ limiterMillis }) => limiterMillis > 0)) {
            count("waited for a limit")
          }
        }
        count(Exit.isSuccess(exit) ? "finished" : Cause.hasInterruptsOnly(exit.cause) ? "interrupted" : "failed")
        if (decision.disturbance.kind === "drain") count("drain")
        for (const part of parts) {
          if (part.type === "run-finish") { for (const { outcome } of part.report.groups) count(`group ${outcome}`) }
        }
        for (const part of parts) {
          if (part.type === "tool-started" && part.hedge === true) count("hedge")
          if (part.type === "tool-retry" || part.type === "tool-adopted" || part.type === "step-retry") count(part.type)
          if (part.type === "tool-abandoned" || part.type === "tool-cancelled") count(part.type)
          if (part.type === "tool-result") {
            count((part.result as { _tag?: string })?._tag ?? (part.isFailure ? "failure" : "success"))
          }
        }
      }
      const wanted = [
        "finished",
        "interrupted",
        "failed",
        "tool-abandoned",
        "tool-cancelled",
        "success",
        "failure",
        "UnknownTool",
        "InvalidInput",
        "InvalidOutput",
        "HandlerFailed",
        "TimedOut",
        "Cancelled",
        "Rejected",
        "Truncated",
        "NotStarted",
        "drain",
        "group decided",
        "hedge",
        "tool-retry",
        "tool-adopted",
        "step-retry",
        "with limits",
        "waited for a limit"
      ]
      for (const what of wanted) assert.isAtLeast(seen.get(what) ?? 0, 10, what)
    }), 240_000)

  it.effect("7: the same seed gives the same parts in the same order", () =>
    Effect.gen(function*() {
      const first = yield* observed
      const shown = (o: Observed) =>
        o.parts.map((part) =>
          JSON.stringify({ ...part, runId: undefined, time: undefined, report: undefined, prompt: undefined })
        )
      for (const one of first) {
        const again = yield* observe(one.decision)
        assert.deepStrictEqual(shown(again), shown(one), `seed ${one.decision.seed}`)
      }
    }), 240_000)
})
