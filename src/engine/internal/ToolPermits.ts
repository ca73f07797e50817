/**
 * The permits of one tool's own cap, shared by every run of the process. A call waits here only while its run has a free
 * place, so waiting holds nothing; when a permit comes back, waiters are offered it in order and the first whose run can start
 * it takes it.
 *
 * A handler that calls its own tool again would wait for itself. So a call may *lend* its permit to one call made under it at a
 * time; whoever ends first leaves the permit to the other, and the cap holds throughout.
 */
export interface Holder {
  /** Whether a permit of the tool is its own. */
  holdsToolPermit: boolean
  /** Whose permit it uses instead. */
  lender: Holder | undefined
  /** Who uses its permit while it waits for them. */
  borrower: Holder | undefined
  readonly abandoned: boolean
  /** The call whose handler made this one, if any, and the permits of its tool. */
  readonly parent: Holder | undefined
  readonly permits: ToolPermits | undefined
}

export interface Waiter {
  /** Whether its run has a free place now. */
  canStart(): boolean
  /** Starts the call, which has its permit. */
  start(): void
  /** Answers the call `Rejected` if it still waits. */
  reject(limit: string): void
}

export interface ToolPermits {
  readonly limit: number
  used: number
  /** Permits held by handlers that were answered without having ended. */
  abandoned: number
  /** By call, in order of arrival. */
  readonly waiters: Map<Holder, Waiter>
  /** The waiters made under another call, which may borrow. */
  readonly nested: Set<Holder>
  waking: boolean
}

export const makePermits = (limit: number): ToolPermits => ({
  limit,
  used: 0,
  abandoned: 0,
  waiters: new Map(),
  nested: new Set(),
  waking: false
})

/** Takes a free permit that nobody waits for, or borrows one from a call this one was made under. */
export const tryTake = (permits: ToolPermits, call: Holder): boolean =>
  (permits.waiters.size === 0 && takeFree(permits, call)) || borrow(permits, call)

const takeFree = (permits: ToolPermits, call: Holder): boolean => {
  if (permits.used >= permits.limit) return false
  permits.used++
  call.holdsToolPermit = true
  return true
}

const borrow = (permits: ToolPermits, call: Holder): boolean => {
  for (let at = call.parent; at !== undefined; at = at.parent) {
    if (at.permits !== permits || at.borrower !== undefined || !(at.holdsToolPermit || at.lender !== undefined)) {
      continue
    }
    at.borrower = call
    call.lender = at
    return true
  }
  return false
}

/** Offers what is free to the waiters, oldest first. A handler that ends at once gives its permit back inside this loop. */
export const wake = (permits: ToolPermits): void => {
  if (permits.waking) return
  permits.waking = true
  for (const [call, waiter] of permits.waiters) {
    if (permits.used >= permits.limit) break
    if (waiter.canStart() && takeFree(permits, call)) startNext(permits, call, waiter)
  }
  for (const call of permits.nested) {
    const waiter = permits.waiters.get(call)!
    if (waiter.canStart() && borrow(permits, call)) startNext(permits, call, waiter)
  }
  permits.waking = false
}

const startNext = (permits: ToolPermits, call: Holder, waiter: Waiter): void => {
  leave(permits, call)
  waiter.start()
}

/** Lines up. */
export const wait = (permits: ToolPermits, call: Holder, waiter: Waiter): void => {
  permits.waiters.set(call, waiter)
  if (call.parent !== undefined) permits.nested.add(call)
}

/** Leaves the line. */
export const leave = (permits: ToolPermits, call: Holder): void => {
  permits.waiters.delete(call)
  permits.nested.delete(call)
}

/** The handler has ended: its permit goes back to where it came from, or stays with the call that borrowed it. */
export const release = (permits: ToolPermits, call: Holder): void => {
  const { borrower, holdsToolPermit, lender } = call
  if (!holdsToolPermit && lender === undefined) return
  call.holdsToolPermit = false
  call.lender = undefined
  call.borrower = undefined
  if (holdsToolPermit && call.abandoned) permits.abandoned--
  if (lender !== undefined) lender.borrower = borrower
  if (borrower !== undefined) {
    borrower.holdsToolPermit = holdsToolPermit
    borrower.lender = lender
    if (holdsToolPermit && borrower.abandoned) permits.abandoned++
  } else if (holdsToolPermit) permits.used--
  wake(permits)
}
