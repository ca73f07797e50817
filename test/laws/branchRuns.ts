/**
 * Many runs of the real engine on one TestClock, each one turn with a few calls of one group under a policy, watched from
 * outside: what each handler did and when, what each call was answered and when.
 */
import * as Tool from "effect/ai/Tool"
import * as Toolkit from "effect/ai/Toolkit"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { TestClock } from "effect/testing"
import type { AnyPart } from "../../src/domain/ToolEvent.ts"
import { Branch, CancelReason, Orchestrator, ToolPolicy } from "../../src/index.ts"
import { TestModel, ToolCall } from "../../src/testing/index.ts"
import type { Happening, Policy } from "./branchOracle.ts"
import { makeWatch, watchedClock } from "./decision.ts"

/** One branch: when it is sealed, how long its handler takes from its start, and how it ends. */
export interface Planned {
  readonly sealedAt: number
  readonly millis: number
  readonly how: "success" | "failure" | "timeout" | "cancel"
  readonly score: number
  /** Its handler does not stop when asked, but some time later. */
  readonly deaf?: boolean
}

export interface Scenario {
  readonly name: string
  readonly policy: Policy
  readonly branches: ReadonlyArray<Planned>
  readonly concurrency: number
  /** When the model's answer ends. */
  readonly closedAt: number
  readonly within?: number
  readonly cancelGroupAt?: number
  /** The whole run is cancelled, or its fiber interrupted; then there is no verdict on the group. */
  readonly endsAt?: { readonly tick: number; readonly how: "cancel" | "interrupt" }
}

interface Read {
  readonly part: AnyPart
  readonly time: number
}

export interface Observed {
  readonly scenario: Scenario
  readonly happenings: ReadonlyArray<Happening>
  readonly started: ReadonlySet<number>
  /** With the time at which each was read. */
  readonly parts: ReadonlyArray<Read>
  readonly exit: Exit.Exit<void, unknown> | undefined
  readonly isLive: boolean
}

/** What handlers and the clock of a batch showed at its end. */
export interface Quiet {
  readonly handlers: number
  readonly sleeping: number
}

const Params = Schema.Struct({ run: Schema.Finite, branch: Schema.Finite })
const Result = Schema.Struct({ score: Schema.Finite })

/** Time-outs of attempts; a branch of that length takes the tool of that name. */
const limits = [10, 20, 30, 40, 11, 21, 31]

const toolOf = (name: string) =>
  Tool.make(name, { parameters: Params, success: Result, failure: Schema.String }).annotate(ToolPolicy.Group, "g")
const toolkit = Toolkit.make(
  toolOf("work"),
  ...limits.map((millis) => toolOf(`limit${millis}`).annotate(ToolPolicy.Timeout, millis))
)

class Running {
  readonly scenario: Scenario
  readonly runId: string
  readonly log: Array<Happening> = []
  readonly started = new Set<number>()
  readonly parts: Array<Read> = []
  fiber: Fiber.Fiber<void, unknown> | undefined
  constructor(scenario: Scenario, runId: string) {
    this.scenario = scenario
    this.runId = runId
  }
}

const policyOf = ({ policy, within }: Scenario): Branch.Completion => {
  const made = ((): Branch.Completion => {
    switch (policy.kind) {
      case "all":
        return Branch.all()
      case "first":
        return Branch.first(policy.n)
      case "best":
        return Branch.best({ score: "score", keep: policy.keep, enough: policy.enough })
      case "quorum":
        return Branch.quorum(policy.k, {
          agree: policy.agree ? (result: typeof Result.Type) => result.score : undefined
        })
    }
  })()
  return within === undefined ? made : made.pipe(Branch.within(within))
}

const idOf = (branch: number): string => `c${branch}`
export const branchOf = (id: string): number => Number(id.slice(1))

const turnOf = ({ branches, closedAt }: Scenario, run: number): ReadonlyArray<TestModel.Item> => {
  const times = [...new Set([...branches.map(({ sealedAt }) => sealedAt), closedAt])].sort((a, b) => a - b)
  return times.flatMap((time, at) => [
    ...(time === 0 ? [] : [TestModel.wait(time - (times[at - 1] ?? 0))]),
    ...branches.flatMap(({ how, millis, sealedAt }, branch) =>
      sealedAt === time
        ? [ToolCall(how === "timeout" ? `limit${millis}` : "work", { run, branch }, { id: idOf(branch) })]
        : []
    ),
    ...(time === closedAt ? [TestModel.finish("tool-calls")] : [])
  ])
}

// One adjust is one turn of the event loop; what follows from an event takes several.
const settle = (millis: number) =>
  Effect.andThen(TestClock.adjust(millis), Effect.repeat(TestClock.adjust(0), { times: 6 }))

let count = 0

/** Runs the scenarios side by side, in steps of a millisecond where something may happen, until all have long ended. */
export const observe = (
  scenarios: ReadonlyArray<Scenario>,
  ticks: ReadonlyArray<number>
): Effect.Effect<{ readonly observed: ReadonlyArray<Observed>; readonly quiet: Quiet }> =>
  Effect.gen(function*() {
    const all = scenarios.map((scenario) => new Running(scenario, `branches_${++count}`))
    const watch = makeWatch()
    const began = yield* Clock.currentTimeMillis
    const clock = yield* Effect.clockWith(Effect.succeed)
    const now = () => clock.currentTimeMillisUnsafe() - began
    const work = ({ branch, run }: typeof Params.Type) =>
      Effect.suspend(() => {
        const { log, scenario, started } = all[run]!
        const { deaf, how, millis, score } = scenario.branches[branch]!
        watch.entered++
        started.add(branch)
        const ends = how === "success" || how === "failure"
        const busy = deaf === true ? Effect.uninterruptible(Effect.sleep(200)) : Effect.never
        return (ends ? Effect.sleep(millis) : busy).pipe(
          Effect.flatMap(() => {
            log.push({ what: "end", branch, time: now(), ...(how === "success" ? { score } : undefined) })
            return how === "success" ? Effect.succeed({ score }) : Effect.fail("nothing found")
          }),
          Effect.onExit((exit) =>
            Effect.sync(() => {
              watch.left++
              const reason = Exit.isFailure(exit) ? CancelReason.fromCause(exit.cause) : undefined
              if (reason?._tag === "Timeout" && reason.clock === "attempt") {
                log.push({ what: "end", branch, time: now() })
              }
            })
          )
        )
      })
    const model = TestModel.script([], {
      otherwise: ({ prompt }) => {
        const [message] = prompt.content
        const [part] = message?.role === "user" ? message.content : []
        const run = part?.type === "text" ? Number(part.text) : 0
        return turnOf(all[run]!.scenario, run)
      }
    })
    const handlers = toolkit.toLayer(
      Object.fromEntries(Object.keys(toolkit.tools).map((name) => [name, work])) as never
    )
    const services = yield* Layer.build(Layer.merge(model, handlers))
    const context = Context.mergeAll(yield* Effect.context(), yield* watchedClock(watch), services)
    for (const [run, one] of all.entries()) {
      one.fiber = yield* Effect.forkChild(
        Orchestrator.stream({
          prompt: String(run),
          toolkit,
          runId: one.runId,
          maxSteps: 1,
          toolCallConcurrency: one.scenario.concurrency,
          completion: { g: policyOf(one.scenario) }
        }).pipe(
          Stream.runForEach((part) => Effect.sync(() => void one.parts.push({ part: part as AnyPart, time: now() }))),
          Effect.provideContext(context as Context.Context<never>)
        ) as Effect.Effect<void, unknown>
      )
    }
    for (const tick of [0, ...ticks, ticks.at(-1)! + 1000]) {
      yield* settle(tick - now())
      for (const one of all) {
        const { branches, cancelGroupAt, endsAt } = one.scenario
        if (endsAt?.tick === tick) {
          if (endsAt.how === "cancel") yield* Orchestrator.cancel({ runId: one.runId })
          else one.fiber!.interruptUnsafe()
        }
        for (const [branch, { how, millis }] of branches.entries()) {
          if (how !== "cancel" || millis !== tick) continue
          // Noted only where there is something to cancel.
          const at = one.log.length
          const told = yield* Orchestrator.cancel(
            { runId: one.runId, callId: idOf(branch) },
            CancelReason.branchCancelled("law")
          )
          if (told > 0) one.log.splice(at, 0, { what: "end", branch, time: now() })
        }
        if (cancelGroupAt === tick) {
          one.log.push({ what: "cancel", time: now() })
          yield* Orchestrator.cancel({ runId: one.runId, group: "g" }, CancelReason.branchCancelled("law"))
        }
      }
      yield* settle(0)
    }
    const runs = yield* Orchestrator.Runs
    const observed = all.map((one): Observed => ({
      scenario: one.scenario,
      happenings: timeline(one),
      started: one.started,
      parts: one.parts,
      exit: one.fiber?.pollUnsafe(),
      isLive: runs.has(one.runId)
    }))
    return { observed, quiet: { handlers: watch.entered - watch.left, sleeping: watch.sleeping } }
  }).pipe(Effect.scoped) as never

// What the model and the group's clock do stands in the scenario, at times of their own; what handlers did, in the log.
const timeline = ({ log, scenario }: Running): ReadonlyArray<Happening> => {
  const { branches, closedAt, within } = scenario
  const planned: Array<Happening> = branches.map(({ sealedAt }, branch) => ({ what: "join", branch, time: sealedAt }))
  planned.push({ what: "close", time: closedAt })
  const first = Math.min(...branches.map(({ sealedAt }) => sealedAt))
  if (within !== undefined) planned.push({ what: "expire", time: first + within })
  return [...planned, ...log].sort((a, b) => a.time - b.time)
}
