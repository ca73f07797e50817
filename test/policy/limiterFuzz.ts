/**
 * Random programs on one to three limiters over one store, in virtual time, and what must hold of every one of them. A program
 * is drawn whole from its seed before it runs, so that what the limiter does changes nothing of what it is asked.
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import * as Limiter from "../../src/policy/Limiter.ts"
import { layerMemory, LimiterStore } from "../../src/policy/LimiterStore.ts"
import type { Change, Lane, Limit } from "../../src/policy/LimiterStore.ts"
import { random } from "../random.ts"
import { Wire } from "./askedStore.ts"
import { Steps } from "./steps.ts"

type Store = LimiterStore["Service"]

export interface Kind {
  /** The store is asked, over a wire; else it answers at once. */
  readonly asked: boolean
  /** The wire fails now and then. */
  readonly faulty: boolean
  readonly limiters: number
  readonly onStoreError: "open" | "closed" | "local"
  /** Nobody leaves, settles, closes or adds: what is rejected could really not have started. */
  readonly calm: boolean
}

interface Wanted {
  readonly id: string
  readonly at: number
  readonly limiter: number
  readonly request: Limiter.Request
  readonly place: number | undefined
  readonly takes: number
  readonly fails: boolean
  readonly leavesAt: number | undefined
  readonly settles: ReadonlyArray<number>
  /** Whom it interrupts in its first step. */
  readonly ends: number | undefined
}

const drawRule = ({ int, pick }: ReturnType<typeof random>): Limiter.Rule => {
  const window = pick([50, 333, 1000])
  switch (int(0, 6)) {
    case 0:
    case 1:
      return Limiter.slidingWindow({ limit: int(3, 8), window })
    case 2:
      return Limiter.tokenBucket({ capacity: int(3, 6), refill: int(1, 6), every: window })
    case 3:
      return Limiter.fixedWindow({ limit: int(3, 8), window })
    case 4:
      return Limiter.slidingWindow({ unit: "tokens", limit: int(100, 300), window })
    case 5:
      return Limiter.tokenBucket({ unit: "tokens", capacity: int(100, 200), refill: int(20, 200), every: window })
    default:
      return Limiter.permits(int(3, 5), { lease: pick([600, 30_000]) })
  }
}

const draw = (seed: number, kind: Kind) => {
  const generator = random(seed)
  const { chance, int, pick } = generator
  const rules = () => Array.from({ length: int(0, 2) }, () => drawRule(generator))
  const options: Limiter.Options & Limiter.StoreOptions = {
    global: chance(0.5) ? rules() : [],
    services: { a: rules(), b: rules(), c: [drawRule(generator)] },
    tenants: chance(0.3) ? rules() : {},
    onExceeded: chance(0.1) ? "fail" : "wait",
    maxWait: pick([400, 3000, 60_000]),
    ...(kind.asked ? { onStoreError: kind.onStoreError, probeInterval: 300 } : {})
  }
  const wanted = Array.from({ length: int(10, 60) }, (_, id): Wanted => {
    const at = int(0, 20) * 100 + (chance(0.5) ? int(0, 99) : 0)
    const speculative = chance(0.1)
    return {
      id: `r${id}`,
      at,
      limiter: int(0, kind.limiters - 1),
      request: {
        service: pick(["a", "a", "b", "c", undefined]),
        tenant: pick([undefined, "t", "u"]),
        run: pick([undefined, "x", "y"]),
        calls: chance(0.8) ? 1 : int(1, 3),
        tokens: chance(0.4) ? int(1, 100) : undefined,
        priority: chance(0.8) ? 0 : int(-1, 1),
        speculative,
        maxWait: chance(0.3) ? pick([0, 1, 150, 1000]) : undefined,
        deadline: chance(0.2) ? int(0, 2000) : undefined
      },
      place: chance(0.4) ? int(0, 1) : undefined,
      takes: chance(0.4) ? 0 : int(1, 400),
      fails: chance(0.2),
      leavesAt: !kind.calm && chance(0.25) ? at + int(0, 600) : undefined,
      settles: !kind.calm && chance(0.3) ? Array.from({ length: int(1, 2) }, () => pick([0, 1, 50, 150])) : [],
      ends: !kind.calm && chance(0.15) ? int(0, 30) : undefined
    }
  })
  return {
    options,
    wanted,
    places: [int(1, 3), int(1, 3)],
    shut: Array.from({ length: int(0, 2) }, () => ({ place: int(0, 1), at: int(0, 1500), until: int(1500, 3500) })),
    adds: kind.calm || chance(0.6)
      ? []
      : [{ at: int(200, 1500), service: pick(["a", "b"]), rule: drawRule(generator) }],
    closes: !kind.calm && chance(0.15) ? [{ at: int(300, 2500), limiter: int(0, kind.limiters - 1) }] : [],
    faults: kind.faulty
      ? Array.from({ length: int(1, 3) }, () => ({
        at: int(0, 2000),
        until: int(2000, 4000),
        state: pick(["down", "cut"] as const)
      }))
      : []
  }
}

interface Taken {
  readonly lane: string
  readonly limits: ReadonlyArray<Limit>
  readonly at: number
  readonly calls: number
  /** As the last change left them, to find it by. */
  tokens: number
  /** The least it ever counted for. */
  least: number
  returned: boolean
  released: boolean
}

/** A store that notes what it granted, and hears a release once though it be said twice. */
class Noted {
  readonly taken: Array<Taken> = []
  readonly faults: Array<string> = []
  /** Every change arrives, once. */
  readonly isSure: boolean

  constructor(isSure: boolean) {
    this.isSure = isSure
  }

  take(lane: Lane, calls: number, tokens: number, at: number): void {
    this.taken.push({
      lane: lane.key,
      limits: lane.limits,
      at,
      calls,
      tokens,
      least: tokens,
      returned: false,
      released: false
    })
    for (const { key, rule } of lane.limits) {
      if (rule._tag !== "Permits") continue
      const held = this.held(key, rule)
      if (held > rule.permits) this.faults.push(`${key}: ${held} permits of ${rule.permits} are held`)
    }
  }

  held(key: string, rule: Limiter.Rule): number {
    return this.taken.filter(({ limits, released }) =>
      !released && limits.some((limit) => limit.key === key && JSON.stringify(limit.rule) === JSON.stringify(rule))
    ).reduce((sum, { calls }) => sum + calls, 0)
  }

  /** Whether the change is to be applied. */
  change(change: Change): boolean {
    const { grantedAt, head, lane } = change.grant
    const isUnsure = grantedAt === 0
    const isIt = (each: Taken): boolean =>
      each.lane === lane.key && (isUnsure || each.at === grantedAt) && each.calls === head.calls &&
      each.tokens === head.tokens
    // What a call settles after its limiter has closed, and has given everything back, is no fault.
    const found = this.taken.find((each) => !each.released && isIt(each)) ??
      (change._tag === "Settle" ? this.taken.find(isIt) : undefined)
    if (found === undefined) {
      if (!isUnsure && this.isSure) {
        this.faults.push(`${change._tag} of what was not taken: ${lane.key} at ${grantedAt}`)
      }
      return false
    }
    if (change._tag === "Settle") {
      found.tokens = change.tokens
      found.least = Math.min(found.least, found.tokens)
      return true
    }
    found.released = true
    found.returned = change._tag === "Return"
    return true
  }
}

const noted = (store: Store, notes: Noted, asked: boolean): Store => {
  const inner = store.synchronous!
  if (!asked) {
    return LimiterStore.of({
      ...store,
      synchronous: {
        ...inner,
        now: inner.now,
        blockedBy: inner.blockedBy,
        takenAt: inner.takenAt,
        takeUnsafe: (lane, calls, tokens) => {
          const wait = inner.takeUnsafe(lane, calls, tokens)
          if (wait === 0) notes.take(lane, calls, tokens, inner.takenAt())
          return wait
        },
        changeUnsafe: (change) => {
          if (notes.change(change)) inner.changeUnsafe(change)
        }
      }
    })
  }
  const ids = new Set<string>()
  return LimiterStore.of({
    ...store,
    ask: (asks) =>
      Effect.tap(store.ask(asks), (answers) =>
        Effect.sync(() => {
          answers.forEach(({ granted, grantedAt }, i) => {
            for (const head of asks[i]!.heads.slice(0, granted)) {
              notes.take(asks[i]!.lane, head.calls, head.tokens, grantedAt)
              if (head.id !== "") ids.add(head.id)
            }
          })
        })),
    change: (changes) =>
      store.change(changes.filter((change) => {
        const { id } = change.grant.head
        if (id !== "" && change._tag !== "Settle" && !ids.delete(id)) return false
        return notes.change(change)
      }))
  })
}

/** Places beside the limits, as a caller keeps them. */
class Place {
  used = 0
  isShut = false
  readonly flow = {}
  private waiting: Array<() => void> = []
  readonly size: number
  constructor(size: number) {
    this.size = size
  }
  get isFree(): boolean {
    return !this.isShut && this.used < this.size
  }
  wake(): void {
    const { waiting } = this
    this.waiting = []
    for (const wake of waiting) wake()
  }
  onFree(wake: () => void): void {
    this.waiting.push(wake)
  }
}

interface Row {
  readonly wanted: Wanted
  state: "early" | "waiting" | "running" | "over"
  order: number
  startOrder: number
  arrivedAt: number
  startedAt: number
  overAt: number
  said: string
  taken: boolean
}

/** What became of one program. `faults` is empty where all that must hold held. */
export interface Outcome {
  readonly log: ReadonlyArray<string>
  readonly faults: ReadonlyArray<string>
  readonly started: number
  readonly rejected: number
}

export const play = (seed: number, kind: Kind): Outcome => {
  const plan = draw(seed, kind)
  const { next, pick } = random(seed ^ 0x5eed)
  // Fibers yield between any two of their steps, or hardly ever.
  const steps = new Steps(pick([2048, 2048, 64, 16, 5]))
  const clock = Context.get(steps.context, Clock.Clock)
  const now = () => Number(clock.monotonicTimeNanosUnsafe()) / 1e6
  const log: Array<string> = []
  const faults: Array<string> = []
  const notes = new Noted(!kind.faulty)
  const places = plan.places.map((size) => new Place(size))
  let order = 0
  let startOrder = 0
  const fibers: Array<Fiber.Fiber<unknown, unknown> | undefined> = []
  let limitsAt: Store["peek"] | undefined
  const rows = plan.wanted.map((wanted): Row => ({
    wanted,
    state: "early",
    order: 0,
    startOrder: 0,
    arrivedAt: 0,
    startedAt: 0,
    overAt: 0,
    said: "",
    taken: false
  }))
  const say = (text: string) => void log.push(`${now().toFixed(3)} ${text}`)
  const run = <A, E>(effect: Effect.Effect<A, E>) => Effect.runForkWith(steps.context)(effect)
  const soon = (task: () => void) => void run(Effect.andThen(Effect.yieldNow, Effect.sync(task)))
  const at = (millis: number, task: () => void) => void run(Effect.andThen(Effect.sleep(millis), Effect.sync(task)))

  const gateOf = (row: Row, place: Place): Limiter.Gate => ({
    flow: place.flow,
    tryTake: () => {
      if (row.taken) faults.push(`${row.wanted.id}: its place is taken twice`)
      if (row.state === "over") faults.push(`${row.wanted.id}: a place is taken for who has gone`)
      if (!place.isFree) return false
      place.used++
      row.taken = true
      return true
    },
    release: () => {
      if (!row.taken) faults.push(`${row.wanted.id}: a place is given back that was not taken`)
      row.taken = false
      place.used--
      soon(() => place.wake())
    },
    onFree: (wake) => place.isFree ? soon(wake) : place.onFree(wake)
  })

  const one = (row: Row, limiter: Limiter.Limiter["Service"]) => {
    const { wanted } = row
    const { ends, fails, id, request, settles, takes } = wanted
    const place = wanted.place === undefined ? undefined : places[wanted.place]!
    const admit = limiter.withAdmission(place === undefined ? request : { ...request, gate: gateOf(row, place) })
    const body = (lease: Limiter.Lease | undefined) =>
      Effect.suspend(() => {
        if (row.state !== "waiting") faults.push(`${id}: started while ${row.state}`)
        if (place !== undefined && !row.taken) faults.push(`${id}: started without its place`)
        row.state = "running"
        row.startOrder = ++startOrder
        row.startedAt = now()
        say(`${id} starts`)
        if (ends !== undefined && fibers[ends] !== fibers[rows.indexOf(row)]) fibers[ends]?.interruptUnsafe()
        return Effect.sleep(takes).pipe(
          Effect.when(Effect.succeed(takes > 0)),
          Effect.andThen(Effect.forEach(lease === undefined ? [] : settles, (tokens) => lease!.settle({ tokens }))),
          Effect.andThen(fails ? Effect.fail("failed") : Effect.void),
          Effect.ensuring(Effect.sync(() => {
            if (place === undefined) return
            row.taken = false
            place.used--
            place.wake()
          }))
        )
      })
    return Effect.suspend(() => {
      row.state = "waiting"
      row.order = ++order
      row.arrivedAt = now()
      return settles.length > 0 || takes % 2 === 1 ? admit(body) : admit(body(undefined))
    }).pipe(
      Effect.onExit((exit) =>
        Effect.sync(() => {
          row.state = "over"
          row.overAt = now()
          const error = Exit.isFailure(exit) ? exit.cause.reasons[0] : undefined
          row.said = error === undefined
            ? "ok"
            : error._tag === "Fail"
            ? error.error instanceof Limiter.Rejected ? error.error.reason : "failed"
            : error._tag
          say(`${id} ${row.said}`)
        })
      )
    )
  }

  const program = Effect.gen(function*() {
    const memory = Context.get(yield* Layer.build(Layer.fresh(layerMemory)), LimiterStore)
    const store = noted(memory, notes, kind.asked)
    limitsAt = memory.peek
    const limiters: Array<readonly [Limiter.Limiter["Service"], Scope.Closeable, Wire]> = []
    for (let i = 0; i < kind.limiters; i++) {
      const wire = new Wire()
      wire.delay = () => pick([0, 0.5, 2, 20]) * (next() < 0.02 && kind.faulty ? 20 : 1)
      const scope = yield* Scope.make()
      const context = yield* Layer.build(Layer.fresh(Limiter.layerStore(plan.options))).pipe(
        Scope.provide(scope),
        Effect.provideService(LimiterStore, kind.asked ? wire.over(store) : store)
      )
      limiters.push([Context.get(context, Limiter.Limiter), scope, wire])
    }
    for (const [index, row] of rows.entries()) {
      const { at: arrives, leavesAt, limiter } = row.wanted
      const [service] = limiters[limiter]!
      at(arrives, () => {
        const fiber: Fiber.Fiber<unknown, unknown> = run(one(row, service))
        fibers[index] = fiber
        if (leavesAt !== undefined) at(leavesAt - arrives, () => fiber.interruptUnsafe())
      })
    }
    for (const { at: shuts, place, until } of plan.shut) {
      at(shuts, () => void (places[place]!.isShut = true))
      at(until, () => {
        places[place]!.isShut = false
        places[place]!.wake()
      })
    }
    for (const { at: adds, rule, service } of plan.adds) {
      at(adds, () => limiters.forEach(([limiter]) => void run(limiter.add(service, rule))))
    }
    for (const { at: closes, limiter } of plan.closes) {
      at(closes, () => void run(Scope.close(limiters[limiter]![1], Exit.void)))
    }
    for (const { at: begins, state, until } of plan.faults) {
      at(begins, () => limiters.forEach(([, , wire]) => void (wire.state = state)))
      at(until, () => limiters.forEach(([, , wire]) => void (wire.state = "up")))
    }
    for (let i = 1; i < 30 && !kind.asked; i++) {
      const seen = new Set<Row>()
      at(i * 137 + 0.5, () => void run(stalled((row) => void seen.add(row))))
      // A timer may be late by a part of a millisecond.
      at(i * 137 + 1.75, () =>
        void run(stalled((row) => {
          if (seen.has(row)) faults.push(`${row.wanted.id} waits at ${now()} though all could pass`)
        })))
    }
    return limiters
  })

  // Nobody waits while all of a group of waiters could pass: where limits are shared, somebody must lack room.
  const stalled = (found: (row: Row) => void) =>
    Effect.gen(function*() {
      // Who has no place now may have had one when it was told to wait: the others stand behind it until then.
      const waiting = rows.filter(({ state }) => state === "waiting")
      const hasPlace = ({ wanted: { place } }: Row) => place === undefined || places[place]!.isFree
      if (waiting.length === 0 || plan.adds.length > 0 || plan.closes.length > 0) return
      const limits = waiting.map(({ wanted }) => limitsOf(plan.options, wanted.request))
      const blocked: Array<boolean> = []
      for (const [i, { wanted: { request: { calls = 1, tokens = 0 } } }] of waiting.entries()) {
        const states = yield* limitsAt!(limits[i]!)
        blocked.push(states.some((state, j) => {
          const { rule } = limits[i]![j]!
          const cost = rule.unit === "calls" ? calls : tokens
          if (cost === 0) return false
          if (state._tag === "Permits") return state.held + cost > (rule as { readonly permits: number }).permits
          if (state._tag === "Window") {
            return state.entries.reduce((sum, [, amount]) => sum + amount, 0) + cost >
              (rule as { readonly limit: number }).limit
          }
          if (state._tag !== "Bucket" || rule._tag !== "TokenBucket") return false
          const perUnit = rule.everyMillis / rule.refill
          return state.fullInMillis + cost * perUnit > rule.capacity * perUnit - 1e-6
        }))
      }
      for (const [i, row] of waiting.entries()) {
        if (!hasPlace(row)) continue
        const group = new Set([i])
        const keys = new Set(limits[i]!.map(({ key }) => key))
        for (let grown = -1; grown !== group.size;) {
          grown = group.size
          limits.forEach((each, j) => {
            if (!each.some(({ key }) => keys.has(key))) return
            group.add(j)
            for (const { key } of each) keys.add(key)
          })
        }
        if ([...group].every((j) => !blocked[j])) found(row)
      }
    })

  const setup = run(program.pipe(Effect.scoped, Effect.provideService(Scope.Scope, Scope.makeUnsafe())))
  try {
    steps.finish()
  } catch (error) {
    faults.push(String(error))
  }
  for (const { state, taken, wanted } of rows) {
    if (state !== "over") faults.push(`${wanted.id} is still ${state}`)
    if (taken) faults.push(`${wanted.id} has a place still`)
  }
  for (const [i, { used }] of places.entries()) if (used !== 0) faults.push(`place ${i}: ${used} are taken still`)
  faults.push(...notes.faults, ...overLimits(notes), ...outOfOrder(rows, kind, plan), ...tooEarly(rows, kind))
  // A closed limiter may have left what its last command did.
  const isSure = !kind.faulty
  for (const { calls, lane, limits, released } of notes.taken) {
    if (isSure && !released && limits.some(({ rule }) => rule._tag === "Permits")) {
      faults.push(`${lane}: ${calls} permits are held still`)
    }
  }
  const exit = setup.pollUnsafe()
  if (exit === undefined || Exit.isFailure(exit)) faults.push("the limiters were not built")
  return {
    log,
    faults,
    started: rows.filter(({ startOrder }) => startOrder > 0).length,
    rejected: rows.filter(({ said, startOrder }) => startOrder === 0 && said !== "Interrupt").length
  }
}

const limitsOf = ({ global, services = {}, tenants }: Limiter.Options, request: Limiter.Request) => {
  const listed = (group: string, rules: unknown): Array<Limit> =>
    (Array.isArray(rules) ? rules as Array<Limiter.Rule> : []).map((rule, index) => ({
      key: `${group}/${index}`,
      name: "",
      group,
      rule
    }))
  return [
    ...listed("global", global),
    ...(request.service === undefined ? [] : listed(`service/${request.service}`, services[request.service])),
    ...(request.tenant === undefined ? [] : listed(`tenant/${request.tenant}`, tenants))
  ].filter(({ rule }) => rule.unit === "calls" || request.tokens !== undefined)
}

const overLimits = ({ taken }: Noted): ReadonlyArray<string> => {
  const limits = new Map<string, { readonly limit: Limit; readonly entries: Array<readonly [number, number]> }>()
  for (const { at, calls, least, limits: passed, returned } of taken) {
    if (returned) continue
    for (const limit of passed) {
      const id = `${limit.key} ${JSON.stringify(limit.rule)}`
      if (!limits.has(id)) limits.set(id, { limit, entries: [] })
      limits.get(id)!.entries.push([at, limit.rule.unit === "calls" ? calls : least])
    }
  }
  return [...limits].flatMap(([id, { entries, limit: { rule } }]) => {
    for (const [i, [from]] of entries.entries()) {
      let sum = 0
      for (const [at, cost] of entries.slice(i)) {
        sum += cost
        const span = at - from
        if (rule._tag === "SlidingWindow" && span < rule.windowMillis && sum > rule.limit) return [`${id}: ${sum}`]
        if (rule._tag === "FixedWindow" && span < rule.windowMillis && sum > 2 * rule.limit) return [`${id}: ${sum}`]
        if (rule._tag !== "TokenBucket") continue
        if (sum > rule.capacity + span * rule.refill / rule.everyMillis + 1e-6) return [`${id}: ${sum} in ${span}`]
      }
    }
    return []
  })
}

const flowOf = ({ limiter, place, request: { priority, run, service, tenant, tokens } }: Wanted): string =>
  JSON.stringify([limiter, place ?? run, place, service, tenant, priority, tokens === undefined])

// Within a flow, who came first starts first.
const outOfOrder = (rows: ReadonlyArray<Row>, kind: Kind, plan: ReturnType<typeof draw>): ReadonlyArray<string> => {
  if (kind.faulty && kind.onStoreError === "open") return []
  if (plan.adds.length > 0 || plan.options.onExceeded === "fail") return []
  const last = new Map<string, Row>()
  return rows.filter(({ startOrder, wanted }) => startOrder > 0 && wanted.request.speculative !== true)
    .toSorted((a, b) => a.order - b.order)
    .flatMap((row) => {
      const flow = flowOf(row.wanted)
      const before = last.get(flow)
      last.set(flow, row)
      return before === undefined || before.startOrder < row.startOrder
        ? []
        : [`${row.wanted.id} starts before ${before.wanted.id}`]
    })
}

// Who is turned away at once would have come before a later one of its flow that costs no less and starts in its time.
const tooEarly = (rows: ReadonlyArray<Row>, kind: Kind): ReadonlyArray<string> => {
  if (!kind.calm || kind.asked || kind.limiters > 1) return []
  return rows.flatMap((row) => {
    const { id, request } = row.wanted
    const { maxWait } = request
    if (row.said !== "MaxWait" || typeof maxWait !== "number" || row.overAt > row.arrivedAt) return []
    const later = rows.find((other) =>
      other.startOrder > 0 && other.order > row.order && flowOf(other.wanted) === flowOf(row.wanted) &&
      other.wanted.request.speculative !== true &&
      (other.wanted.request.calls ?? 1) >= (request.calls ?? 1) &&
      (other.wanted.request.tokens ?? 0) >= (request.tokens ?? 0) && other.startedAt <= row.arrivedAt + maxWait
    )
    return later === undefined ? [] : [`${id} was turned away, and ${later.wanted.id} started in its time`]
  })
}
