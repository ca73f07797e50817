/**
 * What the memory store keeps: a cell for each limit, shared by all lanes that need it and dropped when idle; lanes hold their
 * cells, so that a request hashes no key.
 */
import { TokenBucket } from "./countedRules.ts"
import { makeState } from "./makeState.ts"
import type { Rule } from "./rule.ts"
import type { RuleState } from "./ruleState.ts"
import type { Lane, Limit } from "./store.ts"

/** An owner's wish for more than is free, kept so that nobody small overtakes it. In order of age. */
export interface Claim {
  readonly owner: string
  readonly lane: string
  cost: number
  until: number
}

/** A limit's place in the store. */
export interface Cell {
  readonly id: string
  readonly key: string
  readonly rule: Rule
  readonly isTokens: boolean
  readonly isPermits: boolean
  readonly capacity: number
  readonly state: RuleState
  /** The state once more where it is a bucket, for the fast path. */
  readonly bucket: TokenBucket | undefined
  claims: Array<Claim> | undefined
  /** Whether the store still knows it; an idle one is dropped though lanes may hold it. */
  isKept: boolean
}

export interface MemoryLane extends Lane {
  readonly cells: Array<Cell>
  readonly hasPermits: boolean
}

const makeCell = (id: string, limit: Pick<Limit, "key" | "rule">): Cell => {
  const state = makeState(limit.rule)
  return {
    id,
    key: limit.key,
    rule: limit.rule,
    isTokens: limit.rule.unit === "tokens",
    isPermits: limit.rule._tag === "Permits",
    capacity: state.capacity,
    state,
    bucket: state instanceof TokenBucket ? state : undefined,
    claims: undefined,
    isKept: true
  }
}

/** All cells. Each use looks at a few others and drops those that are idle, so no timer is needed. */
export class Cells {
  private readonly cells = new Map<string, Cell>()
  private hand: Iterator<Cell> = this.cells.values()
  private readonly ids = new WeakMap<Rule, string>()

  get size(): number {
    return this.cells.size
  }

  find(limit: Limit): Cell | undefined {
    return this.cells.get(this.idOf(limit))
  }

  get(limit: Limit, now: number): Cell {
    const id = this.idOf(limit)
    const known = this.cells.get(id)
    if (known !== undefined) return known
    this.sweep(now, 2)
    const cell = makeCell(id, limit)
    this.cells.set(id, cell)
    return cell
  }

  /** The cell that stands for a dropped one: another lane's newer, or it again. */
  revive(cell: Cell): Cell {
    const known = this.cells.get(cell.id)
    if (known !== undefined) return known
    cell.isKept = true
    this.cells.set(cell.id, cell)
    return cell
  }

  sweep(now: number, count: number): void {
    for (let i = 0; i < count; i++) {
      const next = this.hand.next()
      if (next.done === true) {
        this.hand = this.cells.values()
        return
      }
      if (isIdle(next.value, now)) this.drop(next.value)
    }
  }

  private drop(cell: Cell): void {
    cell.isKept = false
    this.cells.delete(cell.id)
  }

  // Two limiters may give one key different rules: then they are two limits. The rule stands first: keys may be any text.
  private idOf(limit: Limit): string {
    let id = this.ids.get(limit.rule)
    if (id === undefined) {
      id = JSON.stringify(limit.rule)
      this.ids.set(limit.rule, id)
    }
    return `${id} ${limit.key}`
  }
}

const isIdle = (cell: Cell, now: number): boolean => {
  if (!cell.state.isIdle(now)) return false
  return cell.claims === undefined || cell.claims.every((claim) => claim.until <= now)
}
