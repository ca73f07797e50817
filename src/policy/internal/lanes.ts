/**
 * From a request to its lane: the set of limits it passes. Requests with the same limits share one lane; limits are shared by
 * lanes. A tenant's limits, and a request's lane, are made when they are first needed and forgotten when nobody waits there.
 */
import { LaneQueue, LimitQueue } from "./lane.ts"
import type { Rule } from "./rule.ts"
import { formatRule } from "./ruleText.ts"
import type { Lane, Limit } from "./store.ts"

export interface RuleBook {
  readonly global: ReadonlyArray<Rule>
  readonly services: ReadonlyMap<string, ReadonlyArray<Rule>>
  readonly tenants: ReadonlyMap<string, ReadonlyArray<Rule>>
  readonly everyTenant: ReadonlyArray<Rule>
  readonly adaptive: boolean
}

/** Prepares a set of limits for the store. */
export type Prepare = (key: string, limits: ReadonlyArray<Limit>) => Lane

/** So many lanes are kept; beyond that, those nobody waits in are forgotten. */
const forgetAbove = 10_000

export class Lanes {
  /** Grows when rules do: a request resolves its lane again. */
  version = 0
  readonly hasTenants: boolean
  private readonly book: RuleBook
  private readonly prepare: Prepare
  private readonly due: (queue: LimitQueue) => void
  private readonly services: Map<string, Array<Rule>>
  private readonly queues = new Map<string, LimitQueue>()
  private forgetAt = forgetAbove
  private readonly lanes = new Map<string, LaneQueue>()
  // By service, for requests of nobody in particular.
  private readonly withTokens = new Map<string | undefined, Map<string | undefined, LaneQueue>>()
  private readonly withoutTokens = new Map<string | undefined, Map<string | undefined, LaneQueue>>()

  constructor(book: RuleBook, prepare: Prepare, due: (queue: LimitQueue) => void) {
    this.book = book
    this.prepare = prepare
    this.due = due
    this.services = new Map([...book.services].map(([name, rules]) => [name, [...rules]]))
    this.hasTenants = book.tenants.size > 0 || book.everyTenant.length > 0
  }

  /** The lane of a request. `tokens`: whether it passes limits counted in tokens. */
  resolve(service: string | undefined, tenant: string | undefined, tokens: boolean): LaneQueue {
    const of = this.hasTenants ? tenant : undefined
    const all = tokens ? this.withTokens : this.withoutTokens
    let known = all.get(of)
    if (known === undefined) {
      if (all.size >= forgetAbove) all.clear()
      all.set(of, known = new Map())
    }
    let lane = known.get(service)
    if (lane === undefined) {
      lane = this.find(service, of, tokens)
      if (known.size >= forgetAbove) known.clear()
      known.set(service, lane)
    }
    return lane
  }

  private find(service: string | undefined, tenant: string | undefined, tokens: boolean): LaneQueue {
    const limits = this.limitsOf(service, tenant).filter(({ rule }) => tokens || rule.unit === "calls")
    const key = limits.map((limit) => limit.key).join(" ")
    const known = this.lanes.get(key)
    if (known !== undefined) return known
    if (this.lanes.size >= this.forgetAt) this.forget()
    const lane = new LaneQueue(this.prepare(key, limits), limits.map((limit) => this.queueOf(limit)))
    this.lanes.set(key, lane)
    return lane
  }

  /** Adds a rule to a service. */
  add(service: string, rule: Rule): void {
    const rules = this.services.get(service)
    if (rules === undefined) this.services.set(service, [rule])
    else rules.push(rule)
    this.changed()
  }

  all(): Iterable<LaneQueue> {
    return this.lanes.values()
  }

  queue(key: string): LimitQueue | undefined {
    return this.queues.get(key)
  }

  /** The limits of a service, an adaptive one included. */
  limitsOf(service: string | undefined, tenant: string | undefined): ReadonlyArray<Limit> {
    const limits = limitsFrom("global", "global", this.book.global)
    if (service !== undefined) {
      const group = `service/${encode(service)}`
      limits.push(...limitsFrom(group, `service "${service}"`, this.services.get(service) ?? []))
      if (this.book.adaptive) limits.push(this.adaptiveLimit(service))
    }
    if (tenant !== undefined) {
      const rules = this.book.tenants.get(tenant) ?? this.book.everyTenant
      limits.push(...limitsFrom(`tenant/${encode(tenant)}`, `tenant "${tenant}"`, rules))
    }
    return limits
  }

  adaptiveLimit(service: string): Limit {
    const group = `service/${encode(service)}`
    const rule: Rule = { _tag: "Adaptive", unit: "calls" }
    return { key: `${group}/adaptive`, name: `service "${service}", ${formatRule(rule)}`, group, rule }
  }

  private queueOf(limit: Limit): LimitQueue {
    const known = this.queues.get(limit.key)
    if (known !== undefined) return known
    const queue = new LimitQueue(limit, this.due)
    this.queues.set(limit.key, queue)
    return queue
  }

  // Tenants come and go; what nobody waits for is made again when it is needed.
  private forget(): void {
    for (const [key, lane] of this.lanes) if (lane.isIdle) this.lanes.delete(key)
    const used = new Set([...this.lanes.values()].flatMap((lane) => lane.limits))
    for (const [key, queue] of this.queues) if (!used.has(queue)) this.queues.delete(key)
    this.forgetAt = Math.max(forgetAbove, 2 * this.lanes.size)
    this.changed()
  }

  private changed(): void {
    this.version++
    this.withTokens.clear()
    this.withoutTokens.clear()
  }
}

const limitsFrom = (group: string, name: string, rules: ReadonlyArray<Rule>): Array<Limit> =>
  rules.map((rule, index) => ({ key: `${group}/${index}`, name: `${name}, ${formatRule(rule)}`, group, rule }))

// A name may be anything; a key has no spaces, slashes or braces but its own.
const encode = (name: string): string => encodeURIComponent(name.toWellFormed())
