/**
 * Whose turn it is in one lane. Higher priorities first; within one, tenants take turns; within a tenant, its flows (runs,
 * places) take turns; within a flow, who came first. A flow whose place is taken steps aside with all its waiters until its
 * place is free, so it holds up nobody.
 */
import { Ring } from "./ring.ts"
import type { Linked } from "./ring.ts"

/** What stands in a lane. */
export interface Turn<T extends Turn<T>> extends Linked<T> {
  readonly priority: number
  readonly tenant: unknown
  readonly flowKey: unknown
  readonly calls: number
  readonly tokens: number
  /** Set while it stands in line. */
  flow: Flow<T> | undefined
}

export class Flow<T extends Turn<T>> implements Linked<Flow<T>> {
  previous: Flow<T> | undefined
  next: Flow<T> | undefined
  readonly key: unknown
  readonly tenant: Tenant<T>
  readonly line = new Ring<T>()
  size = 0
  calls = 0
  tokens = 0
  closed = false
  private closedAt = 0
  private closedMillis = 0
  constructor(key: unknown, tenant: Tenant<T>) {
    this.key = key
    this.tenant = tenant
  }

  /** For how long it has been closed in all. */
  closedFor(now: number): number {
    return this.closedMillis + (this.closed ? now - this.closedAt : 0)
  }

  close(now: number): void {
    this.closed = true
    this.closedAt = now
  }

  open(now: number): void {
    this.closedMillis = this.closedFor(now)
    this.closed = false
  }
}

class Tenant<T extends Turn<T>> implements Linked<Tenant<T>> {
  previous: Tenant<T> | undefined
  next: Tenant<T> | undefined
  readonly key: unknown
  readonly band: Band<T>
  readonly flows = new Map<unknown, Flow<T>>()
  /** Flows that have waiters and are not closed. */
  readonly open = new Ring<Flow<T>>()
  constructor(key: unknown, band: Band<T>) {
    this.key = key
    this.band = band
  }
}

/** All of one priority. */
class Band<T extends Turn<T>> {
  readonly priority: number
  readonly tenants = new Map<unknown, Tenant<T>>()
  /** Tenants that have open flows. */
  readonly open = new Ring<Tenant<T>>()
  size = 0
  calls = 0
  tokens = 0
  constructor(priority: number) {
    this.priority = priority
  }
}

/** Cost ahead of a newcomer, at least. */
export interface Ahead {
  readonly calls: number
  readonly tokens: number
}

export class Turns<T extends Turn<T>> {
  /** Highest priority first. */
  private readonly bands: Array<Band<T>> = []
  private closedFlows = 0
  private stepped = 0
  size = 0

  /** How many stand in open flows. */
  get open(): number {
    return this.size - this.stepped
  }

  /** Lines up, last in its flow. */
  push(waiter: T): void {
    const flow = this.flowOf(waiter)
    flow.line.push(waiter)
    this.counted(waiter, flow, 1)
    if (flow.size === 1 && !flow.closed) enter(flow)
  }

  /** Puts back who was taken out by {@link shift}, with the turn it had. Several: the last taken first. */
  unshift(waiter: T): void {
    const flow = this.flowOf(waiter)
    if (flow.size > 0 && !flow.closed) exit(flow)
    flow.line.unshift(waiter)
    this.counted(waiter, flow, 1)
    if (flow.closed) return
    const { tenant } = flow
    if (tenant.open.first !== undefined) tenant.band.open.remove(tenant)
    tenant.open.unshift(flow)
    tenant.band.open.unshift(tenant)
  }

  /** Whose turn it is, if anyone may start at all. */
  peek(): T | undefined {
    for (const band of this.bands) {
      const tenant = band.open.first
      if (tenant !== undefined) return tenant.open.first!.line.first!
    }
    return undefined
  }

  /** Takes out whose turn it is; the turn goes on to the next flow, and to the next tenant. */
  shift(waiter: T): void {
    const flow = waiter.flow!
    const { tenant } = flow
    const { open } = tenant.band
    exit(flow)
    this.leaveLine(waiter, flow)
    if (tenant.open.first !== undefined) {
      open.remove(tenant)
      open.push(tenant)
    }
    if (flow.size > 0) enter(flow)
  }

  /** Leaves the line, wherever it stands. */
  remove(waiter: T): void {
    const flow = waiter.flow
    if (flow === undefined) return
    if (flow.size === 1 && !flow.closed) exit(flow)
    this.leaveLine(waiter, flow)
  }

  /** The flow's place is taken: its waiters step aside. */
  close(flow: Flow<T>, now: number): void {
    if (flow.closed || flow.size === 0) return
    exit(flow)
    flow.close(now)
    this.closedFlows++
    this.stepped += flow.size
  }

  /** The flow's place may be free. */
  reopen(flow: Flow<T>, now: number): void {
    // A flow that everybody left is forgotten, closed or not.
    if (!flow.closed || flow.size === 0) return
    flow.open(now)
    this.closedFlows--
    this.stepped -= flow.size
    enter(flow)
  }

  /**
   * What has its turn before a newcomer of this kind, at least: its own flow; while every flow is open, higher priorities and
   * one call of each flow that was there before a new one.
   */
  ahead(of: Pick<T, "priority" | "tenant" | "flowKey">): Ahead {
    let calls = 0
    let tokens = 0
    for (const band of this.bands) {
      if (band.priority > of.priority) {
        if (this.closedFlows > 0) continue
        calls += band.calls
        tokens += band.tokens
      } else if (band.priority === of.priority) {
        const tenant = band.tenants.get(of.tenant)
        const flow = tenant?.flows.get(of.flowKey)
        const others = flow !== undefined || this.closedFlows > 0 ? 0 : (tenant?.flows ?? band.tenants).size
        calls += (flow?.calls ?? 0) + others
        tokens += flow?.tokens ?? 0
      }
    }
    return { calls, tokens }
  }

  /** Everyone; those of one flow in their order. */
  all(): Array<T> {
    const everyone: Array<T> = []
    for (const band of this.bands) {
      for (const tenant of band.tenants.values()) {
        for (const flow of tenant.flows.values()) {
          for (let waiter = flow.line.first; waiter !== undefined; waiter = waiter.next) everyone.push(waiter)
        }
      }
    }
    return everyone
  }

  private flowOf(waiter: T): Flow<T> {
    const band = this.bandOf(waiter.priority)
    let tenant = band.tenants.get(waiter.tenant)
    if (tenant === undefined) {
      tenant = new Tenant(waiter.tenant, band)
      band.tenants.set(waiter.tenant, tenant)
    }
    let flow = tenant.flows.get(waiter.flowKey)
    if (flow === undefined) {
      flow = new Flow(waiter.flowKey, tenant)
      tenant.flows.set(waiter.flowKey, flow)
    }
    waiter.flow = flow
    return flow
  }

  private bandOf(priority: number): Band<T> {
    const at = this.bands.findIndex((band) => band.priority <= priority)
    const found = this.bands[at]
    if (found?.priority === priority) return found
    const band = new Band<T>(priority)
    this.bands.splice(at === -1 ? this.bands.length : at, 0, band)
    return band
  }

  private leaveLine(waiter: T, flow: Flow<T>): void {
    flow.line.remove(waiter)
    waiter.flow = undefined
    this.counted(waiter, flow, -1)
    if (flow.size > 0) return
    if (flow.closed) this.closedFlows--
    this.drop(flow)
  }

  private counted(waiter: T, flow: Flow<T>, sign: 1 | -1): void {
    const { band } = flow.tenant
    this.size += sign
    if (flow.closed) this.stepped += sign
    for (const counts of [flow, band]) {
      counts.size += sign
      counts.calls += sign * waiter.calls
      counts.tokens += sign * waiter.tokens
    }
  }

  private drop(flow: Flow<T>): void {
    const { tenant } = flow
    const { band } = tenant
    tenant.flows.delete(flow.key)
    if (tenant.flows.size > 0) return
    band.tenants.delete(tenant.key)
    if (band.tenants.size === 0) this.bands.splice(this.bands.indexOf(band), 1)
  }
}

// An open flow with waiters stands in its tenant's ring, and a tenant with such flows in its band's.
const enter = <T extends Turn<T>>(flow: Flow<T>): void => {
  const { tenant } = flow
  if (tenant.open.first === undefined) tenant.band.open.push(tenant)
  tenant.open.push(flow)
}

const exit = <T extends Turn<T>>(flow: Flow<T>): void => {
  const { tenant } = flow
  tenant.open.remove(flow)
  if (tenant.open.first === undefined) tenant.band.open.remove(tenant)
}
