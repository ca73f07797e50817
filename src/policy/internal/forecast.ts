/**
 * A dry run: when requests would start if all were made now, in their order. States as the store shows them, a virtual clock,
 * and the turn rules of the limiter: a lane parks at the limit that blocks it, and a lane that waits for its own limit holds
 * up nobody at a shared one.
 */
import { Agenda, type Entry } from "./agenda.ts"
import { restoreState } from "./makeState.ts"
import type { RuleState } from "./ruleState.ts"
import type { Lane, Limit, LimitState } from "./store.ts"
import { type Flow, type Turn, Turns } from "./turns.ts"

/** A request of a dry run, with its lane. */
export interface Wish {
  readonly lane: Pick<Lane, "key" | "limits">
  readonly calls: number
  readonly tokens: number
  readonly priority: number
  readonly tenant: unknown
  readonly flowKey: unknown
  /** How long it holds its permits. */
  readonly takesMillis: number
}

/**
 * When a request starts, and the name of the limit it waited for longest. `Infinity`: it never does, or when a permit that is
 * held now comes back, which nobody knows.
 */
export interface Start {
  readonly startMillis: number
  readonly waitsFor: string | undefined
}

/** Every limit of the requests once: what is to be peeked at. */
export const limitsOf = (wishes: ReadonlyArray<Pick<Wish, "lane">>): ReadonlyArray<Limit> => {
  const limits = new Map<string, Limit>()
  for (const { lane } of wishes) for (const limit of lane.limits) limits.set(limit.key, limit)
  return [...limits.values()]
}

/** `states` are those of {@link limitsOf}, in its order. Requests that wait already are to stand first. */
export const forecast = (wishes: ReadonlyArray<Wish>, states: ReadonlyArray<LimitState>): ReadonlyArray<Start> => {
  const simulation = new Simulation(limitsOf(wishes), states)
  return simulation.run(wishes)
}

/** A limit, and the lanes parked at it, oldest turn first. */
interface Site extends Entry {
  readonly name: string
  readonly isTokens: boolean
  readonly isPermits: boolean
  readonly state: RuleState
  readonly parked: Array<Queue>
  /** What the head costs that its time was told to. */
  calls: number
  tokens: number
}

/** A lane, and how long it was parked where. */
interface Queue {
  readonly sites: ReadonlyArray<Site>
  readonly turns: Turns<Pending>
  readonly parkedMillis: Map<Site, number>
  ticket: number
  parkedAt: Site | undefined
  parkedSince: number
}

class Pending implements Turn<Pending> {
  previous: Pending | undefined
  next: Pending | undefined
  flow: Flow<Pending> | undefined
  readonly wish: Wish
  readonly index: number

  constructor(wish: Wish, index: number) {
    this.wish = wish
    this.index = index
  }

  get priority(): number {
    return this.wish.priority
  }
  get tenant(): unknown {
    return this.wish.tenant
  }
  get flowKey(): unknown {
    return this.wish.flowKey
  }
  get calls(): number {
    return this.wish.calls
  }
  get tokens(): number {
    return this.wish.tokens
  }
}

class Simulation {
  private readonly agenda = new Agenda()
  private readonly sites = new Map<string, Site>()
  private readonly queues = new Map<string, Queue>()
  private readonly starts: Array<Start> = []
  private readonly hastened = new Set<Site>()
  private now = 0
  private tickets = 0

  constructor(limits: ReadonlyArray<Limit>, states: ReadonlyArray<LimitState>) {
    for (const [i, limit] of limits.entries()) {
      const site: Site = {
        at: 0,
        rank: 1,
        index: -1,
        fire: () => this.due(site),
        name: limit.name,
        isTokens: limit.rule.unit === "tokens",
        isPermits: limit.rule._tag === "Permits",
        state: restoreState(limit.rule, states[i]!),
        parked: [],
        calls: 0,
        tokens: 0
      }
      this.sites.set(limit.key, site)
    }
  }

  run(wishes: ReadonlyArray<Wish>): ReadonlyArray<Start> {
    for (const [index, wish] of wishes.entries()) this.arrive(new Pending(wish, index))
    for (const site of this.hastened) this.due(site)
    for (let entry = this.agenda.first; entry !== undefined; entry = this.agenda.first) {
      this.agenda.remove(entry)
      this.now = Math.max(this.now, entry.at)
      entry.fire()
    }
    for (const queue of this.queues.values()) {
      for (const pending of queue.turns.all()) this.never(pending, queue.parkedAt)
    }
    return this.starts
  }

  private arrive(pending: Pending): void {
    const queue = this.queueOf(pending.wish)
    const tooSmall = queue.sites.find((site) => costAt(site, pending) > site.state.capacity)
    if (tooSmall !== undefined) return this.never(pending, tooSmall)
    queue.turns.push(pending)
    if (queue.parkedAt !== undefined) return this.hasten(queue, queue.parkedAt)
    queue.ticket = ++this.tickets
    const elder = behind(queue)
    if (elder === undefined) this.serve(queue)
    else this.park(queue, elder)
  }

  // Who is ahead now may cost less than the one its limit's time was told to: it tries when all have come.
  private hasten(queue: Queue, site: Site): void {
    const head = queue.turns.peek()
    if (site.parked[0] !== queue || head === undefined) return
    if (head.calls < site.calls || head.tokens < site.tokens) this.hastened.add(site)
  }

  private serve(queue: Queue): void {
    while (queue.parkedAt === undefined && queue.turns.peek() !== undefined) {
      const blocked = this.tryHead(queue)
      if (blocked !== undefined) this.park(queue, blocked.site, blocked.waitMillis)
    }
  }

  private due(site: Site): void {
    while (site.parked.length > 0) {
      const queue = site.parked[0]!
      const elder = behind(queue, site)
      if (elder !== undefined) {
        this.unpark(queue)
        this.park(queue, elder)
        continue
      }
      const blocked = this.tryHead(queue)
      if (blocked === undefined) continue
      if (blocked.site === site) return this.wait(site, blocked.waitMillis)
      this.unpark(queue)
      this.park(queue, blocked.site, blocked.waitMillis)
    }
  }

  private tryHead(queue: Queue): { readonly site: Site; readonly waitMillis: number } | undefined {
    const pending = queue.turns.peek()!
    let waitMillis = 0
    let slowest: Site | undefined
    for (const site of queue.sites) {
      const cost = costAt(site, pending)
      const wait = cost === 0 ? 0 : site.state.wait(this.now, cost)
      if (wait <= waitMillis) continue
      waitMillis = wait
      slowest = site
    }
    if (slowest !== undefined) return { site: slowest, waitMillis }
    for (const site of queue.sites) this.take(site, pending)
    queue.turns.shift(pending)
    this.start(queue, pending)
    return undefined
  }

  private take(site: Site, { calls, wish, tokens }: Pending): void {
    const cost = site.isTokens ? tokens : calls
    if (cost === 0) return
    // Who takes no time has given its permits back before the next one tries.
    if (site.isPermits && wish.takesMillis === 0) return
    site.state.take(this.now, cost)
    if (!site.isPermits || wish.takesMillis === Number.POSITIVE_INFINITY) return
    const at = this.now + wish.takesMillis
    const comesBack = () => {
      site.state.giveBack(this.now, this.now, cost)
      this.due(site)
    }
    this.agenda.set({ at, rank: 0, index: -1, fire: comesBack }, at)
  }

  // A turn ends with a grant: a lane with more waiters goes to the end of the queue it stands in.
  private start(queue: Queue, pending: Pending): void {
    const site = queue.parkedAt
    queue.ticket = ++this.tickets
    if (site !== undefined) {
      this.unpark(queue)
      if (queue.turns.peek() !== undefined) this.park(queue, site)
    }
    const waits = [...queue.parkedMillis].sort((a, b) => b[1] - a[1])
    const waitsFor = this.now > 0 ? waits[0]?.[0].name : undefined
    this.starts[pending.index] = { startMillis: this.now, waitsFor }
  }

  private never(pending: Pending, site: Site | undefined): void {
    this.starts[pending.index] = { startMillis: Number.POSITIVE_INFINITY, waitsFor: site?.name }
  }

  private park(queue: Queue, site: Site, waitMillis?: number): void {
    let at = site.parked.length
    while (at > 0 && site.parked[at - 1]!.ticket > queue.ticket) at--
    site.parked.splice(at, 0, queue)
    queue.parkedAt = site
    queue.parkedSince = this.now
    if (waitMillis !== undefined && at === 0) this.wait(site, waitMillis)
  }

  private unpark(queue: Queue): void {
    const site = queue.parkedAt!
    site.parked.splice(site.parked.indexOf(queue), 1)
    queue.parkedAt = undefined
    queue.parkedMillis.set(site, (queue.parkedMillis.get(site) ?? 0) + this.now - queue.parkedSince)
    if (site.parked.length === 0) this.agenda.remove(site)
  }

  private wait(site: Site, waitMillis: number): void {
    const head = site.parked[0]?.turns.peek()
    site.calls = head?.calls ?? 0
    site.tokens = head?.tokens ?? 0
    if (waitMillis === Number.POSITIVE_INFINITY) this.agenda.remove(site)
    else this.agenda.set(site, this.now + waitMillis)
  }

  private queueOf({ lane }: Wish): Queue {
    const known = this.queues.get(lane.key)
    if (known !== undefined) return known
    const queue: Queue = {
      sites: lane.limits.map((limit) => this.sites.get(limit.key)!),
      turns: new Turns(),
      parkedMillis: new Map(),
      ticket: 0,
      parkedAt: undefined,
      parkedSince: 0
    }
    this.queues.set(lane.key, queue)
    return queue
  }
}

const costAt = (site: Site, { calls, tokens }: Pending): number => site.isTokens ? tokens : calls

const behind = (queue: Queue, except?: Site): Site | undefined =>
  queue.sites.find((site) => site !== except && site.parked.length > 0 && site.parked[0]!.ticket < queue.ticket)
