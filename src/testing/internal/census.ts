/**
 * What is left of a run: the fibers, sleeps, admissions and permits that began within it and have not ended.
 *
 * Everything is seen from outside, through the services that the run gets (its scheduler, clock and limiter) and the counts
 * that the engine keeps anyway; a run that nobody watches pays nothing. Places and resource locks are a run's own and go with it.
 */
import type * as Tool from "effect/ai/Tool"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import * as Scheduler from "effect/Scheduler"
import * as ToolPolicy from "../../domain/ToolPolicy.ts"
import * as Executor from "../../engine/Executor.ts"
import { Limiter } from "../../policy/Limiter.ts"
import { Activity } from "./activity.ts"
import { Watched } from "./watched.ts"
import type { LiveAdmission, LiveFiber } from "./watched.ts"

/**
 * Something that should have ended. `detail`: what it is, for people. `abandoned`: it belongs to a handler that was answered
 * without having ended, which the run itself has reported.
 */
export interface Orphan {
  readonly kind: "fiber" | "sleep" | "lease" | "permit" | "handler"
  readonly callId: string | undefined
  readonly name: string | undefined
  readonly detail: string
  readonly abandoned: boolean
}

export interface Census {
  /** Watches what is done in an effect. Inside of what moves its clock, so that the sleeps of that clock are seen. */
  readonly around: <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
  /** Who is left, when all that can happen without time has happened. */
  readonly alive: Effect.Effect<ReadonlyArray<Orphan>>
}

/** How long, in real time, fibers that go on and on may delay the count. */
const patience = "1 second"

/** What was taken before the run, by tool. */
interface Taken {
  readonly held: number
  readonly waiting: number
  readonly abandoned: number
  readonly handlers: number
}

/** A census of what is about to run. `tools`: those whose permits and handlers are counted. */
export const make = (options: { readonly tools: ReadonlyArray<Tool.Any> }): Effect.Effect<Census> =>
  Effect.map(takenOf(options.tools), (before) => {
    const watched = new Watched()
    const activity = new Activity()
    // Fibers that came from outside, and have gone on.
    const own = new WeakSet<Fiber.Fiber<unknown, unknown>>()
    let origin: number | undefined
    return {
      around: (effect) =>
        Effect.withFiber((fiber) => {
          origin ??= fiber.getRef(Clock.Clock).currentTimeMillisUnsafe()
          const watchedEffect = Effect.provideContext(effect, services(fiber.context, watched, activity))
          return Effect.ensuring(watchedEffect, Effect.sync(() => own.add(fiber)))
        }),
      alive: Effect.gen(function*() {
        yield* Effect.provideService(
          Effect.timeoutOption(activity.quiet, patience),
          Clock.Clock,
          Context.get(Context.empty(), Clock.Clock)
        )
        const caller = yield* Effect.withFiber((fiber) => Effect.succeed(fiber))
        const report = new Report(watched, origin ?? 0, (fiber) => own.has(fiber) || fiber === caller)
        const counts = countsOf(options.tools, before, yield* takenOf(options.tools))
        return [...report.running(counts), ...counts.flatMap(kept)]
      })
    }
  })

/** What takes the place of the run's own services. */
const services = (context: Context.Context<never>, watched: Watched, activity: Activity): Context.Context<never> => {
  const own: Context.Context<never> = Context.make(Clock.Clock, watched.clockOver(Context.get(context, Clock.Clock)))
    .pipe(
      Context.add(Scheduler.Scheduler, watched.scheduler(Context.get(context, Scheduler.Scheduler), activity))
    )
  const limiter = Option.getOrUndefined(Context.getOption(context, Limiter))
  return limiter === undefined ? own : Context.add(own, Limiter, watched.limiterOver(limiter))
}

/** Says who is left of what was seen; each fiber once, by the most that is known of it. */
class Report {
  private readonly watched: Watched
  private readonly origin: number
  private readonly isOwn: (fiber: Fiber.Fiber<unknown, unknown>) => boolean

  constructor(watched: Watched, origin: number, isOwn: (fiber: Fiber.Fiber<unknown, unknown>) => boolean) {
    this.watched = watched
    this.origin = origin
    this.isOwn = isOwn
  }

  running(counts: ReadonlyArray<Count>): ReadonlyArray<Orphan> {
    const { admissions, fibers, sleeps } = this.watched
    const leases = [...admissions].filter(({ fiber }) => !this.isOwn(fiber))
    const waiting = new Set(leases.map(({ fiber }) => fiber))
    const asleep = new Map([...sleeps].map(({ at, fiber }) => [fiber, at]))
    // A fiber that never lets its scheduler interrupt it shows itself only by what it does.
    const unseen = [...sleeps].filter(({ fiber }) => !fibers.has(fiber))
      .map(({ fiber, since }): LiveFiber => ({ fiber, context: fiber.context, startedAt: since }))
    const left = [...fibers.values(), ...unseen]
      .filter(({ fiber }) => !this.isOwn(fiber) && !waiting.has(fiber))
    return [
      ...left.map((live) => this.fiber(live, asleep.get(live.fiber))),
      ...this.leases(leases, counts)
    ]
  }

  private fiber({ context, startedAt }: LiveFiber, until: number | undefined): Orphan {
    const since = `started at ${this.since(startedAt)}`
    return until === undefined
      ? orphan("fiber", context, (whose) => `a fiber of ${whose}, ${since}`)
      : orphan("sleep", context, (whose) =>
        until === Infinity
          ? `a sleep of ${whose} that never ends, in a fiber ${since}`
          : `a sleep of ${whose} that ends at ${this.since(until)}, in a fiber ${since}`)
  }

  // The engine asks its limiter for a call outside of that call's own fiber: of a service's admissions, as many are those of
  // abandoned handlers as there are such handlers.
  private leases(admissions: ReadonlyArray<LiveAdmission>, counts: ReadonlyArray<Count>): ReadonlyArray<Orphan> {
    const excused = new Map<string | undefined, number>()
    for (const { handlers, service } of counts) excused.set(service, (excused.get(service) ?? 0) + handlers)
    return admissions.map((admission) => {
      const lease = this.lease(admission)
      const { service } = admission.request
      const left = excused.get(service) ?? 0
      if (lease.callId !== undefined || !admission.isHeld || left === 0) return lease
      excused.set(service, left - 1)
      return { ...lease, abandoned: true }
    })
  }

  private lease({ fiber, isHeld, request, since }: LiveAdmission): Orphan {
    const limiter = request.service === undefined ? "the limiter" : `the limiter for service "${request.service}"`
    return orphan("lease", fiber.context, (whose) =>
      isHeld
        ? `an admission by ${limiter}, held by ${whose} since ${this.since(since)}`
        : `a request to ${limiter} by ${whose}, waiting since ${this.since(since)}`)
  }

  private since(millis: number): string {
    return `${millis - this.origin} ms`
  }
}

const orphan = (
  kind: Orphan["kind"],
  context: Context.Context<never>,
  detail: (whose: string) => string
): Orphan => {
  const call = Option.getOrUndefined(Executor.callOf(context))
  return {
    kind,
    callId: call?.callId,
    name: call?.name,
    detail: detail(call === undefined ? "the run itself" : `call ${call.callId} (${call.name})`),
    abandoned: call?.abandoned === true
  }
}

// ---- what the engine counts ---------------------------------------------------------------------------------------------

const takenOf = (tools: ReadonlyArray<Tool.Any>): Effect.Effect<ReadonlyMap<string, Taken>> =>
  Effect.gen(function*() {
    const handlers = abandonedByTool(yield* Metric.snapshot)
    const taken = new Map<string, Taken>()
    for (const tool of tools) {
      const occupied = Option.getOrUndefined(yield* Executor.occupancy(tool))
      taken.set(tool.name, {
        held: occupied?.held ?? 0,
        waiting: occupied?.waiting ?? 0,
        abandoned: occupied?.abandoned ?? 0,
        handlers: handlers.get(tool.name) ?? 0
      })
    }
    return taken
  })

const abandonedByTool = (snapshot: ReadonlyArray<Metric.Metric.Snapshot>): ReadonlyMap<string, number> => {
  const counts = new Map<string, number>()
  for (const { attributes, id, state, type } of snapshot) {
    const tool = attributes?.["tool_name"]
    if (id !== "async_orchestrator_abandoned_handlers" || type !== "Gauge" || tool === undefined) continue
    counts.set(tool, Number(state.value))
  }
  return counts
}

const none: Taken = { held: 0, waiting: 0, abandoned: 0, handlers: 0 }

/** What a tool has taken since the census began. */
interface Count extends Taken {
  readonly name: string
  readonly service: string | undefined
}

const countsOf = (
  tools: ReadonlyArray<Tool.Any>,
  before: ReadonlyMap<string, Taken>,
  after: ReadonlyMap<string, Taken>
): ReadonlyArray<Count> =>
  tools.map((tool) => {
    const was = before.get(tool.name) ?? none
    const is = after.get(tool.name) ?? none
    const more = (field: keyof Taken): number => Math.max(is[field] - was[field], 0)
    const held = more("held")
    return {
      name: tool.name,
      service: ToolPolicy.read(tool).service,
      held,
      waiting: more("waiting"),
      abandoned: Math.min(more("abandoned"), held),
      handlers: more("handlers")
    }
  })

const kept = ({ abandoned, handlers, held, name, waiting }: Count): ReadonlyArray<Orphan> => {
  const permits = (count: number, by: string) => `${many(count, "permit")} of ${name}, held by ${by}`
  return [
    ...listed(
      "handler",
      name,
      handlers,
      true,
      `${many(handlers, "handler")} of ${name} that did not stop when told to, abandoned and still at work`
    ),
    ...listed("permit", name, abandoned, true, permits(abandoned, "abandoned handlers")),
    ...listed("permit", name, held - abandoned, false, permits(held - abandoned, "calls that are over")),
    ...listed("permit", name, waiting, false, `${many(waiting, "call")} of ${name}, waiting for a permit`)
  ]
}

const listed = (
  kind: Orphan["kind"],
  name: string,
  count: number,
  abandoned: boolean,
  detail: string
): ReadonlyArray<Orphan> => count === 0 ? [] : [{ kind, callId: undefined, name, detail, abandoned }]

const many = (count: number, what: string): string => count === 1 ? `1 ${what}` : `${count} ${what}s`
