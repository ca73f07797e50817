/**
 * One batch of asks on the memory store: order, shares and claims, as the contract of `LimiterStore.ask` says.
 */
import type { Cell, Claim } from "./memoryLane.ts"
import { reserveOf } from "./ruleState.ts"
import { type Answer, type Ask, type Head, keptMillis } from "./store.ts"
import type { Waiters } from "./waiters.ts"

// A claim stands in the way and its limit cannot say when it will be served: ask again then.
const claimRetryMillis = 10

/** How long `cost` waits at a cell, with room left for what older claims of others want. */
export const waitBehind = (cell: Cell, owner: string, now: number, cost: number): number => {
  if (cost > cell.capacity) return Number.POSITIVE_INFINITY
  const wanted = cost + claimedBefore(cell, owner, now)
  const wait = cell.state.wait(now, Math.min(wanted, cell.capacity))
  return wait > 0 || wanted <= cell.capacity ? wait : claimRetryMillis
}

const claimedBefore = (cell: Cell, owner: string, now: number): number => {
  if (cell.claims === undefined) return 0
  const claims = cell.claims.filter((claim) => claim.until > now)
  cell.claims = claims.length === 0 ? undefined : claims
  const own = claims.findIndex((claim) => claim.owner === owner)
  return (own < 0 ? claims : claims.slice(0, own)).reduce((sum, claim) => sum + claim.cost, 0)
}

/** The limit that would have too little left after a head with slack. */
export const shortOf = (
  cells: ReadonlyArray<Cell>,
  owner: string,
  now: number,
  head: Omit<Head, "id">
): Refusal | undefined => {
  let longest: Refusal | undefined
  for (const [blockedBy, cell] of cells.entries()) {
    const cost = costOf(cell, head)
    if (cost === 0) continue
    const waitMillis = waitBehind(cell, owner, now, cost + reserveOf(cell.capacity, head.slack ?? 0))
    if (waitMillis > (longest?.waitMillis ?? 0)) longest = { waitMillis, blockedBy }
  }
  return longest
}

interface Refusal {
  readonly waitMillis: number
  readonly blockedBy: number
}

export class Batch {
  private readonly now: number
  private readonly waiters: Waiters
  // What blocked an earlier ask of this batch, and for how long.
  private readonly closed = new Map<Cell, number>()

  constructor(now: number, waiters: Waiters) {
    this.now = now
    this.waiters = waiters
  }

  answer(ask: Ask, cells: ReadonlyArray<Cell>): Answer {
    const { heads, lane } = ask
    const others = this.waiters.others(lane.key, lane.owner, this.now)
    const budgets = others === 0 ? undefined : this.shares(ask, cells, others)
    let granted = 0
    let refusal: Refusal | undefined
    while (granted < heads.length) {
      refusal = this.refusal(ask, cells, heads[granted]!)
      if (refusal === undefined && (granted > 0 || isGuess(heads[0]!))) {
        refusal = this.overShare(ask, cells, heads[granted]!, budgets)
      }
      if (refusal !== undefined) break
      this.take(cells, heads[granted]!, budgets)
      granted++
    }
    const { blockedBy, waitMillis } = refusal ?? { waitMillis: 0, blockedBy: -1 }
    const waiting = Math.max(0, ask.waiting - granted)
    this.claim(ask, cells, refusal, heads[granted])
    this.waiters.register(lane.key, lane.owner, waiting, this.now + keptMillis(waitMillis))
    return { granted, grantedAt: this.now, waitMillis, blockedBy, waiting: waiting + others }
  }

  private refusal(ask: Ask, cells: ReadonlyArray<Cell>, head: Head): Refusal | undefined {
    let waitMillis = 0
    let blockedBy = -1
    for (let i = 0; i < cells.length; i++) {
      const cell = cells[i]!
      const cost = costOf(cell, head)
      if (cost === 0) continue
      const wanted = cost + reserveOf(cell.capacity, head.slack ?? 0)
      const wait = Math.max(waitBehind(cell, ask.lane.owner, this.now, wanted), this.closed.get(cell) ?? 0)
      if (wait <= waitMillis) continue
      waitMillis = wait
      blockedBy = i
    }
    if (blockedBy < 0) return undefined
    const cell = cells[blockedBy]!
    // A guess closes no limit: others need less of it.
    if (!isGuess(head) && costOf(cell, head) <= cell.capacity) this.closed.set(cell, waitMillis)
    return { waitMillis, blockedBy }
  }

  private shares(ask: Ask, cells: ReadonlyArray<Cell>, others: number): Array<number> {
    const share = ask.waiting / (ask.waiting + others)
    return cells.map((cell) => Math.ceil(cell.state.free(this.now) * share))
  }

  private overShare(
    ask: Ask,
    cells: ReadonlyArray<Cell>,
    head: Head,
    budgets: ReadonlyArray<number> | undefined
  ): Refusal | undefined {
    if (budgets === undefined) return undefined
    const blockedBy = cells.findIndex((cell, i) => costOf(cell, head) > budgets[i]!)
    if (blockedBy < 0) return undefined
    const cell = cells[blockedBy]!
    const left = this.waiters.othersUntil(ask.lane.key, ask.lane.owner) - this.now
    return { waitMillis: Math.min(cell.state.refillMillis(this.now, costOf(cell, head)), left), blockedBy }
  }

  private take(cells: ReadonlyArray<Cell>, head: Head, budgets: Array<number> | undefined): void {
    for (let i = 0; i < cells.length; i++) {
      const cost = costOf(cells[i]!, head)
      if (cost === 0) continue
      cells[i]!.state.take(this.now, cost)
      if (budgets !== undefined) budgets[i]! -= cost
    }
  }

  // The claims of a lane follow its first head that did not pass.
  private claim(ask: Ask, cells: ReadonlyArray<Cell>, refusal: Refusal | undefined, head: Head | undefined): void {
    const { lane } = ask
    for (let i = 0; i < cells.length; i++) {
      const cell = cells[i]!
      const cost = head === undefined || isGuess(head) ? 0 : costOf(cell, head)
      const isClaimed = refusal?.blockedBy === i && cost > 1 && cost <= cell.capacity
      const own = cell.claims?.find((claim) => claim.owner === lane.owner)
      if (isClaimed) {
        const until = this.now + keptMillis(refusal.waitMillis)
        if (own === undefined) (cell.claims ??= []).push({ owner: lane.owner, lane: lane.key, cost, until })
        else if (own.lane === lane.key) Object.assign(own, { cost, until })
      } else if (own?.lane === lane.key) {
        drop(cell, own)
      }
    }
  }
}

const drop = (cell: Cell, claim: Claim): void => {
  const claims = cell.claims!.filter((other) => other !== claim)
  cell.claims = claims.length === 0 ? undefined : claims
}

const isGuess = ({ slack }: Head): boolean => slack !== undefined && slack > 0

const costOf = (cell: Cell, head: Omit<Head, "id">): number => cell.isTokens ? head.tokens : head.calls
