/**
 * Limits in this process's memory. Every operation is one synchronous step, so it is atomic by itself; time is the monotonic
 * reading of the `Clock` the layer was built with.
 */
import type * as Clock from "effect/Clock"
import { AdaptiveRate } from "./adaptiveRate.ts"
import { makeState } from "./makeState.ts"
import { Batch, shortOf, waitBehind } from "./memoryAsk.ts"
import { type Cell, Cells, type MemoryLane } from "./memoryLane.ts"
import { settle } from "./ruleState.ts"
import type { Answer, Ask, Change, Grant, Lane, Limit, LimitState, Signal, Synchronous } from "./store.ts"
import { millisOf } from "./time.ts"
import { Waiters } from "./waiters.ts"

type Listener = (keys: ReadonlyArray<string>) => void

// Every so many takes as many cells are looked at, to drop those that are idle.
const sweepEvery = 256

export class MemoryStore implements Synchronous {
  private readonly clock: Clock.Clock
  private readonly startNanos: bigint
  private readonly cells = new Cells()
  private readonly waiters = new Waiters()
  private readonly listeners = new Set<Listener>()
  private last = 0
  private takes = 0
  private blocked = -1

  constructor(clock: Clock.Clock) {
    this.clock = clock
    // Times count from here: small numbers keep their fractions exact for years.
    this.startNanos = clock.monotonicTimeNanosUnsafe()
  }

  now = (): number => {
    const now = millisOf(Number(this.clock.monotonicTimeNanosUnsafe() - this.startNanos))
    if (now > this.last) this.last = now
    return this.last
  }

  /** How many limits have a state now. */
  get size(): number {
    return this.cells.size
  }

  /** In how many lanes somebody waits, as far as owners told. */
  get waitingLanes(): number {
    return this.waiters.size
  }

  lane = (key: string, limits: ReadonlyArray<Limit>, owner = ""): MemoryLane => {
    const now = this.now()
    return {
      key,
      owner,
      limits,
      cells: limits.map((limit) => this.cells.get(limit, now)),
      hasPermits: limits.some((limit) => limit.rule._tag === "Permits")
    }
  }

  takeUnsafe = (lane: Lane, calls: number, tokens: number, slack = 0): number => {
    const { cells } = lane as MemoryLane
    const now = this.now()
    if (slack > 0) {
      const short = shortOf(this.current(lane), lane.owner, now, { calls, tokens, slack })
      if (short !== undefined) {
        this.blocked = short.blockedBy
        return short.waitMillis
      }
    }
    let longest = 0
    for (let i = 0; i < cells.length; i++) {
      let cell = cells[i]!
      if (!cell.isKept) cell = cells[i] = this.cells.revive(cell)
      const cost = cell.isTokens ? tokens : calls
      if (cost === 0) continue
      const wait = cell.claims === undefined && cost <= cell.capacity
        ? cell.bucket === undefined ? cell.state.wait(now, cost) : cell.bucket.wait(now, cost)
        : waitBehind(cell, lane.owner, now, cost)
      if (wait > longest) {
        longest = wait
        this.blocked = i
      }
    }
    if (longest > 0) return longest
    for (let i = 0; i < cells.length; i++) {
      const cell = cells[i]!
      const cost = cell.isTokens ? tokens : calls
      if (cost === 0) continue
      if (cell.bucket === undefined) cell.state.take(now, cost)
      else cell.bucket.take(now, cost)
    }
    if (++this.takes % sweepEvery === 0) this.cells.sweep(now, sweepEvery)
    return 0
  }

  blockedBy = (): number => this.blocked

  takenAt = (): number => this.last

  ask = (asks: ReadonlyArray<Ask>): ReadonlyArray<Answer> => {
    const now = this.now()
    const batch = new Batch(now, this.waiters)
    this.waiters.sweep(now)
    this.cells.sweep(now, 2)
    return asks.map((ask) => batch.answer(ask, this.current(ask.lane)))
  }

  changeUnsafe = (change: Change): void => {
    const { lane } = change.grant
    if (change._tag === "Release" && !(lane as MemoryLane).hasPermits) return
    const now = this.now()
    const keys: Array<string> = []
    for (const cell of this.current(lane)) {
      if (applyChange(cell, now, change)) keys.push(cell.key)
    }
    if (keys.length === 0) return
    for (const listener of this.listeners) listener(keys)
  }

  feedback = (limit: Limit, signal: Signal): void => {
    const now = this.now()
    const { state } = this.cells.get(limit, now)
    if (state instanceof AdaptiveRate) state.observe(now, signal)
  }

  peek = (limits: ReadonlyArray<Limit>): ReadonlyArray<LimitState> => {
    const now = this.now()
    return limits.map((limit) => (this.cells.find(limit)?.state ?? makeState(limit.rule)).peek(now))
  }

  listen = (listener: Listener): () => void => {
    // One listener may be registered twice.
    const own: Listener = (keys) => listener(keys)
    this.listeners.add(own)
    return () => this.listeners.delete(own)
  }

  private current(lane: Lane): Array<Cell> {
    const { cells } = lane as MemoryLane
    for (let i = 0; i < cells.length; i++) {
      if (!cells[i]!.isKept) cells[i] = this.cells.revive(cells[i]!)
    }
    return cells
  }
}

const costOf = (cell: Cell, grant: Grant): number => cell.isTokens ? grant.head.tokens : grant.head.calls

const applyChange = (cell: Cell, now: number, change: Change): boolean => {
  const { grant } = change
  const cost = costOf(cell, grant)
  // What was settled to nothing may be settled once more.
  if (cost === 0 && change._tag !== "Settle") return false
  switch (change._tag) {
    case "Return":
      return cell.state.giveBack(grant.grantedAt, now, cost)
    case "Release":
      return cell.isPermits && cell.state.giveBack(grant.grantedAt, now, cost)
    case "Settle":
      return cell.isTokens && settle(cell.state, grant.grantedAt, now, cost, change.tokens)
  }
}
